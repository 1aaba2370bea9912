"""What a capture changes of objects that were there before: kept, put back at the end, and said.

In: an object, before it is changed for the first time. Out: `restore`, and `changes`: what differs at the end. What stays true:
after `restore` everything that was kept is as it was.
"""
from __future__ import annotations

import collections
import types
from typing import Any, NamedTuple

from ..nn import Module
from ..nn.modules.module import _HOOK_DICTS, CALL_HOOKS

__all__: list[str] = []

REGISTRIES = ("_parameters", "_buffers", "_modules")
OWN = frozenset((*REGISTRIES, *CALL_HOOKS, *_HOOK_DICTS, "_non_persistent_buffers_set"))


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


class Change(NamedTuple):
    """One write to be made again. `kind`: "field" or "item" (set to `value`, or deleted where that is ABSENT), "contents" (a container
    holds `value` now), "cell", "append" (of `value` to a list)."""

    kind: str
    owner: Any
    key: Any
    value: Any


class Journal:
    """`spaces`: the owner of a __dict__ that the program got hold of, by id."""

    def __init__(self, world: Any):
        self.world = world
        self.contents: dict[int, tuple[Any, Any]] = {}              # containers and cells: (object, a copy)
        self.fields: dict[tuple[int, Any], tuple[Any, Any]] = {}    # (id of an instance, name): (instance, value before)
        self.items: dict[tuple[int, Any], tuple[Any, Any]] = {}     # (id of globals, name): (globals, value before)
        self.registries: dict[int, tuple[Module, dict, dict]] = {}  # modules: their __dict__, and copies of what Module has in it
        self.spaces: dict[int, Any] = {}
        self.appended: dict[int, tuple[list, int]] = {}             # lists: (it, how long it was)

    # ------------------------------------------------------------------------------------------ keeping
    def keep(self, owner: Any) -> None:
        """A container or a cell is about to change; or all of an instance."""
        if id(owner) in self.contents:
            return
        if isinstance(owner, types.CellType):
            try:
                self.contents[id(owner)] = owner, owner.cell_contents
            except ValueError:
                self.contents[id(owner)] = owner, ABSENT
        elif isinstance(owner, Module):
            self.keep_module(owner)
        elif isinstance(owner, dict):
            self.contents[id(owner)] = owner, dict(owner)
        elif isinstance(owner, (list, collections.deque)):
            self.contents[id(owner)] = owner, list(owner)
        elif isinstance(owner, set):
            self.contents[id(owner)] = owner, set(owner)
        else:
            for name in tuple(vars(owner)):
                self.keep_field(owner, name)
            self.contents[id(owner)] = owner, None

    def kept(self, owner: Any) -> bool:
        return id(owner) in self.contents

    def keep_module(self, module: Module) -> None:
        if id(module) not in self.registries:
            space = module.__dict__
            copies = {k: v.copy() for k, v in space.items() if k in OWN and v is not None}
            self.registries[id(module)] = module, dict(space), copies

    def keep_field(self, owner: Any, name: str) -> None:
        """An attribute of an instance is about to change."""
        if isinstance(owner, Module):
            self.keep_module(owner)
        elif (id(owner), name) not in self.fields:
            space = getattr(owner, "__dict__", None)
            if space is not None and name in space:
                before = space[name]
            else:
                before = ABSENT if space is not None else getattr(owner, name, ABSENT)
            self.fields[id(owner), name] = owner, before

    def keep_item(self, space: dict, name: Any) -> None:
        """An item of globals is about to change."""
        if (id(space), name) not in self.items:
            self.items[id(space), name] = space, space.get(name, ABSENT)

    def changed(self, owner: Any) -> bool:
        """Whether a container was changed, or is about to be."""
        return id(owner) in self.contents or id(owner) in self.appended

    def written(self, space: dict, name: Any) -> bool:
        """Whether an item of a dict is another now."""
        if id(space) in self.contents:
            return self.contents[id(space)][1].get(name, ABSENT) is not space.get(name, ABSENT)
        owner = self.spaces.get(id(space))
        found = self.items.get((id(space), name)) if owner is None else self.fields.get((id(owner), name))
        if found is None and owner is not None and id(owner) in self.contents:
            found = owner, ABSENT                                   # it was kept whole, without this
        return found is not None and found[1] is not space.get(name, ABSENT)

    def append(self, owner: list, value: Any) -> None:
        """Append to a list that nobody has looked into."""
        self.appended.setdefault(id(owner), (owner, len(owner)))
        owner.append(value)

    def count(self, owner: Any) -> int:
        """How many items a container has, or had before it was appended to."""
        found = self.appended.get(id(owner))
        return len(owner) if found is None else found[1]

    def look_into(self, owner: Any) -> int:
        """How many items of a container were there before: a list that was only appended to is kept like others from now on."""
        count = self.count(owner)
        if self.appended.pop(id(owner), None) is not None:
            self.contents[id(owner)] = owner, owner[:count]
        return count

    def was(self, owner: Any, name: Any, otherwise: Any) -> Any:
        """What an attribute, an item or a cell held at first. What was not changed holds it still."""
        if type(owner) is types.CellType:
            found = self.contents.get(id(owner))
            return found[1] if found is not None else owner.cell_contents
        if isinstance(owner, dict):
            found = self.items.get((id(owner), name))
            if found is not None:
                return found[1]
            return self._registry(owner, name)
        if isinstance(owner, Module):
            found = self.registries.get(id(owner))
            if found is None:
                return owner.__dict__.get(name, otherwise)
            return found[1].get(name, otherwise)
        found = self.fields.get((id(owner), name))
        if found is not None:
            return found[1]
        space = getattr(owner, "__dict__", None)
        return space[name] if space is not None and name in space else getattr(owner, name, otherwise)

    def _registry(self, registry: dict, name: Any) -> Any:
        for module, _, copies in self.registries.values():
            for key in REGISTRIES:
                if module.__dict__[key] is registry:
                    return copies[key].get(name, ABSENT)
        return registry.get(name, ABSENT)

    # ------------------------------------------------------------------------------------------ the end
    def changes(self) -> list[Change]:
        """What differs from before, in the order of the first change."""
        found = []
        for owner, before in self.contents.values():
            if type(owner) is types.CellType:
                now = ABSENT
                try:
                    now = owner.cell_contents
                except ValueError:
                    pass
                if now is not before:
                    found.append(Change("cell", owner, None, now))
            elif before is None:
                for name in vars(owner):
                    if (id(owner), name) not in self.fields:
                        found.append(Change("field", owner, name, vars(owner)[name]))
            elif isinstance(owner, dict):
                if list(owner) != list(before) or any(owner[k] is not v for k, v in before.items()):
                    found.append(Change("contents", owner, None, owner))
            elif isinstance(owner, set):
                if owner != before:
                    found.append(Change("contents", owner, None, owner))
            elif len(owner) != len(before) or any(a is not b for a, b in zip(owner, before)):
                found.append(Change("contents", owner, None, owner))
        for (_, name), (owner, before) in self.fields.items():
            space = getattr(owner, "__dict__", None)
            now = space.get(name, ABSENT) if space is not None and (name in space or before is not ABSENT and not hasattr(type(owner), name)) \
                else getattr(owner, name, ABSENT)
            if now is not before:
                found.append(Change("field", owner, name, now))
        for (_, name), (space, before) in self.items.items():
            now = space.get(name, ABSENT)
            if now is not before:
                found.append(Change("item", space, name, now))
        for module, before, copies in self.registries.values():
            found += module_changes(module, before, copies)
        return found + [Change("append", owner, None, value) for owner, count in self.appended.values() for value in owner[count:]]

    def restore(self) -> None:
        """Put everything back."""
        for owner, count in self.appended.values():
            del owner[count:]
        for owner, before in self.contents.values():
            if type(owner) is types.CellType:
                if before is ABSENT:
                    del owner.cell_contents
                else:
                    owner.cell_contents = before
            elif before is None:
                for name in [n for n in vars(owner) if (id(owner), n) not in self.fields]:
                    del vars(owner)[name]
            else:
                fill(owner, before)
        for (_, name), (owner, before) in self.fields.items():
            if before is ABSENT:
                try:
                    object.__delattr__(owner, name)
                except AttributeError:
                    pass
            else:
                object.__setattr__(owner, name, before)
        for (_, name), (space, before) in self.items.items():
            if before is ABSENT:
                space.pop(name, None)
            else:
                space[name] = before
        for module, before, copies in self.registries.values():
            space = module.__dict__
            space.clear()
            space.update(before)
            for key, content in copies.items():
                space[key].clear()
                space[key].update(content)


BUILTIN = (collections.OrderedDict, dict, list, set, collections.deque)


def fill(owner: Any, content: Any) -> None:
    """Give a container other contents, past what its class has made of its methods."""
    base = next(k for k in BUILTIN if isinstance(owner, k))
    base.clear(owner)
    if isinstance(owner, dict):
        for k, v in content.items():
            base.__setitem__(owner, k, v)
    elif base is set:
        set.update(owner, content)
    else:
        base.extend(owner, content)


def module_changes(module: Module, before: dict, copies: dict) -> list[Change]:
    """What differs of a module's attributes, parameters, buffers and parts."""
    found = []
    for key, then in copies.items():
        now = module.__dict__[key]
        if key in REGISTRIES:
            found += [Change("item", now, name, value) for name, value in now.items() if value is not then.get(name, ABSENT)]
            found += [Change("item", now, name, ABSENT) for name in then if name not in now]
        elif now != then:
            found.append(Change("contents", now, None, now))
    for key, value in module.__dict__.items():
        if value is not before.get(key, ABSENT):
            found.append(Change("field", module, key, value))
    found += [Change("field", module, key, ABSENT) for key in before if key not in module.__dict__]
    return found
