"""The tracer: an interpreter that writes down every operator as a node of a graph.

In: calls of operators, on fake tensors and on real ones, which become inputs of the graph when first met. Out: fake tensors
with the ordinary history, so that `backward()` inside a trace records the backward operators too.

What stays true: nodes are in canonical form (promoted, numbers as Python numbers); a write in place is a new value of its
memory (see `memories`); nothing is computed, and no random number is drawn.
"""
from __future__ import annotations

import os
import sys

import numpy as np

from ..core import dtype as dt
from ..core.device import CPU
from ..core.errors import PACKAGE, interpreted
from ..core.layout import contiguous_format, preserve_format, strides_for
from ..core.rng import memory_order
from ..core.spec import Spec
from ..graph.ir import Graph, Loc, Value
from ..ops.dispatch import local
from ..ops.op import FLOAT, NONE, RANDOM, REGISTRY, VIEW, F, Op
from . import eager, layouts
from .core import Slots, _Types, new
from .fake import Fake, fake_array, refuse
from .memories import Memories, in_order
from .symbolic import Guard, SymNumber, operate

ndarray = np.ndarray
_STANDARD = os.path.dirname(os.__file__) + os.sep
_NUMBERS = (int, float, bool, complex)


class Tracer(Memories):
    """Builds `graph` from the calls it sees. `constants`: real tensors become constants, not inputs."""

    stays = True
    values = False
    device = CPU
    refuse = staticmethod(refuse)

    def __init__(self, name: str = "graph", constants: bool = False):
        super().__init__(Graph(name), constants)
        self.guards: list[Guard] = []
        self.symbols: dict = {}                        # expression -> SymNumber
        self.operands: dict = {}                       # (expression, dtype) -> the number as a 0-d tensor of that dtype
        self.items: dict = {}                          # what `guard_item` was told: {key: (container, path, value)}
        self.sources: dict[Value, tuple] = {}          # scalar input -> (container, path) it is read from, if any
        self.origins: dict[int, tuple] = {}            # id of a node of the tape -> (it, the user's line that recorded it)
        self._depth = 0                                # calls of operators inside the one the user made
        self._loc: Loc | None = None
        self._files: dict = {}
        self._locs: dict = {}

    # ------------------------------------------------------------------------------------------ calls
    def call(self, op: Op, args: tuple, kwargs: dict):
        """One call as the user made it: `eager.general`, recorded."""
        if self._depth:
            return eager.interpreted(op, args, kwargs, self.record)
        self._loc, self._depth = None, 1               # whatever it calls in turn is of the same line of the user's
        try:
            return eager.interpreted(op, args, kwargs, self.record)
        finally:
            self._depth = 0

    def apply(self, op: Op, flat: tuple, attrs: dict):
        """A call in canonical form, from whoever runs a graph on tensors."""
        stack = local.stack
        if stack and stack[-1] is self:
            return self.record(op, flat, attrs)
        local.stack = [*stack, self]
        try:
            return self.record(op, flat, attrs)
        finally:
            local.stack = stack

    def record(self, op: Op, flat: tuple, attrs: dict):
        """`eager.apply`, recorded: promote, infer, make the node and its results, hang the history on them."""
        symbols = False
        for t in flat:
            if isinstance(t, Slots):
                a = t._a
                if type(a) is not Fake or a.cell.tracer is not self:
                    self.lift(t)
            elif type(t) is SymNumber:
                symbols = True
        if symbols:
            flat = self.number_operands(op, flat)
        if op.promote is not NONE:
            flat = self.promote(op, flat)
        if op.kind is VIEW:
            return self.view(op, flat, self.plain(attrs))
        if op.body is not None and not op.plan and local.grad and op.grads and any([isinstance(t, Slots) and t._rg for t in flat]):
            return op.body(*flat, **attrs)
        if op.ref is None:                             # a composite with its own derivative: its parts are not recorded
            before, local.grad = local.grad, False
            try:
                r = op.body(*flat, **attrs)
            finally:
                local.grad = before
            several = type(r) is tuple
            outs = tuple([self.tensor_over(t._a) for t in (r if several else (r,))])
        else:
            attrs = self.plain(attrs)
            if op.name == "constant":
                return self.constant(attrs["value"].copy())
            try:
                specs = op.infer(*[eager.spec_of(t) for t in flat], **attrs)
            except RuntimeError as error:
                if "[P269]" in str(error):             # the shape depends on the values
                    self.refuse(got=eager.describe(*flat))
                raise
            several = type(specs) is tuple
            outs = self.results(op, flat, attrs, specs if several else (specs,))
        if op.plan:
            for t in flat:
                if isinstance(t, Slots) and t._rg:
                    if local.grad:
                        eager.record(op, flat, attrs, outs)
                    break
        if local.inference:
            for t in outs:
                t._extras().inference = True
        return outs if several else outs[0]

    def plain(self, attrs: dict) -> dict:
        """Attributes without run-time numbers: those become constants that a guard watches."""
        for v in attrs.values():
            if type(v) is SymNumber or type(v) is tuple and any([type(x) is SymNumber for x in v]):
                return {k: _fixed(v) for k, v in attrs.items()}
        return attrs

    def promote(self, op: Op, flat: tuple) -> tuple:
        """Operands of one dtype; numbers stay Python numbers where some operand is a tensor."""
        flat = eager.promote(op, flat)
        for t in flat:
            if type(t) is ndarray:
                break
        else:
            return flat
        if any([isinstance(t, Slots) for t in flat]):
            return tuple([_number(t) if type(t) is ndarray else t for t in flat])
        return tuple([self.constant(t) if type(t) is ndarray else t for t in flat])

    def number_operands(self, op: Op, flat: tuple) -> tuple:
        """Run-time numbers as 0-d tensors of the dtype that the number has among the other operands."""
        if op.promote is NONE:
            d = next((t.dtype for t in flat if isinstance(t, Slots) and t.dtype.category >= dt.FLOAT), dt.get_default_dtype())
        else:
            dims, zeros, nums = [], [], []
            for t in flat:
                if isinstance(t, Slots):
                    (dims if t._a.ndim else zeros).append(t.dtype)
                elif t is not None:
                    nums.append(dt.of_number(t.now if type(t) is SymNumber else t))
            d = dt.result_type_of(dims, zeros, nums)
            if op.promote is FLOAT and d.category < dt.FLOAT:
                d = dt.get_default_dtype()
        return tuple([self.as_operand(t, d) if type(t) is SymNumber else t for t in flat])

    def as_operand(self, symbol: SymNumber, d: dt.dtype):
        key = symbol.expr, d
        t = self.operands.get(key)
        if t is None:
            t = symbol.tensor
            t = self.operands[key] = t if t.dtype is d else F.convert(t, d)
        return t

    # ------------------------------------------------------------------------------------------ nodes
    def emit(self, op: Op, args: tuple, attrs: dict, specs: tuple) -> tuple[Value, ...]:
        return self.graph.add(op, args, attrs, specs, self.here()).outs

    def results(self, op: Op, flat: tuple, attrs: dict, specs: tuple) -> tuple:
        """The node of a call, and a fake tensor for each of its results."""
        if op.kind is RANDOM and flat:
            drawn = self.drawn(op, flat, attrs, specs)
            if drawn is not None:
                return drawn
        args = tuple([t._a.read() if isinstance(t, Slots) else t if t is None or type(t) in _NUMBERS else _number(t) for t in flat])
        return tuple([self.tensor(v) for v in self.emit(op, args, attrs, self.laid_out(op, flat, attrs, specs))])

    def laid_out(self, op: Op, flat: tuple, attrs: dict, specs: tuple) -> tuple:
        """The Specs of results with the strides that eager's have; None where they are row-major."""
        fmt = attrs.get("fmt") if op.name in ("clone", "filled") else attrs.get("order") if op.kind is RANDOM and not flat else None
        if fmt is not None and fmt is not preserve_format:
            spec = specs[0]
            strides = (None if fmt is contiguous_format else in_order(spec.shape, fmt) if type(fmt) is tuple
                       else strides_for(spec.shape, fmt))
            return (Spec(spec.shape, spec.dtype, strides),)
        if op.name == "view_scatter":                  # a copy of its base
            op, flat, attrs = REGISTRY["clone"], flat[:1], {"fmt": preserve_format}
        for t in flat:
            if isinstance(t, Slots) and not t._a.flags.c_contiguous or op.name == "spread":
                arrays = tuple([t._a if isinstance(t, Slots) else t for t in flat])
                strides = layouts.orders(op, arrays, attrs, [s.shape for s in specs])
                return tuple([Spec(s.shape, s.dtype, x) for s, x in zip(specs, strides)])
        return tuple([s if s.strides is None else Spec(s.shape, s.dtype) for s in specs])

    def drawn(self, op: Op, flat: tuple, attrs: dict, specs: tuple) -> tuple | None:
        """The node of a draw into memory that is not row-major, which PyTorch fills in the order of its memory: values have no
        such order, so the draw is one of permuted dimensions. None for any other draw."""
        a = flat[0]._a if isinstance(flat[0], Slots) else None
        if a is None or a.flags.c_contiguous or not (op.name.endswith("_fill") or op.name == "dropout_noise"):
            return None
        order = memory_order(a)
        back = tuple(sorted(range(a.ndim), key=order.__getitem__))
        spec = Spec(a.shape, specs[0].dtype, None if back == tuple(range(a.ndim)) else in_order(a.shape, order))
        if op.name == "normal_fill":                   # which draws otherwise where memory has gaps or another order
            made = {"shape": a.shape, "dtype": spec.dtype, "order": order, **attrs}
            return (self.tensor(self.emit(REGISTRY["normal_new"], (), made, (spec,))[0]),)
        permute = REGISTRY["permute"]
        shape = tuple([a.shape[d] for d in order])
        args = []
        for t in flat:
            if isinstance(t, Slots):
                v = t._a.read()
                if v.spec.shape != a.shape:
                    v = self.emit(REGISTRY["expand"], (v,), {"shape": a.shape}, (Spec(a.shape, v.spec.dtype),))[0]
                t = self.emit(permute, (v,), {"dims": order}, (Spec(shape, v.spec.dtype),))[0]
            args.append(t)
        value = self.emit(op, tuple(args), attrs, (Spec(shape, spec.dtype),))[0]
        return (self.tensor(self.emit(permute, (value,), {"dims": back}, (spec,))[0]),)

    def tensor(self, value: Value):
        """A fake tensor that holds `value` in memory of its own."""
        spec = value.spec
        a = fake_array(spec.shape, spec.dtype.np, spec.strides)
        a.cell, a.value, a.stamp = self.cell_type(self, value, a), value, 0
        return self.tensor_over(a)

    @staticmethod
    def tensor_over(a: Fake):
        t = new(_Types.tensor)
        t._a = a
        t._rg = False
        t._fn = t._grad = t._st = t._x = None
        t._oi = 0
        return t

    def constant(self, array: ndarray):
        """A tensor that holds a constant of the graph."""
        return self.tensor(self.graph.const(array, Spec(array.shape, dt.of(array.dtype))))

    def here(self) -> Loc | None:
        """The user's line: of the innermost frame outside pellucid and Python's own modules, looked up once per call."""
        if self._depth and self._loc is not None:
            return self._loc
        node = local.node
        if node is not None:                           # in a rule of backward: the line of the operator it belongs to
            origin = self.origins.get(id(node))
            if origin is not None:
                self._loc = origin[1]
                return self._loc
        if interpreted.place is not None:
            self._loc = Loc(*interpreted.place())
            return self._loc
        f = sys._getframe(2)
        files = self._files
        while f is not None:
            code = f.f_code
            inside = files.get(code)
            if inside is None:
                name = code.co_filename
                inside = files[code] = (name.startswith((PACKAGE, "<frozen")) and not name.startswith(PACKAGE + "demo")
                                        or name.startswith(_STANDARD) and "-packages" not in name[len(_STANDARD):])
            if not inside:
                key = code, f.f_lineno
                loc = self._locs.get(key)
                if loc is None:
                    loc = self._locs[key] = Loc(code.co_filename, f.f_lineno, code.co_name)
                self._loc = loc
                return loc
            f = f.f_back
        return None

    def recorded(self, node) -> None:
        """The tape has a new node."""
        if local.node is None:
            self.origins[id(node)] = node, self.here()

    # ------------------------------------------------------------------------------------------ run-time numbers
    def scalar(self, now: float, name: str = "n", source: tuple | None = None) -> SymNumber:
        """A run-time number: a 0-d float64 input."""
        value = self.graph.input(Spec((), dt.float64), name, "scalar")
        if source is not None:
            self.sources[value] = source
        expr = ("input", len(self.graph.inputs) - 1)
        symbol = self.symbols[expr] = SymNumber(self, now, expr, self.tensor(value))
        return symbol

    def symbol(self, now, expr: tuple) -> SymNumber:
        found = self.symbols.get(expr)
        if found is None:
            found = self.symbols[expr] = SymNumber(self, now, expr)
        return found

    def symbol_of(self, expr: tuple) -> SymNumber:
        return self.symbols[expr]

    def number_op(self, name: str, operands: list):
        """A node that computes with run-time numbers."""
        before, local.grad = local.grad, False
        try:
            return operate(name, operands)
        finally:
            local.grad = before

    def guard(self, guard: Guard) -> None:
        if guard not in self.guards:
            loc = self.here()
            self.guards.append(guard._replace(where=str(loc) if loc else ""))

    def lift_item(self, container, path: tuple, value: float) -> SymNumber:
        """The number at `path` of `container` (keys, one after another) as a run-time number."""
        key = ("item", id(container), path)
        found = self.symbols.get(key)
        if found is None:
            found = self.symbols[key] = self.scalar(float(value), str(path[0]), (container, path))
        return found

    @staticmethod
    def written(container, key) -> bool:
        """Whether the traced function has set this item: whoever runs it so that it can, says so."""
        return False

    def guard_item(self, container, path: tuple, value) -> None:
        """Rely on the value at `path` of `container`."""
        self.items.setdefault((id(container), path), (container, path, value))


def _number(x):
    """A NumPy scalar or 0-d array as a Python number."""
    r = x.item() if isinstance(x, (ndarray, np.generic)) else x
    return r if type(r) in _NUMBERS else float(r)


def _fixed(v):
    if type(v) is SymNumber:
        return v.fixed()
    return tuple([_fixed(x) for x in v]) if type(v) is tuple else v
