"""The continuous Bernoulli distribution (Loaiza-Ganem and Cunningham, 2019)."""
from __future__ import annotations

import math
from typing import Any

from ..ops import F
from ..tensor import Tensor
from . import constraints
from .bernoulli import _YesNo
from .exp_family import ExponentialFamily
from .utils import broadcast_all, clamp_probs, exactly_one, lazy_property, logits_to_probs, probs_to_logits, uniform

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(_YesNo, ExponentialFamily):
    """Density proportional to probs**x * (1 - probs)**(1 - x) on [0, 1]. Between `lims`, where the exact formulas
    cancel, Taylor's series about 1/2 are used."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0
    _expands = ("probs", "logits", "_param")

    def __init__(self, probs: Any = None, logits: Any = None, lims: tuple[float, float] = (0.499, 0.501), validate_args: bool | None = None):
        if exactly_one(probs, logits, "`probs` or `logits`"):
            (given,) = broadcast_all(probs)
            self.probs = self._param = clamp_probs(given)
        else:
            (self.logits,) = broadcast_all(logits)
            self._param = self.logits
        self._lims = lims
        super().__init__(self._param.shape, validate_args=validate_args)

    def _expand_rest(self, new: Any) -> None:
        new._lims = self._lims

    @lazy_property
    def logits(self) -> Tensor:
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))

    def _cut(self) -> tuple[Tensor, Tensor]:
        """Where the exact formulas hold, and probabilities for them."""
        exact = (self.probs <= self._lims[0]) | (self.probs > self._lims[1])
        return exact, F.where(exact, self.probs, self._lims[0])

    def _cont_bern_log_norm(self) -> Tensor:
        exact, p = self._cut()
        below, above = F.where(p <= 0.5, p, 0.0), F.where(p >= 0.5, p, 1.0)
        log_norm = ((-p).log1p() - p.log()).abs().log() - F.where(p <= 0.5, (-2.0 * below).log1p(), (2.0 * above - 1.0).log())
        square = (self.probs - 0.5).pow(2)
        return F.where(exact, log_norm, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * square) * square)

    @property
    def mean(self) -> Tensor:
        exact, p = self._cut()
        mean = p / (2.0 * p - 1.0) + 1.0 / ((-p).log1p() - p.log())
        x = self.probs - 0.5
        return F.where(exact, mean, 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x.pow(2)) * x)

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    @property
    def variance(self) -> Tensor:
        exact, p = self._cut()
        variance = p * (p - 1.0) / (1.0 - 2.0 * p).pow(2) + 1.0 / ((-p).log1p() - p.log()).pow(2)
        square = (self.probs - 0.5).pow(2)
        return F.where(exact, variance, 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * square) * square)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.icdf(uniform(self._extended_shape(sample_shape), self.probs))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none") + self._cont_bern_log_norm()

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        exact, p = self._cut()
        inner = (p.pow(value) * (1.0 - p).pow(1.0 - value) + p - 1.0) / (2.0 * p - 1.0)
        return F.where(value <= 0.0, 0.0, F.where(value >= 1.0, 1.0, F.where(exact, inner, value)))

    def icdf(self, value: Tensor) -> Tensor:
        exact, p = self._cut()
        failure = (-p).log1p()
        return F.where(exact, ((-p + value * (2.0 * p - 1.0)).log1p() - failure) / (p.log() - failure), value)

    def entropy(self) -> Tensor:
        failure, success = (-self.probs).log1p(), self.probs.log()
        return self.mean * (failure - success) - self._cont_bern_log_norm() - failure

    @property
    def _natural_params(self) -> tuple[Tensor]:
        return (self.logits,)

    def _log_normalizer(self, x: Tensor) -> Tensor:
        """log((exp(x) - 1) / x)"""
        exact = (x <= self._lims[0] - 0.5) | (x > self._lims[1] - 0.5)
        cut = F.where(exact, x, self._lims[0] - 0.5)
        log_norm = (cut.exp() - 1.0).abs().log() - cut.abs().log()
        return F.where(exact, log_norm, 0.5 * x + x.pow(2) / 24.0 - x.pow(4) / 2880.0)
