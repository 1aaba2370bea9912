"""`torch._dynamo.config`: the compiler's settings by PyTorch's names.

In: `config.name = value`, `config.patch(name=value)`. Out: the setting of pellucid that means the same (`core.config`, or the stance).
What stays true: nothing is set without effect: a name of PyTorch's that means nothing here is an AttributeError that says so.
"""
from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator
from typing import Any

from ..compiler import set_stance
from ..compiler.driver import Stance
from ..core import config as core
from ..core.errors import fail

__all__ = ["patch"]

# PyTorch's name: ours in `core.config`
SETTINGS = {"suppress_errors": "suppress_errors", "verbose": "verbose", "recompile_limit": "recompile_limit",
            "cache_size_limit": "recompile_limit", "fail_on_recompile_limit_hit": "fail_on_recompile_limit_hit",
            "fail_on_cache_limit_hit": "fail_on_recompile_limit_hit"}
# PyTorch's name: the stance that it is
STANCES = {"disable": "force_eager", "error_on_recompile": "fail_on_recompile"}


class Settings(types.ModuleType):
    """This module's class: its attributes are the settings."""

    def __getattr__(self, name: str) -> Any:
        if name in SETTINGS:
            return getattr(core.config, SETTINGS[name])
        if name in STANCES:
            return Stance.now == STANCES[name]
        raise AttributeError(absent(name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in SETTINGS:
            kind = type(getattr(core.config, SETTINGS[name]))
            if type(value) is not kind:
                fail(TypeError, "P3134", f"torch._dynamo.config.{name} is {kind.__name__}, not {type(value).__name__}",
                     fix=f"give it a value like {getattr(core.config, SETTINGS[name])!r}")
            setattr(core.config, SETTINGS[name], value)
        elif name in STANCES:
            if value or Stance.now == STANCES[name]:
                set_stance(STANCES[name] if value else "default")
        elif name.startswith("__"):                     # Python's own
            super().__setattr__(name, value)
        else:
            raise AttributeError(absent(name))

    def __dir__(self) -> list[str]:
        return sorted({"patch", *SETTINGS, *STANCES})


def absent(name: str) -> str:
    """What is said of a setting that is not here."""
    return (f"torch._dynamo.config.{name} is no setting of pellucid, where it would mean nothing: leave it out. "
            f"There are {', '.join(sorted({*SETTINGS, *STANCES}))}")


@contextlib.contextmanager
def patch(settings: str | dict[str, Any] | None = None, value: Any = None, **more: Any) -> Iterator[None]:
    """Settings for a block, or for the calls of a function that it decorates: `patch(recompile_limit=1)`, `patch("verbose", True)`,
    `patch({"verbose": True})`."""
    given = {settings: value} if isinstance(settings, str) else dict(settings or {})
    module = sys.modules[__name__]
    before: dict[str, Any] = {}
    try:
        for name, new in {**given, **more}.items():
            old = getattr(module, name)
            setattr(module, name, new)
            before[name] = old
        yield
    finally:
        for name, old in before.items():
            setattr(module, name, old)


sys.modules[__name__].__class__ = Settings
