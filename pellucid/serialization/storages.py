"""The memory of a checkpoint's tensors while it is read.

In: a storage's key, element type, element count and device tag, as the pickle names them. Out: `LoadedStorage` objects,
one per key, and strided views of them. True always: memory is taken only for bytes that the file really holds; a view
lies inside its storage; two tensors that shared memory when saved share it again.
"""

from __future__ import annotations

import sys
from typing import Any, Callable

import numpy as np

from ..core.device import device
from ..core.dtype import bool_, dtype, uint8
from ..core.storage import Storage
from ..tensor.devices import where
from .bridge import TypedStorage
from .errors import CorruptCheckpointError, UnsupportedCheckpointError, brief
from .source import Source
from .zip_reader import ZipReader

__all__ = ["LegacyStorages", "LoadedStorage", "Restore", "ZipStorages", "restorer", "strided_view"]

_DAMAGED = "the file is damaged or was altered: fetch it again, or save it again with torch.save or pellucid.save"
_MAX_DIMS = 64                      # NumPy's own bound
_MAX_BYTES = (1 << 63) - 1


class _Region:
    """Bytes out of a file, and whether their numbers were turned into this machine's byte order yet."""

    __slots__ = ("file", "foreign_order", "filled", "memory", "waiting", "width")

    def __init__(self, array: np.ndarray, file: str, foreign_order: bool, filled: bool = True):
        self.memory = Storage(array)                      # one object for every tensor over these bytes
        self.file, self.foreign_order, self.filled = file, foreign_order, filled
        self.width: int | None = None                     # of the numbers, once a typed view asked for it
        self.waiting: list[Callable[[], None]] = []       # what to do once the bytes are there

    def use_as(self, kind: dtype) -> None:
        """The bytes are about to be seen as elements of this type: bring them into this machine's order, once."""
        if not self.foreign_order:
            return
        width = kind.itemsize // 2 if kind.is_complex else kind.itemsize
        if self.width is None:
            self.width = width
            if self.filled:
                self._swap()
        elif self.width != width:
            raise UnsupportedCheckpointError(
                "a storage of the other byte order is used with two element widths", file=self.file,
                found=f"{self.width} and {width} bytes", mend="save a clone() of one of the tensors",
            )

    def fill(self, data: np.ndarray) -> None:
        """Give the region its bytes (the legacy format has them behind the pickle)."""
        self.memory.array[:] = data
        self.filled = True
        if self.width is not None:
            self._swap()
        for action in self.waiting:
            action()
        self.waiting.clear()

    def when_filled(self, action: Callable[[], None]) -> None:
        """Call `action` now, or as soon as the bytes are there."""
        if self.filled:
            action()
        else:
            self.waiting.append(action)

    def _swap(self) -> None:
        whole = self.memory.nbytes() // self.width
        np.ndarray((whole,), f"u{self.width}", self.memory.array).byteswap(inplace=True)


class LoadedStorage(TypedStorage):
    """A storage out of a checkpoint, with the element type it was named with.

    This is what a callable `map_location` receives, with the device's name as second argument. `forget`: its tensors go to the
    meta device.
    """

    forget = False

    def __init__(self, region: _Region, kind: dtype):
        super().__init__(region.memory, kind)
        self.region = region

    def with_dtype(self, kind: dtype) -> LoadedStorage:
        """The same memory named with another element type."""
        if kind is self.dtype:
            return self
        new = LoadedStorage(self.region, kind)
        new.forget = self.forget
        return new


Restore = Callable[[LoadedStorage, str], LoadedStorage]


def _to_device(storage: LoadedStorage, location: str, file: str) -> LoadedStorage:
    """Where a storage with this device tag goes. Raises unless that is the CPU."""
    kind = location.partition(":")[0]
    if kind == "cpu":
        return storage
    if kind == "meta":
        storage.forget = True
        return storage
    if kind == "cuda":
        what = (f"Attempting to deserialize object on a CUDA device ('{location}') but pellucid.cuda.is_available() is False. "
                "If you are running on a CPU-only machine, please use pellucid.load with map_location=pellucid.device('cpu') "
                "to map your storages to the CPU.")
    else:
        what = f"don't know how to restore data location of a storage (tagged with {brief(location)})"
    raise UnsupportedCheckpointError(what, file=file, found=f"a storage of the device {brief(location)}",
                                     mend="pass map_location='cpu'")


def restorer(map_location: Any, file: str) -> Restore:
    """PyTorch's `map_location` (None, name, device, dict, callable) as a function of a storage and its device tag."""
    if map_location is None:
        return lambda storage, location: _to_device(storage, location, file)
    if isinstance(map_location, dict):
        def by_table(storage: LoadedStorage, location: str) -> LoadedStorage:
            return _to_device(storage, str(map_location.get(location, location)), file)
        return by_table
    if isinstance(map_location, bytes):
        map_location = map_location.decode("ascii")
    if isinstance(map_location, (str, device)):
        where(map_location)                               # an unknown device is the caller's error, not the file's
        return lambda storage, location: _to_device(storage, str(map_location), file)
    if callable(map_location):
        def by_call(storage: LoadedStorage, location: str) -> LoadedStorage:
            result = map_location(storage, location)
            if result is None:
                return _to_device(storage, location, file)
            if not isinstance(result, LoadedStorage):
                raise TypeError(f"map_location must return the storage it is given or None, got {type(result).__name__}")
            return result
        return by_call
    raise TypeError(f"map_location must be None, a device, its name, a dict or a callable, got {type(map_location).__name__}")


def _element_count(value: Any, kind: dtype, what: str, file: str) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_BYTES // kind.itemsize:
        raise CorruptCheckpointError(f"{what} has no sensible length", file=file, found=brief(value), mend=_DAMAGED)
    return value


def _named(storage: LoadedStorage, kind: dtype, typed: bool) -> LoadedStorage:
    """The storage as elements of `kind`, in this machine's byte order where the type is known."""
    if typed:
        storage.region.use_as(kind)
    return storage.with_dtype(kind)


class ZipStorages:
    """The storages of a zip file, read (or mapped) when first named."""

    def __init__(self, archive: ZipReader, restore: Restore, order: str, mapped: bool):
        self.archive, self.restore, self.file = archive, restore, archive.source.name
        self.foreign = order != sys.byteorder
        self.map = archive.source.map() if mapped else None
        self.loaded: dict[str, LoadedStorage] = {}

    def get(self, key: Any, kind: dtype | None, location: Any, count: Any, view: Any = None) -> LoadedStorage:
        """The storage of this key. `kind` None means untyped. Raises CheckpointError where the file lacks or contradicts it."""
        if type(key) is not str or len(key) > 1_000 or type(location) is not str or view is not None:
            raise CorruptCheckpointError("a storage is named in a way PyTorch does not write", file=self.file, mend=_DAMAGED)
        typed, kind = kind is not None, kind or uint8
        storage = self.loaded.get(key)
        if storage is None:
            storage = self.loaded[key] = self._load(key, kind, location, count)
        if _element_count(count, kind, f"storage {brief(key)}", self.file) * kind.itemsize > storage.nbytes():
            raise self._too_short(key, count, kind, storage.nbytes())
        return _named(storage, kind, typed)

    def _too_short(self, key: str, count: int, kind: dtype, held: int) -> CorruptCheckpointError:
        return CorruptCheckpointError(f"storage {brief(key)} is shorter than announced", file=self.file,
                                      found=f"{count:,} elements of {kind.name} announced, {held:,} bytes held", mend=_DAMAGED)

    def _load(self, key: str, kind: dtype, location: str, count: Any) -> LoadedStorage:
        name = f"data/{key}"
        begin, record = self.archive.place(name)
        announced = _element_count(count, kind, f"storage {brief(key)}", self.file) * kind.itemsize
        if not announced <= record.size < announced + kind.itemsize:
            raise self._too_short(key, count, kind, record.size)
        if self.map is not None and record.method == 0 and record.size and begin % 16 == 0:
            array = np.frombuffer(self.map, np.uint8, record.size, begin)
        else:
            array = self.archive.read_array(name)
            if kind is bool_:
                np.minimum(array, 1, out=array)           # any other byte would not behave as a truth value
        return self.restore(LoadedStorage(_Region(array, self.file, self.foreign), kind), location)


class LegacyStorages:
    """The storages of the format before PyTorch 1.6: named in the pickle, their bytes behind it in order of key."""

    def __init__(self, source: Source, restore: Restore):
        self.source, self.restore, self.file = source, restore, source.name
        self.foreign = sys.byteorder != "little"          # this format is little-endian on every machine
        self.loaded: dict[Any, LoadedStorage] = {}
        self.announced = 0

    def get(self, key: Any, kind: dtype | None, location: Any, count: Any, view: Any = None) -> LoadedStorage:
        """Memory for the storage of this key; `fill` gives it its bytes."""
        if view is not None:
            raise UnsupportedCheckpointError("the file shares part of a storage, as PyTorch before 0.4 wrote it", file=self.file,
                                             mend="load and save it again in a later PyTorch")
        if type(key) not in (str, bytes, int) or type(location) is not str:
            raise CorruptCheckpointError("a storage is named in a way PyTorch does not write", file=self.file, mend=_DAMAGED)
        typed, kind = kind is not None, kind or uint8
        needed = _element_count(count, kind, f"storage {brief(key)}", self.file) * kind.itemsize
        storage = self.loaded.get(key)
        if storage is None:
            self.announced += needed + 8
            self.source.check(0, self.announced, f"the storages (up to {brief(key)})")
            region = _Region(np.empty(needed, np.uint8), self.file, self.foreign, filled=False)
            storage = self.loaded[key] = self.restore(LoadedStorage(region, kind), location)
        if needed > storage.nbytes():
            raise CorruptCheckpointError(f"storage {brief(key)} has two lengths", file=self.file, mend=_DAMAGED)
        return _named(storage, kind, typed)

    def fill(self, keys: Any, place: int) -> None:
        """Read the bytes of every storage, in the order of `keys`, from `place` on."""
        plain = type(keys) is list and all(type(key) in (str, bytes, int) for key in keys)
        if not plain or len(set(keys)) != len(keys) or set(keys) != set(self.loaded):
            raise CorruptCheckpointError("the list of storages and the tensors do not match", file=self.file, mend=_DAMAGED)
        for key in keys:
            storage = self.loaded[key]
            count = int.from_bytes(self.source.read(place, 8, f"the length of storage {brief(key)}"), "little", signed=True)
            if not 0 <= storage.nbytes() - count * storage.dtype.itemsize < storage.dtype.itemsize:
                raise CorruptCheckpointError(f"storage {brief(key)} has two lengths", file=self.file,
                                             found=f"{count:,} elements, {storage.nbytes():,} bytes", mend=_DAMAGED)
            length = count * storage.dtype.itemsize
            data = self.source.read_array(place + 8, length, f"storage {brief(key)}")
            if storage.dtype is bool_:
                np.minimum(data, 1, out=data)
            storage.region.fill(data)
            place += 8 + length


def strided_view(storage: LoadedStorage, kind: dtype, offset: Any, size: Any, stride: Any) -> np.ndarray:
    """The array at `offset` with this size and stride (in elements). Raises CorruptCheckpointError outside the storage."""

    file = storage.region.file

    def wrong(what: str) -> CorruptCheckpointError:
        return CorruptCheckpointError(
            f"a tensor {what}", file=file, mend=_DAMAGED,
            found=f"offset {brief(offset)}, size {brief(size)}, stride {brief(stride)} in a storage of "
                  f"{storage.nbytes() // kind.itemsize:,} {kind.name}",
        )

    if not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise CorruptCheckpointError("a tensor's size and stride are not tuples", file=file, mend=_DAMAGED)
    if any(type(n) is not int for n in (offset, *size, *stride)):
        raise wrong("has a size, stride or offset that is not an integer")
    if len(size) != len(stride) or len(size) > _MAX_DIMS:
        raise wrong(f"has {len(size)} sizes and {len(stride)} strides (at most {_MAX_DIMS})")
    if offset < 0 or any(n < 0 for n in size) or any(n < 0 for n in stride):
        raise wrong("has a negative size, stride or offset")
    width = kind.itemsize
    count, last = width, offset
    for n, step in zip(size, stride):
        count *= max(n, 1)
        last += (n - 1) * step
        if count > _MAX_BYTES or step * width > _MAX_BYTES:
            raise wrong("is larger than any memory")
    if 0 in size:
        offset = 0                                        # PyTorch allows an empty tensor anywhere
    elif (last + 1) * width > storage.nbytes():
        raise wrong("reaches outside its storage")
    storage.region.use_as(kind)
    return np.ndarray(size, kind.np, storage.region.memory.array, offset * width, tuple(step * width for step in stride))
