"""The multivariate normal distribution whose covariance is of low rank plus a diagonal."""
from __future__ import annotations

import math
from typing import Any

from ..core.errors import fail
from ..ops import F
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .multivariate_normal import batch_mahalanobis, log_diagonal
from .utils import lazy_property, standard_normal

__all__ = ["LowRankMultivariateNormal"]


def capacitance_tril(w: Tensor, d: Tensor) -> Tensor:
    """The Cholesky factor of I + W^T D^-1 W."""
    small = (w / d.unsqueeze(-1)).mT @ w
    return F.linalg_cholesky(small + F.eye(w.shape[-1], dtype=w.dtype))


def lowrank_logdet(w: Tensor, d: Tensor, low: Tensor) -> Tensor:
    """log |W W^T + D| by the matrix determinant lemma."""
    return 2 * log_diagonal(low) + d.log().sum(-1)


def lowrank_mahalanobis(w: Tensor, d: Tensor, x: Tensor, low: Tensor) -> Tensor:
    """x^T (W W^T + D)^-1 x by the Woodbury identity."""
    inner = (w / d.unsqueeze(-1)).mT @ x.unsqueeze(-1)
    return (x.square() / d).sum(-1) - batch_mahalanobis(low, inner.squeeze(-1))


class LowRankMultivariateNormal(Distribution):
    """Covariance `cov_factor @ cov_factor.mT + diag(cov_diag)`: costs grow with the rank, not the size."""

    arg_constraints = {"loc": constraints.real_vector, "cov_factor": constraints.independent(constraints.real, 2),
                       "cov_diag": constraints.independent(constraints.positive, 1)}
    support = constraints.real_vector
    has_rsample = True
    _expands = ("loc", "cov_factor", "cov_diag")

    def __init__(self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None):
        if loc.ndim < 1:
            fail(ValueError, "P679", "loc must be at least one-dimensional.")
        if cov_factor.ndim < 2:
            fail(ValueError, "P679", "cov_factor must be at least two-dimensional, with optional leading batch dimensions")
        if cov_factor.shape[-2:-1] != loc.shape[-1:]:
            fail(ValueError, "P679", f"cov_factor must be a batch of matrices with shape {loc.shape[-1]} x m")
        if cov_diag.shape[-1:] != loc.shape[-1:]:
            fail(ValueError, "P679", f"cov_diag must be a batch of vectors with shape {tuple(loc.shape[-1:])}")
        loc_, diag_, factor_ = F.broadcast_tensors(loc.unsqueeze(-1), cov_diag.unsqueeze(-1), cov_factor[..., :1])
        batch = tuple(factor_.shape)[:-2]
        self.loc, self.cov_diag = loc_[..., 0], diag_[..., 0]
        self.cov_factor = cov_factor.expand(batch + tuple(cov_factor.shape)[-2:])
        super().__init__(batch, loc.shape[-1:], validate_args=validate_args)
        self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag = cov_factor, cov_diag
        self._capacitance_tril = capacitance_tril(cov_factor, cov_diag)

    def _expand_rest(self, new: Any) -> None:
        for name in ("_unbroadcasted_cov_factor", "_unbroadcasted_cov_diag", "_capacitance_tril"):
            setattr(new, name, getattr(self, name))

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @lazy_property
    def variance(self) -> Tensor:
        w, d = self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag
        return (w.pow(2).sum(-1) + d).expand(self._batch_shape + self._event_shape)

    def _matrix(self, m: Tensor) -> Tensor:
        return m.expand(tuple(self._batch_shape) + tuple(self._event_shape) * 2)

    @lazy_property
    def scale_tril(self) -> Tensor:
        w, root = self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
        scaled = w / root
        inner = scaled @ scaled.mT + F.eye(self._event_shape[0], dtype=w.dtype)
        return self._matrix(root * F.linalg_cholesky(inner))

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        w = self._unbroadcasted_cov_factor
        return self._matrix(w @ w.mT + self._unbroadcasted_cov_diag.diag_embed())

    @lazy_property
    def precision_matrix(self) -> Tensor:
        d = self._unbroadcasted_cov_diag
        scaled = self._unbroadcasted_cov_factor.mT / d.unsqueeze(-2)
        a = F.linalg_solve_triangular(self._capacitance_tril, scaled, upper=False)
        return self._matrix(d.reciprocal().diag_embed() - a.mT @ a)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        eps_w = standard_normal(tuple(shape)[:-1] + (self.cov_factor.shape[-1],), self.loc)
        eps_d = standard_normal(shape, self.loc)
        return (self.loc + (self._unbroadcasted_cov_factor @ eps_w.unsqueeze(-1)).squeeze(-1)
                + self._unbroadcasted_cov_diag.sqrt() * eps_d)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag, self._capacitance_tril

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        w, d, low = self._parts()
        far = lowrank_mahalanobis(w, d, value - self.loc, low)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + lowrank_logdet(w, d, low) + far)

    def entropy(self) -> Tensor:
        result = 0.5 * (self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + lowrank_logdet(*self._parts()))
        return result.expand(self._batch_shape)
