"""Large arrays from memory that is used again."""
from __future__ import annotations

import gc
import mmap
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from pellucid.core import pool

MB = 1 << 20


@pytest.fixture(autouse=True)
def clean():
    gc.collect()
    pool.clear()
    yield
    pool.clear()


def place(a):
    return a.__array_interface__["data"][0]


@pytest.mark.parametrize("shape, dtype", (((512, 1024), np.float32), ((3 * MB,), np.bool_), ((700, 1000, 3), ml_dtypes.bfloat16), ((2 * MB,), np.int64)))
def test_arrays_are_ordinary(shape, dtype):
    a = pool.empty(shape, np.dtype(dtype))
    assert type(a) is np.ndarray and a.shape == shape and a.dtype == dtype and a.flags.c_contiguous and a.flags.writeable
    assert place(a) % 64 == 0
    a[...] = 1
    assert (a == 1).all()


def test_small_arrays_are_numpys():
    a = pool.empty((3, 4), np.dtype(np.float32))
    assert a.base is None and a.flags.owndata
    assert pool.empty((0, 5), np.dtype(np.float32)).shape == (0, 5) and pool.empty((), np.dtype(np.float32)).shape == ()


def test_memory_is_used_again_when_the_last_view_is_gone():
    a = pool.empty((4, MB), np.dtype(np.float32))
    where = place(a)
    view = a[1:, ::2].T
    del a
    b = pool.empty((4, MB), np.dtype(np.float32))
    assert place(b) != where and pool.waiting() == 0
    view[...] = 3
    del view
    assert pool.waiting() == pool.size_class(16 * MB)
    c = pool.empty((MB, 4), np.dtype(np.float32))
    assert place(c) == where


def test_a_bounded_amount_waits(monkeypatch):
    monkeypatch.setattr(pool, "LIMIT", 5 * MB)
    several = [pool.empty((2 * MB,), np.dtype(np.uint8)) for _ in range(4)]
    del several
    assert 0 < pool.waiting() <= 5 * MB


def test_size_classes():
    for n in (MB, MB + 1, 3 * MB + 5, 64 * MB, (1 << 33) + 1):
        assert n <= pool.size_class(n) <= n * 1.126 + 4096
    assert pool.size_class(64 * MB) == 64 * MB


def test_no_memory():
    with pytest.raises(MemoryError):
        pool.empty((1 << 50,), np.dtype(np.uint8))


def test_threads_never_share_a_block():
    wrong = []

    def work(k):
        for _ in range(200):
            a = pool.empty((MB,), np.dtype(np.uint8))
            a[:64] = k
            b = a[:64].copy()
            if (b != k).any():
                wrong.append(k)
    team = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in team:
        t.start()
    for t in team:
        t.join()
    assert not wrong


def resident() -> int:
    """Pages of this process that are in memory, roughly: the system counts by processor."""
    return int(Path("/proc/self/statm").read_text().split()[1])


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")


@needs_proc
def test_memory_is_there_before_it_is_written():
    held = np.frombuffer(mmap.mmap(-1, 16 * MB), np.uint8)      # the C allocator might give memory that was used before
    held[0] = 7
    before = resident()
    pool.populate([held, held[::2]], sizes=[8 * MB, 8 * MB, 100])
    given = (resident() - before) * mmap.PAGESIZE
    if not given:
        pytest.skip("this system gives no memory ahead")
    assert given > 24 * MB and held[0] == 7 and not held[1:].any()
    assert pool.waiting() == 2 * pool.size_class(8 * MB)
    pool.populate(sizes=[8 * MB, 8 * MB])                   # they wait already
    assert pool.waiting() == 2 * pool.size_class(8 * MB)


@needs_proc
def test_much_memory_is_not_asked_for_ahead(monkeypatch):
    monkeypatch.setattr(pool, "LIMIT", 4 * MB)
    before = resident()
    pool.populate(sizes=[16 * MB])
    assert (resident() - before) * mmap.PAGESIZE < 2 * MB
