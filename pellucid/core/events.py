"""The stage bus: whoever computes something worth seeing says so here, and whoever wants to see it listens.

In: `emit(Stage(...))`. Out: every listener is called with it. With no listener, `listening` is False and emitters skip
the work of printing. Nothing is ever patched to be observed.
"""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stage:
    """One thing that happened: its name, why, the text a person reads, how long it took."""

    name: str
    why: str
    text: str = ""
    seconds: float = 0.0
    data: dict = field(default_factory=dict)


_listeners: list[Callable[[Stage], None]] = []


def listening() -> bool:
    """Whether anyone listens; emitters check it before building texts."""
    return bool(_listeners)


def emit(stage: Stage) -> None:
    """Hand `stage` to every listener, in the order they came."""
    for listener in tuple(_listeners):
        listener(stage)


@contextlib.contextmanager
def listen(listener: Callable[[Stage], None]) -> Iterator[None]:
    """Call `listener` with every stage emitted inside the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
