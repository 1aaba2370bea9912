"""Modes that see every operator call.

In: a subclass of ``TorchDispatchMode`` with ``__torch_dispatch__``. Out: while it is entered, every operator that runs is
handed to it, composites taken apart into what really runs. What stays true: inside ``__torch_dispatch__`` the mode is
off, so that calling the function runs it.
"""

from __future__ import annotations

from typing import Any

from ..ops.dispatch import Interpreter, interpreting, local
from ..ops.op import F
from ..tensor import Tensor

__all__ = ["TorchDispatchMode"]


class TorchDispatchMode(Interpreter):
    """Define ``__torch_dispatch__(self, func, types, args=(), kwargs=None)`` and use an instance as a context."""

    def __init__(self) -> None:
        self._entered: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: tuple, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Called for each operator; the default runs it."""
        return func(*args, **(kwargs or {}))

    def call(self, op: Any, args: tuple, kwargs: dict) -> Any:
        if op.front is None:
            return self.decompose(op, args, kwargs)
        types = tuple({type(a) for a in (*args, *kwargs.values()) if isinstance(a, Tensor)})
        return self.__torch_dispatch__(getattr(F, op.name), types, args, kwargs)

    def __enter__(self) -> TorchDispatchMode:
        inside = interpreting(self)
        inside.__enter__()
        self._entered.append(inside)
        return self

    def __exit__(self, *error: Any) -> None:
        self._entered.pop().__exit__(*error)


def _get_current_dispatch_mode() -> Interpreter | None:
    """The mode that would see the next operator call."""
    return local.stack[-1] if local.stack else None
