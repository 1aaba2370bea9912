"""Adam for sparse gradients: only the places that a gradient names are touched.

In: dense parameters with sparse gradients (`nn.Embedding(sparse=True)`). Out: the named parts of the parameters moved; state "step",
"exp_avg" and "exp_avg_sq", dense. What stays true: a step costs as much as the gradient has entries, whatever the parameter's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import Tensor, no_grad
from ._update import check, check_betas, to_scalar, zeros_like
from .optimizer import Optimizer, ParamsT, evaluate

__all__ = ["SparseAdam"]


class SparseAdam(Optimizer):
    """Adam (Kingma and Ba 2015) on the entries of sparse gradients; moments of other places do not decay.

    Args:
        params: dense parameters, named parameters or groups.
        lr: learning rate, a number or a one-element tensor.
        betas: decay rates of the averages of the gradient and of its square.
        eps: keeps the denominator from zero.
        maximize: climb instead of descending.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        check(not isinstance(lr, Tensor) or lr.numel() == 1, "Tensor lr must be 1-element")
        check(lr > 0.0, f"Invalid learning rate: {lr}", "a rate is more than 0, as in lr=1e-3")
        check(eps > 0.0, f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        places = [(i, j, p) for i, group in enumerate(self.param_groups) for j, p in enumerate(group["params"])]
        for bad, what, why in (
            ([[i, j] for i, j, p in places if p.is_sparse], "Sparse", "SparseAdam requires dense parameter tensors"),
            ([[i, j] for i, j, p in places if p.is_complex()], "Complex", "SparseAdam does not support complex parameters"),
        ):
            check(not bad, f"{what} params at indices {bad}: {why}", "use optim.Adam for those")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the places of every parameter that its sparse gradient names.

        Args:
            closure: recomputes the loss (and the gradients) first; its result is returned.
        """
        loss = evaluate(closure)
        with no_grad():
            for group in self.param_groups:
                work = [(p, p.grad) for p in group["params"] if p.grad is not None]
                for _, g in work:
                    if not g.is_sparse:
                        raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
                for p, g in work:
                    self._update(p, g.coalesce(), group)
        return loss

    def _update(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state.update(step=0, exp_avg=zeros_like(p), exp_avg_sq=zeros_like(p))
        state["step"] += 1
        if not g._nnz():
            return
        (beta1, beta2), step = group["betas"], state["step"]
        at = tuple(g._indices().numpy())                     # of each place once: what is added there is added once
        grad = g._values().numpy()
        grad = -grad if group["maximize"] else grad
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        m, v = mean._a[at], square._a[at]
        change = (grad - m) * (1 - beta1)
        mean._a[at] = m + change
        numer = change + m
        change = (grad * grad - v) * (1 - beta2)
        square._a[at] = v + change
        denom = np.sqrt(change + v) + group["eps"]
        size = float(to_scalar(group["lr"])) * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        p._a[at] += -size * (numer / denom)
        for t in (mean, square, p):
            t._bump()
