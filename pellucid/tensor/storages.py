"""Storages as objects of their own, and the tensor methods that exchange or resize them.

In: tensors, byte counts, sequences. Out: `UntypedStorage` (bytes) and `TypedStorage` (elements) over a core `Storage`.
True always: two storage objects of one tensor's memory are equal and write to the same bytes. One limit: memory that
has to move (`resize_` beyond its size, `share_memory_`) moves for the tensor at hand alone; other tensors that looked
at the old memory keep it.
"""
from __future__ import annotations

import mmap
import os
import sys
import weakref
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core import layout as lay
from ..core.device import CPU, META, check
from ..core.errors import describe, fail
from ..core.late import late
from ..core.spec import contiguous_strides
from ..core.storage import Storage
from ..ops.creation import unset
from ..ops.dispatch import local, state
from .core import Slots
from .devices import refuse_data, where
from .fake import Geometry, without_data
from .interop import array_from, to_list
from .sharing import shared_copy, shared_map

__all__ = ["METHODS", "STORAGE_CLASSES", "WITHOUT_CLASS", "TypedStorage", "UntypedStorage", "is_storage", "storage_of", "view_of"]


WITHOUT_CLASS = frozenset((dt.uint16, dt.uint32, dt.uint64, *dt.FLOAT8))      # types younger than the storage classes


def _without_bytes(nbytes: int) -> np.ndarray:
    """What stands for memory on the meta device."""
    return late.meta().empty((nbytes,), dt.uint8.np)._a


def view_of(storage: Storage, d: dt.dtype, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    """The array at `offset` (in elements) of a storage. Assumes that it fits."""
    if 0 in size:
        return np.empty(size, d.np) if not storage.nbytes() else np.ndarray(size, d.np, storage.bytes(), 0)
    return np.ndarray(size, d.np, storage.bytes(), offset * d.itemsize, tuple(n * d.itemsize for n in stride))


class UntypedStorage:
    """The bytes that a tensor and its views share: `UntypedStorage(nbytes)`, `UntypedStorage([0, 1, ...])`."""

    is_cuda = is_sparse = False
    _kind = dt.uint8
    _what = "UntypedStorage"

    def __init__(self, size: Any = 0, *, device=None):
        if where(device) is META and not isinstance(size, Storage):
            count = size if isinstance(size, int) else len(size)
            size = Storage(_without_bytes(count * self._kind.itemsize))
        if isinstance(size, Storage):
            self._storage = size
        elif isinstance(size, int):
            self._storage = Storage(np.zeros(size * self._kind.itemsize, np.uint8))
        else:
            self._storage = Storage(array_from(list(size), self._kind).reshape(-1))

    @property
    def device(self):
        a = self._storage.array
        return a.place if isinstance(a, Geometry) else CPU

    def _elements(self) -> np.ndarray:
        if self.device is META:
            fail(NotImplementedError, "P3017", "Not available for 'meta' device type", got=repr(self), fix="a storage on the CPU has bytes")
        data = self._storage.bytes()
        width = self._kind.itemsize
        return data[: data.size // width * width].view(self._kind.np)

    def data_ptr(self) -> int:
        """Address of the first byte (0 if there is none)."""
        return self._storage.data_ptr() if self._storage.nbytes() and self.device is CPU else 0

    def nbytes(self) -> int:
        """Length in bytes."""
        return self._storage.nbytes()

    def element_size(self) -> int:
        """Bytes per element."""
        return self._kind.itemsize

    def size(self) -> int:
        """Number of elements."""
        return self.nbytes() // self._kind.itemsize

    __len__ = size

    def untyped(self) -> UntypedStorage:
        """The bytes."""
        return untyped(self._storage)

    def _cast_index(self, index: Any) -> Any:
        if isinstance(index, int):
            if not -self.size() <= index < self.size():
                raise IndexError(f"index {index} out of range for storage of size {self.size()}")
        elif not isinstance(index, slice):
            raise TypeError(f"can't index a {type(self)} with {type(index)}")
        return index

    def __getitem__(self, index: Any) -> Any:
        found = self._elements()[self._cast_index(index)]
        return found.item() if isinstance(index, int) else self._same(Storage(found.copy().view(np.uint8)))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._elements()[self._cast_index(index)] = value._elements() if isinstance(value, UntypedStorage) else value
        self._storage.own += 1

    def _same(self, storage: Storage) -> UntypedStorage:
        return type(self)(storage)

    def _as_array(self, d: dt.dtype | None) -> np.ndarray:
        """A copy of the bytes as elements of `d`: what `tensor(storage)` holds."""
        d = d or dt.get_default_dtype()
        self._check_type(d)
        return view_of(self._storage, d, 0, (self.nbytes() // d.itemsize,), (1,)).copy()

    def _check_type(self, d: dt.dtype) -> None:
        """Raise RuntimeError unless the bytes may be seen as elements of `d`."""

    @property
    def _cdata(self) -> int:
        return id(self._storage)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.nbytes()

    def tolist(self) -> list:
        """The elements as Python numbers."""
        return to_list(self._elements())

    def __iter__(self):
        return iter(self.tolist())

    def fill_(self, value: Any) -> UntypedStorage:
        """Set every element."""
        self._elements()[...] = value
        self._storage.own += 1
        return self

    def copy_(self, source: UntypedStorage, non_blocking: bool | None = None) -> UntypedStorage:
        """Copy another storage's elements, converted."""
        source.cpu()
        self._elements()[...] = source._elements().astype(self._kind.np)
        self._storage.own += 1
        return self

    def clone(self) -> UntypedStorage:
        """A copy."""
        return self._same(Storage(self._storage.bytes().copy()))

    def resize_(self, size: int) -> UntypedStorage:
        """Make room for `size` elements, keeping those that fit. Tensors made before keep the old memory."""
        nbytes = size * self._kind.itemsize
        self._storage.array = _without_bytes(nbytes) if self.device is META else _resized(self._storage, nbytes)
        return self

    def share_memory_(self) -> UntypedStorage:
        """Move the bytes into memory that forked processes share. Tensors made before keep the old memory."""
        if self.device is META:
            fail(RuntimeError, "P3017", "share_memory_: only available on CPU", got=repr(self), fix="a storage on the CPU has bytes")
        if not self.is_shared():
            self._storage.array = shared_copy(self._storage)
        return self

    def is_shared(self) -> bool:
        """Whether forked processes share the bytes."""
        return _is_shared(self._storage)

    @property
    def filename(self) -> str | None:
        """The file that the bytes are mapped from (`from_file` with shared=True); None for other memory."""
        a: Any = self._storage.array
        while isinstance(a, np.ndarray):
            a = a.base
        a = a.obj if isinstance(a, memoryview) else a
        return a.filename if isinstance(a, _MappedFile) and a.shared else None

    def is_pinned(self, device: Any = None) -> bool:
        return False

    def cpu(self) -> UntypedStorage:
        """The storage itself, if it is on the CPU; one on the meta device has no bytes to copy."""
        if self.device is META:
            refuse_data()
        return self

    def cuda(self, device: Any = None, non_blocking: bool = False) -> UntypedStorage:
        """Raises RuntimeError: this build computes on the CPU."""
        check("cuda" if device is None else device)
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and self._storage is other._storage and self._kind is other._kind

    def __hash__(self) -> int:
        return id(self._storage)

    def byteswap(self, dtype: dt.dtype) -> None:
        """Reverse the bytes of every number of `dtype`, in place."""
        width = dtype.itemsize // (2 if dtype.is_complex else 1)
        self._storage.bytes().view(f"u{width}").byteswap(inplace=True)
        self._storage.own += 1

    def __copy__(self) -> UntypedStorage:
        return self.clone()

    def __deepcopy__(self, memo: dict) -> UntypedStorage:
        key = id(self._storage)
        if key not in memo:
            memo[key] = Storage(self._storage.bytes().copy())
        return self._same(memo[key])

    def __reduce__(self):
        return type(self), (self._storage,)

    def __repr__(self) -> str:
        values = "..." if self.device is META else "\n ".join(str(x) for x in self.tolist())
        return f" {values}\n[torch.storage.{self._what}({self._described()}) of size {self.size()}]"

    def _described(self) -> str:
        return f"device={self.device}"


class TypedStorage(UntypedStorage):
    """The elements that a tensor and its views share: `TypedStorage(size, dtype=...)`."""

    _what = "TypedStorage"

    def __init__(self, size: Any = 0, dtype: dt.dtype | None = None, *, wrap_storage: UntypedStorage | None = None, device=None):
        self.dtype = self._kind = dtype or dt.get_default_dtype()
        super().__init__(size if wrap_storage is None else wrap_storage._storage, device=device)

    @property
    def _untyped_storage(self) -> UntypedStorage:
        return untyped(self._storage)

    def _check_type(self, d: dt.dtype) -> None:
        if d is not self.dtype:
            raise RuntimeError(f"Expected a Storage of type {d.type_name} or an UntypedStorage, but got type {self.dtype.type_name} "
                               "for argument 1 'storage'")

    def type(self, dtype: Any = None) -> Any:
        """Without argument the storage class's name ("torch.FloatStorage"), else the storage converted to a dtype."""
        return f"torch.{self.pickle_storage_type()}" if dtype is None else self._as(dtype)

    def _same(self, storage: Storage) -> TypedStorage:
        return TypedStorage(storage, self.dtype)

    def __reduce__(self):
        return TypedStorage, (self._storage, self.dtype)

    def _described(self) -> str:
        return f"dtype={self.dtype}, device={self.device}"

    def _as(self, d: dt.dtype) -> TypedStorage:
        return self if d is self.dtype else TypedStorage(Storage(self._elements().astype(d.np)), d)

    def pickle_storage_type(self) -> str:
        """The name checkpoints use, such as "FloatStorage"."""
        return f"{self.dtype.type_name}Storage"


class _OfType(type):
    """The classes FloatStorage, ...: `isinstance(storage, FloatStorage)` asks for the element type."""

    def from_buffer(cls, buffer: Any, byte_order: str = sys.byteorder, count: int = -1, offset: int = 0) -> TypedStorage:
        """A copy of a buffer's bytes, turned into this machine's byte order ("little", "big" or "native")."""
        d = cls.dtype
        data = np.frombuffer(buffer, np.uint8, -1 if count < 0 else count * d.itemsize, offset).copy()
        if data.size % d.itemsize:
            raise ValueError(f"the buffer's {data.size} bytes are not a multiple of the element size {d.itemsize}")
        if d is dt.bool_:
            np.minimum(data, 1, out=data)
        out = TypedStorage(Storage(data), d)
        if byte_order not in ("native", sys.byteorder):
            out.byteswap(d)
        return out

    def from_file(cls, filename: str | os.PathLike[str], shared: bool = False, size: int = 0) -> TypedStorage:
        """The first `size` elements of a file, mapped; see `pellucid.from_file`."""
        return TypedStorage(Storage(map_file(filename, shared, size, cls.dtype)), cls.dtype)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, TypedStorage) and instance.dtype is cls.dtype


def _classes() -> dict[str, type]:
    """FloatStorage, LongStorage, ...: constructors by element type, and the conversion methods `float()`, `long()`, ..."""
    out: dict[str, type] = {}
    for d in dt.ALL:
        if d in WITHOUT_CLASS:
            continue

        def make(cls, *args, _d=d, **kwargs):
            return TypedStorage(*(args or (0,)), dtype=_d, **kwargs)

        name = f"{d.type_name}Storage"
        out[name] = _OfType(name, (), {"dtype": d, "__new__": make, "__module__": "torch", "__doc__": f"A storage of {d.name} elements."})
        short = {"bool": "bool", "uint8": "byte", "int8": "char", "int16": "short", "int32": "int", "int64": "long", "float16": "half",
                 "float32": "float", "float64": "double", "complex64": "complex_float", "complex128": "complex_double"}.get(d.name, d.name)
        setattr(TypedStorage, short, lambda self, _d=d: self._as(_d))
    return out


STORAGE_CLASSES = _classes()


def _dtype_to_storage_type_map() -> dict[dt.dtype, str]:
    """The storage class's name of each dtype that has one."""
    return {cls.dtype: name for name, cls in STORAGE_CLASSES.items()}


class _MappedFile(mmap.mmap):
    """A file's mapping that knows which file it is of."""

    filename = ""
    shared = False


def map_file(filename: str | os.PathLike[str], shared: bool, size: int, d: dt.dtype) -> np.ndarray:
    """The first `size` elements of a file as an array over its mapping.

    `shared`: writing to the array changes the file, which is made as long as is needed; otherwise the array is a
    private copy on write. Raises OSError, and RuntimeError where a file that is not shared is too short.
    """
    nbytes = size * d.itemsize
    with open(os.open(filename, os.O_RDWR | os.O_CREAT, 0o666) if shared else filename, "r+b" if shared else "rb") as file:
        held = os.fstat(file.fileno()).st_size
        if held < nbytes:
            if not shared:
                raise RuntimeError(f"{os.fspath(filename)} holds {held:,} bytes, {size:,} elements of {d.name} need {nbytes:,}")
            file.truncate(nbytes)
        if not nbytes:
            return np.empty(0, d.np)
        mapped = _MappedFile(file.fileno(), nbytes, access=mmap.ACCESS_WRITE if shared else mmap.ACCESS_COPY)
        mapped.filename, mapped.shared = os.fspath(filename), shared
    return np.frombuffer(mapped, d.np)


_untyped: weakref.WeakValueDictionary[int, UntypedStorage] = weakref.WeakValueDictionary()


def untyped(storage: Storage) -> UntypedStorage:
    """The one UntypedStorage of a storage, as long as somebody holds it."""
    found = _untyped.get(id(storage))
    if found is None or found._storage is not storage:
        found = _untyped[id(storage)] = UntypedStorage(storage)
    return found


def is_storage(obj: Any) -> bool:
    """Whether `obj` is a storage object."""
    return isinstance(obj, UntypedStorage)


# ------------------------------------------------------------------------------------------------ moving memory
_C_NAMES = {dt.float32: "float", dt.float64: "double", dt.int64: "long int", dt.int32: "int", dt.int16: "short int",
            dt.int8: "signed char", dt.uint8: "unsigned char", dt.float16: "c10::Half", dt.bfloat16: "c10::BFloat16",
            dt.complex64: "c10::complex<float>", dt.complex128: "c10::complex<double>"}


def storage_of(t) -> Storage:
    """The tensor's storage; a new one if the old one was resized under it."""
    st = t._storage()
    if st.array is not t._a and t._a.size:
        low, high = np.lib.array_utils.byte_bounds(st.array)
        begin, end = np.lib.array_utils.byte_bounds(t._a)
        if begin < low or end > high:
            st = t._st = Storage(t._a)
    return st


def _resized(storage: Storage, nbytes: int, d: dt.dtype = dt.uint8) -> np.ndarray:
    """Memory of `nbytes` that begins as the storage does."""
    value = unset(d)
    new = np.zeros(nbytes, np.uint8) if value is None else np.full(nbytes // d.itemsize, value, d.np).view(np.uint8)
    keep = min(storage.nbytes(), nbytes)
    new[:keep] = storage.bytes()[:keep]
    return new


def _is_shared(storage: Storage) -> bool:
    return shared_map(storage) is not None


def is_shared(self) -> bool:
    """Whether other processes may share the tensor's memory."""
    return _is_shared(storage_of(self))


def share_memory_(self):
    """Move the tensor's memory where forked processes, and those it is sent to, share it; a no-op if it is there. Returns the tensor."""
    if without_data(self):
        fail(RuntimeError, "P3018", "_share_fd_: only available on CPU", got=describe(self), fix="there is no data to share")
    storage = storage_of(self)
    if not _is_shared(storage):
        offset, size, stride = self.storage_offset(), tuple(self._a.shape), self.stride()
        self._st = Storage(shared_copy(storage))
        self._a = view_of(self._st, self.dtype, offset, size, stride)
        state.moves += 1
    return self


def _check_may_resize(self, what: str) -> None:
    if self._rg and not local.inference:
        fail(RuntimeError, "P385", f"cannot {what} variables that require grad", got=describe(self), fix="use x.detach(), or reshape()")


def resize_(self, *sizes, memory_format=lay.contiguous_format):
    """Change the shape in place; memory grows where it must, new elements are zero. Returns the tensor.

    Raises RuntimeError for tensors that require grad and for negative sizes.
    """
    size = tuple(int(n) for n in (sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes))
    _check_may_resize(self, "resize")
    if any(n < 0 for n in size):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {list(size)}")
    if memory_format is lay.preserve_format:
        raise RuntimeError("Unsupported memory format for resize_: preserve_format")
    if size == self._a.shape and memory_format is lay.contiguous_format:
        return self
    strides = lay.strides_for(size, memory_format)
    if without_data(self):
        self._a, self._st = late.meta().memory_for(size, self._a.dtype, strides), None
        return self
    _rebind(self, storage_of(self), self.storage_offset(), size, strides)
    return self


def _rebind(self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
    d = self.dtype
    last = offset + sum((n - 1) * step for n, step in zip(size, stride)) + 1 if 0 not in size else 0
    if last * d.itemsize > storage.nbytes():
        version = storage.version
        storage = Storage(_resized(storage, last * d.itemsize, d))
        storage.version = version
    self._a, self._st = view_of(storage, d, offset, size, stride), storage
    state.moves += 1
    storage.own += 1


def resize_as_(self, the_template, *, memory_format=lay.contiguous_format):
    """Give the tensor the shape of another, in place."""
    return resize_(self, *the_template._a.shape, memory_format=memory_format)


def set_(self, source=None, storage_offset: int = 0, size=None, stride=None):
    """Look at the memory of another tensor or storage. Returns the tensor.

    `size` defaults to the whole storage (or the source tensor's own geometry), `stride` to contiguous. Raises
    RuntimeError for another dtype, negative offsets and leaves that require grad.
    """
    if self._rg and self._fn is None and source is not None and not isinstance(source, Slots):
        _check_may_resize(self, "set_ the storage of")
    if source is None:
        self._a = np.empty(0, self._a.dtype)
        self._st = None
        state.moves += 1
        return self
    if not isinstance(source, Slots):
        source._check_type(self.dtype)
    elif source.dtype is not self.dtype:
        raise RuntimeError(f"Could not set tensor of type {_C_NAMES.get(source.dtype, source.dtype.name)} to a tensor of type "
                           f"{_C_NAMES.get(self.dtype, self.dtype.name)}")
    storage = source._storage() if isinstance(source, Slots) else source._storage
    if isinstance(source, Slots) and size is None:
        self._a, self._st = source._a, storage
        state.moves += 1
        return self
    if storage_offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {storage_offset}")
    size = (storage.nbytes() // self._a.itemsize,) if size is None else tuple(int(n) for n in ((size,) if isinstance(size, int) else size))
    stride = contiguous_strides(size) if stride is None else tuple((stride,) if isinstance(stride, int) else stride)
    if len(stride) != len(size) or any(n < 0 for n in (*size, *stride)):
        raise RuntimeError(f"set_(): sizes {list(size)} and strides {list(stride)} must be non-negative and of equal length")
    _rebind(self, storage, storage_offset, size, stride)
    return self


# ------------------------------------------------------------------------------------------------ element by element
def _check_callable_use(self, name: str, *others) -> None:
    if any([t._rg for t in (self, *others)]):
        raise RuntimeError(f"Can't call {name}() on Variable that requires grad. Use var.detach().{name}() instead.")


def apply_(self, callable):
    """Replace each element by `callable(element)`, in place (slow: a Python call per element)."""
    _check_callable_use(self, "apply_")
    a = self._a
    for index in np.ndindex(a.shape):
        value = callable(a[index].item())
        if not isinstance(value, (int, float, complex, np.generic)):
            raise TypeError(f"the function given to apply_() must return a number, not {type(value).__name__}")
        a[index] = value
    self._bump()
    return self


def map_(self, tensor, callable):
    """Replace each element by `callable(own element, the other tensor's)`, in place."""
    _check_callable_use(self, "map_", tensor)
    a, other = self._a, tensor.expand(self._a.shape)._a
    for index in np.ndindex(a.shape):
        a[index] = callable(a[index].item(), other[index].item())
    self._bump()
    return self


def map2_(self, x, y, callable):
    """Replace each element by `callable(own element, x's, y's)`, in place."""
    _check_callable_use(self, "map2_", x, y)
    a, first, second = self._a, x.expand(self._a.shape)._a, y.expand(self._a.shape)._a
    for index in np.ndindex(a.shape):
        a[index] = callable(a[index].item(), first[index].item(), second[index].item())
    self._bump()
    return self


def untyped_storage(self) -> UntypedStorage:
    """The storage: bytes shared by this tensor and its views."""
    return untyped(self._storage())


def storage(self) -> TypedStorage:
    """The storage as elements of the tensor's dtype."""
    return TypedStorage(self._storage(), self.dtype)


def storage_type(self) -> type:
    """The storage class of the tensor's dtype, such as FloatStorage."""
    return STORAGE_CLASSES.get(f"{self.dtype.type_name}Storage", TypedStorage)


METHODS = {f.__name__: f for f in (is_shared, share_memory_, resize_, resize_as_, set_, apply_, map_, map2_, untyped_storage, storage,
                                   storage_type)}
