"""Runs externs by themselves, as a program would: compiled for a chosen instruction set, on a chosen number of threads.

In: an `Extern`, arrays in the order of its views. True always: scratch and shared memory are exactly as large as asked for
and end at a guard page, and so can any array (`guarded`): an access past the end is a crash, not a wrong number.
"""

from __future__ import annotations

import ctypes
import mmap
import threading

import llvmlite.binding as llvm
import numpy as np

from pellucid.native import jit
from pellucid.native.isa import AVX2, AVX512, SSE2, Isa

PAGE = mmap.PAGESIZE
FEATURES = {AVX2: "x86-64-v3", SSE2: "x86-64"}
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_keep: list = []


def host_features() -> str:
    return llvm.get_host_cpu_features().flatten()


def isas() -> list[Isa]:
    """The instruction sets this machine can run."""
    features = llvm.get_host_cpu_features()
    return [isa for isa, need in ((AVX512, "avx512f"), (AVX2, "avx2"), (SSE2, "sse2")) if features.get(need)]


def compile(ir: str, isa: Isa) -> bytes:
    cpu = FEATURES.get(isa) or llvm.get_host_cpu_name()
    return jit.assemble(ir, cpu, "" if isa in FEATURES else host_features(), scheduled=True)


def guarded(shape, dtype, fill=np.nan) -> np.ndarray:
    """A contiguous array whose last byte is followed by memory that must not be touched."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    pages = -(-size // PAGE) + 1
    memory = mmap.mmap(-1, pages * PAGE)
    raw = np.frombuffer(memory, np.uint8)
    end = (pages - 1) * PAGE
    assert _libc.mprotect(raw.ctypes.data + end, PAGE, 0) == 0
    a = raw[end - size:end].view(dtype).reshape(shape)
    if size:
        a[...] = fill if dtype.kind == "f" else 0
    return a


def copy_guarded(a: np.ndarray) -> np.ndarray:
    out = guarded(a.shape, a.dtype)
    out[...] = a
    return out


class Native:
    """A compiled extern. Call it with arrays (views in order) and a number of threads."""

    def __init__(self, extern, isa: Isa):
        self.extern = extern
        self.barrier = None
        self.proto = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * 3)
        self._meet = ctypes.CFUNCTYPE(None, ctypes.c_int64)(self._wait)
        self.code = jit.load([compile(extern.ir, isa)], [extern.symbol], {"pl_barrier": jit.address(self._meet)})
        self.fn = self.proto(self.code[extern.symbol])

    def _wait(self, nth) -> None:
        if self.barrier is not None:
            self.barrier.wait()

    def __call__(self, *arrays: np.ndarray, threads: int = 1) -> None:
        views = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
        shared = guarded((self.extern.shared,), np.uint8) if self.extern.shared else None
        scratch = [guarded((self.extern.scratch,), np.uint8) if self.extern.scratch else None for _ in range(threads)]
        sizes = (ctypes.c_int64 * max(len(self.extern.sizes), 1))(*self.extern.sizes)
        self.barrier = threading.Barrier(threads) if threads > 1 else None

        def run(tid):
            self.fn(ctypes.addressof(views), tid, threads, scratch[tid].ctypes.data if scratch[tid] is not None else None,
                    shared.ctypes.data if shared is not None else None, ctypes.addressof(sizes))
        others = [threading.Thread(target=run, args=(tid,)) for tid in range(1, threads)]
        for t in others:
            t.start()
        run(0)
        for t in others:
            t.join()
