"""Adagrad: steps divided by the root of the sum of all squared gradients.

In: parameters with gradients. Out: parameters moved; state "step" and "sum".
What stays true: the state exists from construction on, before the first step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from ..tensor import functions as T
from ..tensor.updates import scratch_like, update
from ._update import (
    ElementwiseOptimizer,
    add_entries_,
    add_quotient_,
    advance,
    as_scalar_state,
    check,
    check_fused,
    check_fused_options,
    check_lr,
    constants,
    count,
    descent,
    descent_tensor,
    number,
    scalar_state,
    to_scalar,
)
from .optimizer import ParamsT

__all__ = ["Adagrad"]


class Adagrad(ElementwiseOptimizer):
    """``sum += g**2``; ``p -= lr / (1 + (step - 1) * lr_decay) * g / (sqrt(sum) + eps)`` (Duchi et al. 2011).

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, a number or a one-element tensor.
        lr_decay: lowers the rate with the number of steps.
        weight_decay: adds ``weight_decay * p`` to the gradient (L2 penalty).
        initial_accumulator_value: where the sum starts.
        eps: keeps the denominator from zero.
        foreach, fused: accepted; every update takes the same path here.
        maximize: climb instead of descending.
        differentiable: let autograd record the step.
    """

    _sparse = True

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check(lr_decay >= 0.0, f"Invalid lr_decay value: {lr_decay}")
        check(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        check(
            initial_accumulator_value >= 0.0,
            f"Invalid initial_accumulator_value value: {initial_accumulator_value}",
        )
        check(eps >= 0.0, f"Invalid epsilon value: {eps}")
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_fused_options(self, fused, foreach, differentiable)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p].update(self._new_state(p, p, group))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("foreach", None)
            group.setdefault("maximize", False)
            group.setdefault("differentiable", False)
            group.setdefault("fused", None)
        as_scalar_state((s for s in self.state.values() if isinstance(s, dict)), "step")

    def share_memory(self) -> None:
        """Move the sums to shared memory, so that worker processes update the same ones."""
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["sum"].share_memory_()

    def _new_state(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        start = self.defaults["initial_accumulator_value"]
        start = complex(start, start) if p.is_complex() else start
        total = T.full_like(p, start)
        return {"step": scalar_state(0, group["fused"]), "sum": total}

    def _state_of(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        if group["fused"]:
            check_fused(p)
        return super()._state_of(p, g, group)

    def _update_arrays(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        total = state["sum"]
        rate = to_scalar(group["lr"]) / (1 + (advance(state["step"]) - 1) * group["lr_decay"])
        hyper = constants(p._a, rate, group["eps"])
        update(_adagrad, p._a, g._a, total._a, hyper=hyper, weight_decay=group["weight_decay"], maximize=group["maximize"])
        p._bump()
        total._bump()

    def _update_tensors(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        step = count(state["step"])
        rate = to_scalar(group["lr"]) / (1 + (step - 1) * group["lr_decay"])
        if g.is_sparse:
            return self._update_entries(p, g.coalesce(), state, group, number(rate))
        g = descent_tensor(p, g, group["weight_decay"], group["maximize"])
        root = state["sum"].addcmul_(g, g).sqrt() + group["eps"]
        add_quotient_(p, g, root, -number(rate))

    def _update_entries(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any], rate: float) -> None:
        """The update of what a sparse gradient names: the rest stays as it is."""
        if group["weight_decay"] != 0:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        g = -g if group["maximize"] else g
        values = g._values()
        add_entries_(state["sum"], g, values * values)
        root = state["sum"].sparse_mask(g)._values().sqrt() + group["eps"]
        add_entries_(p, g, values / root * -rate)


def _adagrad(
    p: np.ndarray,
    g: np.ndarray,
    total: np.ndarray,
    *,
    hyper: list[np.ndarray],
    weight_decay: float,
    maximize: bool,
) -> None:
    rate, eps = hyper
    if weight_decay != 0 or maximize:
        g = descent(p, g, weight_decay, maximize)
    s = scratch_like(p)
    np.multiply(g, g, s)
    total += s
    np.sqrt(total, s)
    s += eps
    np.divide(g, s, s)
    s *= rate
    p -= s
