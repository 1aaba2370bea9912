"""Batches in shared memory: how a worker process hands arrays to its parent without sending their bytes.

In (worker): a batch, any picklable structure with tensors and arrays inside. Out (parent): the same structure, whose
large arrays lie in memory that both processes have mapped.
True always:
- A segment has no name (memfd, or an unlinked file): when the last process that maps it ends, however it ends, the
  memory is gone. Nothing can leak into /dev/shm and nothing needs cleaning up.
- A segment belongs to one side at a time. The worker fills it; the parent owns it until the last array over it dies,
  then lends it back with the next task. So a loop that drops its batches runs in a handful of segments whose pages
  are already there: no allocation, no page faults, and one copy (samples into the batch).
"""
from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
import tempfile
import weakref
from collections import deque

import numpy as np

from ....tensor import Tensor

INLINE = 4096           # smaller arrays travel in the message itself
ALIGN = 64              # of an array in a segment: a cache line, the widest vector
ROUND = 1 << 16         # segment sizes are multiples of this


def anonymous_file(nbytes: int) -> int:
    """A descriptor of a new nameless shared-memory file of `nbytes` zero bytes."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("pellucid-batch", os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp(prefix="pellucid-batch-")
        os.unlink(path)
    try:
        os.ftruncate(fd, nbytes)
    except OSError:
        os.close(fd)
        raise
    return fd


# ---------------------------------------------------------------- the worker's side

class Segment:
    """One mapped piece of shared memory in the worker."""

    __slots__ = ("number", "size", "bytes", "address", "used", "fd")

    def __init__(self, number: int, nbytes: int):
        self.number = number
        self.size = nbytes
        self.fd = anonymous_file(nbytes)                 # open until it has been sent
        self.bytes = np.frombuffer(mmap.mmap(self.fd, nbytes), np.uint8)
        self.address = self.bytes.__array_interface__["data"][0]
        self.used = 0

    def take(self, nbytes: int) -> np.ndarray | None:
        """The next `nbytes` bytes, or None if they do not fit."""
        start = -(-self.used // ALIGN) * ALIGN
        if start + nbytes > self.size:
            return None
        self.used = start + nbytes
        return self.bytes[start:start + nbytes]


class Arena:
    """The segments of one worker: `empty` gives out memory for the batch in the making, `encode` packs it up."""

    def __init__(self):
        self.free: list[Segment] = []
        self.lent: dict[int, Segment] = {}               # with the parent
        self.batch: list[Segment] = []                   # of the batch in the making
        self.retired: list[int] = []                     # numbers the parent may forget
        self.count = 0
        self.expected = 0                                # bytes of the last batch: the next one's first segment

    def give_back(self, numbers) -> None:
        """The parent is done with these segments."""
        for number in numbers:
            self._release(self.lent.pop(number))

    def discard(self) -> None:
        """Drop a batch that will not be sent."""
        batch, self.batch = self.batch, []
        for segment in batch:
            self._release(segment)

    def _release(self, segment: Segment) -> None:
        """Free for the next batch, unless somebody in this process (a dataset that caches) still looks at it."""
        if sys.getrefcount(segment.bytes) > 2:           # the attribute and the call's argument
            self._forget(segment)
        else:
            segment.used = 0
            self.free.append(segment)

    def _forget(self, segment: Segment) -> None:
        if segment.fd is None:
            self.retired.append(segment.number)
        else:                                            # never sent: the parent does not know it
            os.close(segment.fd)

    def _acquire(self, nbytes: int) -> Segment:
        """A free segment of at least `nbytes`, or a new one (then the smallest free one has outlived its use)."""
        fitting = [s for s in self.free if s.size >= nbytes]
        if fitting:
            segment = min(fitting, key=lambda s: s.size)
            self.free.remove(segment)
            return segment
        if self.free:
            smallest = min(self.free, key=lambda s: s.size)
            self.free.remove(smallest)
            self._forget(smallest)
        self.count += 1
        return Segment(self.count, -(-(nbytes + nbytes // 8) // ROUND) * ROUND)

    def take(self, nbytes: int) -> np.ndarray | None:
        """`nbytes` bytes of shared memory for this batch; None where the system has none to give."""
        room = self.batch[-1].take(nbytes) if self.batch else None
        if room is None:
            left = self.expected - sum(s.used for s in self.batch)
            try:
                segment = self._acquire(max(nbytes, left))
            except OSError:                              # out of descriptors or memory: the bytes go by message
                return None
            self.batch.append(segment)
            room = segment.take(nbytes)
        return room

    def empty(self, shape: tuple, dtype: np.dtype) -> np.ndarray | None:
        """An uninitialised array in shared memory, or None if it is too small to be worth it."""
        nbytes = dtype.itemsize
        for n in shape:
            nbytes *= n
        if nbytes < INLINE:
            return None
        room = self.take(nbytes)
        return None if room is None else room.view(dtype).reshape(shape)

    def place(self, a: np.ndarray) -> np.ndarray | None:
        """The bytes of C-contiguous `a` in shared memory: where they are, or a copy."""
        address = a.__array_interface__["data"][0]
        for segment in self.batch:
            start = address - segment.address
            if 0 <= start and start + a.nbytes <= segment.size:
                return segment.bytes[start:start + a.nbytes]
        room = self.take(a.nbytes)
        if room is not None:
            room.view(a.dtype).reshape(a.shape)[...] = a
        return room

    def encode(self, batch) -> tuple[tuple, list[int]]:
        """(message, descriptors to send with it) for `decode`. The descriptors are to be closed once sent."""
        out = io.BytesIO()
        pickler = _BatchPickler(out, self)
        pickler.dump(batch)
        body = out.getbuffer()
        if body.nbytes > ROUND:                          # a long message would wait for the parent to read it
            place = self.place(np.frombuffer(body, np.uint8))
            if place is not None:
                pickler.places.append(self.where(place))
                body = None
        new = [segment for segment in self.batch if segment.fd is not None]
        message = (None if body is None else bytes(body), pickler.places, [(s.number, s.size) for s in new],
                   [s.number for s in self.batch], self.retired)
        fds = [segment.fd for segment in new]
        for segment in new:
            segment.fd = None
        self.expected = sum(s.used for s in self.batch)
        self.lent.update((s.number, s) for s in self.batch)
        self.batch, self.retired = [], []
        return message, fds

    def where(self, place: np.ndarray) -> tuple[int, int, int]:
        """(segment, offset, bytes) of a result of `place`."""
        address = place.__array_interface__["data"][0]
        for segment in self.batch:
            if 0 <= address - segment.address < segment.size:
                return segment.number, address - segment.address, place.nbytes
        raise AssertionError("not memory of this batch")


class _BatchPickler(pickle.Pickler):
    """Pickles a batch; the bytes of large arrays go out of band, into the arena."""

    def __init__(self, out: io.BytesIO, arena: Arena):
        super().__init__(out, protocol=5, buffer_callback=self._noted)
        self.arena = arena
        self.places: list[tuple[int, int, int]] = []

    def _noted(self, buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = np.frombuffer(buffer.raw(), np.uint8)
        except (BufferError, ValueError):
            return True                                  # in band
        place = self.arena.place(raw) if raw.nbytes >= INLINE else None
        if place is None:
            return True
        self.places.append(self.arena.where(place))
        return False

    def reducer_override(self, obj):
        kind = type(obj)
        if kind is np.ndarray and not obj.dtype.hasobject and obj.dtype.names is None:
            return self._array(obj)
        if kind is Tensor:
            if obj.requires_grad and not obj.is_leaf:
                raise RuntimeError(
                    "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not "
                    "support crossing process boundaries. If you just want to transfer the data, call detach() on "
                    "the tensor before serializing (e.g., putting it on the queue).")
            return _tensor, (obj._a, obj.requires_grad)
        return NotImplemented

    def _array(self, a: np.ndarray):
        order = None
        if not a.flags.c_contiguous:                     # keep a permuted dense layout (channels last), compact others
            axes = sorted(range(a.ndim), key=lambda i: -abs(a.strides[i]))
            if a.transpose(axes).flags.c_contiguous:
                a, order = a.transpose(axes), tuple(int(i) for i in np.argsort(axes))
            else:
                a = np.ascontiguousarray(a)
        place = self.arena.place(a) if a.nbytes >= INLINE else None
        if place is None:
            return _array, (bytearray(a.tobytes()), a.dtype, a.shape, order)
        # The view is writable and in the arena already: `_noted` finds it there.
        return _array, (pickle.PickleBuffer(place), a.dtype, a.shape, order)


def _array(data, dtype: np.dtype, shape: tuple, order: tuple | None) -> np.ndarray:
    a = data.view(dtype) if isinstance(data, np.ndarray) else np.frombuffer(data, dtype)
    a = a.reshape(shape)
    return a if order is None else a.transpose(order)


def _tensor(a: np.ndarray, requires_grad: bool) -> Tensor:
    t = Tensor._wrap(a)
    if requires_grad:
        t.requires_grad_(True)
    return t


# ---------------------------------------------------------------- the parent's side

class _Lease:
    """Held by every array over one segment; its end gives the segment back."""

    __slots__ = ("number", "returned", "live")

    def __init__(self, number: int, returned: deque, live: set):
        self.number = number
        self.returned = returned
        self.live = live
        live.add(number)

    def hold(self) -> None:
        """Nothing: an array's finaliser keeps the bound method, hence the lease."""

    def __del__(self) -> None:
        # May run in any thread, at any time: two atomic operations, no lock.
        self.live.discard(self.number)
        self.returned.append(self.number)


class Mapped:
    """One worker's segments as the parent sees them."""

    def __init__(self, limit: int):
        self.segments: dict[int, mmap.mmap] = {}
        self.returned: deque[int] = deque()              # free again; goes back with the next task
        self.live: set[int] = set()                      # under arrays of the user's
        self.limit = limit                               # of `live`: beyond it a batch is copied out (descriptors)

    def take_returned(self) -> list[int]:
        numbers = []
        while self.returned:
            numbers.append(self.returned.popleft())
        return numbers

    def adopt(self, message: tuple, fds: list[int]) -> None:
        """Map the new segments of a message and forget the retired ones."""
        _, _, new, _, retired = message
        for (number, size), fd in zip(new, fds, strict=True):
            try:
                self.segments[number] = mmap.mmap(fd, size)
            finally:
                os.close(fd)
        for number in retired:
            del self.segments[number]

    def drop(self, message: tuple, fds: list[int]) -> None:
        """Take note of a batch that nobody wants."""
        self.adopt(message, fds)
        self.returned.extend(message[3])

    def decode(self, message: tuple, fds: list[int]):
        """The batch of a message of `Arena.encode`."""
        self.adopt(message, fds)
        body, places, _, numbers, _ = message
        leases = {number: _Lease(number, self.returned, self.live) for number in numbers}
        copy = len(self.live) > self.limit
        arrays = []
        for number, start, nbytes in places:
            a = np.frombuffer(self.segments[number], np.uint8, nbytes, start)
            if copy:
                a = a.copy()
            else:
                weakref.finalize(a, leases[number].hold).atexit = False
            arrays.append(a)
        if body is None:
            body = arrays.pop()
        return pickle.loads(body, buffers=arrays)
