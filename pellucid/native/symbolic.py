"""Numbers that code is given when it runs: one object then serves all sizes that ask for the same instructions.

In: numbers of a plan (extents, strides, constants that depend on a size). Out: `SymInt` and `SymFloat`, which stand for them while code
is written. They are numbers: whoever decides by one (how many lanes, whether there is a tail) decides by its value, and what is decided
is seen in the text; whoever adds or multiplies gets another one; and where one would be written into the text, an argument stands there,
whose value goes into the table `Symbols.words` in the order of first use.

True always: the text says what to do with the table, and the table is made with the text. So the same text may serve another size
with that size's table: nothing else of the numbers is in it.
"""
from __future__ import annotations

import operator
import re
import struct
from collections.abc import Callable
from typing import Any

_NAME = re.compile(r"%size\.(\d+)\b")


class SymInt(int):
    """An int that is passed when code runs; `formula` says what it was computed from."""

    def __new__(cls, value: int, formula: str) -> SymInt:
        made = super().__new__(cls, value)
        made.formula = formula
        return made

    def __neg__(self) -> SymInt:
        return SymInt(-int(self), f"-{self.formula}")


class SymFloat(float):
    """A float that is passed when code runs."""

    def __new__(cls, value: float, formula: str) -> SymFloat:
        made = super().__new__(cls, value)
        made.formula = formula
        return made


def _formula(x: int) -> str:
    return x.formula if isinstance(x, SymInt) else str(x)


def _same(sign: str, a: int, b: int) -> int | None:
    """What needs no computing: with a plain 0 or 1."""
    if sign == "+" and type(a) is int and a == 0:
        return b
    if sign in "+-" and type(b) is int and b == 0:
        return a
    if sign == "*":
        for x, y in ((a, b), (b, a)):
            if type(x) is int and x in (0, 1):
                return y if x else 0
    return a if sign == "//" and type(b) is int and b == 1 else None


def _arithmetic(sign: str, compute: Callable[[int, int], int], swapped: bool) -> Any:
    def method(self: SymInt, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        a, b = (other, self) if swapped else (self, other)
        same = _same(sign, a, b)
        return SymInt(compute(int(a), int(b)), f"({_formula(a)}{sign}{_formula(b)})") if same is None else same
    return method


for _sign, _name in (("+", "add"), ("-", "sub"), ("*", "mul"), ("//", "floordiv"), ("%", "mod")):
    for _swapped in (False, True):
        setattr(SymInt, f"__{'r' if _swapped else ''}{_name}__", _arithmetic(_sign, getattr(operator, _name), _swapped))


class Symbols:
    """The table of one kernel or extern: the values of what its text calls `%size.0`, `%size.1`, ...; `before` words come first."""

    def __init__(self, before: int = 0):
        self.before = before
        self.places: dict[str, int] = {}
        self.words: list[int] = []

    def name(self, x: SymInt | SymFloat) -> str:
        """What stands in the text: an i64 (of a float, the bits of a double)."""
        word = int(x) if isinstance(x, SymInt) else struct.unpack("q", struct.pack("d", x))[0]
        at = self.places.setdefault(f"{type(x).__name__} {x.formula}", len(self.words))
        if at == len(self.words):
            self.words.append(word)
        if self.words[at] != word:
            raise AssertionError(f"{x.formula} has the values {self.words[at]} and {word}")
        return f"%size.{at}"

    def loads(self, lines: list[str], table: str = "%sizes") -> list[str]:
        """What a function begins with, so that its lines find the names they use. Its parameter `table` points to the words."""
        if not self.words:
            return []
        used = sorted({int(n) for line in lines if "%size." in line for n in _NAME.findall(line)})
        return [text for k in used for text in (f"  %size.at.{k} = getelementptr i64, ptr {table}, i64 {self.before + k}",
                                                f"  %size.{k} = load i64, ptr %size.at.{k}, align 8")]
