"""Rprop: each element has its own step size, which grows while the gradient keeps its sign and shrinks when it flips.

In: parameters with gradients (of the full batch: only their signs count). Out: parameters moved; state "step", "prev"
(the last gradient, zero where it flipped) and "step_size". What stays true: an element whose gradient flipped rests.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from ..tensor import functions as T
from ..tensor.updates import scratch_like, update
from ._update import (
    ElementwiseOptimizer,
    advance,
    as_scalar_state,
    check,
    check_lr,
    constants,
    number,
    scalar_state,
    to_scalar,
    zeros_like,
)
from ._traced import tracing
from .optimizer import ParamsT

__all__ = ["Rprop"]


class Rprop(ElementwiseOptimizer):
    """Resilient backpropagation (Riedmiller and Braun 1993, the variant without backtracking).

    Args:
        params: parameters, named parameters or groups.
        lr: first step size, a number or a one-element tensor.
        etas: factors of the step size after a flipped and after an equal sign, ``0 < etas[0] < 1 < etas[1]``.
        step_sizes: least and greatest step size.
        capturable: for device graphs; not on the CPU.
        foreach: accepted; every update takes the same path here.
        maximize: climb instead of descending.
        differentiable: let autograd record the step.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check(0.0 < etas[0] < 1.0 < etas[1], f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
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
        lr = number(to_scalar(group["lr"]))
        first = T.full_like(p, complex(lr, lr) if p.is_complex() else lr)
        return {"step": scalar_state(0), "prev": zeros_like(p), "step_size": first}

    def _update_arrays(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        prev, step_size = state["prev"], state["step_size"]
        advance(state["step"])
        hyper = constants(p._a, *group["etas"], *group["step_sizes"])
        update(_rprop, p._a, g._a, prev._a, step_size._a, hyper=hyper, maximize=group["maximize"])
        for t in (p, prev, step_size):
            t._bump()

    def _update_tensors(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        prev, step_size = state["prev"], state["step_size"]
        minus, plus = group["etas"]
        state["step"].add_(1)
        if group["maximize"]:
            g = -g
        agreement = g.detach() * prev.detach()  # only its sign is used, and a sign has no derivative
        if tracing():
            one = T.ones((), dtype=p.dtype)
            least, greatest = group["step_sizes"]
            factor = T.where(agreement > 0, one * plus, T.where(agreement < 0, one * minus, one))
            step_size.copy_(step_size.mul(factor).maximum(one * least).minimum(one * greatest))
        else:
            factor = T.ones_like(agreement).masked_fill_(agreement > 0, plus).masked_fill_(agreement < 0, minus)
            step_size.mul_(factor).clamp_(*group["step_sizes"])
        g = g.masked_fill(agreement < 0, 0)
        p.addcmul_(g.sign(), step_size.clone() if group["differentiable"] else step_size, value=-1)
        prev.copy_(g)


def _rprop(
    p: np.ndarray,
    g: np.ndarray,
    prev: np.ndarray,
    step_size: np.ndarray,
    *,
    hyper: list[np.ndarray],
    maximize: bool,
) -> None:
    minus, plus, least, greatest = hyper
    s = scratch_like(p)
    np.multiply(g, prev, s)
    if maximize:
        np.negative(s, s)
    grew, flipped = np.greater(s, 0), np.less(s, 0)
    np.multiply(step_size, plus, step_size, where=grew)
    np.multiply(step_size, minus, step_size, where=flipped)
    np.clip(step_size, least, greatest, step_size)

    np.negative(g, prev) if maximize else np.copyto(prev, g)
    np.copyto(prev, 0, where=flipped)
    np.sign(prev, s)
    s *= step_size
    p -= s
