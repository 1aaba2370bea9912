"""The relaxed Bernoulli distribution: yes and no with gradients (Maddison et al., 2017; Jang et al., 2017)."""
from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import constraints
from .bernoulli import _YesNo, take_probability
from .distribution import Distribution
from .transformed_distribution import TransformedDistribution
from .transforms import SigmoidTransform
from .utils import broadcast_all, clamp_probs, uniform

__all__ = ["LogitRelaxedBernoulli", "RelaxedBernoulli"]


class LogitRelaxedBernoulli(_YesNo, Distribution):
    """The log odds of RelaxedBernoulli's numbers."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.real
    _expands = ("probs", "logits", "_param")
    has_rsample = True

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        take_probability(self, probs, logits)
        (self.temperature,) = broadcast_all(temperature)
        super().__init__(self._param.shape, validate_args=validate_args)

    def _expand_rest(self, new: Any) -> None:
        new.temperature = self.temperature

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        p = clamp_probs(self.probs.expand(shape))
        u = clamp_probs(uniform(shape, p))
        return (u.log() - (-u).log1p() + p.log() - (-p).log1p()) / self.temperature

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        far = logits - value * self.temperature
        return self.temperature.log() + far - 2 * far.exp().log1p()


class Relaxed(TransformedDistribution):
    """Transformed samples of a distribution that has a temperature and probabilities, which are its own too."""

    @property
    def temperature(self) -> Tensor:
        return self.base_dist.temperature

    @property
    def logits(self) -> Tensor:
        return self.base_dist.logits

    @property
    def probs(self) -> Tensor:
        return self.base_dist.probs


class RelaxedBernoulli(Relaxed):
    """Numbers in (0, 1) that a low `temperature` pushes to the ends."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    _expands = ("base_dist",)

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        super().__init__(LogitRelaxedBernoulli(temperature, probs, logits), SigmoidTransform(), validate_args=validate_args)
