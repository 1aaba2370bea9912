"""pellucid under a second name: after `sys.modules["torch"] = pellucid`, `import torch.nn` is this very `pellucid.nn`.

`HEADS` holds the names that stand for pellucid or a part of it for good (`pellucid.torch_alias` fills it). Below these, what is missing is
an error that names the nearest thing there is, whatever else is installed under that name.

What stays true: no module of pellucid is ever loaded twice, whatever name it is asked for under.
"""
from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from .errors import nearest

HOUSE = __name__.partition(".")[0]
HEADS: dict[str, str] = {}          # "torch": "pellucid", whose parts are found below that name


class Alias:
    """Finder and loader of `other.name`, where the module known as `other` is pellucid or a module of it.

    A name that pellucid lacks is left to the finders behind this one, unless it is below one of the `HEADS`: nobody has it, and
    the error says so."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        known_as, dot, last = name.rpartition(".")
        if not dot:
            return _spec(name, _real(HEADS[name]), name) if name in HEADS else None
        parent = sys.modules.get(known_as)
        own = HEADS.get(known_as) or getattr(parent, "__name__", known_as)
        if parent is None or not f"{own}.".startswith(f"{HOUSE}."):
            return None
        if own == known_as:         # a module's own name; only `from torch.nn import Missing` is answered here
            if HEADS and _real(name) is None:
                raise ModuleNotFoundError(missing(name, parent), name=_asked(name))
            return None
        value = vars(parent).get(last)
        real = getattr(value, "__spec__", None) if isinstance(value, ModuleType) else _real(f"{own}.{last}")
        if real is not None and last in vars(parent) and not isinstance(value, ModuleType):
            # importing it would put a module in that name's place
            raise ModuleNotFoundError(f"No module named '{name}' ('{last}' of {own} is no module)", name=name)
        return _spec(name, real, known_as)

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        return import_module(spec.loader_state.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """It has run already; only its spec, which Python has just replaced, is put back."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state
        if HEADS and not hasattr(module, "__path__"):
            module.__path__ = []    # Python asks the finders for what `from module import name` misses only in packages


def _spec(name: str, real: ModuleSpec | None, known_as: str) -> ModuleSpec | None:
    if real is not None:
        return ModuleSpec(name, Alias, origin=real.origin, loader_state=real, is_package=real.submodule_search_locations is not None)  # type: ignore
    if name.partition(".")[0] in HEADS:
        raise ModuleNotFoundError(missing(name, sys.modules.get(known_as)), name=name)
    return None


def _real(own: str) -> ModuleSpec | None:
    """The spec of a module of pellucid by its own name; its parent may not have been imported yet."""
    known = sys.modules.get(own)
    if known is not None:
        return known.__spec__
    parent = import_module(own.rpartition(".")[0])
    return PathFinder.find_spec(own, getattr(parent, "__path__", []))


def _asked(own: str) -> str:
    """The name of `own` that the user knows: below one of the `HEADS`, where there is such a one; the longest part counts."""
    own_names = [(getattr(sys.modules.get(head), "__name__", stands), head) for head, stands in HEADS.items()]
    found = max(((stands, head) for stands, head in [*own_names, *zip(HEADS.values(), HEADS)] if f"{own}.".startswith(f"{stands}.")), default=None)
    return found[1] + own[len(found[0]):] if found else own


def missing(name: str, parent: Any) -> str:
    """What an import or attribute error says of `name`, the part that `parent` lacks."""
    asked, near = _asked(name), nearest_to(name, parent)
    return (f"{asked} is not in pellucid {sys.modules[HOUSE].__version__}, which stands in for {asked.partition('.')[0]} here"
            + (f"; the nearest name is {near}" if near else ""))


def nearest_to(name: str, parent: Any) -> str | None:
    """The part of `parent` most like the last part of `name`, if any is like it, as the user would write it."""
    from pkgutil import iter_modules        # here, because a program without such an error has no use for it
    head, dot, last = _asked(name).rpartition(".")
    near = nearest(last, {*dir(parent), *(found.name for found in iter_modules(getattr(parent, "__path__", [])))})
    return head + dot + near if near else None


def absence(name: str) -> tuple[str, str | None] | None:
    """The first part of a dotted name that is not here, and the nearest that is; None if all are. The parts of what is neither a
    module nor a class are not looked at."""
    head, *rest = name.split(".")
    try:
        value = import_module(head)
    except ImportError:
        return head, None
    for last in rest:
        if not isinstance(value, (ModuleType, type)):
            return None
        head += f".{last}"
        try:
            value = getattr(value, last)
        except AttributeError:
            try:
                value = import_module(head)
            except ImportError:
                return head, nearest_to(head, value)
    return None


def install() -> None:
    """Ask `Alias` first: the other finders would load a second copy from the same file."""
    if Alias not in sys.meta_path:
        sys.meta_path.insert(0, Alias)  # type: ignore
