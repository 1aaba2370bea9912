"""The generalised Pareto distribution."""
from __future__ import annotations

import math
from typing import Any

from ..ops import F
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, uniform

__all__ = ["GeneralizedPareto"]


class GeneralizedPareto(Distribution):
    """Excesses over `loc` in units of `scale`; `concentration` is the shape of the tail, 0 for an exponential one."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real}
    has_rsample = True
    _expands = ("loc", "scale", "concentration")

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None):
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        upper = F.where(self.concentration < 0, self.loc - self.scale / self.concentration, math.inf)
        return constraints.interval(self.loc, upper)

    def _shape(self) -> tuple[Tensor, Tensor]:
        """Where the tail is exponential, and a concentration that is not 0."""
        zero = F.isclose(self.concentration, F.zeros_like(self.concentration))
        return zero, F.where(zero, 1.0, self.concentration)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.icdf(uniform(self._extended_shape(sample_shape), self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        y = (value - self.loc) / self.scale
        zero, c = self._shape()
        return -self.scale.log() - F.where(zero, y, (1 + 1 / c) * F.where(zero, 0.0, c * y).log1p())

    def log_survival_function(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of a sample above `value`."""
        if self._validate_args:
            self._validate_sample(value)
        y = (value - self.loc) / self.scale
        zero, c = self._shape()
        return F.where(zero, -y, -F.where(zero, 0.0, c * y).log1p() / c)

    def log_cdf(self, value: Tensor) -> Tensor:
        return (-self.log_survival_function(value).exp()).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        return self.log_cdf(value).exp()

    def icdf(self, value: Tensor) -> Tensor:
        zero, c = self._shape()
        log_left = (-value).log1p()
        return self.loc + self.scale * F.where(zero, -log_left, (-c * log_left).expm1() / c)

    @property
    def mean(self) -> Tensor:
        c = self.concentration
        return F.where(c < 1, self.loc + self.scale / (1 - F.where(c < 1, c, 0.0)), math.nan)

    @property
    def variance(self) -> Tensor:
        c = self.concentration
        safe = F.where(c < 0.5, c, 0.0)
        return F.where(c < 0.5, self.scale ** 2 / ((1 - safe) ** 2 * (1 - 2 * safe)), math.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    def entropy(self) -> Tensor:
        return self.scale.log() + self.concentration + 1
