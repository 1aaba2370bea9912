"""Stochastic gradient descent, with momentum and Nesterov momentum.

In: parameters with gradients. Out: parameters moved against the gradient; state "momentum_buffer" only with momentum.
What stays true: the first buffer is the gradient itself (dampening starts at the second step), as in PyTorch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from ..tensor.updates import scratch_like, update
from ._update import (
    ElementwiseOptimizer,
    add,
    add_,
    add_entries_,
    check,
    check_fused,
    check_fused_options,
    constants,
    descent,
    descent_tensor,
    given,
    number,
    to_scalar,
    zeros_like,
)
from ._traced import FirstStep, real, tracing
from .optimizer import ParamsT

__all__ = ["SGD"]


class SGD(ElementwiseOptimizer):
    """``b = momentum * b + (1 - dampening) * g``; ``p -= lr * b`` (Sutskever et al. 2013, in PyTorch's form).

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, a number or a one-element tensor.
        momentum: how much of the last step is kept (0: none, and no state).
        dampening: takes away from the gradient's share in the buffer.
        weight_decay: adds ``weight_decay * p`` to the gradient (L2 penalty).
        nesterov: step along ``g + momentum * b``; needs momentum and no dampening.
        maximize: climb instead of descending.
        foreach: accepted; every update takes the same path here.
        differentiable: let autograd record the step.
        fused: as `foreach`; for floating-point parameters, and with a gradient scaler's unscaling inside the step.
    """

    _sparse = True
    _plain_kinds = "fdFD"  # the update is linear: complex numbers need no special care

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check(not isinstance(lr, Tensor) or lr.numel() == 1, "Tensor lr must be 1-element")
        check(not lr < 0.0, f"Invalid learning rate: {lr}", "a rate is 0 or more, as in lr=1e-3")
        check(not momentum < 0.0, f"Invalid momentum value: {momentum}")
        check(not weight_decay < 0.0, f"Invalid weight_decay value: {weight_decay}")
        check(
            not nesterov or (momentum > 0 and dampening == 0),
            "Nesterov momentum requires a momentum and zero dampening",
        )
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_fused_options(self, fused, foreach, differentiable)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("nesterov", False)
            group.setdefault("maximize", False)
            group.setdefault("foreach", None)
            group.setdefault("differentiable", False)
            group.setdefault("fused", False)

    def _state_of(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        if group["fused"]:
            check_fused(p)
        if group["momentum"] == 0:  # without momentum a parameter leaves no state
            return {}
        state = self.state[p]
        if tracing() and state.get("momentum_buffer") is None:
            if group["dampening"] != 0:
                raise FirstStep("the first step of SGD with dampening takes another path than all later ones")
            with real():
                state["momentum_buffer"] = zeros_like(p)
        return state

    def _update_arrays(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        momentum = group["momentum"]
        options = {"hyper": constants(p._a, group["lr"]), "weight_decay": number(group["weight_decay"]), "maximize": group["maximize"]}
        if momentum == 0:
            update(_descend, p._a, g._a, **options)
            p._bump()
            return
        buffer, share = state.get("momentum_buffer"), 1 - group["dampening"]
        if buffer is None:
            buffer, share = g.detach().clone(), None
            state["momentum_buffer"] = buffer
        update(_descend, p._a, g._a, buffer._a, **options, momentum=number(momentum), share=share, nesterov=group["nesterov"])
        p._bump()
        buffer._bump()

    def _update_tensors(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        momentum, lr = group["momentum"], to_scalar(group["lr"])
        if g.is_sparse:
            g = g.coalesce()
        g = descent_tensor(p, g, group["weight_decay"], group["maximize"])
        if given(momentum):
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = g.detach().clone()
            else:
                add_(buffer.mul_(momentum), g, 1 - group["dampening"])
            g = add(g, buffer, momentum) if group["nesterov"] else buffer
        if isinstance(lr, Tensor) and lr.requires_grad:
            p.addcmul_(g, lr, value=-1)
        elif g.is_sparse:
            add_entries_(p, g, g._values() * -number(lr))
        else:
            add_(p, g, -number(lr))


def _descend(
    p: np.ndarray,
    g: np.ndarray,
    buffer: np.ndarray | None = None,
    *,
    hyper: list[np.ndarray],
    weight_decay: float,
    maximize: bool,
    momentum: float = 0,
    share: float | None = None,
    nesterov: bool = False,
) -> None:
    """p -= lr * direction; buffer = momentum * buffer + share * g, or g itself at the first step (no share)."""
    (lr,) = hyper
    if weight_decay != 0 or maximize:
        g = descent(p, g, weight_decay, maximize)
    s = scratch_like(p)
    direction = g
    if buffer is not None:
        if share is None:
            buffer[...] = g
        else:
            buffer *= momentum
            if share == 1:
                buffer += g
            else:
                np.multiply(g, share, s)
                buffer += s
        direction = g + buffer * momentum if nesterov else buffer
    np.multiply(direction, lr, s)
    p -= s
