"""Frames: one call of an interpreted function each, and the generators that keep one.

In: a Python function and its arguments. Out: a Frame with its slots bound as Python binds them. What stays true: a value is an ordinary
Python object; an error of the interpreted program travels as `Raised`.
"""
from __future__ import annotations

import inspect
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from .decode import Program, decode
from .tables import NULL, UNBOUND

__all__: list[str] = []


class Raised(Exception):
    """An exception of the interpreted program; `value` is the exception object."""

    def __init__(self, value: BaseException):
        self.value = value


class Exhausted:
    """What `Domain.next` answers for an iterator that has ended with `value`."""

    def __init__(self, value: Any = None):
        self.value = value


class Entering:
    """What `next(generator)` gives: enter the generator, once the operands of the call are off the stack. `thrown`: `value` is raised
    there."""

    def __init__(self, generator: Generator, value: Any, default: Any, thrown: bool = False):
        self.generator, self.value, self.default, self.thrown = generator, value, default, thrown


class _Dropped:
    """The result of a call that nobody takes."""


DROPPED = _Dropped()


def dropped(value: Any) -> Any:
    return DROPPED


class Frame:
    """One call of a function. `slots`: locals, cells and free variables; `exc`: the exception being handled; `result`: what the
    call gives whatever the code returns (a constructor's object); `then`: takes the result to the frame below; `owner`: the
    generator whose frame it is, `awaits` how its consumer takes a value."""

    __slots__ = ("program", "index", "stack", "slots", "space", "exc", "result", "then", "_owner", "awaits", "entered", "name")

    def __init__(self, program: Program, space: dict, slots: list, index: int = 0, stack: list | None = None):
        self.program, self.space, self.slots, self.index = program, space, slots, index
        self.stack = [] if stack is None else stack
        self.exc = self.then = self._owner = self.awaits = self.name = None
        self.result = NULL
        self.entered = 0

    @property
    def owner(self) -> Generator | None:
        return None if self._owner is None else self._owner()

    @owner.setter
    def owner(self, generator: Generator) -> None:
        self._owner = weakref.ref(generator)        # so that a generator is gone when the program lets go of it

    @property
    def line(self) -> int | None:
        return self.program.ins[max(self.index - 1, 0)].line

    def locals(self) -> dict:
        """What locals() gives."""
        found = {}
        for name, value in zip(self.program.slotnames, self.slots):
            if type(value) is types.CellType:
                try:
                    value = value.cell_contents
                except ValueError:
                    continue
            if value is not UNBOUND and not name.startswith("."):
                found[name] = value
        return found


class Generator:
    """A generator of interpreted code."""

    __slots__ = ("frame", "name", "running", "born", "left", "__weakref__")

    def __init__(self, frame: Frame, name: str, left: list | None = None):
        self.frame: Frame | None = frame
        self.name, self.running, self.born = name, False, frame.entered      # `born`: the step of the call that made it
        self.left = left                                                     # takes the frame, if nobody can end it any more

    @property
    def awaited(self) -> Any:
        """The iterator whose values it hands on by `yield from`, or None."""
        frame = self.frame
        if frame is None or frame.index < 2 or [i.op for i in frame.program.ins[frame.index - 2:frame.index]] != ["SEND", "YIELD_VALUE"]:
            return None
        return frame.stack[-1]

    @property
    def open(self) -> bool:
        """Whether it stands inside try or with: its own code would notice being ended."""
        return self.frame is not None and self.frame.index > 0 and handles(self.frame)

    def __del__(self) -> None:
        if self.left is not None and self.open:
            self.left.append(self.frame)


def handles(frame: Frame) -> bool:
    """Whether a suspended generator's own code would notice being ended. (From 3.12 on all of it is in a handler that Python adds.)"""
    handler = frame.program.handler[frame.index - 1]
    return handler is not None and frame.program.ins[handler[0]].arg != "STOPITERATION_ERROR"


def first_step(frames: list[Frame], step: int) -> int:
    """Where a segment that cannot go past `step` must end: frames that nobody can go on with are not entered at all."""
    for frame in frames:
        if frame.then is not None or frame.owner is not None or frame.awaits is not None or any(type(v) is Generator and v.running for v in frame.stack):
            return frame.entered
    return step


def frame_of(fn: types.FunctionType, args: Sequence, kwargs: dict) -> Frame:
    """A frame for a call of a Python function."""
    code = fn.__code__
    program = decode(code)
    slots = bind(fn, list(args), kwargs)
    slots += [UNBOUND] * (program.nslots - len(slots))
    free = len(code.co_freevars)
    if free:
        slots[program.nslots - free:] = fn.__closure__
    frame = Frame(program, fn.__globals__, slots)
    frame.name = fn.__qualname__
    return frame


def bind(fn: types.FunctionType, args: list, kwargs: dict) -> list:
    """The values of a function's parameters, in the order of its slots. Raises Raised(TypeError) as Python does."""
    code = fn.__code__
    count, keyword_only = code.co_argcount, code.co_kwonlyargcount
    names, flags = code.co_varnames, code.co_flags
    slots: list = args[:count]
    if not kwargs and not keyword_only and len(args) == count and not flags & 12:
        return slots
    if len(args) > count and not flags & inspect.CO_VARARGS:
        _refuse(fn, args, kwargs)
    slots += [UNBOUND] * (count + keyword_only - len(slots))
    extra = {}
    for key, value in kwargs.items():
        try:
            at = names.index(key, code.co_posonlyargcount, count + keyword_only)
        except ValueError:
            if not flags & inspect.CO_VARKEYWORDS:
                _refuse(fn, args, kwargs)
            extra[key] = value
            continue
        if slots[at] is not UNBOUND:
            _refuse(fn, args, kwargs)
        slots[at] = value
    defaults = fn.__defaults__ or ()
    for at in range(count):
        if slots[at] is UNBOUND:
            if at < count - len(defaults):
                _refuse(fn, args, kwargs)
            slots[at] = defaults[at - count + len(defaults)]
    for at in range(count, count + keyword_only):
        if slots[at] is UNBOUND:
            try:
                slots[at] = (fn.__kwdefaults__ or {})[names[at]]
            except KeyError:
                _refuse(fn, args, kwargs)
    if flags & inspect.CO_VARARGS:
        slots.append(tuple(args[count:]))
    if flags & inspect.CO_VARKEYWORDS:
        slots.append(extra)
    return slots


def _refuse(fn: types.FunctionType, args: list, kwargs: dict) -> None:
    """Raise the error that Python has for these arguments."""
    try:
        _empty(fn)(*args, **kwargs)
    except TypeError as error:
        raise Raised(error) from None
    raise AssertionError("the arguments bind")


def _empty(fn: types.FunctionType) -> Callable:
    """A function with the parameters of `fn` that does nothing."""
    code = fn.__code__
    nothing = (lambda: None).__code__
    free = code.co_freevars
    if free:
        cell = None
        nothing = (lambda: cell).__code__
    varnames = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)]
    made = nothing.replace(co_argcount=code.co_argcount, co_posonlyargcount=code.co_posonlyargcount, co_varnames=varnames,
                           co_kwonlyargcount=code.co_kwonlyargcount, co_nlocals=len(varnames), co_name=code.co_name,
                           co_qualname=code.co_qualname, co_flags=nothing.co_flags & ~12 | code.co_flags & 12)
    r = types.FunctionType(made, {}, fn.__name__, fn.__defaults__, tuple(types.CellType(None) for _ in made.co_freevars))
    r.__kwdefaults__, r.__qualname__ = fn.__kwdefaults__, fn.__qualname__
    return r


def unbound_local(frame: Frame, slot: int) -> UnboundLocalError:
    name = frame.program.slotnames[slot]
    return UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value")


def free_name(frame: Frame, slot: int) -> NameError:
    name, code = frame.program.slotnames[slot], frame.program.code
    if name in code.co_freevars:
        return NameError(f"cannot access free variable '{name}' where it is not associated with a value in enclosing scope")
    return unbound_local(frame, slot)


def check_count(items: list, count: int, after: int) -> list:
    """The values that an unpacking of `items` assigns. Raises Raised(ValueError) as Python does."""
    if after < 0:
        if len(items) > count:
            raise Raised(ValueError(f"too many values to unpack (expected {count})"))
        if len(items) < count:
            raise Raised(ValueError(f"not enough values to unpack (expected {count}, got {len(items)})"))
        return items
    if len(items) < count + after:
        raise Raised(ValueError(f"not enough values to unpack (expected at least {count + after}, got {len(items)})"))
    return [*items[:count], items[count:len(items) - after], *items[len(items) - after:]]


def chained(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = error.__context__ = cause
    error.__suppress_context__ = True
    return error


def hang(value: BaseException, during: BaseException) -> None:
    """An exception is raised while another is being handled: that is its context; no chain becomes a ring."""
    at = during
    while at.__context__ is not None and at.__context__ is not value:
        at = at.__context__
    if at.__context__ is value:
        at.__context__ = None
    value.__context__ = during
