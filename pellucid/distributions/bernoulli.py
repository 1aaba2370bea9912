"""The Bernoulli distribution; and what distributions of yes and no share."""
from __future__ import annotations

import math
from typing import Any

from ..ops import F
from ..tensor import Size, Tensor, no_grad
from . import constraints
from .exp_family import ExponentialFamily
from .utils import broadcast_all, exactly_one, lazy_property, logits_to_probs, probs_to_logits

__all__ = ["Bernoulli"]


def take_probability(self: Any, probs: Any, logits: Any, *others: Any) -> tuple[Tensor, ...]:
    """Set `self.probs` or `self.logits`, whichever is given, and `self._param` to the same; give back the broadcast others."""
    name, value = ("probs", probs) if exactly_one(probs, logits, "`probs` or `logits`") else ("logits", logits)
    value, *rest = broadcast_all(value, *others)
    setattr(self, name, value)
    self._param = value
    return tuple(rest)


class _YesNo:
    """`probs` and `logits`, each from the other."""

    @lazy_property
    def logits(self) -> Tensor:
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def param_shape(self) -> Size:
        return self._param.shape


class Bernoulli(_YesNo, ExponentialFamily):
    """1 with probability `probs`, else 0; or from log odds `logits`."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True
    _mean_carrier_measure = 0
    _expands = ("probs", "logits", "_param")

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        take_probability(self, probs, logits)
        super().__init__(self._param.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        return F.where(self.probs == 0.5, math.nan, (self.probs >= 0.5).to(self.probs.dtype))

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return F.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = F.arange(2, dtype=self._param.dtype).reshape((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1,) + tuple(self._batch_shape)) if expand else values

    @property
    def _natural_params(self) -> tuple[Tensor]:
        return (F.logit(self.probs),)

    def _log_normalizer(self, x: Tensor) -> Tensor:
        return x.exp().log1p()
