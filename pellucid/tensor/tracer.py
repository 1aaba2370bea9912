"""The tracer: an interpreter that writes down every operator as a node of a graph.

In: calls of operators, on fake tensors and on real ones, which become inputs of the graph when first met. Out: fake tensors
with the ordinary history, so that `backward()` inside a trace records the backward operators too.

What stays true: nodes are in canonical form (promoted, numbers as Python numbers); a write in place changes which value a
memory (`Cell`) holds, and a view whose memory moved on is read anew through its chain of views; nothing is computed, no
random number drawn, and `restore` puts every real tensor back as it was.
"""
from __future__ import annotations

import os
import sys
import warnings

import numpy as np

from ..core import dtype as dt
from ..core.errors import PACKAGE, message
from ..core.layout import contiguous_format, preserve_format, strides_for
from ..core.spec import Spec
from ..core.storage import Storage, root
from ..graph.ir import Graph, Loc, Value
from ..ops.dispatch import Interpreter, local
from ..ops.op import COMPOSITE, FLOAT, NONE, POINT, RANDOM, REGISTRY, VIEW, F, Op, resolve
from . import eager
from .calls import explain_call
from .core import Slots, _Types, new
from .fake import Cell, Fake, TraceError, fake_array, refuse
from .symbolic import Guard, SymNumber, operate

ndarray = np.ndarray
_STANDARD = os.path.dirname(os.__file__) + os.sep
_NUMBERS = (int, float, bool, complex)


class Saved:
    """A real tensor as it was before the trace."""

    __slots__ = ("tensor", "array", "rg", "fn", "oi", "grad", "st", "x", "fields", "hooks", "version", "fake", "role")

    def __init__(self, t):
        self.tensor = t
        self.array, self.rg, self.fn, self.oi, self.grad, self.st, self.x = t._a, t._rg, t._fn, t._oi, t._grad, t._st, t._x
        self.fields = None if t._x is None else dict(t._x.__dict__)
        self.hooks = [] if t._x is None else [(d, dict(d)) for d in (t._x.hooks, t._x.post_hooks) if d is not None]
        self.version = 0 if t._st is None else t._st.version
        self.fake: Fake | None = None
        self.role = "state"

    def restore(self) -> None:
        t = self.tensor
        t._a, t._rg, t._fn, t._oi, t._grad, t._st, t._x = self.array, self.rg, self.fn, self.oi, self.grad, self.st, self.x
        if self.x is not None:
            self.x.__dict__.clear()
            self.x.__dict__.update(self.fields)
        for d, content in self.hooks:
            d.clear()
            d.update(content)
        if self.st is not None:
            self.st.version = self.version


class Tracer(Interpreter):
    """Builds `graph` from the calls it sees. `constants`: real tensors become constants, not inputs."""

    stays = True
    values = False

    def __init__(self, name: str = "graph", constants: bool = False):
        self.graph = Graph(name)
        self.constants = constants
        self.open = True
        self.saved: dict[int, Saved] = {}              # id of a real tensor -> what it was
        self.cells: dict[int, list[Cell]] = {}         # id of the array that owns real memory -> what lies in it
        self._buffers: dict[int, ndarray] = {}         # id of that array -> untouched memory of the same extent
        self._storages: dict[int, tuple] = {}          # id of a real Storage -> (it, its stand-in)
        self.lifted: dict[Value, object] = {}          # input value -> the tensor it stands for
        self.guards: list[Guard] = []
        self.symbols: dict = {}                        # expression -> SymNumber
        self.operands: dict = {}                       # (expression, dtype) -> the number as a 0-d tensor of that dtype
        self.items: dict = {}                          # what `guard_item` was told: {key: (container, path, value)}
        self.sources: dict[Value, tuple] = {}          # scalar input -> (container, path) it is read from, if any
        self.grad_uses: dict[int, tuple] = {}          # id of a tensor -> (it, whether its .grad was first read, the .grad then)
        self.names: dict[int, str] = {}                # id of a real tensor -> what its input is called
        self.origins: dict[int, tuple] = {}            # id of a node of the tape -> (it, the user's line that recorded it)
        self.copies: dict[int, tuple] = {}             # id of the memory of a copy that eager has as a view -> (it, the line)
        self._depth = 0                                # calls of operators inside the one the user made
        self._loc: Loc | None = None
        self._files: dict = {}
        self._locs: dict = {}

    # ------------------------------------------------------------------------------------------ calls
    def call(self, op: Op, args: tuple, kwargs: dict):
        """One call as the user made it: `eager.general`, recorded."""
        if self._depth:
            return self._call(op, args, kwargs)
        self._loc, self._depth = None, 1               # whatever it calls in turn is of the same line of the user's
        try:
            return self._call(op, args, kwargs)
        finally:
            self._depth = 0

    def _call(self, op: Op, args: tuple, kwargs: dict):
        out = None
        if kwargs:
            if "out" in kwargs and (op.front is not None or "out" in op.forms):
                kwargs = dict(kwargs)
                out = kwargs.pop("out")
            if not eager._ALIASES.keys().isdisjoint(kwargs):
                kwargs = eager.rename(kwargs, op)
        if op.front is None:
            try:
                r = op.body(*args, **kwargs)
            except (TypeError, AttributeError) as error:
                raise explain_call(op, args, kwargs, error) from None
            return r if out is None else eager.write_out(op, r, out)
        try:
            canon = op.front(*args, **kwargs)
        except (TypeError, AttributeError) as error:
            raise explain_call(op, args, kwargs, error) from None
        if len(canon) == 3:                            # the front hands the call over to another operator
            name, args, kwargs = canon
            entry = getattr(F, name)
            op, r = entry.op, entry(*args, **kwargs)
        else:
            flat, attrs = canon
            eager.check_operands(op, flat)
            if out is not None and op.kind is POINT:
                eager.check_overlap(out, flat)
            r = self.record(op, flat, attrs)
        return r if out is None else eager.write_out(op, r, out)

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
                    refuse(got=eager.describe(*flat))
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
        args = tuple([t._a.read() if isinstance(t, Slots) else t if t is None or type(t) in _NUMBERS else _number(t) for t in flat])
        if len(specs) == 1:
            specs = (self.laid_out(op, flat, attrs, specs[0]),)
        else:
            specs = tuple([s if s.strides is None else Spec(s.shape, s.dtype) for s in specs])
        return tuple([self.tensor(v) for v in self.emit(op, args, attrs, specs)])

    def laid_out(self, op: Op, flat: tuple, attrs: dict, spec: Spec) -> Spec:
        """The Spec of a result with the strides that eager's result has; None where they are row-major."""
        fmt = attrs.get("fmt") if op.name in ("clone", "filled") else None
        if fmt is not None and fmt is not preserve_format:
            if fmt is contiguous_format:
                return spec if spec.strides is None else Spec(spec.shape, spec.dtype)
            if type(fmt) is tuple:
                return Spec(spec.shape, spec.dtype, _in_order(spec.shape, fmt))
            return Spec(spec.shape, spec.dtype, strides_for(spec.shape, fmt))
        if op.kind is POINT or fmt is preserve_format or op.kind is RANDOM:
            arrays = [t._a for t in flat if isinstance(t, Slots)]
            if not all([a.flags.c_contiguous for a in arrays]):
                return Spec(spec.shape, spec.dtype, _loop_order(arrays, spec.shape))
        return spec if spec.strides is None else Spec(spec.shape, spec.dtype)

    def tensor(self, value: Value):
        """A fake tensor that holds `value` in memory of its own."""
        spec = value.spec
        a = fake_array(spec.shape, spec.dtype.np, spec.strides)
        a.cell, a.value, a.stamp = Cell(self, value, a), value, 0
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

    def copied(self, t) -> None:
        self.copies[id(t._a.cell)] = t._a.cell, self.here()

    # ------------------------------------------------------------------------------------------ views and writes
    def view(self, op: Op, flat: tuple, attrs: dict):
        """A view: the reference on the fake gives the geometry, the node its value."""
        source = flat[0]
        s = source._a
        try:
            a = op.ref(s, **attrs)
        except Exception as error:
            raise eager.explain(op, flat, attrs, error) from None
        if a is not s:
            if type(a) is not Fake:
                a = a.view(Fake)
            cell = a.cell = s.cell
            if op.name == "as_strided":
                chain = self.strided_chain(s, attrs)
                a.chain, a.value = chain, self.follow(cell.value, chain)
            else:
                a.chain = (*s.chain, (op.name, attrs))
                a.value = self.emit(op, (s.read(),), attrs, (_spec(a),))[0]
            a.stamp = cell.stamp
        return eager.view_result(op, source, flat, attrs, a)

    def strided_chain(self, a: Fake, attrs: dict) -> tuple:
        """`as_strided` as views of the whole memory in row-major order: flat, from the offset on, with strides."""
        cell = a.cell
        order = sorted(range(len(cell.shape)), key=lambda d: -cell.strides[d])
        chain: tuple = () if order == list(range(len(order))) else (("permute", {"dims": tuple(order)}),)
        if not _dense(cell.shape, cell.strides, a.itemsize):
            raise TraceError(message("P3003", "as_strided on memory with gaps cannot be traced", got=f"strides {cell.strides} in bytes",
                                     fix="make the tensor contiguous() first"))
        offset = attrs["offset"]
        offset = (_address(a) - cell.address) // a.itemsize if offset is None else offset - cell.start
        numel = int(np.prod(cell.shape))
        if cell.shape != (numel,):
            chain += (("view_shape", {"shape": (numel,)}),)
        if offset:
            chain += (("basic_index", {"index": (slice(offset, None),)}),)
        return (*chain, ("as_strided", {"size": attrs["size"], "stride": attrs["stride"], "offset": None}))

    def follow(self, value: Value, chain: tuple) -> Value:
        """The part of `value` that a chain of views looks at."""
        for name, attrs in chain:
            op = REGISTRY[name]
            spec = op.infer(Spec(value.spec.shape, value.spec.dtype), **attrs)
            value = self.emit(op, (value,), attrs, (Spec(spec.shape, spec.dtype),))[0]
        return value

    def write(self, target: Fake, v) -> None:
        """`target[...] = v`: its memory holds another value from now on."""
        cell = target.cell
        if id(cell) in self.copies:
            raise TraceError(message("P3008", "a write to a part that a tensor chose cannot be traced", got="x[i] with a 0-d tensor i, made at "
                                     f"{self.copies[id(cell)][1]}", fix="assign to the part instead: x[i] = value"))
        if type(v) is not Fake:
            v = self.constant(np.array(v))._a
        value = v.read()
        d = dt.of(target.dtype)
        if value.spec.dtype is not d:
            value = self.emit(REGISTRY["convert"], (value,), {"dtype": d}, (value.spec.like(dtype=d),))[0]
        if value.spec.shape != target.shape:
            value = self.emit(REGISTRY["expand"], (value,), {"shape": target.shape}, (Spec(target.shape, d),))[0]
        if target.chain:
            cell.value = self.emit(REGISTRY["view_scatter"], (cell.value, value), {"chain": target.chain},
                                   (Spec(cell.shape, cell.value.spec.dtype),))[0]
        else:
            cell.value = value
        cell.stamp += 1
        target.value, target.stamp = value, cell.stamp

    def copy(self, a: Fake) -> Fake:
        """Memory of its own that holds what `a` holds now."""
        value = a.read()
        strides = None if a.flags.c_contiguous else _loop_order([a], a.shape)
        c = fake_array(a.shape, a.dtype, strides)
        c.cell, c.value, c.stamp = Cell(self, value, c), value, 0
        return c

    # ------------------------------------------------------------------------------------------ real tensors
    def touch(self, t) -> Saved:
        """Remember a real tensor as it is, to put it back at the end."""
        saved = self.saved.get(id(t))
        if saved is None:
            saved = self.saved[id(t)] = Saved(t)
        return saved

    def use_grad(self, t, read: bool) -> None:
        """`t.grad` is read or set: what counts for the caller is which came first."""
        if id(t) not in self.grad_uses:
            self.grad_uses[id(t)] = t, read, t._grad

    def lift(self, t, role: str | None = None, name: str | None = None) -> Fake:
        """Make a real tensor an input of the graph; its array is a fake until the end."""
        a = t._a
        if type(a) is Fake:
            if a.cell.tracer is self:
                return a
            if not a.cell.tracer.open:
                raise TraceError(message("P3004", "this tensor was made inside a function while it was traced: it has no value",
                                         fix="return it from the traced function instead of keeping it in a variable or attribute"))
        saved = self.touch(t)
        role = role or ("parameter" if t._rg and t._fn is None else "state")
        saved.role = role
        x = t._x
        base = x.base if x is not None else None
        if base is not None and root(base._a if type(base._a) is not Fake else self.saved[id(base)].array) is root(a):
            fake = self.view_of(self.lift(base), x.chain, a)
        else:
            fake = self.cover(t, a, role, name)
        t._a = saved.fake = fake
        st = t._st
        if st is not None:
            kept = self._storages.get(id(st))
            if kept is None:
                kept = self._storages[id(st)] = st, Storage(fake)
                kept[1].version = st.version
            t._st = kept[1]
        return fake

    def view_of(self, base: Fake, chain: tuple, a: ndarray) -> Fake:
        """The fake of a real tensor that is a known view of another."""
        for op, attrs in chain:
            v = resolve(op).ref(base, **attrs)
            if v is not base:
                if type(v) is not Fake:
                    v = v.view(Fake)
                v.cell = base.cell
                v.chain = (self.strided_chain(base, attrs) if resolve(op).name == "as_strided"
                           else (*base.chain, (resolve(op).name, attrs)))
            base = v
        return base

    def cover(self, t, a: ndarray, role: str, name: str | None) -> Fake:
        """The fake of a real tensor that is no known view: memory of its own, or part of memory that is an input already."""
        owner = root(a)
        low, high = np.lib.array_utils.byte_bounds(a)
        for cell in self.cells.get(id(owner), ()):
            real = cell.array
            if real.dtype == a.dtype and real.shape == a.shape and real.strides == a.strides and _address(real) == _address(a):
                return cell.fake
            start, end = np.lib.array_utils.byte_bounds(real)
            if a.size and real.size and low < end and start < high:
                return self.part_of(cell, a)
        d = dt.of(a.dtype)
        strides = None if a.flags.c_contiguous else tuple([s // a.itemsize for s in a.strides])
        spec = Spec(a.shape, d, strides)
        fake = ndarray.__new__(Fake, a.shape, a.dtype, *self.memory(owner, a)) if a.size else fake_array(a.shape, a.dtype)
        if self.constants:
            value = self.graph.const(a, spec)
        else:
            value = self.graph.input(spec, name or self.names.get(id(t)) or {"parameter": "p", "argument": "x"}.get(role, "s"), role)
            self.lifted[value] = t
        cell = Cell(self, value, fake)
        cell.fake, cell.array = fake, a
        if not self.constants:
            cell.input = value
        cell.start = (_address(a) - np.lib.array_utils.byte_bounds(owner)[0]) // a.itemsize if a.size else 0
        fake.cell, fake.value, fake.stamp = cell, value, 0
        self.cells.setdefault(id(owner), []).append(cell)
        return fake

    def memory(self, owner: ndarray, a: ndarray) -> tuple:
        """(buffer, offset, strides): where `a` lies in memory that stands for all of `owner`'s."""
        start, end = np.lib.array_utils.byte_bounds(owner)
        buffer = self._buffers.get(id(owner))
        if buffer is None:
            buffer = self._buffers[id(owner)] = ndarray.__new__(Fake, end - start, np.uint8)
        return buffer, _address(a) - start, a.strides

    def part_of(self, cell: Cell, a: ndarray) -> Fake:
        """The fake of a real tensor that looks at part of an input's memory."""
        real = cell.array
        offset, rest = divmod(_address(a) - _address(real), real.itemsize)
        span = 1 + sum([(n - 1) * s for n, s in zip(a.shape, a.strides)]) // a.itemsize
        if a.dtype != real.dtype or rest or not 0 <= offset <= real.size - span or not _dense(real.shape, real.strides, real.itemsize):
            raise TraceError(message("P3005", "two tensors share memory in a way that cannot be traced",
                                     got=f"{eager.describe(cell.fake)} and {eager.describe(a)}",
                                     fix="clone() one of them, or use the tensor that covers both first in the traced function"))
        buffer, at, strides = self.memory(root(a), a)
        fake = ndarray.__new__(Fake, a.shape, a.dtype, buffer, at, strides)
        fake.cell = cell
        fake.chain = self.strided_chain(cell.fake, {"size": a.shape, "stride": tuple([s // a.itemsize for s in a.strides]),
                                                    "offset": offset + cell.start})
        return fake

    def restore(self) -> None:
        """Put every real tensor back as it was. The trace is over."""
        self.open = False
        for saved in self.saved.values():
            saved.restore()

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

    def guard_item(self, container, path: tuple, value) -> None:
        """Rely on the value at `path` of `container`."""
        self.items.setdefault((id(container), path), (container, path, value))


# ---------------------------------------------------------------------------------------------------- geometry
def _address(a: ndarray) -> int:
    return a.__array_interface__["data"][0]


def _spec(a: ndarray) -> Spec:
    """Spec of a view: strides only where they are not row-major."""
    if a.flags.c_contiguous:
        return Spec(a.shape, dt.of(a.dtype))
    item = a.itemsize
    return Spec(a.shape, dt.of(a.dtype), tuple([s // item for s in a.strides]))


def _in_order(shape: tuple, order: tuple) -> tuple:
    """Strides in elements of dense memory whose dimensions lie in `order`, slowest first."""
    out, step = [0] * len(shape), 1
    for d in reversed(order):
        out[d] = step
        step *= max(shape[d], 1)
    return tuple(out)


def _loop_order(arrays: list, shape: tuple) -> tuple | None:
    """Strides in elements of what NumPy makes in one elementwise pass over `arrays`; None for row-major."""
    probes = [np.lib.stride_tricks.as_strided(_PROBE, a.shape, a.strides) for a in arrays]
    it = np.nditer([*probes, None], ["zerosize_ok", "refs_ok"], [["readonly"]] * len(probes) + [["writeonly", "allocate"]],
                   op_dtypes=[np.uint8] * (len(probes) + 1), itershape=shape)
    strides = it.operands[-1].strides
    return None if it.operands[-1].flags.c_contiguous else strides


_PROBE = np.zeros(1, np.uint8)


def _dense(shape: tuple, strides: tuple, item: int) -> bool:
    """Whether strides (in bytes) name every element of one stretch of memory once."""
    if 0 in shape:
        return True
    step = item
    for s, n in sorted(zip(strides, shape)):
        if n != 1:
            if s != step:
                return False
            step *= n
    return True


def _number(x):
    """A NumPy scalar or 0-d array as a Python number."""
    r = x.item() if isinstance(x, (ndarray, np.generic)) else x
    return r if type(r) in _NUMBERS else float(r)


def _fixed(v):
    if type(v) is SymNumber:
        return v.fixed()
    return tuple([_fixed(x) for x in v]) if type(v) is tuple else v
