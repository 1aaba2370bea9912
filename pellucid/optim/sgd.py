"""Stochastic gradient descent, with momentum and Nesterov momentum.

In: parameters with gradients. Out: parameters moved against the gradient; state "momentum_buffer" only with momentum.
What stays true: the first buffer is the gradient itself (dampening starts at the second step), as in PyTorch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from ._update import (
    ElementwiseOptimizer,
    add,
    add_,
    blocks,
    check,
    check_fused,
    check_fused_options,
    constants,
    descent,
    descent_tensor,
    given,
    number,
    scratch_like,
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
        a, momentum, weight_decay, maximize = p._a, group["momentum"], group["weight_decay"], group["maximize"]
        shifted = maximize or weight_decay != 0
        (lr,) = constants(a, group["lr"])
        if momentum == 0:
            for a, d in blocks(a, g._a):
                _descend(a, descent(a, d, number(weight_decay), maximize) if shifted else d, lr)
            p._bump()
            return
        buffer = state.get("momentum_buffer")
        first = buffer is None
        if first:
            buffer = state["momentum_buffer"] = g.detach().clone()
        share = None if first else 1 - group["dampening"]
        for a, d, b in blocks(a, g._a, buffer._a):
            if shifted:
                d = descent(a, d, number(weight_decay), maximize)
            _accumulate(b, d, momentum, share)
            if group["nesterov"]:
                d = d + b * number(momentum)
            else:
                d = b
            _descend(a, d, lr)
        p._bump()
        buffer._bump()

    def _update_tensors(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        momentum, lr = group["momentum"], to_scalar(group["lr"])
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
        else:
            add_(p, g, -number(lr))


def _descend(p: np.ndarray, direction: np.ndarray, lr: np.ndarray) -> None:
    """p -= lr * direction."""
    s = scratch_like(p)
    np.multiply(direction, lr, s)
    p -= s


def _accumulate(buffer: np.ndarray, g: np.ndarray, momentum: float, share: float | None) -> None:
    """buffer = momentum * buffer + share * g; g itself at the first step (no share)."""
    if share is None:
        buffer[...] = g
        return
    buffer *= momentum
    if share == 1:
        buffer += g
    else:
        s = scratch_like(buffer)
        np.multiply(g, share, s)
        buffer += s
