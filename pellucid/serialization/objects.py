"""Whole objects in checkpoints: which classes and functions a file may name besides the closed set, and what is done with them.

In: what the caller allowed (`safe_globals`, `add_safe_globals`: PyTorch's), and `nn`'s own modules and functions. Out: objects of just
these classes. True always: a name is looked up among what was allowed, or in a module of `nn` that is loaded already: nothing is
imported for a file; only what the caller allowed is called; a module of `nn` is made empty and given its attributes, nothing else.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any, Callable, Iterable

from . import bridge
from .errors import brief
from .interpreter import Interpreter

__all__ = ["Noting", "Objects", "add_safe_globals", "canonical", "clear_safe_globals", "get_safe_globals", "safe_globals"]

OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_NAMES = (("pellucid.vision", "torchvision"), ("pellucid", "torch"))
_FUNCTIONAL = "torch.nn.functional"
_allowed: set[Any] = set()


def canonical(module: str) -> str:
    """The one spelling of a module's name: PyTorch's and Python 3's."""
    module = "torch.nn.functional" if module == "torch._C._nn" else OLD_MODULES.get(module, module)
    for own, theirs in _NAMES:
        if module == own or module.startswith(own + "."):
            return theirs + module[len(own):]
    return module


def own_name(module: str) -> str:
    """The inverse, for modules of this package."""
    return "pellucid" + module[len("torch"):]


def add_safe_globals(safe_globals: Iterable[Callable[..., Any] | tuple[Callable[..., Any], str]]) -> None:
    """Allow `load` to build objects of these classes, and to call these functions, from now on.

    Args:
        safe_globals: classes and functions; or pairs of one and the full name ("module.name") that files give it.
    """
    _allowed.update(safe_globals)


def clear_safe_globals() -> None:
    """Allow none of what `add_safe_globals` allowed."""
    _allowed.clear()


def get_safe_globals() -> list[Any]:
    """What is allowed now, as it was given."""
    return list(_allowed)


class safe_globals:
    """Within `with safe_globals([Net, ...]):` these are allowed as well."""

    def __init__(self, safe_globals: Iterable[Any]):
        self.safe_globals = list(safe_globals)

    def __enter__(self) -> None:
        self._before = set(_allowed)
        add_safe_globals(self.safe_globals)

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        clear_safe_globals()
        _allowed.update(self._before)


def _by_name() -> dict[str, Any]:
    """What the caller allowed, by full name."""
    found = {}
    for one in _allowed:
        value, path = one if type(one) is tuple and len(one) == 2 else (one, None)
        if path is None and isinstance(getattr(value, "__qualname__", None), str):
            path = f"{value.__module__}.{value.__qualname__}"
        if type(path) is not str or not callable(value):
            raise TypeError(f"safe globals are classes and functions, or pairs (class or function, 'module.name'); got {brief(one)}")
        module, _, name = path.rpartition(".")
        found[f"{canonical(module)}.{name}"] = value
    return found


def _of_nn(module: str, name: str) -> Any:
    """A module class or function of `nn` by its place in PyTorch, which is its place here; None for all else."""
    held = sys.modules.get(own_name(module)) if module.startswith("torch.nn.") else None
    value = vars(held).get(name) if held is not None else None
    if getattr(value, "__module__", None) != own_name(module):
        return None
    if isinstance(value, type):
        return value if issubclass(value, bridge.Module) else None
    return value if module == _FUNCTIONAL and type(value) is FunctionType and not name.startswith("_") else None


class Objects:
    """What one `load` may build besides the closed set."""

    def __init__(self) -> None:
        self.named = _by_name()
        self.granted = {id(value): value for value in self.named.values()}

    def find(self, module: str, name: str) -> Any:
        """The class or function of that canonical name, or None."""
        found = self.named.get(f"{module}.{name}")
        return _of_nn(module, name) if found is None else found

    def _of_the_caller(self, value: Any) -> bool:
        return id(value) in self.granted

    def builds(self, kind: type) -> bool:
        """Whether objects of this class are built here."""
        return self._of_the_caller(kind) or (issubclass(kind, bridge.Module) and _of_nn(canonical(kind.__module__), kind.__name__) is kind)

    def hashable(self, kind: type) -> bool:
        """Whether objects of this class may be keys."""
        return self._of_the_caller(kind)

    def call(self, s: Interpreter, callee: Any, args: tuple) -> Any:
        """REDUCE."""
        if not self._of_the_caller(callee):
            raise s.unsafe("The file calls something that is not allowed.", _spelled(callee))
        return callee(*args)

    def new(self, s: Interpreter, kind: Any, args: tuple) -> Any:
        """NEWOBJ: an object before it has its state."""
        if not isinstance(kind, type) or not self.builds(kind):
            raise s.unsafe("The file makes an object of what is not an allowed class.", _spelled(kind))
        if args and not self._of_the_caller(kind):
            raise s.unsafe("Modules are made without arguments.", _spelled(kind))
        return kind.__new__(kind, *args)

    def set_state(self, s: Interpreter, target: Any, state: Any) -> bool:
        """BUILD, as pickle does it. False where objects of this class are not built here."""
        kind = type(target)
        if not self.builds(kind):
            return False
        s.include(target, [state])
        if isinstance(target, bridge.Module):
            _check_attributes(s, kind, state, own=not self._of_the_caller(kind))
        if hasattr(target, "__setstate__"):
            target.__setstate__(state)
            return True
        attributes, slots = state if type(state) is tuple and len(state) == 2 else (state, None)
        if attributes:
            vars(target).update(attributes)
        for name, value in (slots or {}).items():
            setattr(target, name, value)
        return True

    def extend(self, s: Interpreter, target: Any, items: list[Any]) -> bool:
        """APPEND and APPENDS onto an object of the caller's class."""
        if not self._of_the_caller(type(target)):
            return False
        s.include(target, items)
        for item in items:
            target.append(item)
        return True

    def fill(self, s: Interpreter, target: Any, pairs: list[Any]) -> bool:
        """SETITEM and SETITEMS into an object of the caller's class."""
        if not self._of_the_caller(type(target)):
            return False
        s.include(target, pairs)
        for key, value in zip(pairs[::2], pairs[1::2]):
            s.check_key(key)
            target[key] = value
        return True


def _check_attributes(s: Interpreter, kind: type, state: Any, own: bool) -> None:
    """A module's attributes have plain names: others could not be read by name, or would stand for a method of `nn`."""
    if type(state) is not dict:
        raise ValueError(f"the state of a module is a dict, not a {type(state).__name__}")
    for name in state:
        if type(name) is not str or not name.isidentifier() or name.startswith("__") or (own and callable(getattr(kind, name, None))):
            raise s.unsafe(f"The attribute {brief(name)} may not be set.", _spelled(kind))


def _spelled(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"


class _Noted:
    """Stands for whatever a file names or calls, where only the names are wanted."""


class Noting(Objects):
    """Builds nothing: notes the names in a file."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[tuple[str, str], None] = {}

    def note(self, module: str, name: str) -> _Noted:
        self.names[module, name] = None
        return _Noted()

    def builds(self, kind: type) -> bool:
        return kind is _Noted

    hashable = builds

    def call(self, s: Interpreter, callee: Any, args: tuple) -> Any:
        return _Noted()

    new = call

    def set_state(self, s: Interpreter, target: Any, state: Any) -> bool:
        return type(target) is _Noted

    extend = fill = set_state
