"""What the functions of `blocks` call where an instruction has no counterpart in Python's syntax.

What stays true: each does on plain values what the interpreter of CPython does, error messages included. Frames of this file and of
`groups` are taken out of tracebacks by `tidy`.
"""
from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

from . import groups
from .decode import Program
from .frame import Frame, free_name
from .tables import NULL

__all__: list[str] = []

HERE = frozenset((__file__, groups.__file__))


def keep(error: BaseException) -> tuple:
    """What raising an exception again must not change."""
    return error, error.__traceback__, error.__context__


def restore(error: BaseException, kept: tuple) -> None:
    if error is kept[0]:
        _, error.__traceback__, error.__context__ = kept


def tidy(error: BaseException) -> None:
    """Take the functions that written code calls out of a traceback."""
    place = error.__traceback__
    while place is not None:
        while place.tb_next is not None and place.tb_next.tb_frame.f_code.co_filename in HERE:
            place.tb_next = place.tb_next.tb_next
        place = place.tb_next


def manager(value: Any) -> tuple:
    """The methods __exit__ and __enter__ that `with` uses."""
    kind, methods = type(value), []
    for name in ("__enter__", "__exit__"):
        for cls in kind.__mro__:
            if name in cls.__dict__:
                found = cls.__dict__[name]
                bind = getattr(type(found), "__get__", None)
                methods.append(found if bind is None else bind(found, value, kind))
                break
        else:
            missed = " (missed __exit__ method)" if methods else ""
            raise TypeError(f"'{kind.__qualname__}' object does not support the context manager protocol{missed}")
    return methods[1], methods[0]


def submodule(module: Any, name: str) -> Any:
    """What `from module import name` gives when the module has no such attribute: a submodule, or the error to raise."""
    whole, file = getattr(module, "__name__", "<unknown module name>"), getattr(module, "__file__", None)
    found = sys.modules.get(f"{whole}.{name}")
    if found is not None:
        return found
    error = ImportError(f"cannot import name {name!r} from {whole!r} ({file or 'unknown location'})", name=whole, path=file)
    error.name_from = name
    return error


def match_mapping(subject: Any) -> bool:
    return bool(type(subject).__flags__ & 1 << 6)


def match_sequence(subject: Any) -> bool:
    return bool(type(subject).__flags__ & 1 << 5)


def match_keys(subject: Any, keys: tuple) -> tuple | None:
    """The values of a mapping pattern, or None."""
    found: list = []
    for at, key in enumerate(keys):
        if key in keys[:at]:
            raise ValueError(f"mapping pattern checks duplicate key ({key!r})")
        found.append(subject.get(key, NULL))
        if found[-1] is NULL:
            return None
    return tuple(found)


def match_class(subject: Any, kind: Any, count: int, names: tuple) -> tuple | None:
    """The values of a class pattern with `count` positional ones, or None."""
    if not isinstance(kind, type):
        raise TypeError("called match pattern must be a class")
    if not isinstance(subject, kind):
        return None
    found: list = []
    if count:
        fields = getattr(kind, "__match_args__", NULL)
        if fields is NULL and kind.__flags__ & 1 << 22:                 # int, str and the like stand for themselves
            fields = ()
            if count == 1:
                found, count = [subject], 0
        elif fields is NULL:
            fields = ()
        if type(fields) is not tuple:
            raise TypeError(f"{kind.__name__}.__match_args__ must be a tuple (got {type(fields).__name__})")
        allowed = max(len(fields), kind.__flags__ >> 22 & 1)
        if count > len(fields):
            raise TypeError(f"{kind.__name__}() accepts {allowed} positional sub-pattern{'s' * (allowed != 1)} ({count} given)")
        for at, name in enumerate(fields[:count]):
            if not isinstance(name, str):
                raise TypeError(f"__match_args__ elements must be strings (got {type(name).__name__})")
            if name in fields[:at]:
                raise TypeError(f"{kind.__name__}() got multiple sub-patterns for attribute {name!r}")
        names = (*fields[:count], *names)
    for at, name in enumerate(names):
        if name in names[:at]:
            raise TypeError(f"{kind.__name__}() got multiple sub-patterns for attribute {name!r}")
        value = getattr(subject, name, NULL)
        if value is NULL:
            return None
        found.append(value)
    return tuple(found)


def make_function(code: types.CodeType, space: dict) -> types.FunctionType:
    cells = tuple([types.CellType() for _ in code.co_freevars])
    return types.FunctionType(code, space, closure=cells or None)


def with_attribute(value: Any, fn: types.FunctionType, flag: int) -> types.FunctionType:
    """A new function with its defaults, annotations or closure."""
    if flag == 1:
        fn.__defaults__ = value
    elif flag == 2:
        fn.__kwdefaults__ = value
    elif flag == 4:
        fn.__annotations__ = dict(zip(value[::2], value[1::2])) if type(value) is tuple else value
    else:
        made = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, value)
        made.__kwdefaults__, made.__annotations__, made.__qualname__ = fn.__kwdefaults__, fn.__annotations__, fn.__qualname__
        fn = made
    return fn


def looked_up(fn: Any, space: dict, found: dict, *args: Any) -> Any:
    """A call of what may be one of the functions that look at the caller's frame; `found`: the locals of the written code."""
    if fn in (locals, vars, dir) and not args or fn in (eval, exec) and len(args) == 1:
        names = {}
        for name, value in found.items():
            if name.startswith("..") or not name.startswith("."):
                if type(value) is types.CellType:
                    try:
                        value = value.cell_contents
                    except ValueError:
                        continue
                names[name.lstrip(".")] = value
        return fn(args[0], space, names) if args else sorted(names) if fn is dir else names
    return fn(*args)


def contents_of(program: Program) -> Callable:
    """The function that reads the cells of a program."""
    def contents(cell: types.CellType, slot: int) -> Any:
        try:
            return cell.cell_contents
        except ValueError:
            pass
        raise free_name(Frame(program, {}, []), slot)
    return contents


class Resumed:
    """The iterator of a `yield from` that was left in the middle: `value` is the first that it gives, or that it is sent."""

    def __init__(self, it: Any, gives: bool, value: Any):
        self.it, self.first = it, (gives, value)

    def __iter__(self) -> Resumed:
        return self

    def __next__(self) -> Any:
        if self.first is None:
            return next(self.it)
        (gives, value), self.first = self.first, None
        if gives:
            return value
        return next(self.it) if value is None else self.it.send(value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.it, name)           # send, throw, close, if it has them
