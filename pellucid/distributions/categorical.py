"""The categorical distribution."""
from __future__ import annotations

from typing import Any

from ..core.dtype import finfo
from ..core.errors import fail
from ..ops import F
from ..tensor import Size, Tensor, no_grad
from . import constraints
from .distribution import Distribution
from .utils import exactly_one, lazy_property, logits_to_probs, probs_to_logits, size

__all__ = ["Categorical"]


class Categorical(Distribution):
    """One of K classes: from `probs` (normalised here) or `logits`, whose last dimension they are."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True
    _expands = ("probs", "logits", "_param")

    def __init__(self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None):
        by_probs = exactly_one(probs, logits, "`probs` or `logits`")
        given = probs if by_probs else logits
        if given.ndim < 1:
            fail(ValueError, "P693", f"`{'probs' if by_probs else 'logits'}` parameter must be at least one-dimensional.")
        if by_probs:
            self.probs = self._param = given / given.sum(-1, True)
        else:
            self.logits = self._param = given - given.logsumexp(-1, keepdim=True)
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    def _expand_rest(self, new: Any) -> None:
        new._num_events = self._num_events

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self._num_events - 1)

    @lazy_property
    def logits(self) -> Tensor:
        return probs_to_logits(self.probs)

    @lazy_property
    def probs(self) -> Tensor:
        return logits_to_probs(self.logits)

    @property
    def param_shape(self) -> Size:
        return self._param.shape

    @property
    def mean(self) -> Tensor:
        return F.full(tuple(self.batch_shape), float("nan"), dtype=self.probs.dtype)

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(-1)

    @property
    def variance(self) -> Tensor:
        return self.mean

    def sample(self, sample_shape: Any = ()) -> Tensor:
        count, rows = Size(sample_shape).numel(), self.probs
        with no_grad():
            drawn = F.multinomial(rows if rows.ndim == 2 else rows.reshape(-1, self._num_events), count, True)
            return (drawn if count == 1 else drawn.T).reshape(size(sample_shape, self._batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value, logits = value.long().unsqueeze(-1), self.logits
        if value.shape[:-1] != logits.shape[:-1]:
            value, logits = F.broadcast_tensors(value, logits)
            value = value[..., :1]
        return logits.gather(-1, value).squeeze(-1)

    def entropy(self) -> Tensor:
        return -(self.logits.clamp(min=finfo(self.logits.dtype).min) * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = F.arange(self._num_events).reshape((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1,) + tuple(self._batch_shape)) if expand else values


class OfCategorical:
    """The parameters of a distribution that has a Categorical inside, as `_categorical`."""

    _categorical: Categorical

    @property
    def probs(self) -> Tensor:
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        return self._categorical.logits

    @property
    def param_shape(self) -> Size:
        return self._categorical.param_shape
