"""Adafactor: the second moment of a matrix kept as one row and one column.

In: parameters with gradients. Out: parameters moved; state "step" and, for matrices, "row_var" and "col_var", for vectors
"variance". What stays true: memory for a matrix of n by m is n + m numbers; the update is clipped at root mean square d.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import dtype as dt
from ..tensor import Tensor, no_grad
from ._traced import real, seen_by_tracer, tracing
from ._update import (
    add_,
    as_scalar_state,
    check,
    count,
    given,
    greater,
    lerp_,
    lesser,
    number,
    scalar_state,
    to_scalar,
    value_of,
    zeros_like,
)
from .optimizer import Optimizer, ParamsT, evaluate

__all__ = ["Adafactor"]


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern, arXiv:1804.04235), in the form that PyTorch gives it.

    Args:
        params: parameters, named parameters or groups; not complex.
        lr: greatest relative step size (the step is ``min(lr, step**-0.5)`` times the parameter's root mean square),
            and the factor of the weight decay.
        beta2_decay: power of the second moment's decay, ``1 - step**beta2_decay``; not positive.
        eps: (least variance, default the dtype's epsilon; least root mean square of a parameter).
        d: root mean square at which an update is clipped, at least 1.
        weight_decay: shrink p by ``lr * weight_decay``.
        foreach: accepted; every update takes the same path here.
        maximize: climb instead of descending.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check(not isinstance(lr, Tensor) or lr.numel() == 1, "Tensor lr must be 1-element")
        check(lr >= 0.0, f"Learning rate should be >= 0 but is: {lr}")
        check(beta2_decay <= 0.0, f"beta2_decay should be <= 0 but is: {beta2_decay}")
        check(eps[0] is None or eps[0] >= 0.0, f"epsilon1 should be >= 0 but is: {eps[0]}")
        check(eps[1] >= 0.0, f"epsilon2 should be >= 0 but is: {eps[1]}")
        check(d >= 1.0, f"Clipping threshold d should be >= 1 but is: {d}")
        check(weight_decay >= 0.0, f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("foreach", None)
            as_scalar_state((self.state.get(p, {}) for p in group["params"]), "step")

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns what `closure` (which recomputes the loss) returns."""
        loss = evaluate(closure)
        for group in self.param_groups:
            work = [(p, p.grad, self._state_of(p, p.grad)) for p in group["params"] if p.grad is not None]
            for p, g, state in work:
                _update(p, -g if group["maximize"] else g, state, group)
        return loss

    def _state_of(self, p: Tensor, g: Tensor) -> dict[str, Any]:
        if p.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        if g.is_sparse:
            raise RuntimeError("Adafactor does not support sparse gradients")
        state = self.state[p]
        if not state:
            with real():
                state["step"] = scalar_state(0)
                if p.dim() > 1:
                    state["row_var"] = p.new_zeros((*p.shape[:-1], 1))
                    state["col_var"] = p.new_zeros((*p.shape[:-2], 1, p.shape[-1]))
                else:
                    state["variance"] = zeros_like(p)
        return state


def _update(p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    group = seen_by_tracer(group) if tracing() else group
    lr, (eps1, eps2) = to_scalar(group["lr"]), group["eps"]
    if eps1 is None:
        eps1 = dt.finfo(p.dtype).eps
    step = count(state["step"])
    rate = step ** group["beta2_decay"]  # how much of the new square enters the second moment
    step_size = greater(eps2, _rms(p)) * lesser(lr, 1 / step**0.5)
    if given(group["weight_decay"]):
        p.mul_(1 - lr * group["weight_decay"])

    if g.dim() > 1:
        row_var, col_var = state["row_var"], state["col_var"]
        lerp_(row_var, g.norm(dim=-1, keepdim=True).square_().div_(g.size(-1)), rate)
        lerp_(col_var, g.norm(dim=-2, keepdim=True).square_().div_(g.size(-2)), rate)
        variance = row_var @ col_var
        variance.div_(_floored(row_var.mean(dim=-2, keepdim=True), eps1))
    else:
        variance = lerp_(state["variance"], g * g, rate).clone()
    update = _floored(variance, eps1 * eps1).rsqrt_().mul_(g)
    clipped = greater(1.0, _rms(update) / group["d"])
    add_(p, update, -number(step_size / clipped))


def _floored(t: Tensor, least: float) -> Tensor:
    return t.copy_(greater(t, least)) if tracing() else t.clamp_(min=least)


def _rms(t: Tensor) -> float | Tensor:
    """Root mean square of all elements."""
    return value_of(t.norm(2)) / t.numel() ** 0.5
