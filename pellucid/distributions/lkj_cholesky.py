"""The LKJ distribution of correlation matrices, as Cholesky factors (Lewandowski, Kurowicka and Joe, 2009)."""
from __future__ import annotations

import math
from typing import Any

from ..core.dtype import finfo
from ..core.errors import fail
from ..ops import F
from ..tensor import Tensor, no_grad
from . import constraints
from .beta import Beta
from .distribution import Distribution
from .utils import broadcast_all

__all__ = ["LKJCholesky"]


class LKJCholesky(Distribution):
    """Cholesky factors of `dim` by `dim` correlation matrices C with density proportional to |C|**(concentration - 1)."""

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky
    _expands = ("concentration", "_beta")

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None):
        if dim < 2:
            fail(ValueError, "P675", f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        dtype = self.concentration.dtype
        # One beta distribution for each row of the factor: its share of length before the diagonal.
        offset = F.cat([F.zeros((1,), dtype=dtype), F.arange(dim - 1, dtype=dtype)])
        marginal = self.concentration + 0.5 * (dim - 2)
        self._beta = Beta(offset + 0.5, marginal.unsqueeze(-1) - 0.5 * offset)
        super().__init__(self.concentration.shape, (dim, dim), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(LKJCholesky, _instance)
        new.dim = self.dim
        new.concentration = self.concentration.expand(tuple(batch_shape))
        new._beta = self._beta.expand((*batch_shape, self.dim))
        Distribution.__init__(new, batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """By the onion method: row by row, a direction and a length."""
        with no_grad():
            y = self._beta.sample(sample_shape).unsqueeze(-1)
            direction = F.randn(tuple(self._extended_shape(sample_shape)), dtype=y.dtype).tril(-1)
            direction = direction / direction.norm(dim=-1, keepdim=True)
            direction[..., 0, :] = 0.0      # 0 / 0: the first row is all diagonal
            rows = y.sqrt() * direction
            diagonal = (1 - (rows ** 2).sum(-1)).clamp(min=finfo(rows.dtype).tiny).sqrt()
            return rows + diagonal.diag_embed()

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        dtype = self.concentration.dtype
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - F.arange(2, self.dim + 1, dtype=dtype)
        density = (order * value.diagonal(dim1=-1, dim2=-2)[..., 1:].log()).sum(-1)
        n = self.dim - 1
        alpha = self.concentration + 0.5 * n
        bottom = F.lgamma(alpha) * n
        top = F.mvlgamma(alpha - 0.5, n)
        return density - (0.5 * n * math.log(math.pi) + top - bottom)
