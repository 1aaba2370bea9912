"""Modules and compiled functions: which ones a function calls, and a module that is compiled when it is called.

In: a function, or a module with its compiled form. Out: the modules that a trace has to watch; a module that shares parameters,
attributes and modes with the given one. What stays true: there is one set of attributes, whichever of the two is used; a copy has
its own.
"""
from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ..nn import Module
from .guards import names

__all__: list[str] = []


def reachable(fn: Callable) -> list[Module]:
    """Modules that a function holds: itself, the object it is a method of, its closure, the globals that it names."""
    found = [fn, getattr(fn, "__self__", None)]
    code = getattr(fn, "__code__", None)
    if code is None and not isinstance(fn, Module):
        call = getattr(type(fn), "__call__", None)
        code, fn = getattr(call, "__code__", None), call
    if code is not None:
        space = getattr(fn, "__globals__", {})
        found += [space[n] for n in names(fn) if n in space]
        for cell in getattr(fn, "__closure__", None) or ():
            try:
                found.append(cell.cell_contents)
            except ValueError:
                continue
    return [m for m in found if isinstance(m, Module)]


# ---------------------------------------------------------------------------------------------------- a compiled module
class OptimizedModule(Module):
    """What every compiled module is, besides being of the class of the module itself. `_compiled` is its compiled form, `_orig_mod` the
    module. (The name is PyTorch's.)"""

    _compiled: Any
    _orig_mod: Module
    _again: Callable[[Module], Module]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._compiled(*args, **kwargs)

    def __deepcopy__(self, memo: dict) -> Module:
        return self._again(copy.deepcopy(self._orig_mod, memo))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._orig_mod.__reduce_ex__(protocol)

    def report(self) -> Any:
        """What the compiled module consists of."""
        return self._compiled.report()

    @property
    def compiles(self) -> int:
        """How many versions were compiled."""
        return self._compiled.compiles

    @property
    def graphs(self) -> list:
        """The traced graphs."""
        return self._compiled.graphs

    @property
    def kernels(self) -> list:
        """The generated kernels."""
        return self._compiled.kernels


def share(module: Module, compiled: Any, again: Callable[[Module], Module]) -> Module:
    """A module with the attributes of `module`, literally, that is compiled when it is called. `again` compiles a copy."""
    cls = type(module)
    fields = {"_compiled": property(lambda self: compiled), "_orig_mod": property(lambda self: module), "_again": staticmethod(again),
              "__module__": cls.__module__, "__doc__": cls.__doc__, "__qualname__": cls.__qualname__}
    made = object.__new__(type(cls.__name__, (OptimizedModule, cls), fields))
    object.__setattr__(made, "__dict__", module.__dict__)
    return made
