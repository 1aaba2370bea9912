"""Named results of operators that return several tensors: `r.values`, `r.indices`, and still a plain tuple.

`result_type("max", "values indices")` makes (or finds) the type; operators call it on their tuple. The types appear here
by name, as in `torch.return_types`.
True always: a result equals, unpacks and compares as the tuple of its parts.
"""
from __future__ import annotations

import operator

__all__: list[str] = []


class NamedResult(tuple):
    """Base of the result types: a tuple made from one iterable, whose items have names."""

    __slots__ = ()
    _names: tuple[str, ...] = ()

    def __new__(cls, items):
        self = tuple.__new__(cls, items)
        if len(self) != len(cls._names):
            raise TypeError(f"{cls.__name__}() takes a {len(cls._names)}-sequence ({len(self)}-sequence given)")
        return self

    def __reduce__(self):
        return _remake, (type(self).__name__, tuple(self))

    def __repr__(self) -> str:
        inner = ",\n".join(f"{name}={value!r}" for name, value in zip(self._names, self))
        return f"torch.return_types.{type(self).__name__}(\n{inner})"


def result_type(name: str, fields: str) -> type[NamedResult]:
    """The result type `name` with these fields (words in one string)."""
    names = tuple(fields.split())
    known = globals().get(name)
    if known is not None:
        if known._names != names:
            raise ValueError(f"result type {name!r} exists with fields {known._names}")
        return known
    space = {"__slots__": (), "_names": names, "__module__": "pellucid.return_types",
             "n_fields": len(names), "n_sequence_fields": len(names), "n_unnamed_fields": 0}
    space.update((f, property(operator.itemgetter(i), doc=f"Item {i}.")) for i, f in enumerate(names))
    cls = globals()[name] = type(name, (NamedResult,), space)
    __all__.append(name)
    return cls


def _remake(name: str, items: tuple):
    return globals()[name](items)
