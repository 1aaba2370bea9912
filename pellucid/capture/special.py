"""Functions that mean something of their own during a capture: builtins that look at what they are given, conversions to and from NumPy.

In: `calls.SPECIAL` and `calls.FUNCTIONS`, empty. Out: filled: {function: (world, fn, args, kwargs) -> result, frame or Break}. What
stays true: what they look at of what was there before is noted.
"""
from __future__ import annotations

import abc
import collections
import copy
import functools
import itertools
import os
import sys
import types
from typing import Any

from ..nn import Module
from ..tensor import interop
from ..tensor.core import Slots
from ..tensor.tensor import Tensor
from . import arrays, choices, forms, later, policy
from .arrays import Array
from .breaks import Break, refuse
from .calls import COUNTS, FUNCTIONS, SPECIAL, STAND_INS, advance, native, run_module, runs_python, seen_type
from .choices import Choice
from .concrete import performed
from .frame import Entering, Exhausted, Frame, Generator, Raised, first_step, frame_of
from .interpreter import handled
from .later import Later
from .sources import Source, arguments, known
from .tables import NULL

__all__: list[str] = []


def _enter(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    return Entering(*args)


def _getattr(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    if len(args) < 3:
        return world.get_attr(args[0], args[1])
    try:
        found = world.get_attr(args[0], args[1])
    except Raised as raised:
        if not isinstance(raised.value, AttributeError):
            raise
        return args[2]
    if type(found) is Frame:
        return frame_of(forms.attribute_or, (args[0], args[1], args[2]), {})
    return found


def _hasattr(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    try:
        found = world.get_attr(*args)
    except Raised as raised:
        if isinstance(raised.value, AttributeError):
            return False
        raise
    except Break:
        return hasattr(*args) if type(args[0]) is not Array else hasattr(seen_type(args[0]), args[1])
    return frame_of(forms.has_attribute, args, {}) if type(found) is Frame else True


def _setattr(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    return world.store_attr(args[2], args[0], args[1])


def _delattr(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    return world.del_attr(args[0], args[1])


def _object_setattr(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    return world.set_plainly(args[0], args[1], args[2], object.__setattr__)


def _object_getattribute(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    return world.instance_attr(args[0], type(args[0]), args[1], ordinary=True)


def _iter(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    return world.iter(args[0]) if len(args) == 1 else refuse("PX012", "iter() with a sentinel")


def _next(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    it = args[0]
    default = args[1] if len(args) > 1 else NULL
    if type(it) is Generator:
        return advance(world, it, None, default)
    found = world.next(it)
    if type(found) is Exhausted:
        if default is not NULL:
            return default
        raise Raised(StopIteration(*([] if found.value is None else [found.value])))
    if type(found) is Frame and default is not NULL:
        refuse("PX012", "next() with a default of an iterator written in Python")
    return found


def _len(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    x = args[0]
    method = policy.python_method(type(x), "__len__")
    if method is not None and not isinstance(x, Slots):
        if policy.inlined(method):
            return world.enter(method, (x,), {})
        world.expose(x)
        return len(x)
    if policy.python_class(type(x)) and not isinstance(x, Slots):
        world.method_of(type(x), "__len__")
    if isinstance(x, (*policy.MAPPINGS, set, frozenset, list, collections.deque)) and world.unseen(x):
        return world.count(x)
    return native(world, len, args, kwargs)


def _isinstance(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    if type(args[0]) in STAND_INS:
        return performed(issubclass, seen_type(args[0]), args[1])
    kinds = _classes(args[1])
    for cls in kinds:
        method = policy.python_method(type(cls), "__instancecheck__") if isinstance(cls, type) else None
        if method is not None and policy.user_code(method) and policy.inlined(method):
            if len(kinds) == 1:
                frame = frame_of(method, (cls, args[0]), {})
                frame.then = bool
                return frame
            refuse("PX012", "isinstance() with a class that decides it in Python")
    found = performed(isinstance, *args)
    _judged(world, type(args[0]), kinds, args[0])
    return found


def _issubclass(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    found = performed(issubclass, *args)
    kinds = _classes(args[1])
    if any([policy.user_code(policy.python_method(type(cls), "__subclasscheck__")) for cls in kinds if not isinstance(cls, abc.ABCMeta)]):
        refuse("PX012", "issubclass() with a class that decides it in Python")
    _judged(world, args[0], kinds)
    return found


def _classes(of: Any) -> tuple:
    """The classes that isinstance() and issubclass() are asked about: tuples, and unions, may hold more of them."""
    if isinstance(of, types.UnionType):
        of = of.__args__
    return tuple([cls for part in of for cls in _classes(part)]) if isinstance(of, tuple) else (of,)


def _judged(world: Any, kind: type, kinds: tuple, owner: Any = None) -> None:
    """Rely on what abstract classes and protocols say of a class, or of an object: more may be registered, or have their methods."""
    for cls in kinds:
        if isinstance(cls, abc.ABCMeta) and (policy.users_class(cls) or policy.users_class(kind)):
            if getattr(cls, "_is_protocol", False) and owner is not None:
                place = world.source_of(owner)
                if place is not None:
                    world.rely(place, "says", (instance_of(cls), isinstance(owner, cls)))
            else:
                world.rely(Source("call", arguments(kind, cls), known(issubclass)), "value", issubclass(kind, cls))


@functools.lru_cache(1000)
def instance_of(cls: type) -> Any:
    return lambda value: isinstance(value, cls)


def _callable(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    if policy.python_class(type(args[0])) and not isinstance(args[0], Slots):
        world.method_of(type(args[0]), "__call__")
    return performed(callable, *args)


def _id(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    x = args[0]
    found = world.sources.get(id(x))
    if found is None and (not policy.stable(x) or type(x) in (Array, Choice)) or type(x) is Later:
        refuse("PX017", "id()")
    if found is not None:
        world.rely(found[1], "identity", x)
    return id(x)


def _hash(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    x = args[0]
    method = policy.python_method(type(x), "__hash__")
    if method is not None and policy.inlined(method):
        return world.enter(method, (x,), {})
    if type(x).__hash__ is object.__hash__ and not policy.stable(x):
        return _id(world, fn, args, kwargs) and hash(x)
    return native(world, hash, args, kwargs)


def _exc_info(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """sys.exc_info()"""
    error = handled(world.interpreter)
    if error is None and world.interpreter.nested:
        refuse("PX002", "sys.exc_info() in what is called back")
    if error is None:
        place = Source("call", arguments(), known(fn))
        world.rely(place, "value", (None, None, None))
        return sys.exc_info() if sys.exc_info() == (None, None, None) else refuse("PX002", "sys.exc_info() of the caller's exception")
    return type(error), error, error.__traceback__


def _exception(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """sys.exception()"""
    return _exc_info(world, sys.exc_info, args, kwargs)[1]


def _round(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    found = later.rounded(world, fn, args, kwargs)
    return native(world, fn, args, kwargs) if found is NotImplemented else found


def _vars(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    if not args:
        return world.interpreter.frames[-1].locals()
    return world.get_attr(args[0], "__dict__")


def _repr(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    return world.convert(args[0], 2)


def _format(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    return world.format(args[0], args[1] if len(args) > 1 else "")


def _locals(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    return world.interpreter.frames[-1].locals()


def _globals(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    space = world.interpreter.frames[-1].space
    world.space_source(space)
    return space


def _only_python(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """eval, exec, dir() and vars() of the caller."""
    if fn is dir and args:
        return refuse("PX012", "dir()")
    return refuse("PX019", f"{fn.__name__}()")


def _chain_from(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    if any(runs_python(a) for a in args) or any(runs_python(i) for a in args if isinstance(a, (list, tuple)) for i in a):
        return frame_of(forms.chain_from, args, {})
    for a in args:
        world.expose(a)
    return fn(*args)


SPECIAL |= {getattr: _getattr, hasattr: _hasattr, setattr: _setattr, delattr: _delattr, object.__setattr__: _object_setattr,
           object.__getattribute__: _object_getattribute, iter: _iter, next: _next, len: _len, isinstance: _isinstance,
           issubclass: _issubclass, callable: _callable, id: _id, hash: _hash,
           print: later.prints, round: _round, vars: _vars, repr: _repr, format: _format, globals: _globals,
           locals: _locals, eval: _only_python, exec: _only_python,
           dir: _only_python, sys.exc_info: _exc_info, sys.exception: _exception, itertools.chain.from_iterable: _chain_from, object.__delattr__: _delattr}
COUNTS |= {getattr: (2, 3), hasattr: (2, 2), setattr: (3, 3), delattr: (2, 2), iter: (1, 2), next: (1, 2), len: (1, 1), isinstance: (2, 2), id: (1, 1),
           hash: (1, 1), vars: (0, 1), repr: (1, 1), format: (1, 2)}


def _extreme(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    run = world.interpreter
    born = first_step(run.frames, run.steps - 1)
    found = None if run.nested else performed(choices.choose, *args, born)
    if isinstance(found, Slots):
        world.choose(found, args[:2], born)
    return frame_of(forms.compared, args, kwargs) if found is None else found


def _awaited(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    found = args[0].awaited
    return found if type(found) is Generator else None


FUNCTIONS |= {forms.awaited: _awaited, forms.enter: _enter, forms.extreme: _extreme,
              forms.iterates: lambda world, fn, args, kwargs: runs_python(*args)}


def _setter_of_modules(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """super().__setattr__(name, value) in a module."""
    return world.set_plainly(args[0], args[1], args[2], fn)


FUNCTIONS[Tensor.item] = later.item
FUNCTIONS[Module.__setattr__] = _setter_of_modules
FUNCTIONS[Module.__call__] = FUNCTIONS[Module._call_impl] = run_module
FUNCTIONS[Module._any_hook_left] = lambda world, fn, args, kwargs: True      # whoever asks has found out


def _deepcopy(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    if len(args) == 1 and not kwargs and type(args[0]) in policy.BY_VALUE:
        return args[0]
    return refuse("PX002", "copy.deepcopy()")


FUNCTIONS[copy.deepcopy] = _deepcopy


# ---------------------------------------------------------------------------------------------------- to and from NumPy
def _numpy(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    if len(args) != 1 or kwargs.keys() - {"force"}:
        return native(world, fn, args, kwargs)
    return performed(arrays.of_tensor, args[0], **kwargs)


def _from_array(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    if len(args) == 1 and type(args[0]) is Array and not kwargs.keys() - {"dtype"}:
        return performed(arrays.to_tensor, fn, args[0], **kwargs)
    found = later.tensor_of(world, fn, args, kwargs) if fn in (interop.tensor, interop.as_tensor) else NotImplemented
    return native(world, fn, args, kwargs) if found is NotImplemented else found


FUNCTIONS[Tensor.numpy] = _numpy
FUNCTIONS |= dict.fromkeys((interop.from_numpy, interop.as_tensor, interop.asarray, interop.tensor), _from_array)
FUNCTIONS[os.getenv] = lambda world, fn, args, kwargs: frame_of(type(os.environ).get, (os.environ, *args), kwargs)
