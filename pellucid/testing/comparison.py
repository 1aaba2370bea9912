"""`assert_close`: whether two tensors, numbers, or containers of them agree within tolerances. Definition: torch.testing."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..core import dtype as dt
from ..tensor import Tensor
from ..tensor import functions as T

__all__ = ["assert_allclose", "assert_close", "default_tolerances"]

_TOLERANCES = {dt.float16: (1e-3, 1e-5), dt.bfloat16: (1.6e-2, 1e-5), dt.float32: (1.3e-6, 1e-5), dt.float64: (1e-7, 1e-7),
               dt.complex64: (1.3e-6, 1e-5), dt.complex128: (1e-7, 1e-7)}


def default_tolerances(*dtypes) -> tuple[float, float]:
    """(rtol, atol): the loosest of the dtypes' defaults; zeros for integers."""
    pairs = [_TOLERANCES.get(d, (0.0, 0.0)) for d in dtypes]
    return max(p[0] for p in pairs), max(p[1] for p in pairs)


def assert_close(actual, expected, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
                 equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
                 check_stride: bool = False, msg=None) -> None:
    """Raise AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere, and dtypes and shapes agree.

    Works on tensors, arrays, numbers, and sequences and mappings of them. `rtol` and `atol` go together; left out they follow
    from the dtypes. Raises ValueError if only one is given, TypeError for values that cannot be compared.
    """
    if (rtol is None) != (atol is None):
        raise ValueError(f"rtol and atol must both be specified or both be unspecified, but got {rtol=} and {atol=}.")
    where = _compare(actual, expected, rtol, atol, equal_nan, check_dtype, check_layout, check_stride, "")
    if where:
        raise AssertionError(msg(where) if callable(msg) else msg or where)


def _compare(a, e, rtol, atol, equal_nan, check_dtype, check_layout, check_stride, place: str) -> str | None:
    options = (rtol, atol, equal_nan, check_dtype, check_layout, check_stride)
    suffix = f"\n\nThe failure occurred for item {place}" if place else ""
    if isinstance(a, Mapping) and isinstance(e, Mapping):
        if a.keys() != e.keys():
            return f"The keys of the mappings do not match:\nMissing keys in the actual mapping: {sorted(e.keys() - a.keys())}\n" \
                   f"Missing keys in the expected mapping: {sorted(a.keys() - e.keys())}{suffix}"
        return next((w for k in e for w in [_compare(a[k], e[k], *options, f"{place}[{k!r}]")] if w), None)
    if isinstance(a, Sequence) and isinstance(e, Sequence) and not isinstance(a, (str, bytes)):
        if len(a) != len(e):
            return f"The length of the sequences mismatch: {len(a)} != {len(e)}{suffix}"
        return next((w for i, (x, y) in enumerate(zip(a, e)) for w in [_compare(x, y, *options, f"{place}[{i}]")] if w), None)
    tensors = isinstance(a, (Tensor, np.ndarray)) or isinstance(e, (Tensor, np.ndarray))
    if not tensors and a is None and e is None:
        return None
    if tensors and not (isinstance(a, (Tensor, np.ndarray)) and isinstance(e, (Tensor, np.ndarray))) or not all(
            isinstance(v, (Tensor, np.ndarray, int, float, complex, bool, np.generic)) for v in (a, e)):
        raise TypeError(f"No comparison pair was able to handle inputs of type {type(a)} and {type(e)}.{suffix}")
    x, y = (v if isinstance(v, Tensor) else T.tensor(v, dtype=None if tensors else (dt.complex128 if isinstance(v, complex) else
            dt.float64 if isinstance(v, float) else None)) for v in (a, e))
    if x.shape != y.shape:
        return f"The values for attribute 'shape' do not match: {x.shape} != {y.shape}.{suffix}"
    if check_dtype and tensors and x.dtype is not y.dtype:
        return f"The values for attribute 'dtype' do not match: {x.dtype} != {y.dtype}.{suffix}"
    if check_layout and x.layout is not y.layout:
        return f"The values for attribute 'layout' do not match: {x.layout} != {y.layout}.{suffix}"
    x, y = x.to_dense(), y.to_dense()
    if check_stride and x.stride() != y.stride():
        return f"The values for attribute 'stride()' do not match: {x.stride()} != {y.stride()}.{suffix}"
    r, t = default_tolerances(x.dtype, y.dtype) if rtol is None else (rtol, atol)
    wide = np.complex128 if x.is_complex() or y.is_complex() else np.float64
    p, q = x.detach().numpy(), y.detach().numpy()
    if p.dtype.kind in "iub" and q.dtype.kind in "iub" and r == t == 0:
        close = p == q
    else:
        p, q = p.astype(wide), q.astype(wide)
        close = np.isclose(p, q, rtol=r, atol=t, equal_nan=equal_nan)
    if close.all():
        return None
    bad = int(close.size - close.sum())
    if not close.ndim:
        return f"Scalars are not close!\n\nExpected {q.item()} but got {p.item()}.\nAllowed: {t} absolute, {r} relative.{suffix}"
    with np.errstate(all="ignore"):
        d = np.where(close, 0, np.abs(p.astype(wide) - q.astype(wide)))
        rel = np.where(close, 0, d / np.abs(q))
    i, j = (np.unravel_index(int(np.nanargmax(v)) if not np.isnan(v).all() else 0, v.shape) for v in (d, rel))
    return (f"Tensor-likes are not {'equal' if r == t == 0 else 'close'}!\n\nMismatched elements: {bad} / {close.size} ({100 * bad / close.size:.1f}%)\n"
            f"Greatest absolute difference: {d[i]} at index {tuple(int(k) for k in i)}" + (f" (up to {t} allowed)" if t or r else "") +
            f"\nGreatest relative difference: {rel[j]} at index {tuple(int(k) for k in j)}" + (f" (up to {r} allowed)" if t or r else "") + suffix)


def assert_allclose(actual, expected, rtol=None, atol=None, equal_nan=True, msg="") -> None:
    """Deprecated in PyTorch too: assert_close without the dtype check."""
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, msg=msg or None)
