"""The multivariate normal distribution; and the linear algebra that its relatives share."""
from __future__ import annotations

import math
from typing import Any

from ..core.errors import fail
from ..ops import F
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .utils import lazy_property, standard_normal

__all__ = ["MultivariateNormal"]


def batch_mahalanobis(low: Tensor, x: Tensor) -> Tensor:
    """x^T (L L^T)^-1 x for lower triangles L and vectors x."""
    shape = F.broadcast_tensors(low[..., 0], x)[1].shape
    solved = F.linalg_solve_triangular(low.expand(tuple(shape) + (low.shape[-1],)), x.expand(shape).unsqueeze(-1), upper=False)
    return solved.squeeze(-1).square().sum(-1)


def precision_to_scale_tril(precision: Tensor) -> Tensor:
    """The Cholesky factor of the inverse."""
    upper = F.linalg_cholesky(precision.flip((-2, -1))).flip((-2, -1)).mT
    return F.linalg_solve_triangular(upper, F.eye(precision.shape[-1], dtype=precision.dtype).expand(precision.shape), upper=False)


def log_diagonal(low: Tensor) -> Tensor:
    """The sum of the logarithms of the diagonal: half the log-determinant of L L^T."""
    return low.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def take_matrix(self: Any, event: int, given: dict[str, Tensor | None], lead: tuple) -> tuple[tuple, Tensor]:
    """Set the one matrix parameter that is given, expanded, and `_unbroadcasted_scale_tril`. Gives the batch shape."""
    names = [n for n, v in given.items() if v is not None]
    if len(names) != 1:
        fail(ValueError, "P694", f"Exactly one of {' or '.join(given)} may be specified.", fix="give one of them")
    name, matrix = names[0], given[names[0]]
    if matrix.ndim < 2:
        fail(ValueError, "P694", f"{name} must be at least two-dimensional, with optional leading batch dimensions")
    batch = tuple(F.broadcast_tensors(F.empty(tuple(matrix.shape)[:-2]), F.empty(tuple(lead)))[0].shape)
    setattr(self, name, matrix.expand(batch + (-1, -1)))
    return batch, matrix


def factor(name_of: Any, matrix: Tensor) -> Tensor:
    """The Cholesky factor that a matrix parameter means."""
    if "scale_tril" in name_of:
        return matrix
    return precision_to_scale_tril(matrix) if "precision_matrix" in name_of else F.linalg_cholesky(matrix)


class _Gaussian(Distribution):
    """`scale_tril`, `covariance_matrix` and `precision_matrix`, each from `_unbroadcasted_scale_tril`."""

    def _full(self, matrix: Tensor) -> Tensor:
        return matrix.expand(tuple(self._batch_shape) + tuple(self._event_shape)[:1] * 2)

    @lazy_property
    def scale_tril(self) -> Tensor:
        return self._full(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        low = self._unbroadcasted_scale_tril
        return self._full(low @ low.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        return self._full(F.cholesky_inverse(self._unbroadcasted_scale_tril))


class MultivariateNormal(_Gaussian):
    """Mean vector `loc` and one of `covariance_matrix`, `precision_matrix` and its Cholesky factor `scale_tril`."""

    arg_constraints = {"loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
                       "precision_matrix": constraints.positive_definite, "scale_tril": constraints.lower_cholesky}
    support = constraints.real_vector
    has_rsample = True
    _expands = ("loc", "covariance_matrix", "precision_matrix", "scale_tril")

    def __init__(self, loc: Tensor, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
                 scale_tril: Tensor | None = None, validate_args: bool | None = None):
        if loc.ndim < 1:
            fail(ValueError, "P694", "loc must be at least one-dimensional.")
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        batch, matrix = take_matrix(self, loc.shape[-1], given, tuple(loc.shape)[:-1])
        self.loc = loc.expand(batch + (-1,))
        super().__init__(batch, loc.shape[-1:], validate_args=validate_args)
        self._unbroadcasted_scale_tril = factor(self.__dict__, matrix)

    def _expand_rest(self, new: Any) -> None:
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self._unbroadcasted_scale_tril.pow(2).sum(-1).expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        eps = standard_normal(self._extended_shape(sample_shape), self.loc)
        return self.loc + (self._unbroadcasted_scale_tril @ eps.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        low = self._unbroadcasted_scale_tril
        far = batch_mahalanobis(low, value - self.loc)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + far) - log_diagonal(low)

    def entropy(self) -> Tensor:
        result = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + log_diagonal(self._unbroadcasted_scale_tril)
        return result.expand(self._batch_shape)
