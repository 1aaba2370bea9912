"""RMSprop: steps divided by the root of a running average of squared gradients.

In: parameters with gradients. Out: parameters moved; state "step", "square_avg", with momentum "momentum_buffer" and
when centered "grad_avg". What stays true: the root is taken before eps is added.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from ..tensor.updates import scratch_like, update
from ._update import (
    ElementwiseOptimizer,
    add_,
    add_quotient_,
    add_square_,
    advance,
    as_scalar_state,
    check,
    check_lr,
    constants,
    descent,
    descent_tensor,
    given,
    lerp,
    lerp_,
    number,
    scalar_state,
    to_scalar,
    zeros_like,
)
from .optimizer import ParamsT

__all__ = ["RMSprop"]


class RMSprop(ElementwiseOptimizer):
    """``v = alpha * v + (1 - alpha) * g**2``; ``p -= lr * g / (sqrt(v) + eps)`` (Hinton, lecture 6 of csc321).

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, a number or a one-element tensor.
        alpha: decay rate of the average.
        eps: keeps the denominator from zero.
        weight_decay: adds ``weight_decay * p`` to the gradient (L2 penalty).
        momentum: step along a buffer ``b = momentum * b + g / (sqrt(v) + eps)``.
        centered: subtract the squared running average of g from v (Graves, arXiv:1308.0850).
        capturable: for device graphs; not on the CPU.
        foreach: accepted; every update takes the same path here.
        maximize: climb instead of descending.
        differentiable: let autograd record the step.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check(eps >= 0.0, f"Invalid epsilon value: {eps}")
        check(momentum >= 0.0, f"Invalid momentum value: {momentum}")
        check(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        check(alpha >= 0.0, f"Invalid alpha value: {alpha}")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("momentum", 0)
            group.setdefault("centered", False)
            group.setdefault("foreach", None)
            group.setdefault("maximize", False)
            group.setdefault("differentiable", False)
            group.setdefault("capturable", False)
            as_scalar_state((self.state.get(p, {}) for p in group["params"]), "step")

    def _new_state(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": scalar_state(0), "square_avg": zeros_like(p)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros_like(p)
        if group["centered"]:
            state["grad_avg"] = zeros_like(p)
        return state

    def _update_arrays(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        momentum, centered, alpha = group["momentum"], group["centered"], group["alpha"]
        advance(state["step"])
        written = [p, state["square_avg"]]
        if momentum > 0:
            written.append(state["momentum_buffer"])
        if centered:
            written.append(state["grad_avg"])
        hyper = constants(p._a, group["lr"], alpha, 1 - alpha, group["eps"], momentum)
        update(_rmsprop, p._a, g._a, *[t._a for t in written[1:]], hyper=hyper, centered=centered, weight_decay=group["weight_decay"],
               maximize=group["maximize"])
        for t in written:
            t._bump()

    def _update_tensors(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        square_avg, alpha = state["square_avg"], group["alpha"]
        rate = -number(to_scalar(group["lr"]))
        state["step"].add_(1)
        g = descent_tensor(p, g, group["weight_decay"], group["maximize"])
        add_square_(square_avg.mul_(alpha), g, 1 - alpha)
        if group["centered"]:
            grad_avg = lerp_(state["grad_avg"], g, 1 - alpha)
            if group["differentiable"]:
                grad_avg = grad_avg.clone()  # written again by the next step: the graph gets a copy
            root = square_avg.addcmul(grad_avg, grad_avg, value=-1).sqrt()
        else:
            root = square_avg.sqrt()
        root = root + group["eps"]
        if given(group["momentum"]):
            buffer = state["momentum_buffer"].mul_(group["momentum"]).addcdiv_(g, root)
            add_(p, buffer, rate)
        else:
            add_quotient_(p, g, root, rate)


def _rmsprop(
    p: np.ndarray,
    g: np.ndarray,
    square_avg: np.ndarray,
    *more: np.ndarray,
    hyper: list[np.ndarray],
    centered: bool,
    weight_decay: float,
    maximize: bool,
) -> None:
    """`more`: the momentum buffer, if there is one, and the average gradient, if centered."""
    lr, alpha, rest, eps, momentum = hyper
    buffer = more[0] if len(more) > centered else None
    grad_avg = more[-1] if centered else None
    if weight_decay != 0 or maximize:
        g = descent(p, g, weight_decay, maximize)
    s = scratch_like(p)
    square_avg *= alpha
    np.multiply(g, g, s)
    s *= rest
    square_avg += s
    if grad_avg is not None:
        lerp(grad_avg, g, rest, s)
        np.multiply(grad_avg, grad_avg, s)
        np.subtract(square_avg, s, s)
        np.sqrt(s, s)
    else:
        np.sqrt(square_avg, s)
    s += eps
    np.divide(g, s, s)
    if buffer is not None:
        buffer *= momentum
        buffer += s
        np.multiply(buffer, lr, s)
    else:
        s *= lr
    p -= s
