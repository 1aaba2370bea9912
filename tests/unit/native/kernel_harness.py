"""Runs kernels natively without a program around them: buffers between forbidden pages, any ISA, threads one after the other."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence

import numpy as np

from pellucid.kernel import printer, verify
from pellucid.kernel.ir import Kernel
from pellucid.kernel.plan import KernelCall
from pellucid.native import jit, llvm, varying
from pellucid.native.isa import isa_of

ISAS = ("avx512", "avx2", "baseline")
PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_P, _I = ctypes.c_void_p, ctypes.c_int64
_RUN = ctypes.CFUNCTYPE(None, _P, _P, _I, _I, _P, _P)
_COMBINE = ctypes.CFUNCTYPE(None, _P, _P, _I, _I, _P, _I, _I)


class Guarded:
    """A copy of an array in memory of its own: the byte before it, or the one after it, is on a page that faults."""

    def __init__(self, array: np.ndarray, end: bool):
        n = array.nbytes
        pages = -(-max(n, 1) // PAGE)
        self.map = mmap.mmap(-1, (pages + 2) * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        for page in (start, start + (pages + 1) * PAGE):
            if _libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        offset = PAGE + (pages * PAGE - n if end else 0)
        self.array = np.frombuffer(self.map, np.uint8, n, offset).view(array.dtype)
        self.array[:] = array.reshape(-1)
        self.address = start + offset


def with_arguments(kernel: Kernel) -> Kernel:
    """A kernel all of whose numbers are arguments of its code."""
    return varying.symbolic(KernelCall(kernel, ()), {i: f"n{i}" for i in range(1000)}).kernel


class Native:
    """Kernels compiled together for one ISA."""

    def __init__(self, kernels: Sequence[Kernel], level: str = "", overlap: Sequence[str] = ()):
        self.isa = isa_of(level)
        self.emitted = []
        for k, kernel in enumerate(kernels):
            verify.check(kernel)
            self.emitted.append(llvm.emit(kernel, self.isa, f"k{k}", overlap))
        self.text = llvm.module(self.emitted, self.isa)
        code = llvm.compile_object(self.text, self.isa)
        self.code = jit.load([code], [p.symbol for e in self.emitted for p in e.phases], llvm.symbols())
        self.kernels = list(kernels)

    def run(self, k: int, arrays: Sequence[np.ndarray], sizes: Sequence[int] = (), threads: int = 2, end: bool = True,
            guard: bool = True) -> list[np.ndarray]:
        """Copies of the arrays after kernel `k` has run on them."""
        e, kernel = self.emitted[k], self.kernels[k]
        named = dict(zip(kernel.sizes, sizes))
        held = [Guarded(a, end) for a in arrays]
        own, stride = e.scratch_bytes(named), e.partial_bytes(named)
        scratch, partial = Guarded(np.zeros(own + 64, np.uint8), False), Guarded(np.zeros(stride * threads + 64, np.uint8), False)
        bufs = (_P * max(len(held), 1))(*[h.address for h in held])
        words = (*sizes, *e.words)
        ints = (_I * max(len(words), 1))(*words)
        for p in e.phases:
            n = p.extent if isinstance(p.extent, int) else named[p.extent]
            cuts = [n * t // threads for t in range(threads + 1)]
            if p.kind == "combine":
                f = _COMBINE(self.code[p.symbol])
                for lo, hi in zip(cuts, cuts[1:]):
                    f(bufs, ints, lo, hi, partial.address, threads, stride)
            else:
                f = _RUN(self.code[p.symbol])
                for t, (lo, hi) in enumerate(zip(cuts, cuts[1:])):
                    f(bufs, ints, lo, hi, scratch.address, partial.address + t * stride)
        return [h.array.copy() for h in held]


def printed(kernel: Kernel, arrays: Sequence[np.ndarray], sizes: Sequence[int] = ()) -> list[np.ndarray]:
    """Copies of the arrays after the printed kernel has run on them."""
    copies = [a.copy().reshape(-1) for a in arrays]
    printer.run(kernel, copies, sizes)
    return copies


def ulps(a: np.ndarray, b: np.ndarray) -> float:
    """The largest distance between two arrays in units of the last place; nan equals nan."""
    kind = {2: np.int16, 4: np.int32, 8: np.int64}[a.dtype.itemsize]
    assert a.dtype == b.dtype and a.shape == b.shape
    nan = np.isnan(a.astype(np.float64)) & np.isnan(b.astype(np.float64))
    x, y = [np.where(i < 0, np.iinfo(kind).min - i, i).astype(np.int64) for i in (a.view(kind), b.view(kind))]
    apart = np.maximum(x, y).astype(np.uint64) - np.minimum(x, y).astype(np.uint64)
    return float(np.max(np.where(nan, 0, apart), initial=0))
