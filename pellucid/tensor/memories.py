"""The memories of a trace: what each holds, how views look at them, which of them are real tensors'.

In: fakes, and real tensors when they are first met. Out: the graph values they hold; inputs of the graph for real ones. What
stays true: a write changes which value a memory (`Cell`) holds, and a view whose memory moved on is read anew through its chain
of views; tensors that share real memory share an input; `restore` puts every real tensor back as it was.
"""
from __future__ import annotations

import numpy as np

from ..core import dtype as dt
from ..core.device import META
from ..core.errors import message
from ..core.layout import preserve_format
from ..core.spec import Spec
from ..core.storage import Storage, root
from ..graph.ir import Graph, Value
from ..ops.dispatch import Interpreter
from ..ops.op import REGISTRY, Op, resolve
from . import eager, layouts
from .core import new
from .fake import Cell, Fake, Geometry, TraceError, brief, fake_array, refuse

ndarray = np.ndarray


class Saved:
    """A real tensor as it was before the trace."""

    __slots__ = ("tensor", "array", "rg", "fn", "oi", "grad", "st", "x", "fields", "hooks", "counted", "fake", "role")

    def __init__(self, t):
        self.tensor = t
        self.array, self.rg, self.fn, self.oi, self.grad, self.st, self.x = t._a, t._rg, t._fn, t._oi, t._grad, t._st, t._x
        self.fields = None if t._x is None else dict(t._x.__dict__)
        self.hooks = [] if t._x is None else [(d, dict(d)) for d in (t._x.hooks, t._x.post_hooks) if d is not None]
        self.counted = None if t._st is None else (t._st.own, t._st.clock)
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
            own, clock = self.counted
            if self.st.clock is clock:              # else a compiled function has taken over the counting meanwhile
                self.st.own = own


class Memories(Interpreter):
    """The part of a tracer that knows memories. `constants`: real tensors become constants of the graph, not inputs."""

    cell_type = Cell

    def __init__(self, graph: Graph, constants: bool):
        self.graph, self.constants = graph, constants
        self.open = True
        self.apart = False                             # the histories of real tensors are out of reach: gradients end at them
        self.saved: dict[int, Saved] = {}              # id of a real tensor -> what it was
        self.cells: dict[int, list[Cell]] = {}         # id of the array that owns real memory -> what lies in it
        self._buffers: dict[int, ndarray] = {}         # id of that array -> untouched memory of the same extent
        self._storages: dict[int, tuple] = {}          # id of a real Storage -> (it, its stand-in)
        self.lifted: dict[Value, object] = {}          # input value -> the tensor it stands for
        self.grad_uses: dict[int, tuple] = {}          # id of a tensor -> (it, whether its .grad was first read, the .grad then)
        self.names: dict[int, str] = {}                # id of a real tensor -> what its input is called
        self.copies: dict[int, tuple] = {}             # id of the memory of a copy that eager has as a view -> (it, the line)

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
                a.value = self.emit(op, (s.read(),), attrs, (spec_of(a),))[0]
            a.stamp = cell.stamp
        return eager.view_result(op, source, flat, attrs, a)

    def strided_chain(self, a: Fake, attrs: dict) -> tuple:
        """`as_strided` as views of the whole memory in row-major order: flat, from the offset on, with strides."""
        cell = a.cell
        order = sorted(range(len(cell.shape)), key=lambda d: -cell.strides[d])
        chain: tuple = () if order == list(range(len(order))) else (("permute", {"dims": tuple(order)}),)
        if not dense(cell.shape, cell.strides, a.itemsize):
            raise TraceError(message("P3003", "as_strided on memory with gaps cannot be traced", got=f"strides {cell.strides} in bytes",
                                     fix="make the tensor contiguous() first"))
        offset = attrs["offset"]
        offset = (address_of(a) - cell.address) // a.itemsize if offset is None else offset - cell.start
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
        strides = layouts.orders(REGISTRY["clone"], (a,), {"fmt": preserve_format}, [a.shape])[0]
        c = fake_array(a.shape, a.dtype, strides)
        c.cell, c.value, c.stamp = self.cell_type(self, value, c), value, 0
        return c

    def copied(self, t) -> None:
        self.copies[id(t._a.cell)] = t._a.cell, self.here()

    # ------------------------------------------------------------------------------------------ real tensors
    def touch(self, t) -> Saved:
        """Remember a real tensor as it is, to put it back at the end."""
        saved = self.saved.get(id(t))
        if saved is None:
            saved = self.saved[id(t)] = Saved(t)
        return saved

    def untraced(self, t):
        """`t` as it is outside the trace."""
        saved = self.saved.get(id(t))
        if saved is None:
            return t
        r = new(type(t))
        r._a, r._rg, r._fn, r._oi, r._grad, r._st, r._x = saved.array, saved.rg, saved.fn, saved.oi, saved.grad, saved.st, saved.x
        return r

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
            if a.cell.tracer.device is META:
                refuse("a tensor on the meta device", eager.describe(t), "call the function as it is: there is nothing to compile")
            if not a.cell.tracer.open:
                raise TraceError(message("P3004", "this tensor was made inside a function while it was traced: it has no value",
                                         fix="return it from the traced function instead of keeping it in a variable or attribute"))
        elif isinstance(a, Geometry):
            refuse("a tensor that is not strided", got=f"{t.layout}, {brief(a)}", fix="to_dense() it outside the traced function")
        saved = self.touch(t)
        if self.apart and t._fn is not None and saved.fake is None:
            t._fn, t._oi = None, 0
        role = role or ("parameter" if t._rg and t._fn is None else "state")
        saved.role = role
        x = t._x
        base = x.base if x is not None else None
        if base is not None and root(base._a if type(base._a) is not Fake else self.saved[id(base)].array) is root(a):
            fake = self.view_of(self.lift(base), x.chain)
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

    def writes(self, t) -> int:
        """How often the memory of a tensor was written in this trace, as its version counts it."""
        saved = self.saved.get(id(t))
        if saved is None or t._st is None:
            return 0
        return t._st.version - (0 if saved.st is None else saved.st.version)

    def view_of(self, base: Fake, chain: tuple) -> Fake:
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
            if real.dtype == a.dtype and real.shape == a.shape and real.strides == a.strides and address_of(real) == address_of(a):
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
        cell.start = (address_of(a) - np.lib.array_utils.byte_bounds(owner)[0]) // a.itemsize if a.size else 0
        fake.cell, fake.value, fake.stamp = cell, value, 0
        self.cells.setdefault(id(owner), []).append(cell)
        return fake

    def memory(self, owner: ndarray, a: ndarray) -> tuple:
        """(buffer, offset, strides): where `a` lies in memory that stands for all of `owner`'s."""
        start, end = np.lib.array_utils.byte_bounds(owner)
        buffer = self._buffers.get(id(owner))
        if buffer is None:
            buffer = self._buffers[id(owner)] = ndarray.__new__(Fake, end - start, np.uint8)
        return buffer, address_of(a) - start, a.strides

    def part_of(self, cell: Cell, a: ndarray) -> Fake:
        """The fake of a real tensor that looks at part of an input's memory."""
        real = cell.array
        offset, rest = divmod(address_of(a) - address_of(real), real.itemsize)
        span = 1 + sum([(n - 1) * s for n, s in zip(a.shape, a.strides)]) // a.itemsize
        if a.dtype != real.dtype or rest or not 0 <= offset <= real.size - span or not dense(real.shape, real.strides, real.itemsize):
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


# ---------------------------------------------------------------------------------------------------- geometry
def address_of(a: ndarray) -> int:
    return a.__array_interface__["data"][0]


def spec_of(a: ndarray) -> Spec:
    """Spec of a view: strides only where they are not row-major."""
    if a.flags.c_contiguous:
        return Spec(a.shape, dt.of(a.dtype))
    item = a.itemsize
    return Spec(a.shape, dt.of(a.dtype), tuple([s // item for s in a.strides]))


def in_order(shape: tuple, order: tuple) -> tuple:
    """Strides in elements of dense memory whose dimensions lie in `order`, slowest first."""
    out, step = [0] * len(shape), 1
    for d in reversed(order):
        out[d] = step
        step *= max(shape[d], 1)
    return tuple(out)


def dense(shape: tuple, strides: tuple, item: int) -> bool:
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
