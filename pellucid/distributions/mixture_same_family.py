"""Mixtures of distributions of one family."""
from __future__ import annotations

from typing import Any

from ..core.errors import fail
from ..ops import F
from ..tensor import Size, Tensor, no_grad
from . import constraints
from .categorical import Categorical
from .distribution import Distribution

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """`component_distribution`, whose last batch dimension is the component, chosen by the Categorical `mixture_distribution`."""

    arg_constraints: dict = {}
    has_rsample = False

    def __init__(self, mixture_distribution: Categorical, component_distribution: Distribution, validate_args: bool | None = None):
        mixture, component = mixture_distribution, component_distribution
        if not isinstance(mixture, Categorical):
            fail(ValueError, "P695", " The Mixture distribution needs to be an  instance of torch.distributions.Categorical")
        if not isinstance(component, Distribution):
            fail(ValueError, "P695", "The Component distribution need to be an instance of torch.distributions.Distribution")
        batch = component.batch_shape[:-1]
        if any(a != 1 and b != 1 and a != b for a, b in zip(mixture.batch_shape[::-1], batch[::-1])):
            fail(ValueError, "P695", f"`mixture_distribution.batch_shape` ({mixture.batch_shape}) is not compatible with "
                 f"`component_distribution.batch_shape`({batch})")
        if mixture.param_shape[-1] != component.batch_shape[-1]:
            fail(ValueError, "P695", f"`mixture_distribution component` ({mixture.param_shape[-1]}) does not equal "
                 f"`component_distribution.batch_shape[-1]` ({component.batch_shape[-1]})")
        self._mixture_distribution, self._component_distribution = mixture, component
        self._num_component, self._event_ndims = component.batch_shape[-1], len(component.event_shape)
        super().__init__(batch, component.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(MixtureSameFamily, _instance)
        shape = Size(batch_shape)
        new._component_distribution = self._component_distribution.expand(shape + (self._num_component,))
        new._mixture_distribution = self._mixture_distribution.expand(shape)
        new._num_component, new._event_ndims = self._num_component, self._event_ndims
        Distribution.__init__(new, shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @constraints.dependent_property
    def support(self) -> Any:
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Categorical:
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        return self._component_distribution

    def _weighted(self, values: Tensor) -> Tensor:
        probs = self._with_event(self.mixture_distribution.probs)
        return (probs * values).sum(-1 - self._event_ndims)

    @property
    def mean(self) -> Tensor:
        return self._weighted(self.component_distribution.mean)

    @property
    def variance(self) -> Tensor:
        """The mean of the variances plus the variance of the means."""
        component = self.component_distribution
        spread = (component.mean - self.mean.unsqueeze(-1 - self._event_ndims)).pow(2)
        return self._weighted(component.variance) + self._weighted(spread)

    def cdf(self, x: Tensor) -> Tensor:
        return (self.component_distribution.cdf(x.unsqueeze(-1 - self._event_ndims)) * self.mixture_distribution.probs).sum(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(x)
        each = self.component_distribution.log_prob(x.unsqueeze(-1 - self._event_ndims))
        return (each + F.log_softmax(self.mixture_distribution.logits, -1)).logsumexp(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            dim = len(sample_shape) + len(self.batch_shape)
            chosen = self.mixture_distribution.sample(sample_shape)
            every = self.component_distribution.sample(sample_shape)
            lead = tuple(sample_shape) + tuple(self.batch_shape)
            index = chosen.reshape(tuple(chosen.shape) + (1,) * (self._event_ndims + 1)).expand(lead + (1,) + tuple(self.event_shape))
            return every.gather(dim, index).squeeze(dim)

    def _with_event(self, x: Tensor) -> Tensor:
        return x.reshape(tuple(x.shape) + (1,) * self._event_ndims)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
