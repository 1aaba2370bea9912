"""Distances between vectors, rescaling to a norm, covariance and correlation.

In: float or complex tensors. Out: tensors whose derivatives follow from their parts.
True always: the distance of a vector to itself is 0 and so is its gradient.
"""
from __future__ import annotations

import math
import warnings

from ._common import Spec, broadcast_shapes, describe, dt, fail, is_tensor, need_tensor, np, wrap_dim
from .dispatch import values_known
from .op import COMPOSITE, F, composite, primitive


# ---------------------------------------------------------------------------------------------------- cdist
def cdist_ref(x, y, *, p, mm):
    """All pairs of rows. Euclidean distances of many rows go through one matrix product."""
    if not x.shape[-1] or not x.size or not y.size:
        return np.zeros((*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-2]), x.dtype)
    if p == 2 and mm:
        center = x.mean(-2, keepdims=True, dtype=x.dtype) if x.shape[:-2] == y.shape[:-2] else 0
        x, y = x - center, y - center                        # smaller numbers lose less
        square = np.matmul(x, y.swapaxes(-1, -2))
        square *= -2
        square += np.add.reduce(x * x, -1, keepdims=True)
        square += np.add.reduce(y * y, -1)[..., None, :]
        return np.sqrt(np.maximum(square, 0, out=square), out=square)
    gap = np.abs(x[..., :, None, :] - y[..., None, :, :])
    if p == 0:
        return np.add.reduce(gap != 0, -1, x.dtype)
    if p == 1:
        return np.add.reduce(gap, -1)
    if p == 2:
        return np.sqrt(np.add.reduce(gap * gap, -1))
    if p == math.inf:
        return np.maximum.reduce(gap, -1)
    return np.add.reduce(gap ** p, -1) ** (1 / p)


def cdist_body(x1, x2, p, mm):
    return F.linalg_vector_norm(F.sub(F.unsqueeze(x1, -2), F.unsqueeze(x2, -3)), p, -1)


def cdist_infer(x, y, *, p, mm) -> Spec:
    return x.like((*broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-2]))


_MODES = {"use_mm_for_euclid_dist_if_necessary": None, "use_mm_for_euclid_dist": True, "donot_use_mm_for_euclid_dist": False}


@primitive(COMPOSITE, args="x1 x2", ref=cdist_ref, body=cdist_body, infer=cdist_infer, forms="function", cast="high",
           samples=lambda m: [((m.t(3, 4), m.t(2, 4)), {}), ((m.t(2, 3, 2), m.t(4, 2), 1.0), {}), ((m.t(3, 2), m.t(2, 2), 3.0), {}),
                              ((m.t(3, 2), m.t(2, 2), math.inf), {}), ((m.t(0, 2), m.t(3, 2)), {})])
def cdist(x1, x2, p=2.0, compute_mode="use_mm_for_euclid_dist_if_necessary"):
    """The p-norm distances between all rows of x1 (..., P, M) and x2 (..., R, M): (..., P, R)."""
    for name, x in (("X1", x1), ("X2", x2)):
        if need_tensor(x, "cdist", name.replace("X", "x")).ndim < 2:
            fail(RuntimeError, "P755", f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D", got=describe(x1, x2))
        if x.dtype.category != dt.FLOAT:
            fail(RuntimeError, "P756", f"cdist only supports floating-point dtypes, {name} got: {x.dtype.type_name}")
    if compute_mode not in _MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    if x1.shape[-1] != x2.shape[-1]:
        fail(RuntimeError, "P757", f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}",
             got=describe(x1, x2))
    if p < 0:
        fail(RuntimeError, "P758", "cdist only supports non-negative p values", got=f"p={p}")
    if x1.dtype is not x2.dtype:
        fail(RuntimeError, "P759", f"expected scalar type {x1.dtype.type_name} but found {x2.dtype.type_name}", got=describe(x1, x2))
    mm = _MODES[compute_mode]
    return (x1, x2), {"p": float(p), "mm": (x1.shape[-2] > 25 or x2.shape[-2] > 25) if mm is None else mm}


@composite(ns=("", "nn.functional"), forms="function", cast="high", samples=lambda m: [((m.t(4, 3),), {}), ((m.t(3, 2), 1.0), {}), ((m.t(1, 2),), {}), ((m.t(0, 2),), {})])
def pdist(input, p=2.0):
    """The p-norm distances between all pairs of rows of (N, M), i < j in row order: a vector of N(N-1)/2."""
    if need_tensor(input, "pdist").ndim != 2:
        fail(RuntimeError, "P760", f"pdist only supports 2D tensors, got: {input.ndim}D", got=describe(input))
    if input.dtype.category != dt.FLOAT:
        fail(RuntimeError, "P761", "pdist only supports floating-point dtypes", got=describe(input))
    if p < 0:
        fail(RuntimeError, "P762", "pdist only supports non-negative p values", got=f"p={p}")
    n = input.shape[0]
    if n < 2:
        return F.sum(F.narrow(input, 0, 0, 0), 1)
    i, j = F.unbind(F.triu_indices(n, n, 1))
    return F.linalg_vector_norm(F.sub(F.index_select(input, 0, i), F.index_select(input, 0, j)), p, -1)


@composite(forms="function method out", cast="high", samples=lambda m: [((m.t(3, 4), m.t(3, 4)), {}), ((m.t(3, 1), m.t(4), 1), {}), ((m.t(3), m.t(3), 3.0), {}),
                                                           ((m.t(0), m.t(0)), {})])
def dist(input, other, p=2):
    """The p-norm of `input - other`."""
    return F.norm(F.sub(need_tensor(input, "dist"), need_tensor(other, "dist", "other", 2)), p)


# ---------------------------------------------------------------------------------------------------- renorm
@composite(forms="function method inplace out", cast="high", samples=lambda m: [((m.t(3, 4), 2, 0, 1.0), {}), ((m.t(2, 3, 2), 1, 1, 0.5), {}), ((m.t(0, 3), 2, 1, 1.0), {})])
def renorm(input, p, dim, maxnorm):
    """Each slice along `dim`, scaled down to p-norm `maxnorm` where its norm is larger."""
    n = need_tensor(input, "renorm").ndim
    if input.dtype.category < dt.FLOAT:
        fail(RuntimeError, "P763", "renorm: expected floating point or complex input", got=describe(input)) if n > 1 else None
    if p <= 0:
        fail(RuntimeError, "P764", "renorm: non-positive-norm not supported", got=f"p={p}")
    if maxnorm < 0:
        fail(RuntimeError, "P765", f"renorm: expected maxnorm to be >= 0 but got {maxnorm:g}")
    if n < 2:
        fail(RuntimeError, "P766", f"renorm: input needs at least 2 dimensions, got {n} dimensions")
    d = wrap_dim(dim, n)
    norm = F.linalg_vector_norm(input, p, [i for i in range(n) if i != d], True)
    scale = F.where(F.gt(norm, maxnorm), F.div(maxnorm, F.add(norm, 1e-7)), F.ones_like(norm))
    return F.mul(input, F.to(scale, input.dtype))


# ---------------------------------------------------------------------------------------------------- cov, corrcoef
def observations(fn: str, input):
    """The variables as rows."""
    if need_tensor(input, fn).ndim > 2:
        fail(RuntimeError, "P767", f"{fn}(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions")
    if input.dtype is dt.bool_:
        fail(RuntimeError, "P768", f"{fn}(): bool dtype is not supported for input")
    return input if input.ndim == 2 else F.reshape(input, (1, -1))


def check_weights(name: str, w, n: int, kind: int, word: str):
    if w.ndim > 1:
        fail(RuntimeError, "P769", f"cov(): expected {name} to have one or fewer dimensions but got {name} with {w.ndim} dimensions")
    if w.dtype.category != kind:
        fail(RuntimeError, "P770", f"cov(): expected {name} to have {word} dtype but got {name} with {w.dtype.type_name} dtype")
    if w.numel() != n:
        fail(RuntimeError, "P771", f"cov(): expected {name} to have the same numel as there are observations in the input but got {w.numel()} != {n}")
    if w.numel() and values_known() and bool(F.any(F.lt(F.detach(w), 0))):
        fail(RuntimeError, "P772", f"cov(): {name} cannot be negative")


@composite(forms="function method", samples=lambda m: [((m.t(3, 5),), {}), ((m.t(5),), {"correction": 0}), ((m.t(2, 4),), {"fweights": m.i(4, low=1, high=4)}),
                                                       ((m.t(2, 4),), {"aweights": m.t(4, low=0.1, high=2).detach().to(m.dtype)}), ((m.t(0, 4),), {})])
def cov(input, *, correction=1, fweights=None, aweights=None):
    """The covariance matrix of the variables in the rows of `input`, observations in its columns; a 0-d tensor for one
    variable. `fweights`: how often each observation counts (integers); `aweights`: its importance (floats)."""
    x = observations("cov", input)
    n = x.shape[1]
    w = None
    if fweights is not None:
        check_weights("fweights", fweights, n, dt.INT, "integral")
        w = fweights
    if aweights is not None:
        check_weights("aweights", aweights, n, dt.FLOAT, "floating point")
        w = aweights if w is None else F.mul(w, aweights)
    if x.dtype.category < dt.FLOAT:
        x = F.convert(x, dt.get_default_dtype())
    if w is None:
        total, mean = n, F.mean(x, 1, True)
    else:
        total = F.sum(w)
        mean = F.div(F.sum(F.mul(x, w), 1, True), total)
    if aweights is not None and correction != 0:
        free = F.sub(total, F.mul(F.div(F.sum(F.mul(w, aweights)), total), correction))
    else:
        free = total - correction
    count = free if not is_tensor(free) else float(F.detach(free))
    if count <= 0:
        warnings.warn("cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of observations.", stacklevel=3)
        free = 0
    centred = F.sub(x, mean)
    other = centred if w is None else F.mul(centred, w)
    other = F.transpose(other, 0, 1)
    c = F.div(F.matmul(centred, F.conj_physical(other) if other.is_complex() else other), free)
    return c if input.ndim == 2 and c.shape[0] != 1 else F.squeeze(c)


@composite(forms="function method", samples=lambda m: [((m.t(3, 5),), {}), ((m.t(5),), {}), ((m.t(2, 6),), {}), ((m.t(0, 4),), {})])
def corrcoef(input):
    """The Pearson correlation matrix of the variables in the rows of `input`."""
    observations("corrcoef", input)
    c = F.cov(input)
    if c.ndim == 0:
        return F.div(c, c)
    deviation = F.sqrt(F.diagonal(c))
    if deviation.is_complex():
        deviation = F.real(deviation)
    c = F.div(F.div(c, F.unsqueeze(deviation, 1)), F.unsqueeze(deviation, 0))
    if c.is_complex():
        return F.complex(F.clamp(F.real(c), -1, 1), F.clamp(F.imag(c), -1, 1))
    return F.clamp(c, -1, 1)
