"""What an operation does while a function is captured: Python's meaning, with every look at the world outside noted.

In: operations on values, from the interpreter. Out: their results, as ordinary objects (tensors are the tracer's); `checks`, what was
relied on; and what was changed of objects that were there before, which `Journal` puts back. What stays true: what was there before
and is read has a `Source`; what Python code defines runs in the interpreter, so that its own looks are noted too; whatever cannot be
seen through raises `Break` before it has an effect.
"""
from __future__ import annotations

import builtins
import collections
import functools
import os
import sys
import threading
import types
from typing import Any

import numpy as np

from ..nn import Module
from ..tensor.core import Slots
from ..tensor.symbolic import SymNumber
from . import calls, choices, forms, later, policy
from .arrays import Array
from .breaks import refuse
from .choices import Choice
from .concrete import raising
from .frame import Exhausted, Generator, Raised, frame_of
from .later import Later
from .relying import MISSING, Relying
from .sources import Same, Source, arguments, known
from .tables import UNBOUND

__all__: list[str] = []

BUILTIN = Source("item", "", known(vars(builtins)))


def as_bool(found: Any) -> bool:
    """What a __bool__ written in Python gave."""
    if type(found) is not bool:
        raise Raised(TypeError(f"__bool__ should return bool, returned {type(found).__name__}"))
    return found


class World(Relying):
    """The domain of a capture."""

    def later(self, fn: Any, args: list, kwargs: dict) -> None:
        """Make a call after the graph has run."""
        self.waiting.append((fn, args, kwargs))

    def untouched(self, value: Any) -> None:
        """Refuse to look at what a waiting call will change."""
        if self.touched and id(value) in self.touched:
            refuse("PX021", "what scheduler.step() sets is looked at after it")

    def expose(self, value: Any, depth: int = 0, handed: bool = False) -> None:
        """A value is about to be looked at by code that is not interpreted. `handed`: that only hands on Laters that are in it."""
        kind = type(value)
        if kind in policy.ATOMS or isinstance(value, Slots):
            return
        if kind is Later:
            return None if handed else later.asked("a C function that is given tensor.item()")
        self.untouched(value)
        if isinstance(value, (list, tuple, *policy.MAPPINGS, set, frozenset, collections.deque)):
            if id(value) in self.sources:
                self.reveal(value)
            if depth < calls.DEEPEST:
                for item in tuple(value.values() if isinstance(value, policy.MAPPINGS) else value):
                    self.expose(item, depth + 1, handed)
        elif isinstance(value, policy.BUFFERS) and id(value) in self.sources:
            refuse("PX006", f"a {kind.__name__}")
        elif isinstance(value, Module):
            self.use_module(value)
            if id(value) not in self.fresh:                     # who gets a module may ask it for all its parameters
                self.listed.update({id(m): m for m in value.modules()})
        elif kind is slice:
            for part in (value.start, value.stop, value.step):
                self.expose(part, depth)
        elif id(value) in self.sources and hasattr(kind, "__next__"):
            refuse("PX005", f"a {kind.__name__}")
        elif not handed and id(value) in self.sources and not policy.numpy_array(value) and not isinstance(
                value, (*policy.METHODS, *calls.STAND_INS)):
            self.rely(self.sources[id(value)][1], "identity", value)        # a key, a Decimal, a Path: nobody sees into it

    def use_module(self, module: Module) -> None:
        """Framework code looks at a module: rely on its attributes, its parts, its mode."""
        if id(module) not in self.fresh:
            for m in module.modules():
                if id(m) not in self.modules:
                    self.modules[id(m)] = m
                    self.touch(m)

    def touch(self, module: Module) -> None:
        """The gradients of a module's parameters may be changed without an operator that sees them."""
        for p in module._parameters.values():
            if p is not None:
                self.tracer.touch(p)

    def change_modules(self, module: Module) -> None:
        """Framework code may change a module and its parts."""
        if id(module) not in self.fresh:
            for m in module.modules():
                self.journal.keep_module(m)

    # ------------------------------------------------------------------------------------------ names
    @raising
    def load_global(self, space: dict, name: str) -> Any:
        if name in space:
            value = space[name]
            return self.read_item(space, name, value, self.space_source(space))
        found = self.builtin(name)
        if not policy.framework_space(space):
            self.rely(self.space_source(space), "missing", name)
            self.rely(BUILTIN._replace(key=name), "identity", found)
        return found

    def delete_global(self, space: dict, name: str) -> None:
        if name not in space:
            raise Raised(NameError(f"name '{name}' is not defined"))
        self.space_source(space)
        self.journal.keep_item(space, name)
        del space[name]

    def set_item(self, owner: dict, key: Any, value: Any) -> None:
        """A global is set."""
        self.space_source(owner)
        self.journal.keep_item(owner, key)
        owner[key] = value

    def cell_get(self, cell: Any) -> Any:
        value = super().cell_get(cell)
        found = self.sources.get(id(cell))
        if found is None or value is UNBOUND or self.journal.was(cell, None, MISSING) is not value:
            return value
        return self.admit(value, Source("cell", None, found[1]))

    def cell_set(self, cell: Any, value: Any) -> None:
        if id(cell) in self.sources:
            self.journal.keep(cell)
        super().cell_set(cell, value)

    # ------------------------------------------------------------------------------------------ attributes
    @raising
    def get_attr(self, owner: Any, name: str) -> Any:
        kind = type(owner)
        if isinstance(owner, Slots):
            return self.tensor_attr(owner, name)
        if name == "__class__" and kind in calls.STAND_INS:
            return calls.seen_type(owner)
        if kind in policy.ATOMS or kind is Generator:
            return getattr(owner, name) if kind is not Generator else calls.GeneratorMethod(owner, name)
        if isinstance(owner, types.ModuleType):
            return self.module_attr(owner, name)
        if kind is types.MethodType and not hasattr(kind, name):
            return self.get_attr(owner.__func__, name)
        if isinstance(owner, type):
            return self.class_attr(owner, name)
        if (kind.__module__ or "").startswith("numpy.random"):
            refuse("PX015", f"a {kind.__name__}")
        if kind is super:
            return self.super_part(owner, name)
        return self.instance_attr(owner, kind, name)

    def tensor_attr(self, owner: Any, name: str) -> Any:
        kind = type(owner)
        static = policy.lookup(kind, name)
        if static is not None and policy.python_class(kind) and not policy.framework_class(kind):
            self.rely(Source("call", arguments(kind, name), known(policy.lookup)), "identity", static)
        if isinstance(static, property) and policy.user_code(static.fget):
            return frame_of(static.fget, (owner,), {})
        if isinstance(static, types.FunctionType) and policy.user_code(static):
            return types.MethodType(static, owner)
        if name == "_version" and isinstance(static, property):
            return self.version(owner, static.fget)
        if name in policy.FACTS and isinstance(static, property):
            return self.fact(owner, static.fget)
        if static is None and not isinstance(owner, SymNumber) and id(owner) in self.sources and name not in getattr(owner, "__dict__", ()):
            self.rely(self.sources[id(owner)][1], "unset", name)
        if static is None and not isinstance(owner, SymNumber) and id(owner) in self.sources and name in getattr(owner, "__dict__", ()):
            return self.admit(owner.__dict__[name], Source("field", name, self.sources[id(owner)][1]))
        return getattr(owner, name)

    def class_attr(self, owner: type, name: str) -> Any:
        static = policy.lookup(type(owner), name)
        if isinstance(static, property):
            return frame_of(static.fget, (owner,), {}) if policy.user_code(static.fget) else getattr(owner, name)
        if not hasattr(owner, name):
            self.class_lacks(owner, name)
        value = getattr(owner, name)
        if policy.python_class(owner) and not policy.framework_class(owner) and id(owner) not in self.fresh:
            if isinstance(value, types.MethodType):
                self.rely(Source("attribute", "__func__", Source("attribute", name, known(owner))), "identity", value.__func__)
            elif name == "__dict__":
                self.sources[id(value)] = value, Source("attribute", name, known(owner))
            elif name not in ("__class__", "__mro__", "__bases__"):
                return self.admit(value, Source("attribute", name, known(owner)))
        return value

    def super_part(self, owner: Any, name: str) -> Any:
        """An attribute through `super()`."""
        base, instance = owner.__thisclass__, owner.__self__
        kind = owner.__self_class__
        mro = kind.__mro__
        if policy.python_class(kind) and not policy.framework_class(kind) and id(kind) not in self.fresh:
            self.rely(Source("attribute", "__mro__", known(kind)), "identity", mro)
        for cls in mro[mro.index(base) + 1:]:
            if name in vars(cls):
                static = vars(cls)[name]
                if isinstance(static, property) and policy.user_code(static.fget):
                    return frame_of(static.fget, (instance,), {})
                if not policy.framework_class(cls) and policy.python_class(cls):
                    self.rely(Source("item", name, Source("attribute", "__dict__", known(cls))), "identity", static)
                break
        return getattr(owner, name)

    @raising
    def super_attr(self, found: Any, cls: Any, owner: Any, name: str) -> Any:
        if found is not super:
            refuse("PX012", "super is another name")
        return self.super_part(super(cls, owner), name)

    def instance_attr(self, owner: Any, kind: type, name: str, ordinary: bool = False) -> Any:
        """Python's lookup in an instance, each step noted. `ordinary`: as object.__getattribute__ does it."""
        if name not in later.STILL:
            self.untouched(owner)
        if not ordinary:
            getter = policy.lookup(kind, "__getattribute__")
            if isinstance(getter, types.FunctionType) and policy.user_code(getter):
                return self.enter(getter, (owner, name), {})
        static = policy.lookup(kind, name)
        if isinstance(owner, threading.local) and static is None:
            source = self.source_of(owner)
            if source is not None and not hasattr(owner, name):
                self.rely(source, "lacks", name)
            return getattr(owner, name) if source is None else self.admit(getattr(owner, name), Source("attribute", name, source))
        absent = static is None and not any([name in cls.__dict__ for cls in kind.__mro__])     # it may be None
        if static is not None and policy.users_class(type(static)):
            for part in ("__get__", "__set__", "__delete__"):
                self.method_of(type(static), part)
        if static is not None and policy.data_descriptor(static):
            return self.through(static, owner, kind, name)
        space = policy.space_of(owner)
        source = self.source_of(owner)
        if space is not None and name in space:
            value = space[name]
            if source is None or self.journal.was(owner, name, MISSING) is not value:
                return value
            if isinstance(owner, Module) and name in ("_parameters", "_buffers", "_modules"):
                self.sources.setdefault(id(value), (value, Source("field", name, source)))
                return value
            if absent:
                self.class_lacks(kind, name)
            elif policy.users_class(kind) and not isinstance(owner, Module):        # it may become a property
                self.rely(Source("call", arguments(kind, name), known(policy.lookup)), "identity", static)
            return self.admit(value, Source("field", name, source))
        if not absent:
            if source is not None and space is not None and not (isinstance(owner, Module) and policy.framework_class(kind)):
                self.rely(source, "unset", name)
            return self.through(static, owner, kind, name)
        if isinstance(owner, Module) and name not in ("_parameters", "_buffers", "_modules"):
            for registry in (space["_parameters"], space["_modules"], space["_buffers"]):
                if name in registry:
                    value = registry[name]
                    if source is None or self.journal.was(registry, name, MISSING) is not value:
                        return value
                    if id(registry) not in self.sources:
                        self.sources[id(registry)] = registry, known(registry)
                    return self.admit(value, Source("item", name, known(registry)))
        if source is not None and space is not None:
            self.rely(source, "unset", name)
        if not policy.python_class(kind):
            return getattr(owner, name)
        self.class_lacks(kind, name)
        getter = self.method_of(kind, "__getattr__")
        if getter is not None and not ordinary and (not isinstance(getter, types.FunctionType) or policy.user_code(getter)):
            return calls.call(self, getter, [owner, name], {})
        return getattr(owner, name)

    def method_of(self, kind: type, name: str) -> Any:
        """The special method of a class, or None. Either is relied on, where a class statement made the class."""
        found = policy.lookup(kind, name)
        if found is None:
            self.class_lacks(kind, name)
        elif isinstance(found, (types.FunctionType, types.WrapperDescriptorType)):
            self.rely_on_class(kind, name, found)
        return found

    def class_lacks(self, kind: type, name: str) -> None:
        """Rely on a class not having an attribute."""
        if policy.python_class(kind) and not policy.framework_class(kind) and id(kind) not in self.fresh:
            self.rely(known(kind), "lacks", name)

    def through(self, static: Any, owner: Any, kind: type, name: str) -> Any:
        """What a class attribute gives for an instance."""
        cls = type(static)
        if isinstance(owner, tuple) and cls is policy.TUPLE_FIELD:
            self.rely_on_class(kind, name, static)
            return self.get_item(owner, kind._fields.index(name))
        if cls is types.FunctionType:
            self.rely_on_class(kind, name, static)
            return types.MethodType(static, owner)
        if isinstance(static, property):
            self.rely_on_class(kind, name, static)
            if static.fget is not None and policy.inlined(static.fget):
                return frame_of(static.fget, (owner,), {})
            self.expose(owner)
            return getattr(owner, name)
        if cls is staticmethod or cls is classmethod:
            value = getattr(owner, name)
            self.rely_on_class(kind, name, value if cls is staticmethod else None, value)
            return value
        if cls is types.MemberDescriptorType:                   # __slots__
            source = self.source_of(owner)
            if source is not None and not hasattr(owner, name):
                self.rely(source, "lacks", name)
            value = getattr(owner, name)
            if source is None or self.journal.was(owner, name, MISSING) is not value:
                return value
            return self.admit(value, Source("attribute", name, source))
        if cls is types.GetSetDescriptorType and name == "__dict__":
            space = owner.__dict__
            source = self.source_of(owner)
            if source is not None and id(space) not in self.sources:
                self.sources[id(space)] = space, Source("attribute", "__dict__", source)
                self.journal.spaces[id(space)] = owner
            return space
        if cls in (types.MethodDescriptorType, types.WrapperDescriptorType):
            self.rely_on_class(kind, name, static)
        getter = policy.lookup(cls, "__get__")
        if isinstance(getter, types.FunctionType) and policy.python_class(kind):
            if policy.inlined(getter):
                home = next(c for c in kind.__mro__ if name in c.__dict__)
                if not policy.framework_class(home) and id(home) not in self.fresh and id(static) not in self.sources:
                    place = Source("item", name, Source("attribute", "__dict__", known(home)))
                    self.rely(place, "identity", static)
                    self.sources[id(static)] = static, place
                return self.enter(forms.cached if getter is functools.cached_property.__get__ else getter, (static, owner, kind), {})
        elif getter is None and policy.python_class(kind):
            if not policy.framework_class(kind):
                return self.admit(static, Source("attribute", name, known(kind)))
            return static
        value = getattr(owner, name)
        if cls is types.GetSetDescriptorType and kind is types.FunctionType and id(owner) not in self.fresh:
            return self.admit(value, Source("attribute", name, known(owner)))
        if cls is types.GetSetDescriptorType and id(owner) in self.sources and policy.plain(value):
            return self.admit(value, Source("attribute", name, self.sources[id(owner)][1]))
        if id(owner) in self.sources and policy.python_class(kind) and getattr(value, "__self__", None) is not owner and not isinstance(
                owner, (Slots, Module)):
            return self.admit(value, Source("attribute", name, self.sources[id(owner)][1]))
        return value

    def rely_on_class(self, kind: type, name: str, value: Any, bound: Any = None) -> None:
        """Rely on a class having this attribute."""
        if policy.framework_class(kind) or not policy.python_class(kind) or id(kind) in self.fresh:
            return
        place = Source("attribute", name, known(kind))
        if value is None:
            place, value = Source("attribute", "__func__", place), bound.__func__
        self.rely(place, "identity", value)

    def enter(self, method: types.FunctionType, args: tuple, kwargs: dict) -> Any:
        """A frame for a special method, on which the result relies."""
        kind, name = type(args[0]), method.__name__
        if policy.lookup(kind, name) is method:
            self.rely_on_class(kind, name, method)
        calls.look_at_function(self, method)
        return frame_of(method, args, kwargs)

    @raising
    def store_attr(self, value: Any, owner: Any, name: str) -> Any:
        kind = type(owner)
        if isinstance(owner, Slots):
            if policy.lookup(kind, name) is None:
                refuse("PX007", f"attribute {name!r} of a tensor is set")
            setattr(owner, name, value)
            return None
        if isinstance(owner, (type, types.ModuleType)) and id(owner) not in self.fresh:
            refuse("PX007", f"{name!r} of {owner.__name__} is set")
        self.written(owner)
        setter = policy.lookup(kind, "__setattr__")
        if isinstance(setter, types.FunctionType) and policy.user_code(setter):
            return self.enter(setter, (owner, name, value), {})
        return self.set_plainly(owner, name, value)

    def set_plainly(self, owner: Any, name: str, value: Any, setter: Any = setattr) -> Any:
        """What object.__setattr__ does."""
        static = policy.lookup(type(owner), name)
        if isinstance(static, property):
            if static.fset is None:
                return setter(owner, name, value)
            return frame_of(static.fset, (owner, value), {})
        descriptor = None if static is None else policy.lookup(type(static), "__set__")
        if isinstance(descriptor, types.FunctionType):
            return frame_of(descriptor, (static, owner, value), {})
        if isinstance(owner, threading.local):
            refuse("PX006", "an attribute of a thread's own is set")
        if self.source_of(owner) is not None:
            self.journal.keep_field(owner, name)
            if setter is setattr:
                self.rely_on_class(type(owner), "__setattr__", policy.lookup(type(owner), "__setattr__"))
        setter(owner, name, value)
        return None

    @raising
    def del_attr(self, owner: Any, name: str) -> Any:
        kind = type(owner)
        if isinstance(owner, (Slots, type, types.ModuleType)) and id(owner) not in self.fresh:
            refuse("PX007", f"{name!r} is deleted")
        deleter = policy.lookup(kind, "__delattr__")
        if isinstance(deleter, types.FunctionType) and policy.user_code(deleter):
            return self.enter(deleter, (owner, name), {})
        static = policy.lookup(kind, name)
        if isinstance(static, property) and static.fdel is not None:
            return frame_of(static.fdel, (owner,), {})
        if self.source_of(owner) is not None:
            self.journal.keep_field(owner, name)
        delattr(owner, name)
        return None

    # ------------------------------------------------------------------------------------------ items
    @staticmethod
    def apart(owner: Any, *others: Any) -> None:
        """Refuse a tensor, or an ndarray itself, that meets what stands for an array: what comes of it is decided in NumPy."""
        if isinstance(owner, (Slots, np.ndarray)) and any(type(v) in (Array, Choice) for v in calls.flat(others)):
            refuse("PX018", "an operation of a tensor and an array")

    @raising
    def get_item(self, owner: Any, key: Any) -> Any:
        kind = type(owner)
        self.untouched(owner)
        self.apart(owner, key)
        method = policy.python_method(kind, "__getitem__")
        if method is not None:
            if policy.inlined(method):
                return self.enter(method, (owner, key), {})
            if owner is os.environ:
                return self.environment(key)
            self.seen_through(method)
            self.expose(owner)
            self.expose(key)
            return owner[key]
        if isinstance(owner, type) and isinstance(getter := policy.lookup(owner, "__class_getitem__"), classmethod) and policy.user_code(getter.__func__):
            return calls.call(self, self.get_attr(owner, "__class_getitem__"), [key], {})
        index = policy.python_method(type(key), "__index__")
        if index is not None and policy.inlined(index) and isinstance(owner, (list, tuple, collections.deque)):
            frame = self.enter(index, (key,), {})
            frame.then = lambda k: self.get_item(owner, k)
            return frame
        if policy.python_class(kind):
            self.method_of(kind, "__getitem__")
        if id(owner) in self.sources and isinstance(owner, (list, tuple, *policy.MAPPINGS, collections.deque)):
            self.expose(key)
            if type(key) is slice:
                stands = self.standing_in(owner)
                if stands is owner:
                    self.reveal(owner)
                return stands[key]
            if isinstance(owner, policy.MAPPINGS) and key not in owner:
                self.check_key(owner, key, False)
                missing = self.method_of(kind, "__missing__")
                if missing is not None:
                    self.journal.keep(owner)
                    if isinstance(missing, types.FunctionType):
                        return self.enter(missing, (owner, key), {})
                return owner[key]
            if id(owner) in self.journal.appended:
                self.reveal(owner)
            elif isinstance(owner, (list, collections.deque)) and self.unseen(owner):
                self.measure(owner)
            value = owner[key]
            if self.journal.kept(owner) or isinstance(owner, dict) and self.journal.written(owner, key):
                return value
            place = key if policy.plain(key) else Same(key)
            if isinstance(owner, (list, tuple, collections.deque)) and type(key) is not int:
                place = key.__index__()
            if id(owner) in self.revealed and self.sources[id(owner)][1].kind == "given":
                return value                                    # an argument's structure is looked at already
            return self.admit(value, Source("item", place, self.sources[id(owner)][1]))
        self.expose(owner)
        self.expose(key)
        return owner[key]

    def environment(self, key: Any) -> Any:
        """os.environ[key]"""
        place, there = known(os.environ), type(key) is str and key in os.environ
        if type(key) is str:
            self.rely(place, "contains", (key, there))
        return self.admit(os.environ[key], Source("item", key, place)) if there else os.environ[key]

    @staticmethod
    def seen_through(method: types.FunctionType) -> None:
        """Refuse what acts on the world outside."""
        if policy.decide(method) == "refuse":
            refuse("PX002", f"{method.__module__}.{method.__qualname__}()")

    def written(self, *values: Any) -> None:
        """Refuse a write into an array that was there before, or shares memory with one."""
        for v in values:
            if isinstance(v, np.ndarray) and any(isinstance(a, np.ndarray) and np.may_share_memory(a, v) for a, _ in self.sources.values()):
                refuse("PX018", "a write into an array")

    def check_key(self, owner: dict, key: Any, outcome: bool) -> None:
        if self.unseen(owner):
            self.rely(self.sources[id(owner)][1], "contains", (key, outcome))

    def unseen(self, owner: Any) -> bool:
        """Whether a container was there before, is as it was, and its contents are not relied on yet."""
        self.untouched(owner)
        return id(owner) in self.sources and not self.journal.kept(owner) and id(owner) not in self.revealed

    @raising
    def store_item(self, value: Any, owner: Any, key: Any) -> Any:
        self.apart(owner, key, value)
        method = policy.python_method(type(owner), "__setitem__")
        if method is not None:
            if policy.inlined(method):
                return self.enter(method, (owner, key, value), {})
            self.seen_through(method)
        if type(key) is slice and calls.runs_python(value):
            return frame_of(forms.into_slice, (owner, key, value), {})
        apart = type(owner) in policy.DICTS and self.unseen(owner) and id(owner) not in self.journal.spaces
        if apart and policy.plain(key) and key in owner:
            self.journal.keep_item(owner, key)                  # the others are not looked at
            if id(owner) in self.doubles:
                self.doubles[id(owner)][key] = value
        else:
            self.change(owner)
        owner[key] = value
        return None

    @raising
    def del_item(self, owner: Any, key: Any) -> Any:
        method = policy.python_method(type(owner), "__delitem__")
        if method is not None:
            if policy.inlined(method):
                return self.enter(method, (owner, key), {})
            self.seen_through(method)
        if type(owner) is list and key == slice(None):
            self.clear(owner)
        else:
            self.change(owner)
        del owner[key]
        return None

    def clear(self, owner: list) -> None:
        """A list is about to lose all that is in it, whatever that is."""
        if self.unseen(owner) and id(owner) not in self.journal.appended:
            self.revealed.add(id(owner))
            self.journal.keep(owner)
        else:
            self.change(owner)

    def change(self, owner: Any) -> None:
        """A container is about to be changed by code that is not interpreted."""
        self.untouched(owner)
        self.written(owner)
        if any(value is owner and it.__length_hint__() for value, it in self.iterated):
            refuse("PX005", "a list that is changed meanwhile")
        if id(owner) in self.doubles:
            refuse("PX005", "a dict that is changed after values() or items()")
        if id(owner) in self.sources and not isinstance(owner, Slots):
            space = self.journal.spaces.get(id(owner))
            if space is not None:
                self.journal.keep(space)
            elif isinstance(owner, (list, dict, set, collections.deque)):
                self.reveal(owner)
                self.journal.keep(owner)
            else:
                refuse("PX006", f"a {type(owner).__name__} is changed")
        elif isinstance(owner, Module) and id(owner) not in self.fresh:
            self.journal.keep(owner)

    # ------------------------------------------------------------------------------------------ operators
    def python_operator(self, names: tuple[str, str], a: Any, b: Any) -> Any:
        """A frame for a binary operator that a class defines in Python; None if neither does."""
        for x, name in ((a, names[0]), (b, names[1])):
            if policy.python_class(type(x)) and not isinstance(x, Slots):
                self.method_of(type(x), name)
        left, right = policy.python_method(type(a), names[0]), policy.python_method(type(b), names[1])
        if left is None and right is None or isinstance(a, Slots) and right is None or isinstance(a, (Slots, SymNumber)) and isinstance(b, Slots):
            return None
        if not any(m is not None and policy.inlined(m) for m in (left, right)):
            return None
        for owner, name, m in ((a, names[0], left), (b, names[1], right)):
            if m is not None:
                self.rely_on_class(type(owner), name, m)
        first, second = policy.lookup(type(a), names[0]), policy.lookup(type(b), names[1])
        if type(a) is type(b) and names not in policy.COMPARE.values():
            second = None
        elif second is not None and issubclass(type(b), type(a)) and first is not second:
            return frame_of(forms.operate, (b, a, second, first, names), {})
        return frame_of(forms.operate, (a, b, first, second, names), {})

    @raising
    def binary(self, a: Any, b: Any, sign: str) -> Any:
        if type(a) in policy.ATOMS and type(b) in policy.ATOMS:
            return super().binary(a, b, sign)
        if type(a) is Later or type(b) is Later:
            return later.binary(a, b, sign)
        if sign[-1] == "=":
            own = policy.python_method(type(a), policy.IN_PLACE[sign])
            if own is None and policy.python_class(type(a)):
                self.method_of(type(a), policy.IN_PLACE[sign])
            if own is not None and policy.inlined(own) and not isinstance(a, Slots):
                return self.enter(own, (a, b), {})
            if isinstance(a, (list, set, dict, collections.deque, np.ndarray)):
                if type(b) is Generator and not isinstance(a, np.ndarray):
                    return frame_of(forms.extended, (a, b, sign), {})
                self.change(a)
        if isinstance(a, Slots) and type(b) is Choice and sign in ("+", "-", "*", "/"):
            return getattr(b, policy.BINARY[sign][1])(a)
        if isinstance(a, Slots):
            self.apart(a, b)
        frame = self.python_operator(policy.BINARY[sign.rstrip("=")], a, b)
        if frame is not None:
            return frame
        self.expose(a)
        self.expose(b)
        return super().binary(*self.plain_numbers(a, b), sign)

    @staticmethod
    def plain_numbers(a: Any, b: Any) -> tuple[Any, Any]:
        """Operands; a run-time number that meets an ndarray becomes a constant."""
        if type(a) is SymNumber and policy.numpy_array(b):
            return a.fixed(), b
        return (a, b.fixed()) if type(b) is SymNumber and policy.numpy_array(a) else (a, b)

    @raising
    def compare(self, a: Any, b: Any, sign: str) -> Any:
        if type(a) in policy.ATOMS and type(b) in policy.ATOMS:
            return super().compare(a, b, sign)
        if type(a) is Later or type(b) is Later:
            return later.asked("a comparison with tensor.item()")
        if isinstance(a, Slots):
            self.apart(a, b)
        frame = self.python_operator(policy.COMPARE[sign], a, b)
        if frame is not None:
            return frame
        if sign in ("==", "!=") and (policy.by_identity(a) or policy.by_identity(b)):
            for x in (a, b):
                if policy.by_identity(x):
                    self.rely_on_class(type(x), "__eq__", object.__eq__)
            if policy.by_identity(a) and policy.by_identity(b):             # else the other decides: np.dtype does
                return self.is_(a, b, sign == "!=")
        self.expose(a)
        self.expose(b)
        return super().compare(*self.plain_numbers(a, b), sign)

    def choose(self, found: Any, candidates: Any, born: int) -> None:
        """A tensor stands for one of two from now on: nobody may write to any of them, or tell it from them."""
        before = [self.chosen[id(t)] for t in candidates if id(t) in self.chosen]
        cells = {id(t._a.cell) for t in candidates}.union(*[c.cells for c in before])
        self.chosen[id(found)] = choices.Chosen(found, cells, min([born, *[c.born for c in before]]))
        for t in (found, *candidates):
            self.tracer.copied(t)

    def is_(self, a: Any, b: Any, negated: Any) -> bool:
        if (id(a) in self.chosen or id(b) in self.chosen) and isinstance(a, Slots) and isinstance(b, Slots) or Choice in (type(a), type(b)):
            refuse("PX017", "the result of min() or max()")
        one, two = self.sources.get(id(a)), self.sources.get(id(b))
        if a is not b and one is not None and two is not None:
            self.rely(one[1], "alike", (two[1], False))
        return (a is b) ^ bool(negated)

    @raising
    def unary(self, value: Any, sign: str) -> Any:
        if sign == "not":
            return not value
        if type(value) is Later:
            return later.unary(value, sign)
        name = {"-": "__neg__", "+": "__pos__", "~": "__invert__"}[sign]
        if not isinstance(value, Slots):
            self.method_of(type(value), name)
        method = policy.python_method(type(value), name)
        if method is not None and policy.inlined(method) and not isinstance(value, Slots):
            return self.enter(method, (value,), {})
        return super().unary(value, sign)

    @raising
    def contains(self, item: Any, owner: Any, negated: Any) -> Any:
        kind = type(owner)
        method = policy.python_method(kind, "__contains__")
        if method is not None and policy.inlined(method):
            frame = self.enter(method, (owner, item), {})
            frame.then = lambda r: bool(r) ^ bool(negated)
            return frame
        self.method_of(kind, "__contains__")
        if method is None and policy.python_method(kind, "__iter__") is not None and not hasattr(kind, "__contains__") or kind is Generator:
            frame = frame_of(forms.in_iterable, (item, owner), {})
            frame.then = lambda r: r ^ bool(negated)
            return frame
        if policy.python_class(kind) and not hasattr(kind, "__contains__") and not isinstance(owner, Slots):
            self.method_of(kind, "__iter__")
            if policy.python_method(kind, "__getitem__") is not None:
                frame = frame_of(forms.in_iterable, (item, owner), {})
                frame.then = lambda r: r ^ bool(negated)
                return frame
        if isinstance(owner, policy.MAPPINGS) and id(owner) in self.sources and policy.plain(item):
            found = item in owner
            self.check_key(owner, item, found)
            return found ^ bool(negated)
        self.expose(owner)
        self.expose(item)
        return (item in owner) ^ bool(negated)

    @raising
    def truth(self, value: Any) -> Any:
        kind = type(value)
        if kind in policy.ATOMS:
            return bool(value)
        if kind is SymNumber:
            return value != 0
        for name in ("__bool__", "__len__"):
            method = policy.python_method(kind, name)
            if method is not None and policy.inlined(method) and not isinstance(value, Slots):
                frame = self.enter(method, (value,), {})
                frame.then = as_bool if name == "__bool__" else bool
                return frame
            if policy.lookup(kind, name) is not None:
                break
            self.class_lacks(kind, name)
        if isinstance(value, (*policy.MAPPINGS, set, frozenset, list, collections.deque)) and self.unseen(value):
            self.measure(value)
            return bool(value)
        if isinstance(value, policy.BUFFERS):
            self.expose(value)
        if isinstance(value, Module):
            self.use_module(value)
        return bool(value)

    @raising
    def convert(self, value: Any, kind: int) -> Any:
        made = later.text(self, value, ("", "str", "repr", "ascii")[kind])
        if made is not NotImplemented:
            return made
        return self.text(value, ("", "__str__", "__repr__", "__repr__")[kind], super().convert, kind)

    @raising
    def format(self, value: Any, spec: str) -> Any:
        made = later.text(self, value, "format", spec)
        if made is not NotImplemented:
            return made
        if not spec and policy.python_method(type(value), "__format__") is None:
            return self.text(value, "__str__", super().format, spec)
        return self.text(value, "__format__", super().format, spec)

    def text(self, value: Any, name: str, otherwise: Any, arg: Any) -> Any:
        kind = type(value)
        for special in {name, "__str__", "__repr__"} if policy.python_class(kind) and not isinstance(value, Slots) else ():
            self.method_of(kind, special)
        method = policy.python_method(kind, name) or name == "__str__" and policy.lookup(kind, "__str__") is object.__str__ and \
            policy.python_method(kind, "__repr__") or None
        if method is not None and policy.inlined(method) and not isinstance(value, Slots):
            if method.__code__ in calls.RECURSIVE:
                return calls.call(self, types.MethodType(method, value), [], {})
            return self.enter(method, (value, arg) if name == "__format__" else (value,), {})
        self.nameable(value)
        return otherwise(value, arg)

    def nameable(self, value: Any, depth: int = 0) -> None:
        """Refuse a text that names an object's address, or what nobody can see."""
        if type(value) in policy.ATOMS:
            return
        if isinstance(value, Slots):
            return                                              # the tracer refuses what needs its values
        if isinstance(value, (list, tuple, set, frozenset, dict)):
            self.expose(value)
            for item in (*value, *value.values()) if isinstance(value, dict) else value:
                self.nameable(item, depth + 1)
        elif type(value).__repr__ is object.__repr__ and type(value).__str__ is object.__str__ and not policy.stable(value):
            refuse("PX017", f"the text of a {type(value).__name__}")
        else:
            self.expose(value)

    # ------------------------------------------------------------------------------------------ iteration
    @raising
    def iter(self, value: Any) -> Any:
        kind = type(value)
        if kind is Generator:
            return value
        method = policy.python_method(kind, "__iter__")
        if method is not None and not isinstance(value, Slots):
            if policy.inlined(method):
                return self.enter(method, (value,), {})
            self.expose(value)
            return calls.settled(iter(value))
        self.method_of(kind, "__iter__")
        if policy.lookup(kind, "__iter__") is None and policy.python_method(kind, "__getitem__") is not None:
            return frame_of(forms.by_index, (value,), {})
        stands = self.standing_in(value)
        self.expose(stands, calls.DEEPEST)                      # what is in it is handed out, and looked at by whoever looks at it
        found = calls.settled(iter(stands))
        if type(value) is list and stands is not value:
            self.iterated.append((value, found))
        return found

    @raising
    def next(self, it: Any) -> Any:
        kind = type(it)
        method = policy.python_method(kind, "__next__")
        if method is not None:
            if policy.inlined(method):
                self.method_of(kind, "__next__")
                return frame_of(forms.step, (method, it), {})
            refuse("PX005", f"a {kind.__name__}")
        if id(it) in self.sources:
            refuse("PX005", f"a {kind.__name__}")
        try:
            return next(it)
        except StopIteration as stop:
            return Exhausted(stop.value)

    def send(self, it: Any, value: Any) -> Any:
        if value is None:
            return self.next(it)
        return refuse("PX012", "send() to an iterator")

    # ------------------------------------------------------------------------------------------ calls
    def call(self, fn: Any, args: list, kwargs: dict) -> Any:
        return calls.call(self, fn, args, kwargs)

    def made(self, fn: types.FunctionType) -> None:
        self.fresh[id(fn)] = fn

    def refuse(self, number: str, what: str) -> None:
        refuse(number, what)

    @raising
    def import_name(self, name: str, space: dict, names: Any, level: int) -> Any:
        if level == 0 and name.partition(".")[0] not in sys.modules:
            refuse("PX002", f"import {name}")
        module = super().import_name(name, space, names, level)
        if not policy.framework_space(vars(module)):
            whole = module.__name__ if level or names else name.partition(".")[0]
            if sys.modules.get(whole) is not module:
                refuse("PX002", f"import {name}")
            self.rely(Source("item", whole, known(sys.modules)), "identity", module)
        return module

    @raising
    def import_from(self, module: Any, name: str) -> Any:
        if isinstance(module, types.ModuleType) and name in vars(module):
            return self.module_attr(module, name)
        return super().import_from(module, name)

    @raising
    def special(self, owner: Any, name: str) -> Any:
        kind = type(owner)
        method = policy.lookup(kind, name)
        if method is None:
            raise TypeError(f"'{kind.__name__}' object does not support the context manager protocol")
        if isinstance(method, types.FunctionType):
            self.rely_on_class(kind, name, method)
            return types.MethodType(method, owner)
        return getattr(owner, name)

