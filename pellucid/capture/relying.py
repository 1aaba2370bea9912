"""What a capture relies on: every value that was there before has a place it was read from, and what was seen of it becomes a check there.

In: values that the program reads. Out: what the program gets in their place, and `checks`. What stays true: a value is looked at only
after its place is known; nothing is relied on that guards cannot look at again.
"""
from __future__ import annotations

import collections
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..nn import Module
from ..ops.dispatch import below, local
from ..tensor.core import Slots
from ..tensor.symbolic import SymNumber
from . import calls, choices, groups, policy
from .arrays import Array
from .breaks import Break, refuse
from .building import Building
from .journal import Journal
from .sources import Check, Same, Source, known

__all__: list[str] = []

MISSING = object()


class Relying(Building):
    """The state of a capture, and how it looks at what was there before. `varying`: places whose numbers are run-time numbers; `tracer`:
    makes those."""

    def __init__(self, tracer: Any, varying: frozenset = frozenset()):
        super().__init__()
        self.tracer, self.varying = tracer, varying
        tracer.written = lambda container, key: self.journal.written(container, key)
        self.sources: dict[int, tuple[Any, Source]] = {}        # objects that were there before, by id
        self.fresh: dict[int, Any] = {}                         # instances made in here, by id
        self.revealed: set[int] = set()                         # containers whose contents are relied on
        self.checks: dict[tuple, Check] = {}
        self.standing: dict[Source, Any] = {}                   # what stands for numbers and tensors that are read at each call
        self.above: set[Source] | None = None                   # those places, and what they are parts of
        self.doubles: dict[int, dict] = {}                      # dicts with what stands for what is in them, by the id of the dict
        self.copies: dict[int, tuple[Any, Source]] = {}         # what stands for containers among the arguments, by the id of the original
        self.looked_at: set[int] = set()                        # functions whose parts are places
        self.modules: dict[int, Module] = {}                    # modules whose framework code ran as it is
        self.originals: dict[int, Any] = {}                     # the caller's tensors, by the id of what stands for them
        self.cached: dict[tuple, Source] = {}                   # calls of functions behind lru_cache
        self.listed: dict[int, Module] = {}                     # modules whose parameters, buffers and parts may have been enumerated
        self.called: dict[int, Module] = {}                     # modules whose calls were interpreted
        self.chosen: dict[int, choices.Chosen] = {}             # tensors that stand for one of two, by id
        self.journal = Journal(self)
        self.backwards: list[tuple[int, tuple]] = []            # the steps that called backward(), and where
        self.waiting: list[tuple] = []                          # calls that are made after the graph has run: (fn, args, kwargs)
        self.iterated: list[tuple[list, Any]] = []              # lists, and iterators over what stands for their items
        self.touched: dict[int, Any] = {}                       # what those calls change, by id: nobody may look at it any more
        self.hooked: list[tuple[int, Break]] = []               # (step, what to say) of hooks put on tensors made in here
        self.interpreter: Any = None

    # ------------------------------------------------------------------------------------------ looking at what was there
    def place(self) -> tuple[str, int, str]:
        """The user's file, line and function."""
        found = "", 0, ""
        for frame in reversed(self.interpreter.frames if self.interpreter else ()):
            code = frame.program.code
            found = code.co_filename, frame.line or code.co_firstlineno, code.co_qualname
            if not policy.framework_file(code.co_filename):
                break
        return found

    def here(self) -> str:
        """The user's line, for guards."""
        file, line, _ = self.place()
        return f"{file.rpartition('/')[2]}:{line}" if file else ""

    def rely(self, source: Source, kind: str, what: Any = None) -> None:
        """Rely on something about a place."""
        key = source, kind, Same(what) if kind in ("identity", "type", "keys", "members", "value", "array") else repr(what)
        if key not in self.checks:
            self.checks[key] = Check(source, kind, what, self.here())

    def source_of(self, value: Any) -> Source | None:
        found = self.sources.get(id(value))
        if found is not None:
            return found[1]
        if isinstance(value, policy.KNOWN) and id(value) not in self.fresh:
            return known(value)
        return None

    def admit(self, value: Any, source: Source, whole: bool = False) -> Any:
        """A value read from a place that was there before: note what is relied on; what the program gets. `whole`: it is part of
        something that code which is not interpreted looks at: that sees the value itself, whatever stands for it elsewhere."""
        standing = self.standing.get(source)
        if standing is not None and not whole:
            return standing
        if type(standing) is SymNumber:
            standing.fixed()
            return value
        copied = self.copies.get(id(value))
        if copied is not None:
            if whole:
                refuse("PX006", "an argument that another container holds")
            self.rely(source, "alike", (copied[1], True))
            return copied[0]
        kind = type(value)
        if kind in policy.ATOMS:
            if source in self.varying and kind in (int, float) and not whole:
                symbol = self.standing[source] = self.tracer.scalar(value, "n", (source, ()))
                return symbol
            self.rely(source, "value", value)
        elif kind is tuple and policy.plain(value):
            self.rely(source, "value", value)
        elif isinstance(value, Slots):
            self.sources.setdefault(id(value), (value, source))
            self.rely(source, "identity", value)
        elif policy.stable(value):
            self.rely(source, "identity", value)
            if isinstance(value, Module):
                for m in value.modules():
                    self.touch(m)
        elif id(value) not in self.sources and id(value) not in self.fresh:
            self.sources[id(value)] = value, source
            if kind in policy.METHODS:
                what = "__func__" if kind is types.MethodType else "__name__"
                self.rely(source, "type", kind)
                self.admit(getattr(value, what), Source("attribute", what, source))
                owner = self.admit(value.__self__, Source("attribute", "__self__", source), whole=type(value.__self__) in policy.ATOMS)
                if owner is not value.__self__:                 # something stands for it: for its method too
                    value = types.MethodType(value.__func__, owner) if kind is types.MethodType else getattr(owner, value.__name__)
                    self.sources[id(value)] = value, source
            elif policy.numpy_array(value):
                stands = None if whole else self.standing.get(Source("array", None, source))
                if stands is not None:
                    self.rely(source, "type", kind)
                    del self.sources[id(value)]
                    made = Array(stands, isinstance(value, np.generic))
                    self.sources[id(made)], self.copies[id(value)] = (made, source), (made, source)
                    return made
                self.rely(source, "array", value.copy())
            elif kind is slice:
                self.rely(source, "type", kind)
                for name in ("start", "stop", "step"):
                    self.admit(getattr(value, name), Source("attribute", name, source), whole=True)
            else:
                self.rely(source, "type", kind)
                if isinstance(value, tuple):
                    self.rely(source, "length", len(value))
        elif id(value) in self.sources and self.sources[id(value)][1] != source:
            self.rely(source, "alike", (self.sources[id(value)][1], True))
        return value

    def adopt(self, value: Any, path: tuple, original: Any, whole: bool = False) -> Any:
        """An argument, whose structure the entry's guard has looked at: places for what is in it; what the program gets. `original` is
        what the caller passed, if `value` is a copy of it: whoever reaches the original otherwise gets the copy too."""
        source = Source("given", path)
        kind = type(value)
        if value is original and kind in (list, dict) and not whole and any([
                p.kind == "array" and p.root == "given" and p.parent.key and p.parent.key[:len(path)] == path for p in self.standing]):
            value = kind(value)                                 # the caller's own is not written to
        first = self.copies.get(id(original)) if value is not original else self.sources.get(id(value))
        if first is not None and isinstance(original, calls.CONTAINERS) and first[1] != source:
            self.rely(source, "alike", (first[1], True))        # one container at two places
            return first[0]
        if value is not original and not isinstance(value, Slots) and kind is not SymNumber:
            self.copies[id(original)] = value, source
        if kind in policy.BY_VALUE or kind is SymNumber:
            return value
        if isinstance(value, Slots):
            self.sources.setdefault(id(value), (value, source))
            self.originals[id(value)] = original
        elif isinstance(value, (list, tuple, dict)) and (value is not original or not policy.python_class(kind)) or hasattr(
                kind, "_fields") and isinstance(value, tuple):
            self.sources.setdefault(id(value), (value, source))
            self.revealed.add(id(value))
            base = next(k for k in (list, tuple, dict) if isinstance(value, k))
            for key, item in tuple(dict.items(value) if base is dict else enumerate(base.__iter__(value))):
                found = self.adopt(item, (*path, key), base.__getitem__(original, key), whole or base is tuple)
                if found is not item and base is tuple:
                    refuse("PX006", "a container that an argument holds twice")
                if found is not item:
                    base.__setitem__(value, key, found)
        else:
            return self.admit(value, source, whole and policy.numpy_array(value))
        return value

    def changed_apart(self) -> None:
        """Rely on what was changed being something else than whatever else there is of its kind, as far as arguments can change that."""
        changed = [owner for owner, _ in (*self.journal.contents.values(), *self.journal.fields.values()) if id(owner) in self.sources]
        for owner in changed:
            place = self.sources[id(owner)][1]
            for other, there in tuple(self.sources.values()):
                if other is not owner and type(other) is type(owner) and "given" in (place.root, there.root):
                    self.rely(place, "alike", (there, False))

    def reveal(self, value: Any) -> None:
        """Rely on the contents of a container that was there before, whole."""
        if id(value) in self.revealed:
            return
        kind = type(value)
        if policy.python_class(kind) and any(policy.python_method(kind, n) for n in ("__getitem__", "__len__", "__iter__")):
            refuse("PX006", f"a {kind.__name__}, which says itself what is in it")      # guards would ask it
        self.revealed.add(id(value))
        if isinstance(value, (list, collections.deque)):
            self.measure(value)
        count = self.journal.look_into(value)
        source = self.sources[id(value)][1]
        if isinstance(value, policy.MAPPINGS):
            keys = tuple(value)
            if not all(map(policy.plain, keys)):
                for key in keys:
                    if not (policy.plain(key) or policy.stable(key) or isinstance(key, Slots)):
                        refuse("PX006", f"a dict with {type(key).__name__} keys")
            self.rely(source, "keys", keys)
            for key, item in tuple(value.items()):
                if not self.journal.written(value, key):
                    self.admit(item, Source("item", key if policy.plain(key) else Same(key), source), whole=True)
        elif isinstance(value, (list, tuple, collections.deque)):
            for k, item in enumerate(tuple(value)[:count]):
                self.admit(item, Source("item", k, source), whole=True)
        elif isinstance(value, (set, frozenset)):
            if not all(policy.plain(item) or policy.stable(item) for item in value):
                refuse("PX006", "a set of objects")
            self.rely(source, "members", type(value)(value) if type(value) in (set, frozenset) else frozenset(value))

    def measure(self, value: Any) -> None:
        """Rely on how many items a container had at first."""
        self.rely(self.sources[id(value)][1], "length", self.journal.count(value))

    def count(self, value: Any) -> Any:
        """len() of a container that nobody has looked into: a run-time number, if it was seen to change."""
        place, before = Source("length", None, self.sources[id(value)][1]), self.journal.count(value)
        if place not in self.varying:
            self.measure(value)
            return len(value)
        if place not in self.standing:
            self.standing[place] = self.tracer.scalar(before, "n", (place, ()))
        return self.standing[place] + (len(value) - before) if len(value) != before else self.standing[place]

    def standing_in(self, value: Any) -> Any:
        """A list or tuple that was there before, with what stands for the numbers and tensors in it; any other value itself. Who gets it
        must not write to it."""
        if type(value) not in (list, tuple) or id(value) not in self.sources or id(value) in self.revealed or self.journal.changed(value):
            return value
        source = self.sources[id(value)][1]
        places = [Source("item", k, source) for k in range(len(value))]
        if not self.any_above(places):
            return value
        self.measure(value)
        return type(value)([self.admit(item, place) for item, place in zip(value, places)])

    def any_above(self, places: list[Source]) -> bool:
        """Whether any of these places, or a part of one, is read at each call."""
        if self.above is None:
            self.above = {p for place in (*self.standing, *self.varying) for p in upwards(place)}
        return any([p in self.above for p in places])

    def double(self, value: Any) -> Any:
        """As `standing_in`, for a dict, whose views are handed out: it may get other values at its keys from now on, but no other keys."""
        found = self.doubles.get(id(value))
        if found is not None:
            return found
        if type(value) is not dict or not self.unseen(value) or id(value) in self.journal.spaces or not all(map(policy.plain, value)):
            return value
        source = self.sources[id(value)][1]
        if not self.any_above([Source("item", k, source) for k in value]):
            return value
        self.rely(source, "keys", tuple(value))
        found = self.doubles[id(value)] = {k: self.get_item(value, k) for k in value}
        return found

    # ------------------------------------------------------------------------------------------ names of modules, facts of tensors
    def space_source(self, space: dict) -> Source:
        if id(space) not in self.sources:
            self.sources[id(space)] = space, known(space)
        return self.sources[id(space)][1]

    def read_item(self, space: dict, name: Any, value: Any, source: Source) -> Any:
        """An item of globals or of a __dict__ that was there before, unless it was set in here."""
        if self.journal.was(space, name, MISSING) is not value:
            return value
        if policy.framework_space(space):
            return value
        return self.admit(value, Source("item", name, source))

    def module_attr(self, owner: types.ModuleType, name: str) -> Any:
        space = vars(owner)
        if policy.framework_space(space):
            return getattr(owner, name)
        place = self.space_source(space)
        if name in space:
            return self.read_item(space, name, getattr(owner, name), place)
        if name == "__dict__":
            return space
        self.rely(place, "missing", name)
        getter = space.get("__getattr__")
        if getter is None:
            self.rely(place, "missing", "__getattr__")
            return getattr(owner, name)
        return calls.call(self, self.read_item(space, "__getattr__", getter, place), [name], {})

    def version(self, owner: Any, ask: Any) -> int:
        """How often a memory has been written: before the call, which is relied on, and in here."""
        if id(owner) not in self.sources and owner._st is not None:     # a view of a tensor that was there has its memory
            owner = next((v for v, _ in self.sources.values() if isinstance(v, Slots) and v._st is owner._st), owner)
        return self.fact(owner, ask, counted=True)

    def fact(self, owner: Any, ask: Any, counted: bool = False) -> Any:
        """What a function says of a tensor's history or place in memory, which no other guard knows."""
        found = self.sources.get(id(owner))
        if found is None:
            return ask(owner)
        original = self.originals.get(id(owner), owner)
        if original is owner:
            original = self.tracer.untraced(owner)
        if owner._fn is not None and original._fn is not owner._fn and not counted:
            return ask(owner)                                   # it got its history in here
        with below(len(local.stack)):
            value = ask(original)
        if not policy.plain(value):
            refuse("PX006", "what a tensor was computed by")
        self.rely(found[1], "says", (ask, value))
        return value + self.tracer.writes(owner) if counted else value

    # ------------------------------------------------------------------------------------------ except*
    def divide(self, error: Any, kinds: Any) -> tuple:
        self.see_group(error)
        return super().divide(error, kinds)

    def rejoin(self, whole: Any, left: list) -> Any:
        self.see_group(whole)
        return super().rejoin(whole, left)

    def see_group(self, error: Any) -> None:
        """Refuse to divide what nobody has noted the contents of, or what divides itself."""
        if id(error) in self.sources or groups.foreign(error):
            refuse("PX012", "except* of an exception from outside, or of a class of its own")


def upwards(source: Source | None) -> Iterator[Source]:
    """A place, and the places it is a part of."""
    while source is not None:
        yield source
        source = source.parent
