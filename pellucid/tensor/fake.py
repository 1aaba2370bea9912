"""Fake arrays: geometry without values, for tracing.

In: shape, dtype and strides. Out: an ndarray over memory that nobody touches. Views of a fake are fakes (made by the same
references that eager uses, so that strides and view errors are eager's); whatever would read or write values raises
TraceError, which names the user's line, the reason and the remedy.

True always: the fakes of one memory share a `Cell`, which knows the graph value the memory holds now; a fake's `chain` says
which part of it the fake looks at.
"""
from __future__ import annotations

import math
import os
import sys
from typing import Any, NoReturn

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..core.device import CPU, META
from ..core.errors import PACKAGE, message
from ..core.spec import contiguous_strides
from ..core.storage import ARRAYS

ndarray = np.ndarray
LARGE = 1 << 20         # bytes from which on a fake has no memory


class TraceError(RuntimeError):
    """A function that cannot be traced: it asks for a value that is known only when the traced function runs. `number`: the expression
    of the run-time number whose value it needed, if it was one; `places`: what the compiler knows of where that lies."""

    number: Any = None
    places: tuple = ((), ())


_CAPTURE = PACKAGE + "capture" + os.sep
_TRACING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tracing.py")
# what the user called, by the name of our function they called
_ASKED = {"__bool__": "bool(tensor)", "__float__": "float(tensor)", "__int__": "int(tensor)", "__index__": "tensor as an index",
          "__complex__": "complex(tensor)", "__repr__": "printing a tensor", "__str__": "printing a tensor",
          "__format__": "formatting a tensor", "__contains__": "value in tensor", "numpy": "tensor.numpy()", "item": "tensor.item()",
          "tolist": "tensor.tolist()", "__array__": "tensor as a NumPy array", "__dlpack__": "tensor through DLPack",
          "__getitem__": "x[mask]", "__setitem__": "x[mask] = values",
          "__deepcopy__": "copy.deepcopy(tensor)", "__reduce_ex__": "pickling a tensor"}
_FIX = {"bool(tensor)": "replace the branch by pellucid.where(condition, a, b), or decide outside the traced function",
        "printing a tensor": "print outside the traced function, or return the tensor; its .shape and .dtype are known",
        "formatting a tensor": "format outside the traced function, or return the tensor; its .shape and .dtype are known"}
for _what in ("x[mask]", "x[mask] = values", "nonzero()", "masked_select()"):
    _FIX[_what] = "how many elements are True decides the result's shape: use pellucid.where(mask, a, b), or multiply by the mask"
_GENERIC = frozenset(("__call__", "forward", "step", "backward", "wrapper"))       # say less than what they call
_DEFAULT_FIX = "keep to tensor operations, or do this outside the traced function"


def asked() -> str:
    """What the user did: the outermost of our functions on the way to here."""
    frame = sys._getframe(1)
    name = "this"
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith((PACKAGE, "<frozen")) and os.sep + "numpy" + os.sep not in code.co_filename:
            break
        if code.co_filename.startswith(PACKAGE):
            if code.co_filename == _TRACING or code.co_filename.startswith(_CAPTURE):
                break
            if code.co_name in _GENERIC:
                frame = frame.f_back
                continue
            name = code.co_name
            if name in ("entry", "inplace"):
                name = getattr(frame.f_locals.get("op"), "public", name) + "_" * (name == "inplace")
        frame = frame.f_back
    return _ASKED.get(name) or f"{name}()"


def refuse(what: str | None = None, got: str | None = None, fix: str | None = None) -> NoReturn:
    """Raise the TraceError of somebody who wants values."""
    what = what or asked()
    raise TraceError(message("P3001", f"{what} needs a value that is not known while the function is traced", got=got,
                             fix=fix or _FIX.get(what, _DEFAULT_FIX)))


class Cell:
    """One memory: what it holds now, and its geometry. `value` is the whole memory's graph value, `stamp` counts writes. For the
    memory of a real tensor, `input` is the graph's input, `fake` the array over it, `array` the real one."""

    __slots__ = ("tracer", "value", "stamp", "shape", "strides", "address", "start", "input", "fake", "array")

    def __init__(self, tracer, value, a: ndarray):
        self.tracer, self.value, self.stamp = tracer, value, 0
        self.shape, self.strides, self.address = a.shape, a.strides, a.__array_interface__["data"][0]
        self.start = 0                          # where it begins in its storage, in elements
        self.input = self.fake = self.array = None


class _Closed:
    """The tracer of fakes that no tracer made: views that NumPy was asked for behind its back."""

    open = False
    saved: dict = {}
    device = CPU
    refuse = staticmethod(refuse)


class Geometry(ndarray):
    """An array that stands for values kept elsewhere. Its geometry is real; whatever would read or write through it is refused."""

    place = CPU             # the device of a tensor with this array

    def refuse(self, got: str) -> NoReturn:
        """Raise the error of somebody who wants values; `got` says what of."""
        refuse(got=got)

    def values(self) -> ndarray:
        """The array of values, where they are known."""
        self.refuse(brief(self))

    def settled(self) -> ndarray:
        """The array itself, or what it stands for where that is over."""
        return self

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        self.refuse(f"np.{ufunc.__name__} on {brief(self)}")

    def __array_function__(self, func, types, args, kwargs):
        if func in _GEOMETRY:
            return super().__array_function__(func, types, args, kwargs)
        self.refuse(f"np.{func.__name__} on {brief(self)}")

    def __getitem__(self, index):
        """Basic indexing only; a single element stays an array."""
        for i in index if type(index) is tuple else (index,):
            if isinstance(i, (ndarray, list, np.bool_, bool)):
                self.refuse(f"an index {type(i).__name__} on {brief(self)}")
        index = index if type(index) is tuple else (index,)
        return ndarray.__getitem__(self, index if Ellipsis in index else (*index, Ellipsis))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {brief(self)}>"

    __str__ = __repr__


class Fake(Geometry):
    """The array of a tensor that is being traced."""

    cell: Cell = Cell(_Closed, None, np.empty(0))
    chain: tuple = ()              # ((op, attrs), ...): how the cell's value becomes this part of it
    value: Any = None              # the graph value of this part, as of `stamp`
    stamp = -1

    @property
    def place(self):
        return self.cell.tracer.device

    def refuse(self, got: str) -> NoReturn:
        self.cell.tracer.refuse(got=got)

    def read(self):
        """The graph value of what this array holds now."""
        cell = self.cell
        if self.stamp != cell.stamp:
            self.value, self.stamp = cell.tracer.follow(cell.value, self.chain), cell.stamp
        return self.value

    def constant(self) -> ndarray | None:
        """What it holds, if that is a constant of the graph."""
        cell = self.cell
        return None if self.chain or cell.value is None else cell.tracer.graph.consts.get(cell.value)

    def write(self, v, t=None) -> None:
        """Put the values of the array `v` here: from now on the memory holds another value. `t`: the tensor that is written."""
        self.cell.tracer.write(self, v)

    def target(self, t) -> Fake:
        """The array of the tensor `t`, which this array's value is about to be written to."""
        return t._a if type(t._a) is Fake else self.cell.tracer.lift(t)

    def duplicate(self) -> Fake:
        """A copy, with memory of its own."""
        return self.cell.tracer.copy(self)


def brief(a: ndarray) -> str:
    """`float32[2, 3]`."""
    return f"{a.dtype}{list(a.shape)}"


def _refusing(name: str):
    def method(self, *args, **kwargs):
        self.refuse(brief(self))
    method.__name__ = name
    return method


# every method of arrays that reads or writes values; what only concerns geometry stays
_KEPT = {"reshape", "transpose", "swapaxes", "squeeze", "view", "diagonal", "getfield", "setflags"}
for _name in dir(ndarray):
    if callable(getattr(ndarray, _name)) and not _name.startswith("_") and _name not in _KEPT:
        setattr(Geometry, _name, _refusing(_name))
for _name in ("bool", "float", "int", "index", "complex", "iter", "contains", "setitem", "copy", "deepcopy", "reduce_ex", "format",
              "dlpack"):
    setattr(Geometry, f"__{_name}__", _refusing(f"__{_name}__"))
_GEOMETRY = frozenset((np.reshape, np.transpose, np.swapaxes, np.moveaxis, np.squeeze, np.expand_dims, np.broadcast_to, np.shape,
                       np.ndim, np.size, np.shares_memory, np.may_share_memory, np.result_type, np.can_cast, np.empty_like,
                       np.diagonal))
ARRAYS.add(Fake)


def without_data(t) -> bool:
    """Whether a tensor is on the meta device."""
    a = t._a
    return type(a) is Fake and a.cell.tracer.device is META


def fake_array(shape: tuple, npd: np.dtype, strides: tuple | None = None) -> Fake:
    """Memory of its own, row-major or with the given strides in elements (dense, in some order of dimensions)."""
    item = npd.itemsize
    if math.prod(shape) * item >= LARGE:            # nobody reads or writes: it need not be there
        steps = tuple([n * item for n in strides or contiguous_strides(shape)])
        return as_strided(ndarray.__new__(Fake, 1, npd), shape, steps, subok=True)
    if strides is None:
        return ndarray.__new__(Fake, shape, npd)
    span = 1 + sum([(n - 1) * s for n, s in zip(shape, strides)]) if all(shape) else 0
    return ndarray.__new__(Fake, shape, npd, ndarray.__new__(Fake, span, npd), 0, tuple([s * item for s in strides]))
