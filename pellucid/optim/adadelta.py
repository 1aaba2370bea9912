"""Adadelta: steps in the units of the parameter, from running averages of squared gradients and squared steps.

In: parameters with gradients. Out: parameters moved; state "step", "square_avg" and "acc_delta".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from ..tensor.updates import scratch_like, temporary, update
from ._update import (
    ElementwiseOptimizer,
    add_,
    add_square_,
    advance,
    as_scalar_state,
    check,
    check_lr,
    constants,
    descent,
    descent_tensor,
    number,
    scalar_state,
    to_scalar,
    zeros_like,
)
from .optimizer import ParamsT

__all__ = ["Adadelta"]


class Adadelta(ElementwiseOptimizer):
    """``v = rho * v + (1 - rho) * g**2``; ``d = sqrt(u + eps) / sqrt(v + eps) * g``; u likewise of d; ``p -= lr * d``.

    Zeiler, arXiv:1212.5701.

    Args:
        params: parameters, named parameters or groups.
        lr: scales the step, a number or a one-element tensor.
        rho: decay rate of both averages, in [0, 1].
        eps: keeps the roots from zero.
        weight_decay: adds ``weight_decay * p`` to the gradient (L2 penalty).
        foreach: accepted; every update takes the same path here.
        capturable: for device graphs; not on the CPU.
        maximize: climb instead of descending.
        differentiable: let autograd record the step.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check(0.0 <= rho <= 1.0, f"Invalid rho value: {rho}")
        check(eps >= 0.0, f"Invalid epsilon value: {eps}")
        check(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("foreach", None)
            group.setdefault("maximize", False)
            group.setdefault("differentiable", False)
            group.setdefault("capturable", False)
            as_scalar_state((self.state.get(p, {}) for p in group["params"]), "step")

    def _new_state(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": scalar_state(0), "square_avg": zeros_like(p), "acc_delta": zeros_like(p)}

    def _update_arrays(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        square_avg, acc_delta, rho = state["square_avg"], state["acc_delta"], group["rho"]
        advance(state["step"])
        hyper = constants(p._a, group["lr"], rho, 1 - rho, group["eps"])
        update(_adadelta, p._a, g._a, square_avg._a, acc_delta._a, hyper=hyper, weight_decay=group["weight_decay"],
               maximize=group["maximize"])
        for t in (p, square_avg, acc_delta):
            t._bump()

    def _update_tensors(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        square_avg, acc_delta = state["square_avg"], state["acc_delta"]
        lr, rho, eps = to_scalar(group["lr"]), group["rho"], group["eps"]
        state["step"].add_(1)
        g = descent_tensor(p, g, group["weight_decay"], group["maximize"])
        add_square_(square_avg.mul_(rho), g, 1 - rho)
        delta = acc_delta.add(eps).sqrt() / square_avg.add(eps).sqrt() * g
        add_square_(acc_delta.mul_(rho), delta, 1 - rho)
        add_(p, delta, -number(lr))


def _adadelta(
    p: np.ndarray,
    g: np.ndarray,
    square_avg: np.ndarray,
    acc_delta: np.ndarray,
    *,
    hyper: list[np.ndarray],
    weight_decay: float,
    maximize: bool,
) -> None:
    lr, rho, rest, eps = hyper
    if weight_decay != 0 or maximize:
        g = descent(p, g, weight_decay, maximize)
    s, delta = scratch_like(p), temporary(p)
    square_avg *= rho
    np.multiply(g, g, s)
    s *= rest
    square_avg += s

    np.add(square_avg, eps, s)
    np.sqrt(s, s)
    np.add(acc_delta, eps, delta)
    np.sqrt(delta, delta)
    delta /= s
    delta *= g

    acc_delta *= rho
    np.multiply(delta, delta, s)
    s *= rest
    acc_delta += s
    delta *= lr
    p -= delta
