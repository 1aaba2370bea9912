"""NAdam: Adam with Nesterov momentum.

In: parameters with gradients. Out: parameters moved; state "step", "mu_product", "exp_avg" and "exp_avg_sq".
What stays true: "mu_product" is the product of all momentum coefficients used so far.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from ..tensor.updates import scratch_like, temporary, update
from ._update import (
    ElementwiseOptimizer,
    add_quotient_,
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
    number,
    scalar_state,
    to_scalar,
    value_of,
    write,
    zeros_like,
)
from .optimizer import ParamsT

__all__ = ["NAdam"]


class NAdam(ElementwiseOptimizer):
    """Adam whose step mixes the gradient and the *next* momentum (Dozat 2016).

    ``mu(t) = b1 * (1 - 0.96**(t * momentum_decay) / 2)``; with M the product of mu up to now and v' as in Adam,
    ``p -= lr * ((1 - mu(t)) / (1 - M) * g + mu(t+1) / (1 - M * mu(t+1)) * m) / (sqrt(v') + eps)``.

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, a number or a one-element tensor.
        betas: decay rates of the two averages.
        eps: keeps the denominator from zero.
        weight_decay: adds ``weight_decay * p`` to the gradient (L2 penalty).
        momentum_decay: how fast the momentum coefficient grows to b1.
        decoupled_weight_decay: shrink p by ``lr * weight_decay`` instead.
        foreach: accepted; every update takes the same path here.
        maximize: climb instead of descending.
        capturable: for device graphs; not on the CPU.
        differentiable: let autograd record the step.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check(momentum_decay >= 0.0, f"Invalid momentum_decay value: {momentum_decay}")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("maximize", False)
            group.setdefault("foreach", None)
            group.setdefault("capturable", False)
            group.setdefault("differentiable", False)
            group.setdefault("decoupled_weight_decay", False)
            as_scalar_state((self.state.get(p, {}) for p in group["params"]), "step", "mu_product")

    def _new_state(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": scalar_state(0),
            "mu_product": scalar_state(1),
            "exp_avg": zeros_like(p),
            "exp_avg_sq": zeros_like(p),
        }

    def _update_arrays(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        lr, weight_decay = to_scalar(group["lr"]), group["weight_decay"]
        m, v, product = state["exp_avg"], state["exp_avg_sq"], state["mu_product"]
        step = advance(state["step"])
        mu, mu_next = _momenta(beta1, step, group["momentum_decay"])
        write(product, product._a * mu)
        done = float(product._a)

        a = p._a
        along_g, along_m = lr * (1.0 - mu) / (1.0 - done), lr * mu_next / (1.0 - done * mu_next)
        hyper = constants(a, 1 - beta1, beta2, 1 - beta2, 1 - beta2**step, group["eps"], along_g, along_m)
        shrink = l2 = 0
        if weight_decay != 0:
            if group["decoupled_weight_decay"]:
                (shrink,) = constants(a, 1 - lr * weight_decay)
            else:
                l2 = weight_decay
        update(_nadam, a, g._a, m._a, v._a, hyper=hyper, shrink=shrink, weight_decay=l2, maximize=group["maximize"])
        for t in (p, m, v):
            t._bump()

    def _update_tensors(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        lr, weight_decay = to_scalar(group["lr"]), group["weight_decay"]
        m, v, product = state["exp_avg"], state["exp_avg_sq"], state["mu_product"]
        step = count(state["step"])
        if group["decoupled_weight_decay"] and given(weight_decay):
            p.mul_(1 - lr * weight_decay)
            weight_decay = 0
        g = descent_tensor(p, g, weight_decay, group["maximize"])
        mu, mu_next = _momenta(beta1, step, group["momentum_decay"])
        product.mul_(mu)
        lerp_(m, g, 1 - beta1)
        add_square_(v.mul_(beta2), g, 1 - beta2)
        denominator = v.div(1 - beta2**step).sqrt() + group["eps"]
        if group["differentiable"]:  # "mu_product" may need a gradient, so the coefficients are tensors
            p.addcdiv_(g * (-lr * (1.0 - mu) / (1.0 - product)), denominator)
            p.addcdiv_(m * (-lr * mu_next / (1.0 - product * mu_next)), denominator)
        else:
            done = value_of(product)
            add_quotient_(p, g, denominator, -number(lr * (1.0 - mu) / (1.0 - done)))
            add_quotient_(p, m, denominator, -number(lr * mu_next / (1.0 - done * mu_next)))


def _momenta(beta1: float, step: float, decay: float) -> tuple[float, float]:
    """The momentum coefficients of this step and of the next."""
    return beta1 * (1.0 - 0.5 * 0.96 ** (step * decay)), beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * decay))


def _nadam(
    p: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    hyper: list[np.ndarray],
    shrink: np.ndarray | int,
    weight_decay: float,
    maximize: bool,
) -> None:
    rate1, beta2, rate2, bias2, eps, along_g, along_m = hyper
    if shrink != 0:
        p *= shrink
    if weight_decay != 0 or maximize:
        g = descent(p, g, weight_decay, maximize)
    s, denominator = scratch_like(p), temporary(p)
    lerp(m, g, rate1, s)
    v *= beta2
    np.multiply(g, g, s)
    s *= rate2
    v += s
    np.divide(v, bias2, denominator)
    np.sqrt(denominator, denominator)
    denominator += eps
    for direction, rate in ((g, along_g), (m, along_m)):
        np.divide(direction, denominator, s)
        s *= rate
        p -= s
