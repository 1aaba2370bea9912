"""Where a value that was there before the capture comes from, and what the capture relied on about it.

In: reads, as the interpreter makes them. Out: generated guards: one expression per place that was read, each place evaluated once,
and a check with the user's line. What stays true: a place is evaluated only after the guards of the place it hangs on.
"""
from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from ..tensor.interop import from_numpy

__all__: list[str] = []


class Source(NamedTuple):
    """A place. `kind` and `key`: "given" a path in the arguments; "object" an object known by identity; else a part of `parent`:
    "field" of its __dict__, "item" by key, "attribute", "cell" contents, "call" what it returns for these (args, kwargs), "array" a
    tensor over it, "length" how many items it has."""

    kind: str
    key: Any
    parent: Source | None = None

    @property
    def root(self) -> str:
        """The kind of the place it all hangs on."""
        return self.kind if self.parent is None else self.parent.root

    def __str__(self) -> str:
        if self.kind == "given":
            return "argument" + "".join(f"[{k!r}]" for k in self.key)
        if self.kind == "object":
            return getattr(self.key.value, "__name__", None) or f"<{type(self.key.value).__name__}>"
        if self.kind in ("cell", "array"):
            return f"{self.parent}"
        if self.kind == "item":
            return f"{self.parent}[{self.key!r}]"
        if self.kind == "call":
            return f"{self.parent}()"
        if self.kind == "length":
            return f"len({self.parent})"
        return f"{self.parent}.{self.key}"


class Same:
    """An object as a part of a key: equal to itself only."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is Same and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)

    def __repr__(self) -> str:
        return f"<{type(self.value).__name__}>"


@functools.lru_cache(1000)
def arguments(*args: Any) -> Same:
    """The arguments of a call that guards make, each time the same."""
    return Same((args, {}))


def known(value: Any) -> Source:
    """The place of an object that is known by identity."""
    return Source("object", Same(value))


def lookup(kind: type, name: str) -> Any:
    """A class attribute by the method resolution order, as it lies there; None if there is none."""
    for cls in kind.__mro__:
        found = cls.__dict__.get(name)
        if found is not None:
            return found
    return None


class Check(NamedTuple):
    """Something relied on. `kind`: "value", "identity", "type", "length", "keys", "contains" (key, outcome), "missing", "unset" (a
    name that is in no __dict__), "lacks" (no such attribute), "says" (what a function says of it), "alike" (two places hold one object)."""

    source: Source
    kind: str
    what: Any = None
    where: str = ""


def alike(a: Any, b: Any) -> bool:
    """Whether two plain values are the same, down to their types and signs."""
    return type(a) is type(b) and a == b and repr(a) == repr(b)


def over(array: Any) -> Any:
    """A tensor over the memory of an ndarray, or over that of a copy of a NumPy scalar."""
    if isinstance(array, np.generic):
        return from_numpy(np.array(array))
    if type(array) is not np.ndarray or not array.flags.writeable:
        raise TypeError("a tensor cannot stand for it")
    return from_numpy(array)


def evaluate(source: Source, given: Any) -> Any:
    """The value at a place now. Raises what the places on the way raise when they are gone."""
    if source.kind == "object":
        return source.key.value
    if source.kind == "given":
        value = given
        for k in source.key:
            value = value[k]
        return value
    parent = evaluate(source.parent, given)
    if source.kind == "field":
        return parent.__dict__[source.key]
    if source.kind == "item":
        return parent[source.key.value if type(source.key) is Same else source.key]
    if source.kind == "cell":
        return parent.cell_contents
    if source.kind == "call":
        args, kwargs = source.key.value
        return parent(*args, **kwargs)
    if source.kind == "array":
        return over(parent)
    if source.kind == "length":
        return len(parent)
    return getattr(parent, source.key)


class SourceWriter:
    """Puts places and checks into a guard that is being written (`w`, a compiler.guards.Writer). `given` names the variables of
    values among the arguments."""

    def __init__(self, w: Any, given: Any):
        self.w, self.given = w, given
        self.names: dict[Source, str] = {}

    def name(self, source: Source) -> str:
        """A variable that holds the value at the place."""
        found = self.names.get(source)
        if found is not None:
            return found
        w = self.w
        if source.kind == "object":
            found = w.name(source.key.value, "o")
        else:
            expr = self.given(source.key) if source.kind == "given" else self.part(source)
            if expr.isidentifier():
                found = expr
            else:
                found = w.variable("v")
                w.put(f"{found} = {expr}")
        self.names[source] = found
        return found

    def part(self, source: Source) -> str:
        parent = self.name(source.parent)
        key = source.key
        if source.kind == "field":
            return f"{parent}.__dict__[{key!r}]"
        if source.kind == "item":
            plain = type(key) in (int, str, bool, type(None))
            return f"{parent}[{key!r}]" if plain else f"{parent}[{self.w.name(key.value if type(key) is Same else key, 'k')}]"
        if source.kind == "cell":
            return f"{parent}.cell_contents"
        if source.kind == "call":
            args, kwargs = key.value
            return f"{parent}(*{self.w.name(args, 'c')}, **{self.w.name(kwargs, 'c')})"
        if source.kind == "length":
            return f"len({parent})"
        if source.kind == "array":
            self.w.space["over"] = over
            return f"over({parent})"
        return f"{parent}.{key}" if str(key).isidentifier() else f"getattr({parent}, {key!r})"

    def check(self, check: Check) -> None:
        """One guard."""
        w, kind, what = self.w, check.kind, check.what
        if kind == "missing":
            w.miss_if(f"{what!r} in {self.name(check.source)}", check.where)
            return
        v = self.name(check.source)
        if kind == "value":
            if what is None or what is True or what is False:
                w.miss_if(f"{v} is not {what}", check.where)
            elif type(what) is tuple:
                w.space["alike"] = alike
                w.miss_if(f"{v} is not {w.name(what, 'k')} and not alike({v}, {w.name(what, 'k')})", check.where)
            elif what != what:
                w.miss_if(f"type({v}) is not {type(what).__name__} or {v} == {v}", check.where)
            else:
                sign = f" or str({v}) != {str(what)!r}" if type(what) is float and not what else ""
                w.miss_if(f"type({v}) is not {w.name(type(what), 'T')} or {v} != {w.name(what, 'k')}{sign}", check.where)
        elif kind == "identity":
            w.miss_if(f"{v} is not {w.name(what, 'o')}", check.where)
        elif kind == "type":
            w.miss_if(f"type({v}) is not {w.name(what, 'T')}", check.where)
        elif kind == "length":
            w.miss_if(f"len({v}) != {what}", check.where)
        elif kind == "keys":
            if all([type(key) is str or not isinstance(key, (int, float, complex, str, tuple)) for key in what]):
                w.miss_if(f"tuple({v}) != {w.name(what, 'K')}", check.where)
            else:                                       # 1 == 1.0 == True
                w.space["alike"] = alike
                w.miss_if(f"not alike(tuple({v}), {w.name(what, 'K')})", check.where)
        elif kind == "members":
            w.space["alike"] = alike
            w.miss_if(f"{v} != {w.name(what, 'K')} or not alike(sorted(map(repr, {v})), {w.name(sorted(map(repr, what)), 'K')})", check.where)
        elif kind == "contains":
            key, outcome = what
            w.miss_if(f"({w.name(key, 'k')} in {v}) is not {outcome}", check.where)
        elif kind == "unset":
            w.miss_if(f"{what!r} in {v}.__dict__", check.where)
        elif kind == "lacks":
            if hasattr(type, what):
                w.space["lookup"] = lookup
                w.miss_if(f"lookup({v}, {what!r}) is not None", check.where)
            else:
                w.miss_if(f"hasattr({v}, {what!r})", check.where)
        elif kind == "says":
            ask, value = what
            said = f"{w.name(ask, 'f')}({v})"
            w.miss_if(f"{said} is not {value}" if value is None or type(value) is bool else f"{said} != {w.name(value, 'k')}", check.where)
        elif kind == "alike":
            other, outcome = what
            w.miss_if(f"({v} is {self.name(other)}) is not {outcome}", check.where)
        elif kind == "array":
            w.miss_if(f"type({v}) is not {w.name(type(what), 'T')} or not same_array({v}, {w.name(what, 'k')})", check.where)
        else:
            raise AssertionError(kind)
