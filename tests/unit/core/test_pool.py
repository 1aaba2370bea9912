"""Large arrays from memory that is used again."""
from __future__ import annotations

import gc
import threading

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


def test_zeros_are_zeros_in_memory_that_was_used_before():
    for _ in range(3):
        a = pool.zeros((3, MB), np.dtype(np.uint8))
        assert a.shape == (3, MB) and a.flags.c_contiguous and not a.any()
        a.fill(7)
        del a
    assert not pool.zeros((5,), np.dtype(np.float64)).any()


def test_blocks_are_made_ahead_once():
    made = pool.reserve([8 * MB, 8 * MB, 100])
    assert len(made) == 2 and pool.waiting() == 2 * pool.size_class(8 * MB)
    assert pool.reserve([8 * MB, 8 * MB]) == []             # they wait already
    a = pool.zeros((8 * MB,), np.dtype(np.uint8))
    assert a.base.block in made and not a.any()
