"""What distributions share: parameters brought to one shape, probabilities and logits, values computed at their first use."""
from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from numbers import Number
from typing import Any

from ..core import dtype as dt
from ..core.errors import describe, fail
from ..ops import F
from ..ops.dispatch import values_known
from ..tensor import Size, Tensor, enable_grad
from ..tensor.interop import tensor

__all__ = ["broadcast_all", "clamp_probs", "lazy_property", "logits_to_probs", "probs_to_logits", "tril_matrix_to_vec",
           "vec_to_tril_matrix"]

EULER = 0.5772156649015329


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Numbers and tensors as tensors of one shape; a number takes the dtype of the first tensor, or the default one."""
    if not all(isinstance(v, (Tensor, Number)) for v in values):
        fail(ValueError, "P680", "Input arguments must all be instances of Number, torch.Tensor or objects implementing __torch_function__.",
             got=describe(*values), fix="give numbers or tensors as parameters")
    first = next((v for v in values if isinstance(v, Tensor)), None)
    dtype = dt.get_default_dtype() if first is None else first.dtype
    return tuple(F.broadcast_tensors(*[v if isinstance(v, Tensor) else tensor(v, dtype=dtype) for v in values]))


def as_tensor_like(value: Any, other: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else tensor(value, dtype=other.dtype)


def exactly_one(first: Any, second: Any, names: str) -> bool:
    """Whether the first of two alternative parameters is given; ValueError unless it is one of them."""
    if (first is None) == (second is None):
        fail(ValueError, "P681", f"Either {names} must be specified, but not both.", fix="give one of them")
    return first is not None


def tiny(dtype: dt.dtype) -> float:
    return dt.finfo(dtype).tiny


def standard_normal(shape: Any, like: Tensor) -> Tensor:
    return F.empty(tuple(shape), dtype=like.dtype).normal_()


def uniform(shape: Any, like: Tensor) -> Tensor:
    return F.rand(tuple(shape), dtype=like.dtype)


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities kept away from 0 and 1 by the dtype's epsilon."""
    eps = dt.finfo(probs.dtype).eps
    return probs.clamp(eps, 1 - eps)


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Probabilities from logits: of one event if `is_binary`, else of the classes in the last dimension."""
    return logits.sigmoid() if is_binary else F.softmax(logits, -1)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Log odds if `is_binary`, else log-probabilities."""
    kept = clamp_probs(probs)
    return kept.log() - (-kept).log1p() if is_binary else kept.log()


def sum_rightmost(value: Tensor, dims: int) -> Tensor:
    """`value` summed over its last `dims` dimensions."""
    return value if dims == 0 else value.reshape(tuple(value.shape)[:value.ndim - dims] + (-1,)).sum(-1)


def size(*parts: Any) -> Size:
    """Shapes one after the other."""
    return Size([n for part in parts for n in part])


class lazy_property:
    """A property that is computed once, with gradients, and then is an ordinary attribute of the object."""

    def __init__(self, wrapped: Callable):
        self.wrapped = wrapped
        update_wrapper(self, wrapped)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with enable_grad():
            value = self.wrapped(instance)
        if not isinstance(value, Tensor) or values_known():       # what a trace computed is of no use after it
            instance.__dict__[self.wrapped.__name__] = value
        return value


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The lower triangle up to diagonal `diag`, row by row, as the last dimension."""
    n = mat.shape[-1]
    if not -n < diag < n:
        fail(ValueError, "P682", f"diag ({diag}) provided is outside [{-n}, {n - 1}].", got=describe(mat))
    rows, columns = F.tril_indices(n, n, diag)
    return mat[..., rows, columns]


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """The matrix whose lower triangle up to diagonal `diag` is `vec`, row by row; the rest is zero."""
    n = (-(1 + 2 * diag) + ((1 + 2 * diag) ** 2 + 8 * vec.shape[-1] + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2
    if abs(n - round(n)) > dt.finfo(vec.dtype).eps:
        fail(ValueError, "P682", f"The size of last dimension is {vec.shape[-1]} which cannot be expressed as "
             "the lower triangular part of a square D x D matrix.", got=describe(vec))
    n = round(n)
    rows, columns = F.tril_indices(n, n, diag)
    mat = F.zeros(tuple(vec.shape)[:-1] + (n, n), dtype=vec.dtype)
    mat[..., rows, columns] = vec
    return mat
