"""Public subpackages that load when they are first asked for, so that `import pellucid` stays quick.

This is for start-up time only: nothing below a package may reach it this way (`core/late.py` is the one upward path).
"""
from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping

from .collecting import uncollected
from .errors import no_attribute

load = uncollected(importlib.import_module)


def lazily(package: str, submodules: tuple[str, ...] = (), names: Mapping[str, str] = {}, missing: Callable | None = None) -> Callable:
    """A module's `__getattr__`: `submodules` are imported on first use, `names` are taken from the submodule they map to.

    A name must not be called as a submodule is. `missing(name)` makes the AttributeError for anything else."""
    def __getattr__(name: str):
        source = name if name in submodules else names.get(name)
        if source is None:
            if missing is not None:
                raise missing(name)
            raise no_attribute(f"module {package!r}", name, lambda: [*vars(sys.modules[package]), *submodules, *names])
        module = load(f"{package}.{source}")
        value = module if name in submodules else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value
    return __getattr__
