"""RAdam: Adam whose adaptive denominator is used only once its variance is tractable.

In: parameters with gradients. Out: parameters moved; state "step", "exp_avg" and "exp_avg_sq".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tensor import Tensor
from ..tensor import functions as T
from ..tensor.updates import scratch_like, temporary, update
from ._update import (
    ElementwiseOptimizer,
    add_square_,
    advance,
    as_scalar_state,
    check,
    check_betas,
    check_lr,
    constants,
    count,
    descent,
    descent_tensor,
    given,
    lerp,
    lerp_,
    scalar_state,
    to_scalar,
    zeros_like,
)
from .optimizer import ParamsT

__all__ = ["RAdam"]


class RAdam(ElementwiseOptimizer):
    """Adam's averages m and v; the step is ``lr * m'`` until the length rho of v's memory exceeds 5.

    From then on it is ``lr * m' * r * sqrt(1 - b2**step) / (sqrt(v) + eps)`` with the rectification r(rho) of
    Liu et al., arXiv:1908.03265.

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, a number or a one-element tensor.
        betas: decay rates of the two averages.
        eps: keeps the denominator from zero.
        weight_decay: adds ``weight_decay * p`` to the gradient (L2 penalty).
        decoupled_weight_decay: shrink p by ``lr * weight_decay`` instead.
        foreach: accepted; every update takes the same path here.
        maximize: climb instead of descending.
        capturable: for device graphs; not on the CPU.
        differentiable: let autograd record the step.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
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
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("foreach", None)
            group.setdefault("maximize", False)
            group.setdefault("differentiable", False)
            group.setdefault("decoupled_weight_decay", False)
            group.setdefault("capturable", False)
            as_scalar_state((self.state.get(p, {}) for p in group["params"]), "step")

    def _new_state(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": scalar_state(0), "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def _update_arrays(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        lr, weight_decay = to_scalar(group["lr"]), group["weight_decay"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        step = advance(state["step"])
        rectified = _rectification(beta2, step)

        a = p._a
        hyper = constants(
            a, 1 - beta1, beta2, 1 - beta2, group["eps"], 1 - beta1**step, lr, 1.0 if rectified is None else rectified
        )
        shrink = l2 = 0
        if weight_decay != 0:
            if group["decoupled_weight_decay"]:
                (shrink,) = constants(a, 1 - lr * weight_decay)
            else:
                l2 = weight_decay
        update(_radam, a, g._a, m._a, v._a, hyper=hyper, adaptive=rectified is not None, shrink=shrink, weight_decay=l2,
               maximize=group["maximize"])
        for t in (p, m, v):
            t._bump()

    def _update_tensors(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        lr, weight_decay = to_scalar(group["lr"]), group["weight_decay"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        step = count(state["step"])
        if group["decoupled_weight_decay"] and given(weight_decay):
            p.mul_(1 - lr * weight_decay)
            weight_decay = 0
        g = descent_tensor(p, g, weight_decay, group["maximize"])
        lerp_(m, g, 1 - beta1)
        add_square_(v.mul_(beta2), g, 1 - beta2)
        update = m / (1 - beta1**step) * lr
        rectified = _rectification(beta2, step)
        if isinstance(rectified, Tensor):  # traced: NaN stands for None
            update = T.where(rectified.isnan(), update, update / (v.sqrt() + group["eps"]) * rectified)
        elif rectified is not None:
            update = update * (rectified / (v.sqrt() + group["eps"]))
        p.sub_(update)


def _rectification(beta2: float, step: float | Tensor) -> float | Tensor | None:
    """Factor of the adaptive step, with v's bias correction in it; None while v says too little (NaN for a tracer)."""
    bias2 = 1 - beta2**step
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * step * beta2**step / bias2
    if isinstance(rho, Tensor):
        rho = rho.masked_fill(rho <= 5.0, math.nan)
    elif not rho > 5.0:
        return None
    return ((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho) * bias2) ** 0.5


def _radam(
    p: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    hyper: list[np.ndarray],
    adaptive: bool,
    shrink: np.ndarray | int,
    weight_decay: float,
    maximize: bool,
) -> None:
    rate1, beta2, rate2, eps, bias1, lr, rectified = hyper
    if shrink != 0:
        p *= shrink
    if weight_decay != 0 or maximize:
        g = descent(p, g, weight_decay, maximize)
    s, update = scratch_like(p), temporary(p)
    lerp(m, g, rate1, s)
    v *= beta2
    np.multiply(g, g, s)
    s *= rate2
    v += s
    np.divide(m, bias1, update)
    update *= lr
    if adaptive:
        np.sqrt(v, s)
        s += eps
        update /= s
        update *= rectified
    p -= update
