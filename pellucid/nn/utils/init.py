"""Modules without their initial values.

In: a module class and its arguments. Out: the module with memory allocated but nothing promised about the values. What
stays true: no random numbers are drawn.
"""

from __future__ import annotations

import inspect
from typing import Any

from ...tensor.random import fork_rng
from ..modules.module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """``module_cls(*args, **kwargs)`` with uninitialised parameters; for modules that are filled by other means.

    Raises:
        RuntimeError: ``module_cls`` is no Module class, or takes no ``device``.
    """
    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    with fork_rng():
        return module_cls(*args, **kwargs)
