"""Adam: steps scaled by running averages of the gradient and of its square.

In: parameters with gradients. Out: parameters moved; state "step", "exp_avg", "exp_avg_sq" and, with amsgrad,
"max_exp_avg_sq". What stays true: with `decoupled_weight_decay` the decay never enters the averages (AdamW).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from ..tensor import functions as T
from ..tensor.updates import scratch_like, update
from ._update import (
    ElementwiseOptimizer,
    add_square_,
    advance,
    as_scalar_state,
    check,
    check_betas,
    check_fused_options,
    constants,
    count,
    descent,
    descent_tensor,
    given,
    greater,
    lerp,
    lerp_,
    number,
    scalar_state,
    to_scalar,
    zeros_like,
)
from .optimizer import ParamsT

__all__ = ["Adam"]


class Adam(ElementwiseOptimizer):
    """``m = lerp(m, g, 1 - b1)``; ``v = b2 * v + (1 - b2) * g**2``; ``p -= lr * m' / (sqrt(v') + eps)``.

    ``m'`` and ``v'`` are m and v divided by ``1 - b1**step`` and ``1 - b2**step`` (Kingma and Ba, arXiv:1412.6980).

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, a number or a one-element tensor (then not with `foreach`).
        betas: decay rates of the two averages; two floats, or two one-element tensors.
        eps: keeps the denominator from zero.
        weight_decay: adds ``weight_decay * p`` to the gradient (L2 penalty).
        amsgrad: divide by the largest v so far (Reddi et al. 2018).
        foreach, fused: accepted; every update takes the same path here (`fused`: floating-point parameters, and a
            gradient scaler's unscaling inside the step).
        maximize: climb instead of descending.
        capturable: for device graphs; not on the CPU.
        differentiable: let autograd record the step.
        decoupled_weight_decay: shrink p by ``lr * weight_decay`` instead, as AdamW does.
    """

    _no_sparse = "Adam does not support sparse gradients, please consider SparseAdam instead"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        many = foreach and not capturable
        refusal = "as a Tensor is not supported for capturable=False and foreach=True"
        if isinstance(lr, Tensor):
            check(not many, f"lr {refusal}")
            check(lr.numel() == 1, "Tensor lr must be 1-element")
        check(lr >= 0.0, f"Invalid learning rate: {lr}", "a rate is 0 or more, as in lr=1e-3")
        check(eps >= 0.0, f"Invalid epsilon value: {eps}")
        check_betas(betas)
        check(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        check(
            all(isinstance(b, float) for b in betas) or all(isinstance(b, Tensor) for b in betas),
            "betas must be either both floats or both Tensors",
        )
        for i, beta in enumerate(betas):
            if isinstance(beta, Tensor):
                check(not many, f"betas[{i}] {refusal}")
                check(beta.numel() == 1, f"Tensor betas[{i}] must be 1-element")
        defaults = {
            "lr": lr,
            "betas": tuple(map(to_scalar, betas)),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)
        check_fused_options(self, fused, foreach, differentiable)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("amsgrad", False)
            group.setdefault("maximize", False)
            group.setdefault("foreach", None)
            group.setdefault("capturable", False)
            group.setdefault("differentiable", False)
            group.setdefault("decoupled_weight_decay", False)
            group.setdefault("fused", None)
            as_scalar_state((self.state.get(p, {}) for p in group["params"]), "step", fused=group["fused"])

    def _new_state(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": scalar_state(0, group["fused"]), "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros_like(p)
        return state

    def _state_of(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = super()._state_of(p, g, group)
        if group["differentiable"] and state["step"].requires_grad:
            raise RuntimeError("`requires_grad` is not supported for `step` in differentiable mode")
        if group["foreach"] and isinstance(group["lr"], Tensor) and not group["capturable"]:
            raise RuntimeError("lr as a Tensor is not supported for capturable=False and foreach=True")
        return state

    def _takes_arrays(self, group: dict[str, Any]) -> bool:
        return not isinstance(group["betas"][0], Tensor)

    def _update_arrays(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        lr, weight_decay = to_scalar(group["lr"]), group["weight_decay"]
        step = advance(state["step"])
        bias1, bias2 = 1 - beta1**step, 1 - beta2**step
        averages = [state["exp_avg"], state["exp_avg_sq"]]
        if group["amsgrad"]:
            averages.append(state["max_exp_avg_sq"])

        a = p._a
        step_size = float(lr / bias1)
        hyper = constants(a, 1 - beta1, beta2, 1 - beta2, *_folded(step_size, bias2**0.5, group["eps"]))
        shrink = l2 = 0
        if weight_decay != 0:
            if group["decoupled_weight_decay"]:
                (shrink,) = constants(a, 1 - lr * weight_decay)
            else:
                l2 = weight_decay
        update(_adam, a, g._a, *[t._a for t in averages], hyper=hyper, shrink=shrink, weight_decay=l2, maximize=group["maximize"])
        p._bump()
        for t in averages:
            t._bump()

    def _update_tensors(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        lr, weight_decay, differentiable = to_scalar(group["lr"]), group["weight_decay"], group["differentiable"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        step = count(state["step"])
        if group["decoupled_weight_decay"] and given(weight_decay):
            p.mul_(1 - lr * weight_decay)
            weight_decay = 0
        g = descent_tensor(p, g, weight_decay, group["maximize"])

        lerp_(m, g, 1 - (beta1.to(p.dtype) if isinstance(beta1, Tensor) else beta1))
        if isinstance(beta2, Tensor) and beta2.requires_grad:
            v.lerp_(g.square(), 1 - beta2)
        else:
            add_square_(v.mul_(beta2), g, number(1 - beta2))
        if group["amsgrad"]:
            largest = state["max_exp_avg_sq"]
            v = largest.copy_(T.maximum(largest.clone(), v))
        bias1, bias2 = 1 - beta1**step, 1 - beta2**step
        step_size = lr / bias1
        if isinstance(step, Tensor):  # traced: as `_update_arrays` does it
            scale, offset = _folded(step_size, bias2**0.5, group["eps"])
            p.sub_(m / (v.sqrt() * scale + offset))
            return
        denominator = (v.sqrt() / bias2**0.5).add_(group["eps"])
        if differentiable:  # m is written again by the next step, so the graph gets a copy of it
            p.addcdiv_(m.clone(), denominator / -step_size)
        else:
            p.addcdiv_(m, denominator, value=-number(step_size))


def _folded(step_size: float | Tensor, root_bias2: float | Tensor, eps: float) -> tuple[float | Tensor, float | Tensor]:
    """(scale, offset) with step_size * m / (sqrt(v) / root_bias2 + eps) == m / (sqrt(v) * scale + offset): one pass less.

    Without a step the denominator is huge instead of infinite, which sqrt(v) = 0 would make a NaN."""
    step_size = greater(step_size, 1e-30)
    return 1 / (root_bias2 * step_size), eps / step_size


def _adam(
    p: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    largest: np.ndarray | None = None,
    *,
    hyper: list[np.ndarray],
    shrink: np.ndarray | int,
    weight_decay: float,
    maximize: bool,
) -> None:
    rate1, beta2, rate2, scale, offset = hyper
    if shrink != 0:
        p *= shrink
    if weight_decay != 0 or maximize:
        g = descent(p, g, weight_decay, maximize)
    s = scratch_like(p)
    lerp(m, g, rate1, s)
    v *= beta2
    np.multiply(g, g, s)
    s *= rate2
    v += s
    if largest is not None:
        v = np.maximum(largest, v, out=largest)
    np.sqrt(v, s)
    s *= scale
    s += offset
    np.divide(m, s, s)
    p -= s
