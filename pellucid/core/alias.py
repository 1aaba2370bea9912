"""pellucid under a second name: after `sys.modules["torch"] = pellucid`, `import torch.nn` is this very `pellucid.nn`.

What stays true: no module of pellucid is ever loaded twice, whatever name it is asked for under.
"""
from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

HOUSE = __name__.partition(".")[0]


class Alias:
    """Finder and loader of `other.name`, where the module known as `other` is pellucid or a module of it.

    A name that pellucid lacks is left to the finders behind this one: nobody has it, and Python says so."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        known_as, dot, last = name.rpartition(".")
        parent = sys.modules.get(known_as) if dot else None
        own = getattr(parent, "__name__", known_as)
        if own == known_as or not f"{own}.".startswith(f"{HOUSE}.") or sys.modules.get(own) is not parent:
            return None
        real = find_spec(f"{own}.{last}")
        if real is None:
            return None
        if not isinstance(vars(parent).get(last, sys), ModuleType):     # importing it would put a module in that name's place
            raise ModuleNotFoundError(f"No module named '{name}' ('{last}' of {own} is no module)", name=name)
        return ModuleSpec(name, Alias, origin=real.origin, loader_state=real, is_package=real.submodule_search_locations is not None)  # type: ignore

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        return import_module(spec.loader_state.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """It has run already; only its spec, which Python has just replaced, is put back."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def install() -> None:
    """Ask `Alias` first: the other finders would load a second copy from the same file."""
    if Alias not in sys.meta_path:
        sys.meta_path.insert(0, Alias)  # type: ignore
