"""Adamax: Adam with the infinity norm of past gradients as denominator.

In: parameters with gradients. Out: parameters moved; state "step", "exp_avg" and "exp_inf".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from ..tensor import functions as T
from ..tensor.updates import scratch_like, update
from ._update import (
    ElementwiseOptimizer,
    add_quotient_,
    advance,
    as_scalar_state,
    check,
    check_betas,
    check_lr,
    constants,
    count,
    descent,
    descent_tensor,
    lerp,
    lerp_,
    number,
    scalar_state,
    to_scalar,
    zeros_like,
)
from .optimizer import ParamsT

__all__ = ["Adamax"]


class Adamax(ElementwiseOptimizer):
    """``m = lerp(m, g, 1 - b1)``; ``u = max(b2 * u, |g| + eps)``; ``p -= lr / (1 - b1**step) * m / u``.

    Kingma and Ba, arXiv:1412.6980, section 7.1.

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, a number or a one-element tensor.
        betas: decay rates of the average and of the norm.
        eps: keeps the norm from zero.
        weight_decay: adds ``weight_decay * p`` to the gradient (L2 penalty).
        foreach: accepted; every update takes the same path here.
        maximize: climb instead of descending.
        differentiable: let autograd record the step.
        capturable: for device graphs; not on the CPU.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check(eps >= 0.0, f"Invalid epsilon value: {eps}")
        check_betas(betas)
        check(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
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
        return {"step": scalar_state(0), "exp_avg": zeros_like(p), "exp_inf": zeros_like(p)}

    def _update_arrays(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        exp_avg, exp_inf = state["exp_avg"], state["exp_inf"]
        beta1, beta2 = group["betas"]
        step_size = to_scalar(group["lr"]) / (1 - beta1 ** advance(state["step"]))
        hyper = constants(p._a, 1 - beta1, beta2, group["eps"], step_size)
        update(_adamax, p._a, g._a, exp_avg._a, exp_inf._a, hyper=hyper, weight_decay=group["weight_decay"], maximize=group["maximize"])
        for t in (p, exp_avg, exp_inf):
            t._bump()

    def _update_tensors(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        exp_avg, exp_inf = state["exp_avg"], state["exp_inf"]
        beta1, beta2 = group["betas"]
        step = count(state["step"])
        g = descent_tensor(p, g, group["weight_decay"], group["maximize"])
        lerp_(exp_avg, g, 1 - beta1)
        exp_inf.copy_(T.maximum(exp_inf.mul(beta2), g.abs().add_(group["eps"])))
        step_size = number(to_scalar(group["lr"]) / (1 - beta1**step))
        if group["differentiable"]:  # the averages are written again by the next step: the graph gets copies
            exp_avg, exp_inf = exp_avg.clone(), exp_inf.clone()
        add_quotient_(p, exp_avg, exp_inf, -step_size)


def _adamax(
    p: np.ndarray,
    g: np.ndarray,
    exp_avg: np.ndarray,
    exp_inf: np.ndarray,
    *,
    hyper: list[np.ndarray],
    weight_decay: float,
    maximize: bool,
) -> None:
    rate1, beta2, eps, step_size = hyper
    if weight_decay != 0 or maximize:
        g = descent(p, g, weight_decay, maximize)
    s = scratch_like(p)
    lerp(exp_avg, g, rate1, s)
    exp_inf *= beta2
    np.abs(g, s)
    s += eps
    np.maximum(exp_inf, s, out=exp_inf)
    np.divide(exp_avg, exp_inf, s)
    s *= step_size
    p -= s
