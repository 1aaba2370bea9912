"""Switches of libraries that are not there: settable, and set for the time of a block."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__: list[str] = []


@contextmanager
def switched(module: dict[str, Any], **values: Any) -> Iterator[None]:
    """A module's variables set to `values`, and put back at the end."""
    before = {name: module[name] for name in values}
    module.update(values)
    try:
        yield
    finally:
        module.update(before)
