"""What an operation does on plain values: Python's own meaning, nothing watched.

The domain of single instructions that a segment hands back to Python, and the oracle of the interpreter's tests. What stays true:
every exception of an operation comes out as `Raised`.
"""
from __future__ import annotations

import builtins
import inspect
import operator
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

from ..native.execute import BeingTraced
from ..optim._traced import FirstStep
from ..tensor.fake import TraceError
from . import forms, groups
from .breaks import Break
from .frame import Exhausted, Frame, Generator, Raised, check_count, frame_of
from .tables import UNBOUND

__all__: list[str] = []

BINARY: dict[str, Callable] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv, "%": operator.mod,
    "@": operator.matmul, "**": operator.pow, "&": operator.and_, "|": operator.or_, "^": operator.xor, "<<": operator.lshift,
    ">>": operator.rshift,
}
BINARY |= {f"{sign}=": getattr(operator, f"i{fn.__name__.strip('_')}") for sign, fn in tuple(BINARY.items())}
UNARY: dict[str, Callable] = {"-": operator.neg, "+": operator.pos, "~": operator.invert, "not": operator.not_}
COMPARE: dict[str, Callable] = {"<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt,
                                ">=": operator.ge}
CONVERT = (None, str, repr, ascii)
importing = builtins.__import__      # the program's own import statements


def performed(fn: Callable, *args: Any, **kwargs: Any) -> Any:
    """`fn(*args, **kwargs)`; its exceptions are those of the program."""
    try:
        return fn(*args, **kwargs)
    except (Raised, Break, BeingTraced, FirstStep):
        raise
    except TraceError as error:                     # only where tensors have no values
        raise Break("PX001", str(error).partition("\n")[0]) from error
    except Exception as error:
        raise Raised(error) from None


def raising(fn: Callable) -> Callable:
    """A method of a domain that is `performed`."""
    def method(self: Any, *args: Any) -> Any:
        return performed(fn, self, *args)
    return method


class Concrete:
    """Plain Python. `inline`: calls of Python functions are interpreted too (for tests)."""

    interpreter: Any = None

    def __init__(self, inline: bool = False):
        self.inline = inline
        self.left: list[Frame] = []
        self.generators: weakref.WeakSet[Generator] = weakref.WeakSet()

    def refuse(self, number: str, what: str) -> None:
        raise NotImplementedError(f"{number}: {what}")

    @raising
    def load_global(self, space: dict, name: str) -> Any:
        if name in space:
            return space[name]
        return self.builtin(name)

    @staticmethod
    def builtin(name: str) -> Any:
        """What a name means that no module has."""
        found = vars(builtins)
        if name in found:
            return found[name]
        raise NameError(f"name '{name}' is not defined")

    @raising
    def delete_global(self, space: dict, name: str) -> None:
        if name not in space:
            raise NameError(f"name '{name}' is not defined")
        del space[name]

    def cell_get(self, cell: Any) -> Any:
        try:
            return cell.cell_contents
        except ValueError:
            return UNBOUND

    def cell_set(self, cell: Any, value: Any) -> None:
        if value is UNBOUND:
            del cell.cell_contents
        else:
            cell.cell_contents = value

    # ------------------------------------------------------------------------------------------ attributes, items, operators
    get_attr = raising(lambda self, owner, name: getattr(owner, name))
    store_attr = raising(lambda self, value, owner, name: setattr(owner, name, value))
    del_attr = raising(lambda self, owner, name: delattr(owner, name))
    super_attr = raising(lambda self, found, cls, owner, name: getattr(found(cls, owner), name))
    get_item = raising(lambda self, owner, key: owner[key])
    set_item = raising(lambda self, owner, key, value: operator.setitem(owner, key, value))
    store_item = raising(lambda self, value, owner, key: operator.setitem(owner, key, value))
    del_item = raising(lambda self, owner, key: operator.delitem(owner, key))
    unary = raising(lambda self, value, sign: UNARY[sign](value))
    binary = raising(lambda self, a, b, sign: BINARY[sign](a, b))
    compare = raising(lambda self, a, b, sign: COMPARE[sign](a, b))
    contains = raising(lambda self, item, owner, negated: (item in owner) ^ bool(negated))
    truth = raising(lambda self, value: bool(value))
    convert = raising(lambda self, value, kind: CONVERT[kind](value))
    format = raising(lambda self, value, spec: format(value, spec))

    @staticmethod
    def is_(a: Any, b: Any, negated: Any) -> bool:
        return (a is b) ^ bool(negated)

    @raising
    def special(self, owner: Any, name: str) -> Any:
        kind = type(owner)
        method = getattr(kind, name, None)
        if method is None:
            raise TypeError(f"'{kind.__name__}' object does not support the context manager protocol")
        return types.MethodType(method, owner) if isinstance(method, types.FunctionType) else getattr(owner, name)

    # ------------------------------------------------------------------------------------------ building
    build_tuple = staticmethod(tuple)
    build_list = staticmethod(list)
    build_string = staticmethod("".join)
    build_set = raising(lambda self, items: set(items))
    build_slice = staticmethod(lambda items: slice(*items))
    build_map = raising(lambda self, keys, values: dict(zip(keys, values)))
    list_append = raising(lambda self, owner, item: owner.append(item))
    list_extend = raising(lambda self, owner, items: owner.extend(items))
    set_add = raising(lambda self, owner, item: owner.add(item))
    set_update = raising(lambda self, owner, items: owner.update(items))
    map_add = raising(lambda self, owner, key, value: operator.setitem(owner, key, value))
    dict_update = raising(lambda self, owner, items: owner.update(items))

    @raising
    def dict_merge(self, owner: dict, items: Any, fn: Any) -> None:
        name = getattr(fn, "__qualname__", type(fn).__qualname__)
        for key in items.keys():
            if key in owner:
                raise TypeError(f"{name}() got multiple values for keyword argument '{key}'")
            owner[key] = items[key]

    @raising
    def unpack(self, items: Any, count: int | None, after: int) -> Any:
        if isinstance(items, Generator):
            return frame_of(forms.drained, (items,), {})
        if after < 0 and count is not None and type(items) not in (list, tuple):
            it, found = iter(items), []
            for value in it:                        # an endless iterator gives one too many, and no more are asked for
                found.append(value)
                if len(found) > count:
                    break
            return check_count(found, count, after)
        return list(items) if count is None else check_count(list(items), count, after)

    @raising
    def star_kwargs(self, items: Any) -> dict:
        return dict(items)

    # ------------------------------------------------------------------------------------------ iteration, calls
    @raising
    def iter(self, value: Any) -> Any:
        return value if isinstance(value, Generator) else iter(value)

    @raising
    def next(self, it: Any) -> Any:
        try:
            return next(it)
        except StopIteration as stop:
            return Exhausted(stop.value)

    @raising
    def send(self, it: Any, value: Any) -> Any:
        try:
            return next(it) if value is None else it.send(value)
        except StopIteration as stop:
            return Exhausted(stop.value)

    divide = raising(lambda self, error, kinds: groups.divided(error, kinds))
    rejoin = raising(lambda self, whole, left: groups.rejoined(whole, left, self.interpreter.raised_at, self.interpreter.part_of))

    def generator(self, frame: Frame) -> Generator:
        made = Generator(frame, frame.name, self.left)
        self.generators.add(made)
        return made

    def made(self, fn: types.FunctionType) -> None:
        """A function was made."""

    @raising
    def call(self, fn: Any, args: list, kwargs: dict) -> Any:
        if fn is super and not args:
            return super(*self.enclosing())
        if self.inline:
            if type(fn) is types.MethodType and type(fn.__func__) is types.FunctionType:
                fn, args = fn.__func__, [fn.__self__, *args]
            if type(fn) is types.FunctionType:
                return frame_of(fn, args, kwargs)
        return fn(*args, **kwargs)

    def enclosing(self) -> tuple[type, Any]:
        """The class and the object that `super()` means in the innermost frame."""
        frame = self.interpreter.frames[-1]
        names = frame.program.slotnames
        if "__class__" not in names:
            raise RuntimeError("super(): no arguments" if not frame.program.code.co_argcount else "super(): __class__ cell not found")
        if not frame.program.code.co_argcount and not frame.program.code.co_flags & inspect.CO_VARARGS:
            raise RuntimeError("super(): no arguments")
        first = frame.slots[0]
        owner = first.cell_contents if type(first) is types.CellType else first
        return frame.slots[names.index("__class__")].cell_contents, owner

    @raising
    def import_name(self, name: str, space: dict, names: Any, level: int) -> Any:
        return importing(name, space, {}, names, level)

    @raising
    def import_from(self, module: Any, name: str) -> Any:
        try:
            return getattr(module, name)
        except AttributeError:
            found = sys.modules.get(f"{getattr(module, '__name__', '')}.{name}")
            if found is None:
                raise ImportError(f"cannot import name '{name}' from '{module.__name__}' "
                                  f"({getattr(module, '__file__', None) or 'unknown location'})") from None
            return found
