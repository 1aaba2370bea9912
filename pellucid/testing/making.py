"""`make_tensor`: random tensors for tests. Definition: torch.testing.make_tensor."""
from __future__ import annotations

from ..core import dtype as dt
from ..tensor import functions as T

__all__ = ["make_tensor"]


def make_tensor(*shape, dtype: dt.dtype, device="cpu", low=None, high=None, requires_grad: bool = False, noncontiguous: bool = False,
                exclude_zero: bool = False, memory_format=None):
    """A tensor with uniform values in [low, high): [-9, 10) for integers, [-9, 9) for floats unless given."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    if dtype is dt.bool_:
        t = T.randint(0, 2, shape, dtype=dt.bool_)
    elif dtype.category == dt.INT:
        lo, hi = (-9 if low is None else int(low)), (10 if high is None else int(high))
        lo = max(lo, 0) if not dtype.is_signed else lo
        t = T.randint(lo, max(hi, lo + 1), shape, dtype=dt.int64).to(dtype)
    else:
        lo, hi = (-9.0 if low is None else low), (9.0 if high is None else high)
        if not lo <= hi:
            raise ValueError(f"make_tensor: low must be weakly less than high, but got {lo} >= {hi}")

        def draw():
            return T.rand(shape, dtype=dt.float64) * (hi - lo) + lo
        t = (T.complex(draw(), draw()) if dtype.is_complex else draw()).to(dtype)
    if exclude_zero:
        t = T.where(t == 0, T.ones_like(t), t)
    if noncontiguous and t.numel() > 1:
        t = T.repeat_interleave(t, 2, dim=-1)[..., ::2]
    if memory_format is not None:
        t = t.clone(memory_format=memory_format)
    return t.requires_grad_() if requires_grad else t
