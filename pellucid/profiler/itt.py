"""`pellucid.profiler.itt`: marks for Intel's VTune. This build has none: `is_available()` says so, the rest raises RuntimeError."""
from __future__ import annotations

from contextlib import contextmanager
from typing import NoReturn

__all__ = ["is_available", "mark", "range", "range_pop", "range_push"]


def is_available() -> bool:
    """False: not part of this build."""
    return False


def _none() -> NoReturn:
    raise RuntimeError("ITT functions not installed. This build has none: check pellucid.profiler.itt.is_available() first.")


def range_push(msg: str) -> None:
    """Raises RuntimeError: there is no ITT."""
    _none()


def range_pop() -> None:
    """Raises RuntimeError: there is no ITT."""
    _none()


def mark(msg: str) -> None:
    """Raises RuntimeError: there is no ITT."""
    _none()


@contextmanager
def range(msg: str, *args, **kwargs):
    """Raises RuntimeError on entry: there is no ITT."""
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()
