"""Gamma, Dirichlet and binomial numbers, as PyTorch's CPU generator draws them: by rejection, one element after the other.

In: an `Engine` and arrays of parameters. Out: arrays of their shape and dtype; the engine moves on.
Stays true: what is drawn for an element depends on how often its proposals were refused, so the order is that of the elements.

Gamma numbers are Marsaglia and Tsang's ("A simple method for generating gamma variables", 2000); binomial counts Hoermann's
transformed rejection BTRS ("The generation of binomial random variates", 1993) from a mean of 10 on, below it sums of
geometric gaps (Kachitvichyanukul and Schmeiser, 1988).
"""
from __future__ import annotations

import math

import numpy as np

from .rng import Engine
from .rng_checks import F32, F64, cast, unsupported


# PyTorch has these constants in single precision.
_THIRD, _SQUEEZE = float(np.float32(1 / 3)), float(np.float32(0.0331))


def one_gamma(engine: Engine, shape: float, kind=np.float64) -> float:
    """A gamma number of shape `shape` and scale 1; `kind` is the precision in which PyTorch takes the shape."""
    scale = 1.0
    if shape < 1.0:         # gamma(a) = gamma(a + 1) * uniform ** (1 / a)
        if shape == 0.0:
            return 0.0
        scale = math.pow(1.0 - engine._one_uniform(), float(kind(1.0) / kind(shape))) if shape > 0 else math.nan
        shape = float(kind(shape + 1.0))
    d = float(kind(shape - _THIRD))
    if not d > 0.0:
        return math.nan
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = engine._one_normal()
        y = 1.0 + c * x
        if y <= 0.0:
            continue
        v = y * y * y
        u = 1.0 - engine._one_uniform()
        square = x * x
        if u < 1.0 - _SQUEEZE * square * square or math.log(u) < 0.5 * square + d * (1.0 - v + math.log(v)):
            return scale * d * v


def _drawn(engine: Engine, shapes: np.ndarray, kind=np.float64) -> np.ndarray:
    return np.array([one_gamma(engine, a, kind) for a in shapes.astype(F64).ravel().tolist()], F64).reshape(shapes.shape)


def gammas(engine: Engine, shapes: np.ndarray) -> np.ndarray:
    """A gamma number for every shape, never below the smallest normal number of the dtype."""
    if shapes.dtype not in (F32, F64):
        unsupported("gamma_cpu", shapes.dtype)
    return np.maximum(np.finfo(shapes.dtype).tiny, cast(_drawn(engine, shapes, shapes.dtype.type), shapes.dtype))


def dirichlets(engine: Engine, concentrations: np.ndarray) -> np.ndarray:
    """Gamma numbers as shares of their sum over the last dimension, strictly between 0 and 1."""
    if concentrations.dtype not in (F32, F64):
        unsupported("dirichlet", concentrations.dtype)
    drawn = _drawn(engine, concentrations)
    dtype = concentrations.dtype
    shares = cast(drawn / drawn.sum(-1, keepdims=True), dtype)
    return np.clip(shares, np.finfo(dtype).tiny, np.nextafter(dtype.type(1), dtype.type(0)))


def _gaps(engine: Engine, count: float, p: float) -> float:
    """Successes in `count` trials: how many geometric gaps fit."""
    log_failure, passed, successes = math.log1p(-p), 0.0, 0
    while True:
        u = engine._one_uniform()
        passed += math.ceil(math.log(u) / log_failure) if u > 0 else math.inf
        if passed > count:
            return successes
        successes += 1


_REST = (0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211,
         0.0138761288230707, 0.0118967099458917, 0.0104112652619720, 0.00925546218271273, 0.00833056343336287)


def stirling_rest(k: float) -> float:
    """`log(k!)` minus Stirling's formula for it."""
    if k < len(_REST):
        return _REST[int(k)]
    square = (k + 1) * (k + 1)
    return (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (k + 1)


def _btrs(engine: Engine, count: float, p: float) -> float:
    spread = math.sqrt(count * p * (1 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    c = count * p + 0.5
    v_r = 0.92 - 4.2 / b
    odds = p / (1 - p)
    alpha = (2.83 + 5.1 / b) * spread
    m = math.floor((count + 1) * p)
    while True:
        u = engine._one_uniform() - 0.5
        v = engine._one_uniform()
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + c) if us > 0 else -1
        if us >= 0.07 and v <= v_r:
            return k
        if k < 0 or k > count:
            continue
        v = math.log(v * alpha / (a / (us * us) + b)) if v > 0 else -math.inf
        bound = ((m + 0.5) * math.log((m + 1) / (odds * (count - m + 1)))
                 + (count + 1) * math.log((count - m + 1) / (count - k + 1))
                 + (k + 0.5) * math.log(odds * (count - k + 1) / (k + 1))
                 + stirling_rest(m) + stirling_rest(count - m) - stirling_rest(k) - stirling_rest(count - k))
        if v <= bound:
            return k


def one_binomial(engine: Engine, count: float, p: float) -> float:
    if count <= 0.0 or p <= 0.0:
        return 0.0
    if p >= 1.0:
        return count
    if not p == p or not count == count:
        return math.nan
    rare = min(p, 1.0 - p)
    found = (_btrs if count * rare >= 10.0 else _gaps)(engine, count, rare)
    return found if p <= 0.5 else count - found


def binomials(engine: Engine, counts: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The successes in each of `counts` trials of probability `p` (arrays that broadcast)."""
    if counts.dtype not in (F32, F64):
        unsupported("binomial_cpu", counts.dtype)
    counts, p = np.broadcast_arrays(counts, p)
    drawn = [one_binomial(engine, n, q) for n, q in zip(counts.ravel().tolist(), p.ravel().tolist())]
    return cast(np.array(drawn, F64), counts.dtype).reshape(counts.shape)
