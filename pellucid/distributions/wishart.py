"""The Wishart distribution."""
from __future__ import annotations

import math
import warnings
from typing import Any

from ..core.dtype import finfo
from ..core.errors import fail
from ..ops import F
from ..ops.dispatch import values_known
from ..tensor import Tensor
from . import constraints
from .exp_family import ExponentialFamily
from .multivariate_normal import _Gaussian, factor, log_diagonal, take_matrix
from .utils import broadcast_all, size

__all__ = ["Wishart"]


def mvdigamma(x: Tensor, p: int) -> Tensor:
    """The derivative of mvlgamma."""
    return F.digamma(x.unsqueeze(-1) - F.arange(p, dtype=x.dtype).div(2).expand(tuple(x.shape) + (-1,))).sum(-1)


class Wishart(_Gaussian, ExponentialFamily):
    """Scatter matrices of `df` normal vectors of the given covariance; `df` may be fractional, above the size minus 1."""

    arg_constraints = {"covariance_matrix": constraints.positive_definite, "precision_matrix": constraints.positive_definite,
                       "scale_tril": constraints.lower_cholesky, "df": constraints.greater_than(0)}
    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0
    _expands = ("df", "covariance_matrix", "precision_matrix", "scale_tril")

    def __init__(self, df: Any, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
                 scale_tril: Tensor | None = None, validate_args: bool | None = None):
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        first = next((v for v in given.values() if v is not None), None)
        like = F.empty((), dtype=first.dtype) if first is not None else 0.0
        df = broadcast_all(df, like)[0] if not isinstance(df, Tensor) else df
        batch, matrix = take_matrix(self, 0, given, tuple(df.shape))
        n = matrix.shape[-1]
        self.df = df.expand(batch)
        if values_known() and bool((self.df <= n - 1).any()):
            fail(ValueError, "P677", f"Value of df={df} expected to be greater than ndim - 1 = {n - 1}.")
        super().__init__(batch, (n, n), validate_args=validate_args)
        if values_known() and bool((self.df < n).any()):
            warnings.warn("Low df values detected. Singular samples are highly likely to occur for ndim - 1 < df < ndim.", stacklevel=2)
        self._unbroadcasted_scale_tril = factor(self.__dict__, matrix)

    def _expand_rest(self, new: Any) -> None:
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril

    @property
    def mean(self) -> Tensor:
        return self.df[..., None, None] * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        above = self.df - self.covariance_matrix.shape[-1] - 1
        above = F.where(above <= 0, math.nan, above)
        return above[..., None, None] * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        return self.df[..., None, None] * (v.pow(2) + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def _bartlett(self, sample_shape: Any) -> Tensor:
        n = self._event_shape[-1]
        shapes = (self.df.unsqueeze(-1) - F.arange(n, dtype=self.df.dtype)) * 0.5
        gammas = F.standard_gamma(shapes.expand(size(sample_shape, self._batch_shape, (n,)))) / 0.5
        below = F.tril_indices(n, n, -1)
        noise = gammas.sqrt().clamp(min=finfo(gammas.dtype).eps).diag_embed()
        normals = F.randn(size(sample_shape, self._batch_shape, (n * (n - 1) // 2,)), dtype=noise.dtype)
        noise[..., below[0], below[1]] = normals
        low = self._unbroadcasted_scale_tril @ noise
        return low @ low.mT

    def rsample(self, sample_shape: Any = (), max_try_correction: int | None = None) -> Tensor:
        """By Bartlett's decomposition. Singular samples are drawn again, up to `max_try_correction` times (3 for large
        matrices, 10 for small ones)."""
        if max_try_correction is None:
            max_try_correction = 3 if self._event_shape[-1] > 64 else 10
        sample = self._bartlett(sample_shape)
        for _ in range(max_try_correction):
            singular = ~self.support.check(sample)
            if not bool(singular.any()):
                return sample
            sample = F.where(singular[..., None, None], self._bartlett(sample_shape), sample)
        if bool((~self.support.check(sample)).any()):
            warnings.warn("Singular sample detected.", stacklevel=2)
        return sample

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        nu, p, low = self.df, self._event_shape[-1], self._unbroadcasted_scale_tril
        shape = F.broadcast_tensors(value, low)[0].shape
        trace = F.cholesky_solve(value.expand(shape), low.expand(shape)).diagonal(dim1=-2, dim2=-1).sum(-1)
        return (-nu * (p * math.log(2.0) / 2 + log_diagonal(low)) - F.mvlgamma(nu / 2, p)
                + (nu - p - 1) / 2 * F.linalg_slogdet(value)[1] - trace / 2)

    def entropy(self) -> Tensor:
        nu, p = self.df, self._event_shape[-1]
        return ((p + 1) * (p * math.log(2.0) / 2 + log_diagonal(self._unbroadcasted_scale_tril)) + F.mvlgamma(nu / 2, p)
                - (nu - p - 1) / 2 * mvdigamma(nu / 2, p) + nu * p / 2)

    @property
    def _natural_params(self) -> tuple[Tensor, Tensor]:
        return -self.precision_matrix / 2, (self.df - self._event_shape[-1] - 1) / 2

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:
        p = self._event_shape[-1]
        half = y + (p + 1) / 2
        return half * (p * math.log(2.0) - F.linalg_slogdet(-2 * x)[1]) + F.mvlgamma(half, p)
