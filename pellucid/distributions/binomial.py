"""The binomial distribution."""
from __future__ import annotations

from typing import Any

from ..core.errors import fail
from ..ops import F
from ..tensor import Tensor, no_grad
from . import constraints
from .bernoulli import _YesNo, take_probability
from .distribution import Distribution

__all__ = ["Binomial"]


class Binomial(_YesNo, Distribution):
    """Successes among `total_count` trials of probability `probs`."""

    arg_constraints = {"total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval, "logits": constraints.real}
    has_enumerate_support = True
    _expands = ("total_count", "probs", "logits", "_param")

    def __init__(self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        (count,) = take_probability(self, probs, logits, total_count)
        self.total_count = count.to(self._param.dtype)
        super().__init__(self._param.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return F.binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        choose = F.lgamma(n + 1) - F.lgamma(value + 1) - F.lgamma(n - value + 1)
        # log(1 + exp(logits)), without overflow
        return choose + value * self.logits - n * (self.logits.clamp(min=0) + (-self.logits.abs()).exp().log1p())

    def entropy(self) -> Tensor:
        self._one_count("entropy")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(log_prob.exp() * log_prob).sum(0)

    def _one_count(self, what: str) -> int:
        most = int(self.total_count.max())
        if int(self.total_count.min()) != most:
            fail(NotImplementedError, "P689", f"Inhomogeneous total count not supported by `{what}`.", got=f"total_count={self.total_count}")
        return most

    def enumerate_support(self, expand: bool = True) -> Tensor:
        count = self._one_count("enumerate_support")
        values = F.arange(1 + count, dtype=self._param.dtype).reshape((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1,) + tuple(self._batch_shape)) if expand else values
