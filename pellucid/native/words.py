"""Words of memory that stand for facts about Python objects: while they are what they were, so are the facts.

In: dictionaries, classes, functions, cells, objects. Out: where in memory something changes when they do; `Words`, which looks at many
such words in one native call. What stays true: CPython's layout is looked up on real objects first, and where it is not the expected one
there are no words; a word is read only while the object it lies in is kept.

A dictionary has a number that changes with every change of its items (PEP 509), a class one that changes with its attributes or those of
its bases; the other words are pointers. Pythons from 3.13 on have no such number in dictionaries: there, nothing has words.
"""
from __future__ import annotations

import ctypes
import types
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from . import execute, loaded

TYPE, DICT_TAG, CLASS_TAG, OWN_DICT = 8, 24, 384, -24          # byte offsets: of an object, a dict, a class, an instance
MANAGED_DICT = 1 << 4                                           # Py_TPFLAGS_MANAGED_DICT: the instances' dict lies before them
PLAIN_DICTS = (dict, defaultdict)
PATIENCE = 1024                                                 # calls without a look, at most, where the words never stay


class Layout(NamedTuple):
    """Where pointers lie: fields of functions by name, the contents of a cell."""

    function: dict[str, int]
    cell: int


def word(where: int) -> int:
    return ctypes.c_int64.from_address(where).value


@cache
def layout() -> Layout | None:
    """How objects lie in memory; None if that is not as expected, or if there is no native code to look at it."""
    try:
        loaded.the_engine()
    except ImportError:
        return None
    return _look() if execute.readable_layout() else None


def _look() -> Layout | None:
    def scale(x: Any = 1, *, y: Any = 2) -> Any:
        return x, y, closed

    closed = "a string that nothing else is"
    fields = {name: _find(scale, getattr(scale, name)) for name in ("__code__", "__defaults__", "__kwdefaults__", "__closure__")}
    cell = _find(scale.__closure__[0], closed)
    if None in fields.values() or cell is None or not _dictionaries_count() or not _classes_count():
        return None
    return Layout(fields, cell)


def _find(x: Any, part: Any) -> int | None:
    """Where in an object the only pointer to its `part` lies."""
    found = [k for k in range(16, type(x).__basicsize__, 8) if word(id(x) + k) == id(part)]
    return found[0] if len(found) == 1 else None


class _Probe:
    """An instance whose dictionary is looked at."""


def _dictionaries_count() -> bool:
    """Whether a dictionary has a number of its own, which changes with its items, whoever changes them and how; and whether instances
    point to theirs."""
    o, d = _Probe(), {}
    for k in range(40):                             # often enough that the interpreter takes its short ways
        for change in _changes(o, d, vars(o), k):
            before = word(id(d) + DICT_TAG), word(id(vars(o)) + DICT_TAG)
            change()
            after = word(id(d) + DICT_TAG), word(id(vars(o)) + DICT_TAG)
            if (before[0] == after[0]) is (before[1] == after[1]) or 0 in (*before, *after):
                return False
    other = _Probe()
    vars(other)
    return (bool(_Probe.__flags__ & MANAGED_DICT) and word(id(o) + TYPE) == id(_Probe)
            and (word(id(o) + OWN_DICT), word(id(other) + OWN_DICT)) == (id(vars(o)), id(vars(other))))


def _changes(o: Any, d: dict, own: dict, k: int) -> list[Callable[[], Any]]:
    """Ways to change one of the two dictionaries."""
    def item() -> None:
        d["a"] = k

    def attribute() -> None:
        o.a = k

    def gone() -> None:
        del o.a

    return [item, attribute, lambda: d.update(a=str(k)), lambda: own.update(a=str(k)), lambda: d.setdefault(k, k), gone, lambda: d.pop("a"),
            lambda: setattr(o, "b", k), lambda: own.pop("b"), d.clear, lambda: object.__setattr__(o, "c", k), own.clear]


def _classes_count() -> bool:
    """Whether a class has a number that changes with its attributes and with those of its bases."""
    class Base:
        pass

    class Derived(Base):
        pass

    def tag() -> int:
        Derived.__init__                            # a class that nobody looks into has none
        return word(id(Derived) + CLASS_TAG)

    def call() -> None:
        pass

    def gone() -> None:
        del Base.x

    def other_base() -> None:
        Derived.__bases__ = (type("Other", (), {}),)

    seen = [tag()]
    for change in (lambda: setattr(Derived, "x", 1), lambda: setattr(Base, "x", 1), gone, lambda: setattr(Base, "__call__", call),
                   other_base):
        change()
        if word(id(Derived) + CLASS_TAG) == seen[-1]:
            return False
        seen.append(tag())
    return len({*seen}) == len(seen) and 0 not in seen


# ---------------------------------------------------------------------------------------------------- which words
def of_dict(d: Any) -> int | None:
    """The word of the items of a dictionary."""
    return id(d) + DICT_TAG if type(d) in PLAIN_DICTS and layout() is not None else None


def of_class(kind: Any) -> int | None:
    """The word of the attributes of a class: its own and those of its bases."""
    return id(kind) + CLASS_TAG if type(kind) is type and layout() is not None else None


def of_pointer(x: Any, part: str) -> int | None:
    """The word of the pointer to a field of a function (`__code__`, ...), to the contents of a cell, or to an instance's `__dict__`."""
    found = layout()
    if found is None:
        return None
    if type(x) is types.FunctionType:
        return id(x) + found.function[part] if part in found.function else None
    if type(x) is types.CellType:
        return id(x) + found.cell if part == "cell_contents" else None
    if part != "__dict__" or not isinstance(type(x), type) or not hasattr(x, "__dict__"):
        return None
    own = x.__dict__
    return id(x) + OWN_DICT if type(x).__flags__ & MANAGED_DICT and word(id(x) + OWN_DICT) == id(own) else None


class Words:
    """Words to look at: of pointers, which must stay what they are when they are added, and of what counts, which `settle` takes."""

    def __init__(self) -> None:
        self.at: dict[int, int | None] = {}         # where, and what a pointer must be
        self.kept: list[Any] = []
        self.wait = self.misses = 0
        self.fresh = False                          # whether they were settled at the call before

    def __len__(self) -> int:
        return len(self.at)

    def add(self, where: int, *kept: Any, pointer: bool = False) -> None:
        """Look at a word too. `kept`: the object in which it lies, and to which it points."""
        if where not in self.at:
            self.at[where] = word(where) if pointer else None
            self.kept += kept

    def close(self) -> None:
        """There will be no more."""
        order = sorted(self.at)
        self.count = len(order)
        self.places, self.expected = np.array(order, np.int64), np.zeros(self.count, np.int64)
        pointers = [(k, self.at[where]) for k, where in enumerate(order) if self.at[where] is not None]
        self.pointers, self.targets = np.array([k for k, _ in pointers], np.intp), np.array([target for _, target in pointers], np.int64)
        self.counting = np.ones(self.count, bool)
        self.counting[self.pointers] = False
        self.native = loaded.the_engine()
        self.tables = execute.place(self.places), execute.place(self.expected)

    def stay(self) -> bool:
        """Whether all words are what they were when they were settled."""
        if self.wait:
            self.wait -= 1
            return False
        if self.native.differ(*self.tables, self.count):
            self.misses += self.fresh
            if self.misses > 3 and self.fresh:      # they never stay: look again later
                self.wait = min(1 << self.misses, PATIENCE)
            return False
        self.misses, self.fresh = 0, False
        return True

    def read(self) -> np.ndarray | None:
        """What they are now; None if nobody will look at them soon."""
        self.fresh = not self.wait
        if self.wait:
            return None
        now = np.empty(self.count, np.int64)
        self.native.read(self.tables[0], execute.place(now), self.count)
        return now

    def settle(self, now: np.ndarray) -> None:
        """What was read before all facts were found to hold is what they must be. (Another thread may have changed one since.)"""
        if now[self.counting].all() and np.array_equal(now[self.pointers], self.targets):
            self.expected[:] = now
