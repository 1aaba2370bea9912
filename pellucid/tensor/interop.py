"""Tensors from and to Python data, NumPy, buffers and DLPack.

In: numbers, nested sequences, ndarrays, buffers, objects with `__dlpack__` or `__array__`. Out: Tensors. True always:
`tensor` copies, `from_numpy` and `frombuffer` share, `as_tensor` and `asarray` share where they can; the dtype of
Python data is PyTorch's (int64, the default float type, its complex type), not NumPy's.
Definitions: torch/csrc/utils/tensor_new.cpp and tensor_numpy.cpp (behaviour, not text).
"""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.device import CPU, META, check
from ..core.errors import describe, fail
from ..ops.dispatch import local, state
from ..ops.op import F
from .core import Slots, readable, wrap
from .devices import where
from .fake import Geometry, without_data

__all__ = ["as_tensor", "asarray", "from_dlpack", "from_numpy", "frombuffer", "tensor"]

_NUMBERS = frozenset((int, float, bool, complex))
_SUPPORTED = "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, uint16, uint8, and bool"
FOREIGN = frozenset(d.np for d in (dt.bfloat16, *dt.FLOAT8))  # types that NumPy has from ml_dtypes
_warned: set[str] = set()


def _warn_once(what: str, text: str, stacklevel: int = 3) -> None:
    if what not in _warned:
        _warned.add(what)
        warnings.warn(text, UserWarning, stacklevel=stacklevel)


# ------------------------------------------------------------------------------------------------ from Python data
def tensor(data: Any, *, dtype=None, device=None, requires_grad: bool = False, pin_memory: bool = False):
    """A new tensor holding a copy of `data`: a number, nested sequences, an array or a tensor.

    Without `dtype`: bool, int64, the default floating type or its complex type for Python data; an array's or tensor's
    own. Raises ValueError for ragged sequences, TypeError and RuntimeError for what no tensor can hold, RuntimeError
    for values that do not fit an integer dtype.
    """
    if where(device) is META:
        return _leaf(tensor(data, dtype=dtype, device=CPU, requires_grad=requires_grad).to(META), requires_grad)
    d = _dtype(dtype, "tensor")
    if isinstance(data, Slots):
        warnings.warn("To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
                      "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
                      UserWarning, stacklevel=2)
        t = F.detach(F.clone(data) if d is None else F.to(data, d, copy=True)) if isinstance(data._a, Geometry) else \
            wrap(data._a.copy() if d is None else _cast_array(data._a, d))
    elif d is None and type(data) in (int, float, bool) and -(1 << 63) <= data < 1 << 63:
        t = fresh(np.array(data, dt.of_number(data).np))          # the most common call
    else:
        t = fresh(array_from(data, d))
    return _leaf(t, requires_grad)


def fresh(a: np.ndarray):
    """A tensor over an array that nobody else has; a constant for a tracer."""
    return F.constant(a) if state.slow and local.stack else wrap(a)


def as_tensor(data: Any, dtype=None, device=None):
    """`data` as a tensor, sharing its memory (and keeping its history) where dtype allows, a copy otherwise."""
    if where(device) is META and not (isinstance(data, Slots) and device is None):
        return as_tensor(data, dtype, CPU if not isinstance(data, Slots) else None).to(META)
    d = _dtype(dtype, "as_tensor")
    if isinstance(data, Slots):
        return data if d is None or d is data.dtype else F.to(data, d)
    if isinstance(data, np.ndarray):
        t = from_numpy(data)
        return t if d is None or d is t.dtype else wrap(_cast_array(data, d))
    return fresh(array_from(data, d))


def asarray(obj: Any, *, dtype=None, device=None, copy: bool | None = None, requires_grad: bool | None = None):
    """`obj` (tensor, array, DLPack object, buffer, number, sequence) as a tensor.

    `copy`: True always copies, False never (ValueError where that is impossible), None only where needed.
    `requires_grad`: None keeps a tensor's own. Raises ValueError, TypeError as `tensor`.
    """
    if where(device) is META and not (isinstance(obj, Slots) and (device is None or without_data(obj))):
        return _leaf(asarray(obj, dtype=dtype, device=CPU, copy=copy, requires_grad=requires_grad).to(META), bool(requires_grad))
    d = _dtype(dtype, "asarray")
    if copy is False and isinstance(obj, np.generic):
        raise RuntimeError("can't alias NumPy scalars. Either remove copy=False or transform it in a ndarray.")
    t = _shared(obj, d)
    if t is None:
        if copy is False:
            raise ValueError("can't alias arbitrary sequence into a tensor.")
        return _leaf(fresh(array_from(obj, d)), bool(requires_grad))
    needs_cast = d is not None and d is not t.dtype
    if copy is False and needs_cast:
        raise ValueError(f"can't alias tensor with dtype '{t.dtype.type_name}' into dtype '{d.type_name}'.")
    source = t
    if needs_cast:
        t = F.to(t, d)
    elif copy:
        t = F.clone(t)
    if requires_grad is None:
        return t
    if not requires_grad:
        return F.detach(t) if t.requires_grad else t
    if t is source and isinstance(obj, Slots):
        return t if t.requires_grad else t.requires_grad_()
    return t if t.requires_grad else _leaf(t, True)


def _shared(obj: Any, d: dt.dtype | None):
    """A tensor over the memory of `obj`, or None where it has none of its own."""
    if isinstance(obj, Slots):
        return obj
    if isinstance(obj, np.ndarray):
        return from_numpy(obj)
    if isinstance(obj, np.generic):
        return wrap(np.array(obj, dt.of(obj.dtype).np))
    if hasattr(obj, "__dlpack__") or type(obj).__name__ == "PyCapsule":
        return from_dlpack(obj)
    if isinstance(obj, (list, tuple, str, *_NUMBERS)):
        return None
    try:
        memoryview(obj)
    except TypeError:
        return None
    return frombuffer(obj, dtype=d or dt.get_default_dtype())


def array_from(data: Any, d: dt.dtype | None) -> np.ndarray:
    """A fresh array of `data`, with PyTorch's idea of its dtype (or `d`)."""
    kind = type(data)
    if kind in (list, tuple):
        return _from_sequence(data, d)
    if kind in _NUMBERS:
        return _cast_numbers(_python_array(data, d), d or dt.of_number(data), scalar=True)
    if isinstance(data, np.ndarray):
        _check_array(data)
        return data.astype(dt.of(data.dtype).np) if d is None else _cast_array(data, d)
    if isinstance(data, np.generic):
        return _cast_numbers(np.array(data), d or _of_numpy(data.dtype), scalar=True)
    if isinstance(data, Slots):
        return data._a.copy() if d is None else _cast_array(data._a, d)
    if isinstance(data, (str, bytes)):
        fail(TypeError, "P021", f"new(): invalid data type '{kind.__name__}'",
             fix="strings hold no numbers: convert them first, as in [float(s) for s in words]")
    if hasattr(kind, "_as_array"):                            # a storage
        return data._as_array(d)
    if hasattr(data, "__dlpack__"):
        a = from_dlpack(data)._a
        return a.copy() if d is None else _cast_array(a, d)
    if hasattr(data, "__array__"):
        return array_from(np.asarray(data), d)
    if isinstance(data, (bool, int, float, complex)):         # a subclass, such as an IntEnum
        base = next(k for k in (bool, int, float, complex) if isinstance(data, k))
        return array_from(base(data), d)
    if isinstance(data, (Sequence, bytearray, memoryview)) or (hasattr(data, "__len__") and hasattr(data, "__getitem__")
                                                              and not hasattr(data, "keys")):
        return _from_sequence(list(data), d)
    fail(RuntimeError, "P020", f"Could not infer dtype of {kind.__name__}",
         got=describe(data), fix="data is numbers, nested lists of numbers, arrays or tensors")


def _from_sequence(data, d: dt.dtype | None) -> np.ndarray:
    kinds = _leaf_types(data)
    if not kinds <= _NUMBERS:
        dtypes: set[dt.dtype] = set()
        if data and isinstance(data[0], np.ndarray):
            warnings.warn("Creating a tensor from a list of numpy.ndarrays is extremely slow. Please consider converting "
                          "the list to a single numpy.ndarray with numpy.array() before converting to a tensor.",
                          UserWarning, stacklevel=4)
        data = _unwrapped(data, dtypes)
        if d is None:
            for other in dtypes:
                d = other if d is None else dt.promote_types(d, other)
        kinds = ()
    target = d or next((of for k, of in ((complex, dt.get_default_dtype().to_complex()), (float, dt.get_default_dtype()),
                                         (int, dt.int64), (bool, dt.bool_)) if k in kinds), dt.get_default_dtype())
    try:
        a = _python_array(data, d)
    except ValueError:
        _explain_ragged(data)
        raise
    if a.dtype.kind == "O" and a.size:
        _explain_ragged(data)
    return _cast_numbers(a, target)


def to_list(a: np.ndarray):
    """Nested lists of Python numbers (one number for a 0-d array)."""
    return a.astype(np.float32).tolist() if a.dtype in FOREIGN else a.tolist()


def _leaf_types(data) -> set[type]:
    """The types of what is in nested lists and tuples, the lists and tuples themselves left out."""
    kinds = set(map(type, data))
    if kinds <= _NUMBERS:
        return kinds
    out = kinds - {list, tuple}
    if len(out) != len(kinds):
        for part in data:
            if type(part) in (list, tuple):
                out |= _leaf_types(part)
    return out


def _unwrapped(data, dtypes: set[dt.dtype]) -> list:
    """Nested sequences with tensors, arrays and other number-likes replaced by Python numbers; notes their dtypes."""
    out = []
    for x in data:
        if type(x) in _NUMBERS:
            dtypes.add(dt.of_number(x))
        elif isinstance(x, Slots):
            if x._a.size != 1:
                fail(ValueError, "P022", "only one element tensors can be converted to Python scalars",
                     got=describe(x), fix="stack or cat joins tensors: pellucid.stack(list)")
            dtypes.add(x.dtype)
            x = x.item()
        elif isinstance(x, np.generic):
            dtypes.add(_of_numpy(x.dtype))
            x = x.item()
        elif isinstance(x, (list, tuple)):
            x = _unwrapped(x, dtypes)
        elif isinstance(x, (str, bytes)):
            fail(*((ValueError, "P021", f"too many dimensions '{type(x).__name__}'") if x is data[0] else
                   (TypeError, "P021", f"new(): invalid data type '{type(x).__name__}'")),
                 got=describe(x), fix="strings hold no numbers: convert them first, as in [float(s) for s in words]")
        else:
            a = array_from(x, None)
            dtypes.add(dt.of(a.dtype))
            x = to_list(a)
        out.append(x)
    return out


def _python_array(data, d: dt.dtype | None) -> np.ndarray:
    """`np.array` of Python numbers for dtype `d`, integers beyond 64 bits refused where none is to become a float."""
    a = np.array(data)
    if d is not None and d.category >= dt.FLOAT and a.dtype.kind == "O" and all(isinstance(x, int) for x in a.flat):
        return a.astype(np.float64)
    if a.dtype.kind == "u" or (a.dtype.kind == "O" and all(isinstance(x, int) for x in a.flat)):
        if not all(-(1 << 63) <= x < 1 << 64 for x in a.flat):
            fail(ValueError, "P023", "Overflow when unpacking long long",
                 fix="the largest integer dtype is int64; floats go further")
        a = a.astype(np.uint64) if all(x >= 0 for x in a.flat) else a
    return a


def _explain_ragged(data) -> None:
    """Raise PyTorch's error for nested sequences of unequal lengths."""
    sizes, first = [], data
    while isinstance(first, (list, tuple)):
        sizes.append(len(first))
        if not first:
            break
        first = first[0]

    def visit(x, dim: int) -> None:
        if dim == len(sizes):
            if isinstance(x, (list, tuple)):
                name = type(x).__name__
                fail(TypeError, "P024", f"must be real number, not {name}" if isinstance(first, float) else
                     f"'{name}' object cannot be interpreted as an integer",
                     got=f"{describe(x)} at depth {dim}", fix="all parts need the same nesting: pad the short ones, or keep a list of tensors")
            return
        if not isinstance(x, (list, tuple)):
            fail(TypeError, "P025", "not a sequence",
                 got=f"{describe(x)} at depth {dim}", fix="all parts need the same nesting")
        if len(x) != sizes[dim]:
            fail(ValueError, "P026", f"expected sequence of length {sizes[dim]} at dim {dim} (got {len(x)})",
                 fix="all parts need the same length: pad the short ones, or keep a list of tensors")
        for part in x:
            visit(part, dim + 1)

    visit(data, 0)


def _cast_numbers(a: np.ndarray, d: dt.dtype, scalar: bool = False) -> np.ndarray:
    """Python numbers as dtype `d`: values that do not fit an integer type are refused, as PyTorch does."""
    kind = a.dtype.kind
    if kind == "c" and d.category < dt.COMPLEX and d is not dt.bool_:
        fail(TypeError, "P027", "must be real number, not complex" if d.is_floating_point else
             "'complex' object cannot be interpreted as an integer", fix="take .real, or choose a complex dtype")
    if d.category == dt.INT and a.size and kind in "fiuO":
        info = np.iinfo(d.np)
        low, high = a.min(), a.max()
        least = info.min if d.is_signed else -info.max        # PyTorch lets negative numbers wrap in unsigned types
        if not (low >= least and high <= info.max) or (kind == "f" and high >= float(info.max) + 1):
            if kind in "uO" and d is dt.int64:
                fail(ValueError, "P023", "Overflow when unpacking long long",
                     fix="the largest integer dtype is int64; floats go further")
            fail(RuntimeError, "P028", f"value cannot be converted to type {d.name} without overflow",
                 got=f"values from {low} to {high}", fix=f"{d.name} holds {info.min} to {info.max}: choose a wider dtype")
        if kind == "f" and not d.is_signed:
            a = a.astype(np.int64) if low < 0 else a
    return _cast_array(a, d)


def _cast_array(a: np.ndarray, d: dt.dtype) -> np.ndarray:
    """A fresh array of dtype `d`; low precision is rounded from float32, and nothing warns."""
    with np.errstate(all="ignore"):
        if a.dtype.kind == "c":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")               # ComplexWarning
                return _rounded(a, d)
        return _rounded(a, d)


def _rounded(a: np.ndarray, d: dt.dtype) -> np.ndarray:
    if d in dt.LOW_PRECISION and a.dtype != d.np:
        a = a.astype(np.float32)
    return a.astype(d.np)


def _of_numpy(kind: np.dtype) -> dt.dtype:
    """The dtype of a NumPy dtype, or PyTorch's TypeError."""
    found = dt._OF_NP.get(kind)
    if found is None:
        if kind.newbyteorder("=") in dt._OF_NP:
            fail(ValueError, "P029", "given numpy array has byte order different from the native byte order. Conversion between "
                 "byte orders is currently not supported.", fix="array.astype(array.dtype.newbyteorder('='))")
        fail(TypeError, "P012", f"can't convert np.ndarray of type numpy.{kind.type.__name__}. The only supported types are: {_SUPPORTED}.",
             fix="convert it first with array.astype(...)")
    return found


def _dtype(dtype: Any, function: str) -> dt.dtype | None:
    if dtype is None or type(dtype) is dt.dtype:
        return dtype
    if isinstance(dtype, type) and dtype in (bool, int, float, complex):
        return dt.as_dtype(dtype)
    fail(TypeError, "P030", f"{function}(): argument 'dtype' must be torch.dtype, not {type(dtype).__name__}",
         fix=dt._dtype_hint(dtype))


def _leaf(t, requires_grad: bool):
    if requires_grad:
        if t.dtype.category < dt.FLOAT:
            fail(RuntimeError, "P381", "Only Tensors of floating point and complex dtype can require gradients", got=describe(t),
                 fix="pass dtype=torch.float32, or leave requires_grad out")
        t._rg = True
    return t


# ------------------------------------------------------------------------------------------------ NumPy
def _check_array(a: np.ndarray) -> None:
    """Refuse arrays whose memory no tensor can describe."""
    _of_numpy(a.dtype)
    for step in a.strides:
        if step < 0:
            fail(ValueError, "P032", "At least one stride in the given numpy array is negative, and tensors with negative strides are not "
                 "currently supported. (You can probably work around this by making a copy of your array  with "
                 "array.copy().) ", fix="array.copy()")
        if step % a.itemsize:
            raise ValueError("given numpy array strides not a multiple of the element byte size. Copy the numpy array to "
                             "reallocate the memory.")


def from_numpy(ndarray: np.ndarray):
    """A tensor over the memory of `ndarray`: writing to one changes the other.

    Raises TypeError for other objects and element types, ValueError for negative strides and foreign byte order.
    """
    if not isinstance(ndarray, np.ndarray):
        name = type(ndarray).__name__
        fail(TypeError, "P031", f"expected np.ndarray (got {'numpy.' + name if isinstance(ndarray, np.generic) else name})",
             fix="pellucid.tensor(data) copies anything")
    _check_array(ndarray)
    if not ndarray.flags.writeable:
        warn_read_only()
    return wrap(ndarray.view(dt.of(ndarray.dtype).np, np.ndarray))          # an unpickled array has a dtype object of its own


def warn_read_only() -> None:
    """Say once that a tensor has been made over an array that may not be written to."""
    _warn_once("array", "The given NumPy array is not writable, and PyTorch does not support non-writable tensors. This means "
               "writing to this tensor will result in undefined behavior. You may want to copy the array to protect its "
               "data or make it writable before converting it to a tensor. This type of warning will be suppressed for the "
               "rest of this program.", 4)


def to_numpy(t, force: bool = False) -> np.ndarray:
    """The values as an array over the tensor's memory. Raises RuntimeError if `t` requires grad and
    gradients are being recorded, unless `force`."""
    if t._rg and local.grad and not force:
        fail(RuntimeError, "P371", "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.",
             got=describe(t), fix="x.detach().numpy(), or x.numpy(force=True)")
    if t._a.dtype in FOREIGN:
        fail(TypeError, "P382", f"Got unsupported ScalarType {t.dtype.type_name}", got=describe(t), fix="x.float().numpy()")
    t._storage().handed += 1
    return readable(t._a).view()


def as_array(t, dtype=None, copy: bool | None = None) -> np.ndarray:
    """NumPy's `__array__`."""
    a = to_numpy(t)
    if dtype is not None and a.dtype != dtype:
        if copy is False:
            raise ValueError("Unable to avoid copy while creating an array as requested: the dtype differs")
        return a.astype(dtype)
    return a.copy() if copy else a


def frombuffer(buffer: Any, *, dtype, count: int = -1, offset: int = 0, requires_grad: bool = False):
    """A 1-D tensor over the memory of an object with Python's buffer protocol.

    `offset` is in bytes, `count` in elements (negative: to the end). Raises ValueError where they do not fit.
    """
    d = _dtype(dtype, "frombuffer")
    if d is None:
        raise TypeError("frombuffer(): argument 'dtype' must be torch.dtype, not NoneType")
    try:
        view = memoryview(buffer)
    except TypeError:
        fail(ValueError, "P033", "object does not implement Python buffer protocol.",
             fix="pellucid.tensor(data) copies lists and numbers")
    size, width = view.nbytes, d.itemsize
    if not size or not count:
        raise ValueError(f"both buffer length ({size}) and count ({count}) must not be 0")
    if not 0 <= offset < size:
        raise ValueError(f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({size} bytes) minus 1")
    if count < 0:
        if (size - offset) % width:
            raise ValueError(f"buffer length ({size - offset} bytes) after offset ({offset} bytes) must be a multiple of "
                             f"element size ({width})")
        count = (size - offset) // width
    elif offset + count * width > size:
        raise ValueError(f"requested buffer length ({count} * {width} bytes) after offset ({offset} bytes) must not be greater "
                         f"than actual buffer length ({size} bytes)")
    a = np.frombuffer(buffer, d.np, count, offset)
    if not a.flags.writeable:
        _warn_once("buffer", "The given buffer is not writable, and PyTorch does not support non-writable tensors. This means you "
                   "can write to the underlying (supposedly non-writable) buffer using the tensor. You may want to copy the "
                   "buffer to protect its data or make it writable before converting it to a tensor.")
    return _leaf(wrap(a), requires_grad)


# ------------------------------------------------------------------------------------------------ DLPack
class _Capsule:
    """Lets NumPy read a bare DLPack capsule."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack__(self, **kwargs):
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


class _Writable:
    """The memory of an array that NumPy took for read-only: a bare capsule of the first version of DLPack cannot say that it is not."""

    def __init__(self, a: np.ndarray):
        self.__array_interface__ = {**a.__array_interface__, "data": (a.__array_interface__["data"][0], False)}
        self.a = a


def from_dlpack(ext_tensor: Any, *, device=None, copy: bool | None = None):
    """A tensor over the memory of an object with `__dlpack__` (or of a DLPack capsule). `copy` as in `asarray`."""
    check(device)
    if not hasattr(ext_tensor, "__dlpack__"):
        if type(ext_tensor).__name__ != "PyCapsule":
            raise AttributeError(f"'{type(ext_tensor).__name__}' object has no attribute '__dlpack__'")
        ext_tensor = _Capsule(ext_tensor)
    if isinstance(ext_tensor, Slots):
        a = ext_tensor._a
        if ext_tensor._rg:
            _refuse_grad(ext_tensor)
    else:
        a = np.from_dlpack(ext_tensor)
        if type(ext_tensor) is _Capsule and not a.flags.writeable:
            a = np.asarray(_Writable(a))
    _check_array(a)
    return wrap(a.copy() if copy else a.view())


def _refuse_grad(t) -> None:
    fail(BufferError, "P383", "Can't export tensors that require gradient, use tensor.detach()", got=describe(t), fix="x.detach()")


def dlpack(t, *, stream=None, max_version=None, dl_device=None, copy=None):
    """The tensor's memory as a DLPack capsule. Raises BufferError where it cannot be exported."""
    if t._rg:
        _refuse_grad(t)
    if stream is not None and stream != -1:
        raise BufferError("a stream is meaningful only on an accelerator; this tensor is on the CPU")
    a = t._a
    if a.dtype in FOREIGN:
        fail(BufferError, "P384", f"{t.dtype.name} cannot be exported through NumPy's DLPack", got=describe(t), fix="x.float()")
    if a.dtype == np.bool_ and max_version is None:
        max_version = (1, 0)
    options = {k: v for k, v in (("max_version", max_version), ("dl_device", dl_device), ("copy", copy)) if v is not None}
    return a.__dlpack__(**options)
