"""Averages of a model's weights over training: stochastic weight averaging (SWA) and exponential moving averages (EMA).

In: a model that is being trained. Out: a second model whose weights are an average of the first one's.
What stays true: the first update copies the weights; buffers are copied each time, or averaged too with `use_buffers`;
the model being trained is never written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any, Literal

from ..core import dtype as dt
from ..nn import Module
from ..nn.modules.batchnorm import _BatchNorm
from ..tensor import Tensor, no_grad
from ..tensor import functions as T
from ._schedule import LRScheduler, format_param
from .optimizer import Optimizer

__all__ = [
    "AveragedModel",
    "SWALR",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

AverageFn = Callable[[Tensor, Tensor, "Tensor | int"], Tensor]
MultiAverageFn = Callable[["list[Tensor]", "list[Tensor]", "Tensor | int"], None]


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def _averages_in_place(t: Tensor) -> bool:
    return t.is_floating_point() or t.is_complex()


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverageFn:
    """A function ``(averages, values, n)`` that moves every average towards its value by ``1 - decay``, in place."""
    _check_decay(decay)

    @no_grad()
    def ema_update(averages: list[Tensor], values: list[Tensor], _: Tensor | int) -> None:
        for average, value in zip(averages, values, strict=True):
            if _averages_in_place(average):
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(average * decay + value * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> MultiAverageFn:
    """A function ``(averages, values, n)`` that makes means of n values means of n + 1 values, in place."""

    @no_grad()
    def swa_update(averages: list[Tensor], values: list[Tensor], num_averaged: Tensor | int) -> None:
        weight = 1 / (int(num_averaged) + 1)
        for average, value in zip(averages, values, strict=True):
            if _averages_in_place(average):
                average.lerp_(value, weight)
            else:
                average.copy_(average + (value - average) * weight)

    return swa_update


def get_ema_avg_fn(decay: float = 0.999) -> AverageFn:
    """A function ``(average, value, n)`` that returns ``decay * average + (1 - decay) * value``."""
    _check_decay(decay)

    @no_grad()
    def ema_update(average: Tensor, value: Tensor, num_averaged: Tensor | int) -> Tensor:
        return decay * average + (1 - decay) * value

    return ema_update


def get_swa_avg_fn() -> AverageFn:
    """A function ``(average, value, n)`` that returns the mean of n + 1 values from the mean of n."""

    @no_grad()
    def swa_update(average: Tensor, value: Tensor, num_averaged: Tensor | int) -> Tensor:
        return average + (value - average) / (num_averaged + 1)

    return swa_update


class AveragedModel(Module):
    """A copy of `model` whose weights `update_parameters` averages over the calls.

    Args:
        model: the model to average; `module` is its copy.
        device: where the average is kept (default: with the model).
        avg_fn: ``(average, value, n) -> new average`` (default: the mean, `get_swa_avg_fn`).
        multi_avg_fn: the same for lists, in place. Only one of the two.
        use_buffers: average the buffers too (otherwise they are copied).

    After training, `update_bn` gives the averaged model batch statistics of its own. Izmailov et al., arXiv:1803.05407;
    for EMA, Polyak and Juditsky 1992.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: AverageFn | None = None,
        multi_avg_fn: MultiAverageFn | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", T.zeros((), dtype=dt.int64, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's forward."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the present weights of `model` into the average."""
        averages = [t.detach() for t in self._averaged_tensors(self.module)]
        values = [t.detach().to(a.device) for a, t in zip(averages, self._averaged_tensors(model))]
        if self.n_averaged == 0:
            for average, value in zip(averages, values):
                average.copy_(value)
        elif self.multi_avg_fn is not None:
            self._update_by_kind(averages, values)
        else:
            avg_fn = self.avg_fn or get_swa_avg_fn()
            for average, value in zip(averages, values):
                average.copy_(avg_fn(average, value, self.n_averaged.to(average.device)))
        if not self.use_buffers:
            for average, value in zip(self.module.buffers(), model.buffers(), strict=True):
                average.detach().copy_(value.detach().to(average.device))
        self.n_averaged += 1

    def _averaged_tensors(self, model: Module) -> Iterable[Tensor]:
        return chain(model.parameters(), model.buffers()) if self.use_buffers else model.parameters()

    def _update_by_kind(self, averages: list[Tensor], values: list[Tensor]) -> None:
        """One call of `multi_avg_fn` per device and dtype, as it may treat its lists by their first element."""
        kinds: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
        for average, value in zip(averages, values):
            a, v = kinds.setdefault((str(average.device), average.dtype), ([], []))
            a.append(average)
            v.append(value)
        for a, v in kinds.values():
            self.multi_avg_fn(a, v, self.n_averaged.to(a[0].device))


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Recompute the running statistics of the model's batch-norm layers in one pass over `loader`.

    Args:
        loader: batches, or lists and tuples whose first element is the batch.
        model: run in training mode, then set back to the mode it was in.
        device: where batches are moved first.
    """
    momenta = {}
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            momenta[module] = module.momentum
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.momentum = None  # the mean over all batches instead of a moving average
    for batch in loader:
        if isinstance(batch, (list, tuple)):
            batch = batch[0]
        if device is not None:
            batch = batch.to(device)
        model(batch)
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Anneal every group's rate to `swa_lr` within `anneal_epochs`, then keep it there.

    Args:
        optimizer: the optimiser to steer.
        swa_lr: the last rate, one for all groups or a list.
        anneal_epochs: length of the annealing.
        anneal_strategy: "cos" or "linear".
        last_epoch: number of the last step done before, or -1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float,
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        for rate, group in zip(format_param("swa_lr", optimizer, swa_lr), optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of `swa_lr` is in the rate at a step, from 0 to 1."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[float | Tensor]:
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            swa_lr, lr = group["swa_lr"], group["lr"]
            start = swa_lr if before == 1 else (lr - before * swa_lr) / (1 - before)
            rates.append(swa_lr * now + start * (1 - now))
        return rates
