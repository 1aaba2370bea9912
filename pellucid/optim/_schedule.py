"""The base of every learning-rate schedule, and what schedules share.

In: an optimiser. Out: its groups' "lr" (and for some schedules momentum), rewritten at every `step()`.
What stays true: constructing a schedule does its first step; `last_epoch` counts the steps from 0; `base_lrs` are the
groups' "initial_lr"; a learning rate that is a tensor is filled in place, so that who holds it sees the change.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any
from weakref import ref

from ..core.errors import fail
from ..tensor import Tensor
from ._update import to_scalar
from .optimizer import Optimizer

__all__ = ["LRScheduler"]

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use "
    "`scheduler.step()` to step the scheduler. During the deprecation, if epoch is different from None, the closed form "
    "is used instead of the new chainable form, where available. Please open an issue if you are unable to replicate "
    "your use case: https://github.com/pytorch/pytorch/issues/new/choose."
)
_ORDER_HELP = (
    "See more details at https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"
)


# ---------------------------------------------------------------------------------------------------------- groups
def format_param(name: str, optimizer: Optimizer, param: Any) -> list[Any]:
    """One value per parameter group, from one value or a list of the right length. Tensors are copied."""
    n = len(optimizer.param_groups)
    if isinstance(param, (list, tuple)):
        if len(param) != n:
            fail(ValueError, "P712", f"{name} must have the same length as optimizer.param_groups. {name} has {len(param)} values, "
                 f"param_groups has {n}.", fix="give one value for all groups, or one for each")
    else:
        param = [param] * n
    return [_copied(value) for value in param]


def group_values(optimizer: Optimizer, key: str) -> list[Any]:
    """Every group's value of an option; tensors are copied."""
    return [_copied(group[key]) for group in optimizer.param_groups]


def set_group_value(group: dict[str, Any], key: str, value: float | Tensor) -> None:
    """Write an option; a tensor is filled and stays the same object."""
    if isinstance(group[key], Tensor):
        group[key].fill_(to_scalar(value))
    else:
        group[key] = value


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        fail(TypeError, "P711", f"{type(optimizer).__name__} is not an Optimizer",
             fix="pass the optimizer, not the model: StepLR(optimizer, ...)")


class MomentumCycle:
    """The momentum (or the first beta) of each group, moved opposite to the learning rate.

    Args:
        optimizer: its options must have "momentum" or "betas".
        base, largest: momentum where the learning rate is highest, and where it is lowest.
        fresh: start of training, so that the groups are set to `largest`.
    """

    def __init__(self, optimizer: Optimizer, base: Any, largest: Any, fresh: bool) -> None:
        if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            fail(ValueError, "P724", "optimizer must support momentum or beta1 with `cycle_momentum` option enabled",
                 fix="pass cycle_momentum=False")
        self.use_beta1 = "betas" in optimizer.defaults
        self.base = format_param("base_momentum", optimizer, base)
        self.largest = format_param("max_momentum", optimizer, largest)
        if fresh:
            for high, low, group in zip(self.largest, self.base, optimizer.param_groups):
                set_momentum(group, high, self.use_beta1)
                group["max_momentum"] = high
                group["base_momentum"] = low


def set_momentum(group: dict[str, Any], value: float, use_beta1: bool) -> None:
    """Write a group's momentum, which Adam and its kin keep as the first beta."""
    if use_beta1:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


# -------------------------------------------------------------------------------------------------------- functions
def function_states(functions: list[Any]) -> list[dict | None]:
    """What can be saved of callables: the attributes of objects, nothing of plain functions."""
    return [None if isinstance(f, types.FunctionType) else f.__dict__.copy() for f in functions]


def load_function_states(functions: list[Any], states: list[dict | None]) -> None:
    """Give callable objects their saved attributes back."""
    for function, state in zip(functions, states):
        if state is not None:
            function.__dict__.update(state)


# ------------------------------------------------------------------------------------------------------------- base
class LRScheduler:
    """Base class of schedules; a subclass defines `get_lr`, which returns one learning rate per group.

    Args:
        optimizer: the optimiser to steer.
        last_epoch: number of the last step done before, or -1 for a fresh start.

    Raises:
        TypeError: not an Optimizer.
        KeyError: resuming, but a group has no "initial_lr".
    """

    _get_lr_called_within_step: bool = False
    _is_initial: bool = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        if last_epoch == -1:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", _copied(group["lr"]))
        else:
            for i, group in enumerate(optimizer.param_groups):
                if "initial_lr" not in group:
                    fail(KeyError, "P726", f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler "
                         "with last_epoch >= 0.\nThis typically happens when:\n"
                         "1. You're trying to resume training from a checkpoint but haven't properly loaded the "
                         "optimizer state\n"
                         "2. You're using last_epoch >= 0 for a fresh training run (not recommended)",
                         fix="optimizer.load_state_dict(saved) first; a new run leaves last_epoch out")
        self.base_lrs: list[float | Tensor] = group_values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        _track_steps(optimizer)
        self._initial_step()

    def _initial_step(self) -> None:
        """The step that sets the first learning rate."""
        self._step_count = 0
        with self._flag("_is_initial"):
            self.step()

    @contextmanager
    def _flag(self, name: str) -> Iterator[None]:
        setattr(self, name, True)
        try:
            yield
        finally:
            setattr(self, name, False)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, which has a state dict of its own."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the result of `state_dict`. The learning rate itself comes with the optimiser's state."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[float | Tensor]:
        """The learning rate of each group, as set by the last step."""
        return self._last_lr

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group for `last_epoch`; called by `step`."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr(); every schedule must")

    def _get_closed_form_lr(self) -> list[float | Tensor]:
        """The same from `last_epoch` and `base_lrs` alone, for schedules that have such a form."""
        return self.get_lr()

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch (or whatever the caller counts), after `optimizer.step()`.

        Args:
            epoch: deprecated; the epoch to jump to.
        """
        if self._step_count == 1:
            if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
                warnings.warn(
                    "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. "
                    f"Please, make sure to call `optimizer.step()` before `lr_scheduler.step()`. {_ORDER_HELP}",
                    UserWarning,
                    stacklevel=2,
                )
            elif not getattr(self.optimizer, "_opt_called", False):
                warnings.warn(
                    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and later, you "
                    "should call them in the opposite order: `optimizer.step()` before `lr_scheduler.step()`.  Failure "
                    "to do this will result in PyTorch skipping the first value of the learning rate schedule. "
                    f"{_ORDER_HELP}",
                    UserWarning,
                    stacklevel=2,
                )
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        with self._flag("_get_lr_called_within_step"):
            if epoch is None:
                self.last_epoch += 1
                values = self.get_lr()
            else:
                self.last_epoch = epoch
                values = self._get_closed_form_lr()
        self._set_lrs(values)

    def _set_lrs(self, values: list[float | Tensor]) -> None:
        for group, lr in zip(self.optimizer.param_groups, values, strict=True):
            set_group_value(group, "lr", lr)
        self._last_lr: list[float | Tensor] = group_values(self.optimizer, "lr")


def _track_steps(optimizer: Optimizer) -> None:
    """Have the optimiser remember that its `step` was called, to warn about the wrong order."""
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        return
    function = optimizer.step.__func__
    weak = ref(optimizer)  # the wrapper lives on the instance: no cycle

    @wraps(function)
    def step(*args: Any, **kwargs: Any) -> Any:
        opt = weak()
        opt._opt_called = True
        return function.__get__(opt, opt.__class__)(*args, **kwargs)

    step._wrapped_by_lr_sched = True
    optimizer.step = step


ScheduleFunction = Callable[[int], float]
