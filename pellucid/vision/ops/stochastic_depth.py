"""Stochastic depth: drop whole residual branches while training (Huang et al. 2016, https://arxiv.org/abs/1603.09382).

In: the output of a branch. Out: the same, zeroed for a random part of the rows (or of the batches) and scaled so that its
expectation stays. True always: outside training, and with p = 0, the input itself comes back and no random number is drawn.
"""
from __future__ import annotations

import pellucid as torch
from pellucid import Tensor, nn

__all__ = ["StochasticDepth", "stochastic_depth"]


def stochastic_depth(input: Tensor, p: float, mode: str, training: bool = True) -> Tensor:
    """Zero `input` (N, ...) with probability `p`: each row by itself (mode "row") or all rows together ("batch")."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"drop probability has to be between 0 and 1, but got {p}")
    if mode not in ("batch", "row"):
        raise ValueError(f"mode has to be either 'batch' or 'row', but got {mode}")
    if not training or p == 0.0:
        return input
    survival = 1.0 - p
    rows = input.shape[0] if mode == "row" else 1
    noise = torch.empty((rows,) + (1,) * (input.ndim - 1), dtype=input.dtype, device=input.device).bernoulli_(survival)
    if survival > 0.0:
        noise.div_(survival)
    return input * noise


class StochasticDepth(nn.Module):
    """See `stochastic_depth`."""

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p = p
        self.mode = mode

    def forward(self, input: Tensor) -> Tensor:
        return stochastic_depth(input, self.p, self.mode, self.training)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p}, mode={self.mode})"
