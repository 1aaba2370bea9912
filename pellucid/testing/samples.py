"""The samples operators declare, made into tensors: the operator matrix, the docs and the mutants run on them.

`op.samples` gets a Maker and returns `[(args, kwargs), ...]`. Elementwise operators without samples of their own get a few
shapes by default. True always: the same operator, index and dtype give the same values.
"""
from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from ..core import dtype as dt
from ..ops.op import POINT, Op
from ..tensor import Tensor


class Maker:
    """Makes inputs from a seeded generator. `dtype`: of float inputs; `wrap`: what to make of each array."""

    def __init__(self, seed: int, dtype: dt.dtype = dt.float64, requires_grad: bool = False, wrap: Callable | None = None):
        self.rng = np.random.default_rng(seed)
        self.dtype, self.requires_grad = dtype, requires_grad
        self.wrap = wrap or (lambda a: Tensor._wrap(a))

    def _make(self, a: np.ndarray, grad: bool = False):
        t = self.wrap(np.ascontiguousarray(a).reshape(a.shape))
        if grad and self.requires_grad and self.dtype.category >= dt.FLOAT:
            t.requires_grad_()
        return t

    def t(self, *shape, low: float = -2.0, high: float = 2.0):
        """A float tensor with uniform values, none close to an integer multiple of 1/2 (where kinks are)."""
        a = self.rng.uniform(low, high, shape)
        a = np.where(np.abs(a * 2 - np.round(a * 2)) < 0.02, a + 0.03 * (high - low) / 4, a)
        if self.dtype.category < dt.FLOAT:
            a = np.round(a)
        return self._make(np.asarray(a).astype(self.dtype.np), True)

    def i(self, *shape, low: int = 0, high: int = 10, dtype: dt.dtype = dt.int64):
        """An int64 tensor in [low, high)."""
        return self._make(np.asarray(self.rng.integers(low, high, shape)).astype(dtype.np))

    def b(self, *shape):
        """A bool tensor."""
        return self._make(np.asarray(self.rng.integers(0, 2, shape)).astype(np.bool_))

    def c(self, *shape):
        """A complex tensor (complex128 beside float64)."""
        a = self.rng.uniform(-2, 2, shape) + 1j * self.rng.uniform(-2, 2, shape)
        t = self.wrap(np.asarray(a).astype(self.dtype.to_complex().np))
        return t.requires_grad_() if self.requires_grad else t

    def unique(self, n: int, high: int):
        """n different int64 numbers below `high`."""
        return self._make(self.rng.permutation(high)[:n].astype(np.int64))

    def perm(self, *shape, high: int):
        """int64, without repeats along every dimension (each a cyclic shift)."""
        base = np.indices(shape).sum(0) if shape else np.zeros((), np.int64)
        return self._make((base % high).astype(np.int64))

    def posdef(self, *shape):
        """Symmetric positive definite matrices."""
        a = self.rng.uniform(-1, 1, shape)
        return self._make((a @ a.swapaxes(-1, -2) + np.eye(shape[-1]) * shape[-1]).astype(self.dtype.np), True)


def default_samples(op: Op) -> Callable:
    """Shapes for an elementwise operator that declares none."""
    if len(op.args) == 1:
        return lambda m: [((m.t(3, 4),), {}), ((m.t(2, 1, 5),), {}), ((m.t(0, 3),), {}), ((m.t(),), {})]
    if len(op.args) == 2:
        return lambda m: [((m.t(3, 4), m.t(3, 4)), {}), ((m.t(2, 1, 3), m.t(4, 1)), {}), ((m.t(0, 3), m.t(3)), {}), ((m.t(3), 2.5), {})]
    return lambda m: [(tuple(m.t(3, 4) for _ in op.args), {}), (tuple(m.t(*([4] if i % 2 else [3, 1])) for i, _ in enumerate(op.args)), {}),
                      (tuple(m.t(0, 3) for _ in op.args), {})]


def samples_of(op: Op, dtype: dt.dtype = dt.float64, requires_grad: bool = False, wrap: Callable | None = None) -> list:
    """[(args, kwargs), ...] of an operator with tensors of `dtype`; empty if it declares none and none can be derived."""
    make = op.samples or (default_samples(op) if op.kind is POINT else None)
    if make is None:
        return []
    return list(make(Maker(zlib.crc32(op.name.encode()), dtype, requires_grad, wrap)))
