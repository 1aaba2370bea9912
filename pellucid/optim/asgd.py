"""Averaged stochastic gradient descent: SGD with a decaying rate, and the average of the parameters on the side.

In: parameters with gradients. Out: parameters moved; state "step", "eta" (the rate), "mu" (the average's rate) and "ax",
the average, which the user may copy into the model. What stays true: "ax" is the parameter itself up to step t0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from ..tensor import functions as T
from ..tensor.updates import scratch_like, update
from ._update import (
    ElementwiseOptimizer,
    add_,
    advance,
    as_scalar_state,
    check,
    check_lr,
    constants,
    count,
    descent,
    descent_tensor,
    greater,
    number,
    scalar_state,
    to_scalar,
    value_of,
    write,
    zeros_like,
)
from .optimizer import ParamsT

__all__ = ["ASGD"]


class ASGD(ElementwiseOptimizer):
    """``p = (1 - lambd * eta) * p - eta * g``; ``ax += mu * (p - ax)`` (Polyak and Juditsky 1992).

    ``eta = lr / (1 + lambd * lr * step)**alpha`` and ``mu = 1 / max(1, step - t0)`` are set after each step.

    Args:
        params: parameters, named parameters or groups.
        lr: first rate, a number or a one-element tensor.
        lambd: decay term.
        alpha: power of the rate's decay.
        t0: the step at which averaging starts.
        weight_decay: adds ``weight_decay * p`` to the gradient (L2 penalty).
        foreach: accepted; every update takes the same path here.
        maximize: climb instead of descending.
        differentiable: let autograd record the step.
        capturable: for device graphs; not on the CPU.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
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
            as_scalar_state((self.state.get(p, {}) for p in group["params"]), "step", "eta", "mu")

    def _new_state(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": scalar_state(0),
            "eta": scalar_state(number(to_scalar(group["lr"]))),
            "mu": scalar_state(1),
            "ax": zeros_like(p),
        }

    def _update_arrays(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        ax, eta, mu = state["ax"], state["eta"], state["mu"]
        rate, share = float(eta._a), float(mu._a)
        step = advance(state["step"])
        hyper = constants(p._a, rate, 1 - group["lambd"] * rate, share)
        update(_asgd, p._a, g._a, ax._a, hyper=hyper, weight_decay=group["weight_decay"], maximize=group["maximize"])
        p._bump()
        ax._bump()
        next_eta, next_mu = _next_rates(group, step)
        write(eta, next_eta)
        write(mu, next_mu)

    def _update_tensors(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        ax, eta, mu = state["ax"], state["eta"], state["mu"]
        rate, share = value_of(eta), value_of(mu)
        step = count(state["step"])
        g = descent_tensor(p, g, group["weight_decay"], group["maximize"])
        p.mul_(1 - group["lambd"] * rate)
        add_(p, g, -rate)
        if isinstance(share, Tensor):  # traced
            ax.copy_(T.where(share == 1, p, ax + (p - ax) * share))
            lr = to_scalar(group["lr"])
            eta.copy_(lr / (1 + group["lambd"] * lr * step) ** group["alpha"])
            mu.copy_(1 / greater(step - group["t0"], 1))
            return
        if share == 1:
            ax.copy_(p)
        else:
            ax.add_(p.sub(ax).mul_(share))
        next_eta, next_mu = _next_rates(group, step)
        eta.fill_(next_eta)
        mu.fill_(next_mu)


def _next_rates(group: dict[str, Any], step: float) -> tuple[float, float]:
    """eta and mu for the step after `step`."""
    lr = to_scalar(group["lr"])
    eta = lr / (1 + group["lambd"] * lr * step) ** group["alpha"]
    mu = 1 / max(1, step - group["t0"])
    # Rounded as a new scalar is, also where a loaded state dict gave eta and mu the parameter's dtype.
    return scalar_state(number(eta)).item(), scalar_state(mu).item()


def _asgd(
    p: np.ndarray,
    g: np.ndarray,
    ax: np.ndarray,
    *,
    hyper: list[np.ndarray],
    weight_decay: float,
    maximize: bool,
) -> None:
    rate, shrink, share = hyper
    if weight_decay != 0 or maximize:
        g = descent(p, g, weight_decay, maximize)
    s = scratch_like(p)
    p *= shrink
    np.multiply(g, rate, s)
    p -= s
    if share == 1:
        ax[...] = p
    else:
        np.subtract(p, ax, s)
        s *= share
        ax += s
