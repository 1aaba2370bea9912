"""Errors for the person: what was attempted, with which shapes and dtypes, where in the user's code, how to mend it.

`fail(RuntimeError, "P201", what, fix=...)` raises the named built-in type (so that `except RuntimeError` works as with
PyTorch) with a numbered message of up to four lines. The first line is the one PyTorch users know.
"""
from __future__ import annotations

import linecache
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STANDARD = os.path.dirname(os.__file__) + os.sep       # Python's own modules: copy.deepcopy is not the user's line


class _Interpreted(threading.local):
    """While a function is interpreted: `place()` gives the user's (file, line, function), which no frame of Python's knows;
    `call(fn, args, kwargs)` interprets a function of the user's that code which is not interpreted calls."""

    place: Any = None
    call: Any = None


interpreted = _Interpreted()


def call_back(fn: Any, *args: Any, **kwargs: Any) -> Any:
    """Call what the user gave: a hook, a custom Function's method."""
    return fn(*args, **kwargs) if interpreted.call is None else interpreted.call(fn, args, kwargs)


def user_frame(skip: int = 1) -> tuple[str, int] | None:
    """(file, line) of the innermost frame outside pellucid and Python's own modules, or None. Reads no file."""
    if interpreted.place is not None:
        return interpreted.place()[:2]
    frame = sys._getframe(skip)
    second = None
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((PACKAGE, "<frozen")) or name.startswith(PACKAGE + "demo"):
            found = name, frame.f_lineno
            if not name.startswith(_STANDARD) or "-packages" in name[len(_STANDARD):]:
                break
            second = second or found
        frame = frame.f_back
    else:
        found = second
    return found


def user_location(skip: int = 1) -> tuple[str, int, str] | None:
    """(file, line, source) of the user's frame, or None."""
    found = user_frame(skip + 1)
    return None if found is None else (*found, linecache.getline(*found).strip())


def at(location: tuple | None) -> str:
    """`file:line: source` on one line. The source is read now unless it is given."""
    if location is None:
        return "(no user code on the stack)"
    name, line = location[:2]
    source = location[2] if len(location) > 2 else linecache.getline(name, line).strip()
    return f"{name}:{line}: {source}" if source else f"{name}:{line}"


def message(code: str, what: str, *, got: str | None = None, fix: str | None = None, where: bool = True) -> str:
    """The text of a numbered error."""
    lines = [what]
    if got:
        lines.append(f"  got: {got}")
    if where:
        lines.append(f"  at:  {at(user_location(3))}")
    if fix:
        lines.append(f"  fix: {fix}")
    lines.append(f"  [{code}]")
    return "\n".join(lines)


def fail(kind: type[BaseException], code: str, what: str, *, got: str | None = None, fix: str | None = None) -> NoReturn:
    """Raise `kind` with a numbered message. `got` describes the operands, `fix` the remedy."""
    text = message(code, what, got=got, fix=fix)
    raise kind(Plain(text) if issubclass(kind, KeyError) else text)


class Plain(str):
    """A message that KeyError, which shows the repr of what it is given, shows as it is."""

    __repr__ = str.__str__


def describe(*values) -> str:
    """Operands in a few words: `float32[2, 3], int64[4], 1.5`."""
    out = []
    for v in values:
        shape = getattr(v, "shape", None)
        if shape is not None and hasattr(v, "dtype"):
            d = getattr(v.dtype, "name", v.dtype)
            out.append(f"{d}{list(shape)}")
        elif isinstance(v, (list, tuple)) and len(v) <= 8:
            out.append("[" + describe(*v) + "]")
        else:
            r = repr(v)
            out.append(r if len(r) < 60 else r[:57] + "...")
    return ", ".join(out)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` most like `name`, if any is like it; upper and lower case count as near."""
    from difflib import get_close_matches       # here, because a program without such an error has no use for it
    plain = {}
    for n in names:
        if isinstance(n, str) and not n.startswith("_"):
            plain.setdefault(n.lower(), []).append(n)
    found = get_close_matches(name.lower(), plain, 1, 0.7)
    return max(plain[found[0]], key=lambda n: (n[0] == name[0], sum(map(str.__eq__, n, name)))) if found else None


def no_attribute(what: str, name: str, names: Callable[[], Iterable[str]], fix: str | None = None) -> AttributeError:
    """The error for an unknown attribute `name` of `what`. `names()` gives the known ones; private names are not explained,
    because they are what libraries probe for."""
    first = f"{what} has no attribute {name!r}"
    if name.startswith("_"):
        return AttributeError(first)
    place = user_frame(2)

    def explained() -> str:
        known = None if fix else nearest(name, names())
        hint = fix or (f"did you mean {known!r}?" if known else "dir() of it lists what there is")
        return f"{first}\n  at:  {at(place)}\n  fix: {hint}\n  [P001]"
    return AttributeError(Later(explained))


class Later:
    """A text that is made when somebody reads it: most missing attributes are only asked for by hasattr()."""

    def __init__(self, make: Callable[[], str]):
        self.make = make

    def __str__(self) -> str:
        return self.make()

    def __repr__(self) -> str:
        return repr(self.make())

    def __reduce__(self):
        return str, (self.make(),)


def unknown(module: dict[str, Any]) -> Callable[[str], Any]:
    """A module's `__getattr__`, given its globals(): the AttributeError names the nearest existing name."""
    def __getattr__(name: str):
        raise no_attribute(f"module {module['__name__']!r}", name, lambda: module)
    return __getattr__
