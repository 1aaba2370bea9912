"""Which guards need not be looked at one by one while words in memory stay what they are.

In: what guards rely on: places (`Source`), dictionaries, checks. Out: for each whether words stand for it, and `Words` of all of them.
What stays true: a guard is left out only if nothing that it reads can change without a word changing; when any word has, all guards are
looked at, and only if they all hold, the words of before that are taken for those that stay.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from types import CellType, FunctionType
from typing import Any

from ..capture.policy import plain
from ..capture.sources import Check, Same, Source, evaluate, known, lookup
from ..native import words
from .guards import Checked

__all__: list[str] = []

FEWEST = 12                 # guards that words must stand for: asking about words takes as long as looking at these
_NAME = re.compile(r"[A-Za-z_]\w*")
_SET = re.compile(r"\s*([A-Za-z_]\w*) = ")


class Standing:
    """Words, and what is known of the places that were asked about. `busy`: dictionaries that change often."""

    def __init__(self, busy: Iterable[Any] = ()):
        self.words = words.Words()
        self.busy = {id(d) for d in busy}
        self.values: dict[Source, tuple[bool, Any]] = {}
        self.paths: list[tuple[Source, Any]] = []       # places, and the objects there whose words are looked at

    # ------------------------------------------------------------------------------------------ what words stand for
    def dicts(self, *those: Any) -> bool:
        """Whether words stand for the items of all these dictionaries."""
        places = [words.of_dict(d) for d in those]
        if None in places or any([id(d) in self.busy or "__builtins__" in d for d in those]):
            return False
        for d, where in zip(those, places):
            self.words.add(where, d)
        return True

    def pointer(self, x: Any, part: str, target: Any) -> bool:
        """Whether a word stands for a part of an object."""
        where = words.of_pointer(x, part)
        if where is not None:
            self.words.add(where, x, target, pointer=True)
        return where is not None

    def kind(self, x: Any) -> bool:
        """Whether a word stands for the class of an object."""
        if words.layout() is None:
            return False
        self.words.add(id(x) + words.TYPE, x, type(x), pointer=True)
        return True

    def at(self, source: Source) -> tuple[bool, Any]:
        """(whether words stand for what is at a place, what that is)."""
        found = self.values.get(source)
        if found is None:
            try:
                found = self._at(source)
            except Exception:                           # it is not there: the guard will say so
                found = False, None
            self.values[source] = found
        return found

    def _at(self, source: Source) -> tuple[bool, Any]:
        if source.kind == "object":
            return True, source.key.value
        if source.parent is None or source.kind == "call":
            return False, None
        good, parent = self.at(source.parent)
        if not good:
            return False, None
        key = source.key
        if source.kind == "field":
            own = vars(parent)
            good, value = self.pointer(parent, "__dict__", own) and self.dicts(own), own[key]
        elif source.kind == "item":
            good = type(parent) is tuple or type(key) in (str, int, Same) and self.dicts(parent)
            value = parent[key.value if type(key) is Same else key] if good else None
        elif source.kind == "cell":
            value = parent.cell_contents
            good = type(parent) is CellType and self.pointer(parent, "cell_contents", value)
        elif type(parent) is type:
            value, lies = getattr(parent, key), lookup(parent, key)
            good = value is lies and (type(lies) is FunctionType or not hasattr(type(lies), "__get__")) and self.attributes(parent)
        else:
            value = getattr(parent, key)
            good = (type(parent) is FunctionType or key == "__dict__") and self.pointer(parent, key, value)
        if good:
            self.hold(source.parent, parent)
        return good, value

    def attributes(self, kind: type) -> bool:
        """Whether a word stands for the attributes of a class."""
        where = words.of_class(kind)
        if where is not None:
            self.words.add(where, kind)
        return where is not None

    def check(self, check: Check) -> bool:
        """Whether words stand for what a check looks at."""
        good, value = self.at(check.source)
        if not good:
            return False
        kind, what = check.kind, check.what
        good = False
        if kind == "identity":
            return True
        if kind == "value":
            self.hold(check.source, value)
            return plain(what) and plain(value)
        if kind == "alike":
            return self.at(what[0])[0]
        if kind == "type":
            good = self.kind(value)
        elif kind in ("length", "keys", "missing") or kind == "contains" and type(what[0]) in (str, int):
            good = type(value) is tuple and kind == "length" or self.dicts(value)
        elif kind == "unset":
            good = self.pointer(value, "__dict__", vars(value)) and self.dicts(vars(value))
        elif kind == "lacks":
            good = type(value) is type and self.attributes(value)
        if good:
            self.hold(check.source, value)
        return good

    def hold(self, source: Source, value: Any) -> None:
        """Words are settled only while this object is at a place: one that guards take for as good may not be as immutable."""
        if source.kind != "object" and type(value) not in (int, float, bool, str, type(None)):
            self.paths.append((source, value))

    def items(self, d: dict, keys: Iterable[str]) -> bool:
        """Whether words stand for these items of a dictionary, which are compared by identity or, if plain, by value."""
        if not self.dicts(d):
            return False
        for key in keys:
            if key in d and plain(d[key]):
                self.hold(Source("item", key, known(d)), d[key])
        return True

    def item(self, container: Any, path: tuple, value: Any) -> bool:
        """Whether words stand for the item at `path` of a container, and for how many items it has itself."""
        source = known(container)
        for key in path:
            source = Source("item", key if type(key) in (str, int) else Same(key), source)
        if isinstance(value, (dict, list, set)):        # which one, and how many items it has
            return self.check(Check(source, "length", len(value)))
        return self.check(Check(source, "value" if plain(value) else "identity", value))

    # ------------------------------------------------------------------------------------------ at run time
    def close(self) -> bool:
        """There is no more to ask about; whether it is worth asking the words."""
        if len(self.words) >= FEWEST:
            self.words.close()
        self.values.clear()
        return len(self.words) >= FEWEST

    def stay(self) -> bool:
        return self.words.stay()

    def read(self) -> Any:
        return self.words.read()

    def settle(self, now: Any) -> None:
        """All guards hold, and `now` was read before they were looked at."""
        if now is None:
            return
        try:
            same = all([evaluate(source, None) is value for source, value in self.paths])
        except Exception:
            same = False
        if same:
            self.words.settle(now)


def rest(lines: Sequence[str], guards: Sequence[Checked], after: Sequence[str]) -> list[str]:
    """What is left of the lines of a guard where words stand for some of it. `after`: the lines that follow."""
    dropped = {k for g in guards if g.stands for k in (g.line, g.line + 1)}
    needed = {name for line in after for name in _NAME.findall(line)}
    kept = []
    for k in reversed(range(len(lines))):
        sets = _SET.match(lines[k])
        if k in dropped or sets and sets[1] not in needed:
            continue
        needed.update(_NAME.findall(lines[k]))
        kept.append(lines[k])
    return kept[::-1]
