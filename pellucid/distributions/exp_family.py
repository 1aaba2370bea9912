"""Exponential families: densities exp(<t(x), parameters> - log_normalizer(parameters) + carrier(x))."""
from __future__ import annotations

from typing import Any

from ..tensor import Tensor, enable_grad
from ..tensor.autograd import grad
from .distribution import Distribution
from .utils import sum_rightmost

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """A distribution that knows its natural parameters; entropy and divergence follow from the log-normaliser's gradient."""

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Any) -> Tensor:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> Any:
        raise NotImplementedError

    def _normalizer_and_means(self) -> tuple[list[Tensor], Tensor, tuple[Tensor, ...]]:
        """The natural parameters (detached), the log-normaliser there, and its gradients: the means of t(x)."""
        with enable_grad():
            points = [p.detach().requires_grad_() for p in self._natural_params]
            value = self._log_normalizer(*points)
            return points, value, grad(value.sum(), points, create_graph=True)

    def entropy(self) -> Tensor:
        points, result, means = self._normalizer_and_means()
        result = result - self._mean_carrier_measure
        for point, mean in zip(points, means):
            result = result - sum_rightmost(point * mean, point.ndim - len(self._batch_shape))
        return result
