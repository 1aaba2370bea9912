"""The von Mises distribution."""
from __future__ import annotations

import math
from typing import Any

from ..core.dtype import float64
from ..ops import F
from ..tensor import Tensor, no_grad
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, lazy_property

__all__ = ["VonMises"]


class VonMises(Distribution):
    """Angles about `loc`; a large `concentration` keeps them near it."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False
    _expands = ("loc", "concentration")

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None):
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The circular mean."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @lazy_property
    def variance(self) -> Tensor:
        """The circular variance, 1 - I1(concentration) / I0(concentration)."""
        return 1 - F.special_i1e(self.concentration) / F.special_i0e(self.concentration)

    @lazy_property
    def _proposal(self) -> Tensor:
        k = self.concentration.to(float64)
        tau = 1 + (1 + 4 * k ** 2).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * k)
        return F.where(k < 1e-5, 1 / k + k, (1 + rho ** 2) / (2 * rho))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Best and Fisher's rejection from a wrapped Cauchy distribution (1979), computed in float64."""
        shape = tuple(self._extended_shape(sample_shape))
        with no_grad():
            r, k, loc = self._proposal, self.concentration.to(float64), self.loc.to(float64)
            x, done = F.zeros(shape, dtype=float64), F.zeros(shape) > 0
            while not bool(done.all()):
                u1, u2, u3 = F.rand((3, *shape), dtype=float64).unbind()
                z = (math.pi * u1).cos()
                f = (1 + r * z) / (r + z)
                c = k * (r - f)
                accept = (c * (2 - c) - u2 > 0) | ((c / u2).log() + 1 - c >= 0)
                x = F.where(accept, (u3 - 0.5).sign() * f.acos(), x)
                done = done | accept
            return ((x + math.pi + loc) % (2 * math.pi) - math.pi).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        k = self.concentration
        return k * ((value - self.loc).cos() - 1) - math.log(2 * math.pi) - F.special_i0e(k).log()
