"""Muon: momentum steps made orthogonal, for the matrices inside a network.

In: two-dimensional parameters with gradients. Out: parameters moved; state "momentum_buffer".
What stays true: the orthogonalisation runs in bfloat16, whatever the parameter's dtype, as its authors do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..tensor import Tensor, no_grad
from ..tensor import functions as T
from ._traced import real, seen_by_tracer, tracing
from ._update import add_, check, greater, lerp_, number, to_scalar, zeros_like
from .optimizer import Optimizer, ParamsT, evaluate

__all__ = ["Muon"]


class Muon(Optimizer):
    """``b = lerp(b, g, 1 - momentum)``; ``p -= lr' * orthogonal(lerp(g, b, momentum))`` (Jordan et al. 2024).

    Args:
        params: matrices; use another optimiser for biases, embeddings and the like.
        lr: learning rate.
        weight_decay: shrink p by ``lr * weight_decay`` first.
        momentum: of the buffer b.
        nesterov: orthogonalise ``lerp(g, b, momentum)``; otherwise b itself.
        ns_coefficients: the three coefficients of the Newton-Schulz iteration.
        eps: least norm that the matrix is divided by.
        ns_steps: number of iterations, less than 100.
        adjust_lr_fn: how lr grows with the matrix: "original" (the default), ``sqrt(max(1, rows / columns))``, or
            "match_rms_adamw", ``0.2 * sqrt(max(rows, columns))`` (Moonshot, arXiv:2502.16982).
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check(not isinstance(lr, Tensor) or lr.numel() == 1, "Tensor lr must be 1-element")
        check(lr >= 0.0, f"Learning rate should be >= 0 but is: {lr}")
        check(momentum >= 0.0, f"momentum should be >= 0 but is: {momentum}")
        check(weight_decay >= 0.0, f"weight decay should be >= 0 but is: {weight_decay}")
        check(
            adjust_lr_fn in (None, "original", "match_rms_adamw"),
            f"Adjust learning rate function {adjust_lr_fn} is not supported",
        )
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                check(
                    p.dim() == 2,
                    f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}",
                )

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns what `closure` (which recomputes the loss) returns."""
        loss = evaluate(closure)
        for group in self.param_groups:
            work = [(p, p.grad, self._buffer_of(p, p.grad)) for p in group["params"] if p.grad is not None]
            group = seen_by_tracer(group) if tracing() else group
            lr, momentum = to_scalar(group["lr"]), group["momentum"]
            for p, g, buffer in work:
                lerp_(buffer, g, 1 - momentum)
                update = lerp_(g.clone(), buffer, momentum) if group["nesterov"] else buffer
                update = _orthogonal(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
                p.mul_(1 - lr * group["weight_decay"])
                add_(p, update, -number(lr * _growth(group["adjust_lr_fn"], *p.shape)))
        return loss

    def _buffer_of(self, p: Tensor, g: Tensor) -> Tensor:
        if p.is_complex():
            raise RuntimeError("Muon does not support complex parameters")
        if g.is_sparse:
            raise RuntimeError("Muon does not support sparse gradients")
        check(g.dim() == 2, "Param gradient must be a 2D matrix")
        state = self.state[p]
        if "momentum_buffer" not in state:
            with real():
                state["momentum_buffer"] = zeros_like(p)
        return state["momentum_buffer"]


def _growth(adjust_lr_fn: str | None, rows: int, columns: int) -> float:
    """What the learning rate is multiplied by for a matrix of this size."""
    if adjust_lr_fn == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))


def _orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """The nearest (semi-)orthogonal matrix, roughly: a quintic Newton-Schulz iteration drives singular values to 1."""
    check(steps < 100, "Number of steps must be less than 100 for computational efficiency")
    check(len(coefficients) == 3, "Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.bfloat16()
    x = x.t() if tall else x
    x = x / (greater(x.norm(), eps) if tracing() else x.norm().clamp(min=eps))
    for _ in range(steps):
        gram = x @ x.t()
        quadratic = T.addmm(gram, gram, gram, beta=b, alpha=c)
        x = T.addmm(x, quadratic, x, beta=a)
    return x.t() if tall else x
