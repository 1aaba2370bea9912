"""`except*`: which part of an exception group a clause takes, and what is raised when all clauses are done.

In: exceptions as the instructions of CPython have them on the stack. Out: the same values that CPython puts there. What stays true: an
exception that came out of a clause unchanged goes back to its place in the group; one that was raised anew stands beside it.
"""
from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

__all__: list[str] = []

set_handled = ctypes.PYFUNCTYPE(None, ctypes.py_object)(("PyErr_SetHandledException", ctypes.pythonapi))      # what sys.exception() gives


def matches(error: BaseException | None, kinds: Any) -> bool:
    """Whether `except kinds` takes an exception: by inheritance, whatever a metaclass says."""
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    for kind in kinds:
        if not (isinstance(kind, type) and BaseException in kind.__mro__):
            raise TypeError("catching classes that do not inherit from BaseException is not allowed")
    return any([kind in type(error).__mro__ for kind in kinds])


def divided(error: BaseException | None, kinds: Any) -> tuple[BaseException | None, BaseException | None]:
    """(the rest, what `except* kinds` takes of an exception); an exception that is no group is taken in a group of its own."""
    whole = matches(error, kinds)
    if any([issubclass(kind, BaseExceptionGroup) for kind in (kinds if isinstance(kinds, tuple) else (kinds,))]):
        raise TypeError("catching ExceptionGroup with except* is not allowed. Use except instead.")
    if error is None:
        return None, None
    group = isinstance(error, BaseExceptionGroup)
    if whole:
        return None, error if group else BaseExceptionGroup("", [error])
    if not group:
        return error, None
    taken, rest = error.split(kinds)
    return rest, taken


def rejoined(whole: BaseException, left: list, raised_at: Callable, part_of: Callable = lambda part, whole: None) -> BaseException | None:
    """What to raise of `left`: what the clauses of a try statement raised, and what none of them took. `whole`: the exception that was
    caught; `raised_at(e)`: its traceback, or what stands for it: the same object for the parts of a group as long as nobody raises them;
    `part_of(part, whole)` is told of a new part."""
    left = [error for error in left if error is not None]
    if not isinstance(whole, BaseExceptionGroup):
        return left[0] if left else None
    facts = raised_at(whole), whole.__cause__, whole.__context__
    anew, back = [], set()
    for error in left:
        if all([a is b for a, b in zip((raised_at(error), error.__cause__, error.__context__), facts)]):
            back.update(leaves(error))
        else:
            anew.append(error)
    again = BaseExceptionGroup.subgroup(whole, lambda e: not isinstance(e, BaseExceptionGroup) and id(e) in back) if back else None
    if again is not None:
        part_of(again, whole)
        anew.append(again)
    return (BaseExceptionGroup("", anew) if len(anew) > 1 else anew[0]) if anew else None


def leaves(error: BaseException) -> set[int]:
    """The ids of the exceptions in a group that are no groups."""
    return set().union(*map(leaves, error.exceptions)) if isinstance(error, BaseExceptionGroup) else {id(error)}


def foreign(error: BaseException | None) -> bool:
    """Whether dividing an exception runs code of the user's."""
    return isinstance(error, BaseExceptionGroup) and (
        type(error) not in (BaseExceptionGroup, ExceptionGroup) or any(map(foreign, error.exceptions)))


def taken_of(error: BaseException | None, kinds: Any) -> tuple[BaseException | None, BaseException | None]:
    """`divided`, in a function written by `blocks`: what is taken is the exception being handled from then on, as in CPython."""
    rest, taken = divided(error, kinds)
    if taken is not None:
        set_handled(taken)
    return rest, taken


def raised_again(whole: BaseException, left: list) -> BaseException | None:
    """`rejoined`, of real exceptions."""
    return rejoined(whole, left, lambda error: error.__traceback__)
