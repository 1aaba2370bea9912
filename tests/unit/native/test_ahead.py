"""Memory is there before it is written to, and what others write meanwhile stays."""
from __future__ import annotations

import mmap
import threading
from pathlib import Path

import numpy as np
import pytest

from pellucid.core import pool
from pellucid.native import ahead

MB = 1 << 20


def resident() -> int:
    """Bytes of this process that are in memory, roughly: the system counts by processor."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def fresh(size: int) -> np.ndarray:
    """Untouched memory (the C allocator might give some that was used before)."""
    return np.frombuffer(mmap.mmap(-1, size), np.uint8)


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")


@pytest.fixture(autouse=True)
def nothing_waits():
    pool.clear()
    yield
    pool.clear()


@needs_proc
def test_memory_is_there_before_it_is_written():
    held = fresh(16 * MB)
    held[0] = 7
    before = resident()
    ahead.touch([held, held[::2]], sizes=[8 * MB, 8 * MB, 100]).join()
    assert resident() - before > 24 * MB and held[0] == 7 and not held[1:].any()
    assert pool.waiting() == 2 * pool.size_class(8 * MB)
    assert ahead.touch(sizes=[8 * MB, 8 * MB, 100]) is None         # they wait already


@needs_proc
def test_much_memory_is_not_asked_for_ahead(monkeypatch):
    monkeypatch.setattr(pool, "LIMIT", 4 * MB)
    before = resident()
    assert ahead.touch(sizes=[16 * MB]) is None
    assert resident() - before < 2 * MB


def test_what_is_written_meanwhile_stays():
    wrong = []
    for _ in range(5):
        held = fresh(32 * MB)
        pages = held[::mmap.PAGESIZE]
        thread = ahead.touch([held])
        for k in range(1, 200):
            pages += 1
            if not (pages == k).all():
                wrong.append(k)
            if not thread.is_alive():
                break
        thread.join()
    assert not wrong


def test_memory_that_cannot_be_written_is_left_alone():
    assert ahead.touch([np.frombuffer(mmap.mmap(-1, MB, prot=mmap.PROT_READ), np.uint8)]) is None


def test_nothing_happens_where_there_are_no_more_threads(monkeypatch):
    def full(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    assert ahead.touch([fresh(MB)]) is None
