"""The multinomial distribution."""
from __future__ import annotations

from typing import Any

from ..core.errors import fail
from ..ops import F
from ..tensor import Tensor, no_grad
from . import constraints
from .binomial import Binomial
from .categorical import Categorical, OfCategorical
from .distribution import Distribution
from .utils import broadcast_all

__all__ = ["Multinomial"]


class Multinomial(OfCategorical, Distribution):
    """How often each of K classes comes up in `total_count` draws."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    _expands = ("_categorical",)

    def __init__(self, total_count: int = 1, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None):
        if not isinstance(total_count, int):
            fail(NotImplementedError, "P678", "inhomogeneous total_count is not supported", fix="give an int")
        self.total_count = total_count
        self._categorical = Categorical(probs, logits)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def _expand_rest(self, new: Any) -> None:
        new.total_count = self.total_count

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        drawn = self._categorical.sample((self.total_count, *sample_shape))
        counts = F.zeros(tuple(self._extended_shape(sample_shape)), dtype=drawn.dtype)
        index = drawn.movedim(0, -1)
        return counts.scatter_add(-1, index, F.ones_like(index)).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        logits = logits.masked_fill((value == 0) & (logits == -float("inf")), 0)
        return F.lgamma(value.sum(-1) + 1) - F.lgamma(value + 1).sum(-1) + (logits * value).sum(-1)

    def entropy(self) -> Tensor:
        n = self.total_count
        with no_grad():
            counts = Binomial(n, probs=self.probs).enumerate_support(expand=False)[1:]
        weights = Binomial(n, probs=self.probs).log_prob(counts).exp()
        choices = (weights * F.lgamma(counts + 1)).sum((0, -1))
        return n * self._categorical.entropy() - F.lgamma(F.full((), n + 1, dtype=self.probs.dtype)) + choices
