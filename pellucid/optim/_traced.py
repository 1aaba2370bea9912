"""What an optimiser does differently while a tracer watches its step.

In: a parameter group, with an interpreter on the dispatch stack. Out: the group as the traced step sees it: every number
is an input of the graph, read anew from the group at each call, so that a schedule changes it without another compile.
What stays true: state is made for real, never traced; which options are set, and which numbers are 0 (except rates, which
schedules bring to 0 and back), is fixed by guards, because the update's operations depend on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..core.spec import TensorLike
from ..ops.dispatch import below, local
from ..tensor.symbolic import SymNumber

__all__: list[str] = []

_RATES = ("lr",)
_SETTINGS = ("ns_coefficients", "ns_steps")  # they enter attributes of operators, or count them


class FirstStep(Exception):
    """A step that must run eagerly once before it can be traced: it makes state that all later steps read."""


def tracing() -> bool:
    """Whether an interpreter sees the operators of this thread."""
    return bool(local.stack)


@contextlib.contextmanager
def real() -> Iterator[None]:
    """Run the block with all interpreters set aside: it makes tensors that outlive the trace."""
    if not local.stack:
        yield
        return
    with below(len(local.stack)):
        yield


def guard_optimizer(optimizer: Any, everywhere: tuple) -> None:
    """Tell the tracer what a step relies on: that the optimiser has these groups and this state, which loading a checkpoint
    replaces, and these hooks; `everywhere`: those common to all optimisers."""
    guard = getattr(local.stack[-1], "guard_item", None)
    if guard is not None:
        fields = vars(optimizer)
        guard(fields, ("param_groups",), optimizer.param_groups)
        guard(fields, ("state",), optimizer.state)
        for name in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
            guard(fields, (name,), fields[name])
        for k, hooks in enumerate(everywhere):
            guard(everywhere, (k,), hooks)
        for group in optimizer.param_groups:
            guard(group, ("params",), group["params"])
            for p in group["params"]:
                state = optimizer.state.get(p)
                if state is not None:
                    guard(optimizer.state, (p,), state)
                    for key, value in state.items():
                        if value is None or isinstance(value, TensorLike):
                            guard(state, (key,), value)


def seen_by_tracer(group: dict[str, Any]) -> dict[str, Any]:
    """The group with its numbers as the tracer's symbols. An interpreter that lifts no numbers gets the group itself."""
    tracer = local.stack[-1]
    return Seen(group, tracer) if hasattr(tracer, "lift_item") else group


class Seen(dict):
    """A group whose options are lifted, or guarded, when the update first reads them."""

    def __init__(self, group: dict[str, Any], tracer: Any):
        super().__init__()
        self.group, self.tracer = group, tracer
        self.written = getattr(tracer, "written", lambda group, key: False)

    def __missing__(self, key: str) -> Any:
        value = self.group[key]
        if key == "params":
            seen = value
        elif type(value) is tuple:
            seen = tuple([self._seen((key, i), v) for i, v in enumerate(value)])
        else:
            seen = self._seen((key,), value)
        self[key] = seen
        return seen

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self.group else default

    def _seen(self, path: tuple, value: Any) -> Any:
        if type(value) is SymNumber and path[0] not in _SETTINGS or self.written(self.group, path[0]):
            return value                            # the traced function has set it
        if path[0] not in _SETTINGS and type(value) in (int, float) and (value != 0 or path[0] in _RATES):
            return self.tracer.lift_item(self.group, path, value)
        self.tracer.guard_item(self.group, path, value)
        return value
