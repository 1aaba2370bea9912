"""The models that the benchmarks and the tests run, written once against PyTorch's interface.

In: the module `torch` or `pellucid`. Out: a `Training` (a whole step) or a `Function` (a forward pass, or one with its
backward). What stays true: with the same seed both frameworks start from the same weights and see the same batches,
because pellucid's random numbers are PyTorch's.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any


class Training:
    """A model with its optimiser: `step(*batch)` does forward, loss, backward, clipping and update, and returns the loss.

    `loss(*batch)` and `update()` are the parts that a compiler which does not take whole steps may replace.
    """

    def __init__(self, torch: Any, model: Any, optimizer: Any, loss: Callable, batches: Sequence[tuple], clip: float | None = None):
        self.torch, self.model, self.optimizer, self.batches, self.clip = torch, model, optimizer, batches, clip
        self._loss = loss
        self.low = False                        # bfloat16 by autocast

    def loss(self, *batch: Any) -> Any:
        with self.torch.autocast("cpu", dtype=self.torch.bfloat16) if self.low else nullcontext():
            return self._loss(*batch)

    def update(self) -> None:
        if self.clip is not None:
            self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()

    def step(self, *batch: Any) -> Any:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*batch)
        loss.backward()
        self.update()
        return loss


class Function:
    """A function of tensors. With `leaves`, its result is differentiated by them, from the gradient `seed`."""

    def __init__(self, torch: Any, fn: Callable, args: tuple, leaves: tuple = (), seed: Any = None, grad: bool = False):
        self.torch, self.fn, self.args, self.leaves, self.seed, self.grad = torch, fn, args, leaves, seed, grad

    def __call__(self) -> Any:
        if self.seed is None:
            with self.torch.no_grad():
                return self.fn(*self.args)
        for leaf in self.leaves:
            leaf.grad = None
        self.fn(*self.args).backward(self.seed)
        return None
