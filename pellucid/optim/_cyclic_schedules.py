"""Schedules whose rate goes up and down: warm restarts, cyclic, one cycle. Exported by `lr_scheduler`.

In: an optimiser. Out: its groups' "lr", and for the last two "momentum" (or the first beta), set by absolute formulas.
What stays true: momentum moves opposite to the learning rate.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from ..core.errors import fail
from ..tensor import Tensor
from ._schedule import LRScheduler, MomentumCycle, check_optimizer, format_param, set_group_value, set_momentum
from .optimizer import Optimizer

__all__ = ["CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR"]

Rates = list[float | Tensor]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from the initial rate to `eta_min`, then from the top again, each time `T_mult` times as long.

    Loshchilov and Hutter, arXiv:1608.03983.

    Args:
        optimizer: the optimiser to steer.
        T_0: epochs until the first restart.
        T_mult: growth of the period, an integer of at least 1.
        eta_min: the least rate.
        last_epoch: number of the last step done before, or -1.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_0 <= 0 or not isinstance(T_0, int):
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise ValueError(f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}")
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        self._warn_outside_step()
        height = 1 + math.cos(math.pi * self.T_cur / self.T_i)
        return [self.eta_min + (base_lr - self.eta_min) * height / 2 for base_lr in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next epoch, or to `epoch`, which may be a fraction: call it after every batch then."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur = self.T_cur + 1
            if self.T_cur >= self.T_i:
                self.T_cur = self.T_cur % self.T_i
                self.T_i = self.T_i * self.T_mult
        else:
            if epoch < 0:
                raise ValueError(f"Expected non-negative epoch, but got {epoch}")
            if epoch < self.T_0:
                self.T_i = self.T_0
                self.T_cur = epoch
            elif self.T_mult == 1:
                self.T_cur = epoch % self.T_0
            else:  # n periods are over; their lengths are a geometric series
                n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
                self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
                self.T_i = self.T_0 * self.T_mult**n
        self.last_epoch = math.floor(epoch)
        with self._flag("_get_lr_called_within_step"):
            values = self.get_lr()
        self._set_lrs(values)


class CyclicLR(LRScheduler):
    """Up from `base_lr` to `max_lr` and down again, over and over; call `step` after every batch.

    Smith, arXiv:1506.01186.

    Args:
        optimizer: the optimiser to steer.
        base_lr, max_lr: least and greatest rate, one for all groups or a list.
        step_size_up, step_size_down: steps of the rise, and of the fall (default: the same).
        mode: "triangular", "triangular2" (the height halves with each cycle), "exp_range" (it shrinks by gamma**step).
        gamma: for "exp_range".
        scale_fn: the height as a function of the cycle (from 1 on) or of the step; replaces `mode`.
        scale_mode: "cycle" or "iterations": what `scale_fn` is given.
        cycle_momentum: move the momentum from `max_momentum` to `base_momentum` and back.
        base_momentum, max_momentum: one for all groups or a list.
        last_epoch: number of the last step done before, or -1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        base_lrs = format_param("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for lr, group in zip(base_lrs, optimizer.param_groups):
                set_group_value(group, "lr", lr)
        self.max_lrs = format_param("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        down = float(step_size_down) if step_size_down is not None else up
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_ref: Callable[[float], float]
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode
        self._init_scale_fn()
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            momentum = MomentumCycle(optimizer, base_momentum, max_momentum, fresh=last_epoch == -1)
            self.use_beta1 = momentum.use_beta1
            self.base_momentums = momentum.base
            self.max_momentums = momentum.largest
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def _init_scale_fn(self) -> None:
        if self._scale_fn_custom is not None:
            return
        if self.mode == "triangular":
            self._scale_fn_ref = self._triangular_scale_fn
            self.scale_mode = "cycle"
        elif self.mode == "triangular2":
            self._scale_fn_ref = self._triangular2_scale_fn
            self.scale_mode = "cycle"
        elif self.mode == "exp_range":
            self._scale_fn_ref = partial(self._exp_range_scale_fn, self.gamma)
            self.scale_mode = "iterations"

    def scale_fn(self, x: float) -> float:
        """The height of the cycle: of its number or of the step, by `scale_mode`."""
        return (self._scale_fn_ref if self._scale_fn_custom is None else self._scale_fn_custom)(x)

    @staticmethod
    def _triangular_scale_fn(x: float) -> float:
        return 1.0

    @staticmethod
    def _triangular2_scale_fn(x: float) -> float:
        return 1 / (2.0 ** (x - 1))

    @staticmethod
    def _exp_range_scale_fn(gamma: float, x: float) -> float:
        return gamma**x

    def get_lr(self) -> Rates:
        """The rates of the present step; sets the groups' momentum on the way."""
        self._warn_outside_step()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for low, high, group in zip(self.base_momentums, self.max_momentums, self.optimizer.param_groups):
                set_momentum(group, high - (high - low) * height * scale, self.use_beta1)
        return [low + (high - low) * height * scale for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """As usual; of a custom `scale_fn` only an object's attributes are kept, nothing of a function."""
        state_dict = super().state_dict()
        state_dict.pop("_scale_fn_ref", None)
        fn = state_dict.pop("_scale_fn_custom")
        keep = fn is not None and not isinstance(fn, types.FunctionType)
        state_dict["_scale_fn_custom"] = fn.__dict__.copy() if keep else None
        return state_dict

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        attributes = state_dict["_scale_fn_custom"]
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "_scale_fn_custom"})
        if attributes is not None:
            self._scale_fn_custom.__dict__.update(attributes)
        self._init_scale_fn()


class OneCycleLR(LRScheduler):
    """One rise from ``max_lr / div_factor`` to `max_lr` and one long fall below the start; call `step` after every batch.

    Smith and Topin, arXiv:1708.07120; by default in two phases, as fastai does it.

    Args:
        optimizer: the optimiser to steer.
        max_lr: the greatest rate, one for all groups or a list.
        total_steps: length of the cycle; or give
        epochs, steps_per_epoch: whose product is the length.
        pct_start: share of the cycle that is spent rising.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: move the momentum from `max_momentum` to `base_momentum` and back.
        base_momentum, max_momentum: one for all groups or a list.
        div_factor: ``max_lr`` over the first rate.
        final_div_factor: the first rate over the last one.
        three_phase: fall to the first rate as fast as it rose, then to the last one.
        last_epoch: number of the last step done before, or -1.

    Raises:
        ValueError: bad arguments, or more steps than the cycle has.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        self.total_steps = _cycle_length(total_steps, epochs, steps_per_epoch)

        def phase(end: float, lrs: tuple[str, str], momenta: tuple[str, str]) -> dict[str, Any]:
            return {
                "end_step": end,
                "start_lr": lrs[0],
                "end_lr": lrs[1],
                "start_momentum": momenta[0],
                "end_momentum": momenta[1],
            }

        high, low = "max_momentum", "base_momentum"
        top = float(pct_start * self.total_steps) - 1
        self._schedule_phases = [phase(top, ("initial_lr", "max_lr"), (high, low))]
        if three_phase:
            back = float(2 * pct_start * self.total_steps) - 2
            self._schedule_phases.append(phase(back, ("max_lr", "initial_lr"), (low, high)))
            self._schedule_phases.append(phase(self.total_steps - 1, ("initial_lr", "min_lr"), (high, high)))
        else:
            self._schedule_phases.append(phase(self.total_steps - 1, ("max_lr", "min_lr"), (low, high)))

        if pct_start < 0 or pct_start > 1 or not isinstance(pct_start, float):
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            fail(ValueError, "P723", f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}",
                 fix="choose one of these names")
        self._anneal_func_type = anneal_strategy

        max_lrs = format_param("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for largest, group in zip(max_lrs, optimizer.param_groups):
                group["initial_lr"] = largest / div_factor
                group["max_lr"] = largest
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            momentum = MomentumCycle(optimizer, base_momentum, max_momentum, fresh=last_epoch == -1)
            self.use_beta1 = momentum.use_beta1
        super().__init__(optimizer, last_epoch)

    def _anneal(self, start: float, end: float, share: float) -> float:
        if not hasattr(self, "_anneal_func_type"):  # a state dict from before PyTorch 2.1 brought the function itself
            return self.anneal_func(start, end, share)
        return (self._annealing_cos if self._anneal_func_type == "cos" else self._annealing_linear)(start, end, share)

    @staticmethod
    def _annealing_cos(start: float, end: float, pct: float) -> float:
        return end + (start - end) / 2.0 * (math.cos(math.pi * pct) + 1)

    @staticmethod
    def _annealing_linear(start: float, end: float, pct: float) -> float:
        return (end - start) * pct + start

    def get_lr(self) -> Rates:
        """The rates of the present step; sets the groups' momentum on the way."""
        self._warn_outside_step()
        step = self.last_epoch
        if step > self.total_steps:
            fail(ValueError, "P721", f"Tried to step {step} times. The specified number of total steps is {self.total_steps}",
                 fix="total_steps counts every call of scheduler.step(): epochs * steps_per_epoch")
        start = 0.0
        for phase in self._schedule_phases:
            if step <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            start = phase["end_step"]
        share = (step - start) / (phase["end_step"] - start)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._anneal(group[phase["start_lr"]], group[phase["end_lr"]], share))
            if self.cycle_momentum:
                momentum = self._anneal(group[phase["start_momentum"]], group[phase["end_momentum"]], share)
                set_momentum(group, momentum, self.use_beta1)
        return rates


def _cycle_length(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        if total_steps <= 0 or not isinstance(total_steps, int):
            raise ValueError(f"Expected positive integer total_steps, but got {total_steps}")
        return total_steps
    if epochs is None or steps_per_epoch is None:
        fail(ValueError, "P722", "You must define either total_steps OR (epochs AND steps_per_epoch)",
             fix="for one step per batch: epochs=..., steps_per_epoch=len(loader)")
    if not isinstance(epochs, int) or epochs <= 0:
        raise ValueError(f"Expected positive integer epochs, but got {epochs}")
    if not isinstance(steps_per_epoch, int) or steps_per_epoch <= 0:
        raise ValueError(f"Expected positive integer steps_per_epoch, but got {steps_per_epoch}")
    return epochs * steps_per_epoch
