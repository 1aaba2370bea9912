"""Calls during a capture: what is interpreted, what runs as it is, and Python forms of builtins that call back.

In: a callable and its arguments. Out: its result, a frame that will give it, or a Break. What stays true: Python code that is the
user's never runs unseen; a C function runs only if `policy` lists it.
"""
from __future__ import annotations

import builtins
import collections
import dataclasses
import functools
import inspect
import reprlib
import types
from typing import Any

import numpy as np

from ..core.errors import interpreted
from ..distributed import groups
from ..nn import Module
from ..nn.modules.lazy import LazyModuleMixin
from ..nn.modules.module import CALL_HOOKS, GLOBAL_HOOKS
from ..ops.dispatch import below, local
from ..optim import Optimizer
from ..optim.lr_scheduler import LRScheduler
from ..tensor.core import Node, Slots
from ..tensor.function import Function
from ..tensor.symbolic import SymNumber
from ..tensor.tensor import Tensor
from . import arrays, choices, forms, later, policy
from .arrays import Array
from .breaks import Break, refuse
from .choices import Choice
from .concrete import performed
from .frame import Frame, Generator, Raised, frame_of
from .interpreter import Interpreter
from .later import Later
from .sources import Same, Source, known
from .tables import NULL

__all__: list[str] = []

CONTAINERS = (list, tuple, dict, set, frozenset, collections.deque)
DEEPEST = 4                         # containers in containers, as far as C functions are taken to look
DEPTH = 200                         # frames on the interpreter's stack
C_FUNCTIONS = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType,
               types.ClassMethodDescriptorType)


class GeneratorMethod:
    """`next`, `send`, `throw`, `close` of a generator of interpreted code, bound."""

    __slots__ = ("generator", "name")

    def __init__(self, generator: Generator, name: str):
        if name not in ("__next__", "__iter__", "send", "throw", "close"):
            raise AttributeError(f"'generator' object has no attribute '{name}'")
        self.generator, self.name = generator, name


# ---------------------------------------------------------------------------------------------------- what runs Python
def runs_python(x: Any) -> bool:
    """Whether iterating over a value runs interpreted code."""
    kind = type(x)
    if kind is Generator:
        return True
    method = policy.python_method(kind, "__iter__") or policy.lookup(kind, "__iter__") is None and policy.python_method(kind, "__getitem__") or None
    if method is None:
        method = policy.python_method(kind, "__next__")
    return method is not None and policy.inlined(method) and not isinstance(x, Slots)


def callable_in_python(x: Any) -> bool:
    """Whether calling a value runs code of the user's."""
    kind = type(x)
    if kind is types.FunctionType:
        return policy.decide(x) != "native"
    if kind is types.MethodType:
        return callable_in_python(x.__func__)
    if kind is functools.partial:
        return callable_in_python(x.func)
    return isinstance(x, Module) or (policy.python_method(kind, "__call__") is not None and not isinstance(x, (type, *CONTAINERS))
                                     and not policy.framework_class(kind))


# ---------------------------------------------------------------------------------------------------- calls
def call(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """The result of fn(*args, **kwargs), or a frame that gives it."""
    while True:
        kind = type(fn)
        if kind is types.MethodType:
            fn, args = fn.__func__, [fn.__self__, *args]
        elif kind is functools.partial:
            open_partial(world, fn)
            fn, args, kwargs = fn.func, [*fn.args, *args], {**fn.keywords, **kwargs}
        elif kind is functools._lru_cache_wrapper:
            return call_cached(world, fn, args, kwargs)
        else:
            break
    if id(fn) in policy.TOLD:
        told = policy.TOLD[id(fn)]
        if told.how == "substitute":
            return call(world, told.other, args, kwargs)
        if told.how == "allow":
            return unfollowed(world, fn, args, kwargs)
        return call_constant(world, fn, args, kwargs)
    if kind is types.FunctionType:
        return call_function(world, fn, args, kwargs)
    if kind is GeneratorMethod:
        return call_generator(world, fn, args)
    if isinstance(fn, type):
        return construct(world, fn, args, kwargs)
    if isinstance(fn, Module):
        return call_module(world, fn, args, kwargs)
    special = SPECIAL.get(fn) if isinstance(fn, collections.abc.Hashable) and kind in (types.BuiltinFunctionType, types.WrapperDescriptorType) else None
    if kind is types.MethodWrapperType:                         # of object, through super()
        special = SPECIAL.get(vars(fn.__objclass__).get(fn.__name__))
        if special is not None:
            return special(world, fn, [fn.__self__, *args], kwargs)
    if special is not None:
        least, most = COUNTS.get(fn, (0, 99))
        if fn in COUNTS and (kwargs or not least <= len(args) <= most):
            return performed(fn, *args, **kwargs)               # a TypeError
        return special(world, fn, args, kwargs)
    if isinstance(fn, C_FUNCTIONS):
        return call_builtin(world, fn, args, kwargs)
    if kind.__name__ == "Compiled" and policy.framework_class(kind):         # a compiled function inside another
        return call(world, fn.fn, args, kwargs)
    method = policy.python_method(kind, "__call__")
    if method is not None:
        world.rely_on_class(kind, "__call__", method)
        check_included(method)
        if policy.inlined(method):
            return frame_of(method, (fn, *args), kwargs)
        world.expose(fn)
        return native(world, fn, args, kwargs)
    if kind.__module__ in ("operator", "re") or policy.stable(fn) and kind.__module__.partition(".")[0] in ("pellucid", "typing", "builtins", "types"):
        return native(world, fn, args, kwargs)
    if not callable(fn):
        raise Raised(TypeError(f"'{kind.__name__}' object is not callable"))
    if kind.__module__.partition(".")[0] == "numpy":
        return call_numpy(world, fn, args, kwargs)
    return refuse("PX002", f"{kind.__name__}")


def check_included(fn: Any) -> None:
    """Stop before what compiler.disable has marked."""
    why = getattr(fn, "_capture_disabled", False)
    if why:
        refuse("PX004", fn.__qualname__ + (f" ({why})" if isinstance(why, str) else ""))


def call_function(world: Any, fn: types.FunctionType, args: list, kwargs: dict) -> Any:
    check_included(fn)
    if fn.__name__ in policy.FACTS and args and isinstance(args[0], Slots) and policy.framework_file(fn.__code__.co_filename):
        return world.fact(args[0], fn)
    special = FUNCTIONS.get(fn)
    if special is not None:
        return special(world, fn, args, kwargs)
    if fn.__code__ in RECURSIVE:
        return call_recursive(world, fn, args, kwargs)
    what = policy.decide(fn)
    if what == "native" and "__wrapped__" in fn.__dict__ and policy.user_code(inspect.unwrap(fn)):
        what = "inline"                                             # a decorator around the user's function
    if fn.__name__ == "step" and args and isinstance(args[0], LRScheduler) and policy.framework_file(fn.__code__.co_filename):
        return later.schedules(world, fn, args, kwargs)
    if what == "inline":
        if len(world.interpreter.frames) >= DEPTH:
            refuse("PX008", fn.__qualname__)
        if id(fn) not in world.fresh:
            look_at_function(world, fn)
        return frame_of(fn, args, kwargs)
    if what == "native":
        if fn.__module__.startswith(groups.__package__):                    # what is asked or done depends on the groups there are
            world.rely(Source("attribute", "default", known(groups.STATE)), "identity", groups.STATE.default)
            for v in (*args, *kwargs.values()):
                if type(v) is groups.ProcessGroup:
                    world.rely(Source("attribute", "groups", known(groups.STATE)), "contains", (id(v), id(v) in groups.STATE.groups))
        return native(world, fn, args, kwargs)
    if what == "numpy":
        return call_numpy(world, fn, args, kwargs)
    if later.logs(world, fn, args, kwargs):
        return None
    module = fn.__globals__.get("__name__") or ""
    return refuse("PX015" if module == "random" else "PX003" if module.partition(".")[0] in policy.OUTPUT else "PX002", f"{module}.{fn.__qualname__}()")


RECURSIVE = {made(lambda self: "").__code__
             for made in (getattr(dataclasses, "_recursive_repr", reprlib.recursive_repr()), reprlib.recursive_repr())}


def call_recursive(world: Any, fn: types.FunctionType, args: list, kwargs: dict) -> Any:
    """The wrapper around a __repr__ that notices by id() that it is at work on the same object already."""
    look_at_function(world, fn)
    cells = dict(zip(fn.__code__.co_freevars, fn.__closure__))
    inner = world.cell_get(cells["user_function"])
    if type(inner) is not types.FunctionType or len(args) != 1 or kwargs:
        refuse("PX017", "id()")
    if any(frame.program.code is inner.__code__ and frame.slots[0] is args[0] for frame in world.interpreter.frames):
        return world.cell_get(cells["fillvalue"]) if "fillvalue" in cells else "..."
    return call(world, inner, args, kwargs)


def call_cached(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """A function behind functools.lru_cache runs as it is, once, and so does each later call ask: its result is a place."""
    args, kwargs = [plainly(a) for a in args], {k: plainly(a) for k, a in kwargs.items()}
    for a in (*args, *kwargs.values()):
        place = world.source_of(a)
        if isinstance(a, Slots) or not policy.plain(a) and place is None or not isinstance(a, collections.abc.Hashable):
            refuse("PX002", f"{fn.__qualname__}(), which is cached,")
        if not policy.plain(a):
            world.rely(place, "identity", a)
    key = (id(fn), *map(Same, args), *kwargs, *map(Same, kwargs.values()))
    if key not in world.cached:
        world.cached[key] = Source("call", Same((tuple(args), kwargs)), known(fn))
        outside(fn, args, kwargs)
    return world.admit(fn(*args, **kwargs), world.cached[key])


def unfollowed(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """A function that the user allows in the graph: it runs as it is, and what it computes with tensors is recorded."""
    for v in (*args, *kwargs.values()):
        world.expose(v)
    return performed(fn, *args, **kwargs)


def call_constant(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """A function whose result the user takes for constant: it runs now, apart from the graph."""
    args, kwargs = [plainly(a) for a in args], {k: plainly(a) for k, a in kwargs.items()}
    for a in flat([*args, *kwargs.values()]):
        if type(a) in STAND_INS or isinstance(a, Slots):
            refuse("PX001", f"{fn.__qualname__}(), whose result is to be constant, is given what is computed")
    for a in (*args, *kwargs.values()):
        world.expose(a)
    found = outside(fn, args, kwargs)
    return world.admit(found, known(found)) if not policy.plain(found) else found


def outside(fn: Any, args: list, kwargs: dict) -> Any:
    """Call a function as if nothing were captured."""
    before = interpreted.place, interpreted.call
    interpreted.place = interpreted.call = None
    try:
        with below(len(local.stack)):
            return performed(fn, *args, **kwargs)
    finally:
        interpreted.place, interpreted.call = before


def plainly(x: Any) -> Any:
    return x.fixed() if type(x) is SymNumber else x


def look_at_function(world: Any, fn: types.FunctionType) -> None:
    """A function that was there before: its code, its defaults and its cells are places."""
    if id(fn) in world.looked_at:
        return
    world.looked_at.add(id(fn))
    place = known(fn)
    for k, cell in enumerate(fn.__closure__ or ()):
        if id(cell) not in world.sources and id(cell) not in world.fresh:
            world.sources[id(cell)] = cell, Source("item", k, Source("attribute", "__closure__", place))
    if policy.framework_space(fn.__globals__):
        return
    world.rely(Source("attribute", "__code__", place), "identity", fn.__code__)
    for name in ("__defaults__", "__kwdefaults__"):
        values = getattr(fn, name)
        if values is None:
            world.rely(Source("attribute", name, place), "value", None)
        else:
            world.rely(Source("attribute", name, place), "type", type(values))
            world.sources[id(values)] = values, Source("attribute", name, place)
            if type(values) is tuple:
                world.rely(Source("attribute", name, place), "length", len(values))
            world.reveal(values)


def open_partial(world: Any, fn: functools.partial) -> None:
    """What a partial that was there before holds."""
    if id(fn) in world.looked_at or id(fn) in world.fresh:
        return
    world.looked_at.add(id(fn))
    place = known(fn)
    world.admit(fn.func, Source("attribute", "func", place))
    for name in ("args", "keywords"):
        values = getattr(fn, name)
        world.sources[id(values)] = values, Source("attribute", name, place)
        world.reveal(values)


def native(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """Call what has no code of the user's in it. Functions among the arguments are interpreted when they are called back."""
    if type(fn) is types.FunctionType:
        args = [world.standing_in(a) for a in args]
    values = [*args, *kwargs.values()]
    if not isinstance(fn, C_FUNCTIONS) and getattr(fn, "__module__", "") not in (arrays.__name__, choices.__name__) and any(type(v) in (Array, Choice) for v in flat(values)):
        refuse("PX018", f"{getattr(fn, '__name__', fn)}() of an array")
    if any(type(v) is Generator for v in values) and type(fn) is not types.BuiltinFunctionType:
        return frame_of(forms.with_lists, (fn, args, kwargs), {})
    for v in values[getattr(fn, "__name__", "") in later.STILL and isinstance(args[0] if args else None, Optimizer):]:
        world.expose(v)
    if args and isinstance(args[0], Module) and getattr(fn, "__name__", "") not in policy.MODULE_READS:
        world.change_modules(args[0])
    if not keeps(fn) and any(callable_in_python(v) and not isinstance(v, (type, Module)) for v in values):
        args = [nested(world, v) if callable_in_python(v) and not isinstance(v, (type, Module)) else v for v in args]
        kwargs = {k: nested(world, v) if callable_in_python(v) and not isinstance(v, (type, Module)) else v for k, v in kwargs.items()}
    name = getattr(fn, "__name__", "")
    if name == "backward":
        world.backwards.append((world.interpreter.steps - 1, world.place()))
    elif name == "apply" and args and isinstance(args[0], type) and issubclass(args[0], Function):
        for part in ("forward", "backward", "vjp", "setup_context"):
            world.rely(Source("attribute", part, known(args[0])), "identity", getattr(args[0], part))
    elif name in policy.HOOKS and args and isinstance(args[0], (Slots, Node)):
        look_at_hook(world, name, args[0])
    try:
        found = performed(fn, *args, **kwargs)
    except Raised:
        if any(type(v) in (Array, Choice) for v in flat(values)):
            refuse("PX018", f"{getattr(fn, '__name__', fn)}() of an array")       # whose error may be another
        raise
    return performed(settled, found) if type(found) is types.GeneratorType and policy.framework_file(found.gi_code.co_filename) else found


def look_at_hook(world: Any, name: str, owner: Any) -> None:
    """A hook is put on a tensor. One that was there before keeps it; others need it when their gradient is computed."""
    error = Break("PX020", f"{name}()")
    if id(owner) in world.sources or isinstance(owner, Node) or owner.is_leaf:
        raise error
    error.file, error.line, error.function = world.place()
    world.hooked.append((world.interpreter.steps - 1, error))


def keeps(fn: Any) -> bool:
    """Whether a function is a method of a container: it keeps and compares what it is given, and calls none of it."""
    owner = getattr(fn, "__self__", None)
    return isinstance(owner, CONTAINERS) or issubclass(getattr(fn, "__objclass__", int), CONTAINERS)


def settled(found: Any) -> Any:
    """A generator of pellucid's own as an iterator over its values, which can be made again."""
    return iter(list(found)) if type(found) is types.GeneratorType else found


def nested(world: Any, fn: Any) -> Any:
    """A function that interprets `fn` when code that is not interpreted calls it."""
    def interpreted(*args: Any, **kwargs: Any) -> Any:
        outer = world.interpreter
        try:
            inner = Interpreter(world, [], nested=True)
            found = call(world, fn, list(args), kwargs)
            if type(found) is not Frame:
                return found
            inner.frames.append(found)
            return inner.run()
        except Raised as raised:
            raise raised.value from None
        finally:
            world.interpreter = outer
    return functools.update_wrapper(interpreted, fn, updated=())


def call_module(world: Any, module: Module, args: list, kwargs: dict) -> Any:
    """A call of a module: pellucid's own run as they are; of others, forward is interpreted."""
    kind = type(module)
    check_included(kind)
    compiled = getattr(kind, "_compiled", None)
    if isinstance(compiled, property):                          # a module that is compiled when called
        return call_module(world, module._orig_mod, args, kwargs)
    method = policy.lookup(kind, "__call__")
    if method is not Module.__call__:
        check_included(method)
        if policy.inlined(method):
            return frame_of(method, (module, *args), kwargs)
        return native(world, module, args, kwargs)
    return run_module(world, method, [module, *args], kwargs)


def run_module(world: Any, method: Any, args: list, kwargs: dict) -> Any:
    """What Module.__call__ does, by that name or by that of _call_impl: hooks and forward."""
    module, *args = args
    kind = type(module)
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        refuse("PX007", f"{kind.__name__} gets its shapes", "call the module once before it is compiled")
    if id(module) not in world.fresh:
        world.sources.setdefault(id(module), (module, known(module)))
        look_at_hooks(world, module)
        if method is Module.__call__:
            world.rely_on_class(kind, "__call__", policy.lookup(kind, "__call__"))
    if policy.native_module(module):
        world.use_module(module)
        return native(world, module, args, kwargs)
    if module._any_hook_left():
        return frame_of(Module._call_impl, (module, *args), kwargs)
    forward = world.get_attr(module, "forward")
    if type(forward) is Frame:
        forward.then = lambda fn: call(world, fn, args, kwargs)
        return forward
    return call(world, forward, args, kwargs)


def look_at_hooks(world: Any, module: Module) -> None:
    """Rely on a module's class and on the hooks that its calls run."""
    world.called[id(module)] = module
    if module._any_hook_left():
        for hooks in GLOBAL_HOOKS:
            world.rely(known(hooks), "length", len(hooks))
        for name in CALL_HOOKS:
            world.rely(Source("field", name, known(module)), "length", len(module.__dict__[name]))


def call_generator(world: Any, method: GeneratorMethod, args: list) -> Any:
    generator, name = method.generator, method.name
    if name == "__iter__":
        return generator
    if name in ("__next__", "send"):
        return advance(world, generator, args[0] if args else None, NULL)
    if name == "close":
        if not generator.running and not generator.open:
            generator.frame = None
            return None
        return frame_of(forms.closed, (generator,), {})
    error = args[1] if len(args) > 1 and isinstance(args[1], BaseException) else args[0]
    if isinstance(error, type) and issubclass(error, BaseException) and not policy.python_class(error):
        error = performed(error, *args[1:2]) if len(args) > 1 and args[1] is not None else performed(error)
    if not isinstance(error, BaseException):
        refuse("PX012", f"generator.throw() of a {type(error).__name__}")
    return frame_of(forms.thrown, (generator, error), {})


def advance(world: Any, generator: Generator, value: Any, default: Any) -> Any:
    """next(generator): a frame of its own enters it, on whose stack the value lands."""
    if generator.frame is None:
        if default is not NULL:
            return default
        raise Raised(StopIteration())
    return frame_of(forms.advanced, (generator, value, default), {})


# ---------------------------------------------------------------------------------------------------- classes
SPECIAL: dict[Any, Any] = {}        # C functions, and functions in Python, that mean something of their own: filled in special.py
FUNCTIONS: dict[Any, Any] = {}
COUNTS: dict[Any, tuple[int, int]] = {}     # how many arguments those take
STAND_INS = (Generator, SymNumber, Array, Choice, Later)


def seen_type(x: Any) -> type:
    """The type of a value as the program knows it."""
    kind = type(x)
    if kind is Generator:
        return types.GeneratorType
    if kind is Later:
        return x.kind
    if kind is Choice:
        refuse("PX001", "the type of what min() or max() gives")
    return type(x.now) if kind is SymNumber else arrays.stands_for(x) if kind is Array else kind


def construct(world: Any, cls: type, args: list, kwargs: dict) -> Any:
    """A call of a class."""
    meta = type(cls)
    if cls is type and len(args) == 1:
        return seen_type(args[0])
    if cls is super:
        return super(*(args or world.enclosing()))
    if cls in TYPE_FORMS:
        return TYPE_FORMS[cls](world, cls, args, kwargs)
    if cls in policy.CLASSES or cls in policy.ITERATORS or issubclass(cls, BaseException) and not policy.python_class(cls):
        return construct_builtin(world, cls, args, kwargs)
    method = policy.python_method(meta, "__call__")
    if method is not None and policy.inlined(method):
        return world.enter(method, (cls, *args), kwargs)
    if cls.__module__.partition(".")[0] == "numpy":
        return call_numpy(world, cls, args, kwargs)
    if issubclass(cls, LRScheduler):
        refuse("PX021", f"{cls.__name__}() is made")
    if policy.framework_class(cls) or method is not None or not policy.python_class(cls):
        if not policy.framework_class(cls) and not policy.python_class(cls) and cls.__module__ not in policy.C_MODULES | {"re", "types", "_thread"}:
            refuse("PX002", f"{cls.__module__}.{cls.__qualname__}()")
        made = native(world, cls, args, kwargs)
        if type(made) is not Frame and not policy.plain(made) and (method is None or policy.framework_class(cls)):
            world.fresh[id(made)] = made
        return made
    new = policy.lookup(cls, "__new__")
    if isinstance(new, staticmethod):
        new = new.__func__
    if isinstance(new, (types.FunctionType, types.BuiltinFunctionType)):
        world.rely_on_class(cls, "__new__", getattr(cls, "__new__"))
    if type(new) is types.FunctionType and policy.decide(new) == "inline":
        frame = frame_of(new, (cls, *args), kwargs)
        frame.then = lambda made: initialised(world, cls, made, args, kwargs)
        return frame
    if new is object.__new__ or new is None:
        made = performed(object.__new__, cls)
        if policy.lookup(cls, "__init__") is object.__init__ and (args or kwargs):
            raise Raised(TypeError(f"{cls.__name__}() takes no arguments"))
    else:
        if any(runs_python(a) for a in args):
            return frame_of(forms.with_list, (cls, *args), kwargs)
        for a in args:
            world.expose(a)
        made = performed(new, cls, *args, **kwargs)
    return initialised(world, cls, made, args, kwargs)


def initialised(world: Any, cls: type, made: Any, args: list, kwargs: dict) -> Any:
    """A new object, after its __init__."""
    if not isinstance(made, cls):
        return made
    world.fresh[id(made)] = made
    init = policy.lookup(type(made), "__init__")
    check_included(init)
    if isinstance(init, (types.FunctionType, types.WrapperDescriptorType)):
        world.rely_on_class(type(made), "__init__", init)
    if type(init) is types.FunctionType and policy.decide(init) == "inline" and init is not Module.__init__:
        look_at_function(world, init)
        frame = frame_of(init, (made, *args), kwargs)
        frame.result = made
        return frame
    if init is not object.__init__:
        native(world, init, [made, *args], kwargs)
    return made


def mapping(x: Any) -> bool:
    """Whether dict() asks a value for its keys, and for each by its own code."""
    return not isinstance(x, dict) and policy.python_method(type(x), "keys") is not None and policy.inlined(policy.python_method(type(x), "__getitem__"))


def construct_builtin(world: Any, cls: type, args: list, kwargs: dict) -> Any:
    if cls in (dict, collections.OrderedDict) and len(args) == 1 and mapping(args[0]):
        return frame_of(forms.from_mapping, (cls, args[0], kwargs), {})
    if any(runs_python(a) for a in args):
        if cls in forms.FORMS:
            return frame_of(forms.FORMS[cls], args, kwargs)
        if cls is list and len(args) == 1:
            return frame_of(forms.drained, args, {})
        return frame_of(forms.with_lists, (cls, args, kwargs), {}) if any(type(a) is Generator for a in args) else frame_of(
            forms.with_list, (cls, *args), kwargs)
    if cls in forms.TAKES_FUNCTION and args and callable_in_python(args[0]):
        return frame_of(forms.map_one if cls is map and len(args) == 2 else forms.FORMS[cls], args, kwargs)
    args = [world.standing_in(a) for a in (map(world.double, args) if cls is dict else args)]
    for a in (*args, *kwargs.values()):
        handed = cls in policy.HANDED
        world.expose(a, (DEEPEST - (cls is dict)) * handed, handed)
    if cls in policy.ITERATORS or cls in (zip, enumerate, map, filter, reversed):
        for a in args:
            if id(a) in world.sources and type(a) in policy.ITERATORS:
                refuse("PX005", f"a {type(a).__name__}")
    made = performed(cls, *args, **kwargs)
    if cls is functools.partial:
        world.fresh[id(made)] = made
    return made


def _bool(world: Any, cls: type, args: list, kwargs: dict) -> Any:
    return world.truth(args[0]) if len(args) == 1 else bool(*args)


def _str(world: Any, cls: type, args: list, kwargs: dict) -> Any:
    if len(args) == 1 and not kwargs:
        return world.convert(args[0], 1)
    return str(*args, **kwargs)


def _number(world: Any, cls: type, args: list, kwargs: dict) -> Any:
    """int, float, complex."""
    if len(args) == 1:
        x = args[0]
        if type(x) is Later:
            return later.number(cls, x)
        if type(x) is Tensor and x._a.size == 1 and (found := later.cast(world, cls, x)) is not NotImplemented:
            return found
        if type(x) is SymNumber:
            if cls is float and isinstance(x.now, float) or cls is int and isinstance(x.now, int):
                return x
            x.fixed()
            return cls(x.now)
        for name in (f"__{cls.__name__}__", "__index__"):
            if policy.python_class(type(x)) and not isinstance(x, Slots):
                world.method_of(type(x), name)
            method = policy.python_method(type(x), name)
            if method is not None and policy.inlined(method) and not isinstance(x, Slots):
                return world.enter(method, (x,), {})
    return construct_builtin(world, cls, args, kwargs)


def _property_like(world: Any, cls: type, args: list, kwargs: dict) -> Any:
    return cls(*args, **kwargs)


TYPE_FORMS = {bool: _bool, str: _str, int: _number, float: _number, complex: _number, property: _property_like, staticmethod: _property_like,
              classmethod: _property_like, object: _property_like}


# ---------------------------------------------------------------------------------------------------- builtins
def call_builtin(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    if not policy.listed(fn):
        module = getattr(fn, "__module__", None) or getattr(type(getattr(fn, "__self__", None)), "__module__", "")
        name = getattr(fn, "__qualname__", repr(fn))
        if str(module).partition(".")[0] == "numpy":
            return call_numpy(world, fn, args, kwargs)
        if fn is builtins.__build_class__:
            refuse("PX010")
        owner = getattr(fn, "__self__", None)
        if not (policy.framework_class(type(owner)) or str(module).startswith("pellucid")):
            number = "PX015" if module in ("random", "_random") else "PX003" if module == "_warnings" else "PX002"
            refuse(number, f"{name}()" if module in ("builtins", None) else f"{module}.{name}()")
    form = forms.FORMS.get(fn)
    if form is not None and (any(runs_python(a) for a in args) or fn in forms.TAKES_FUNCTION and any(
            callable_in_python(v) for v in (*args, *kwargs.values())) or any(has_python_operators(a) for a in args)
                             or fn in (min, max) and any(type(v) in (Tensor, Choice) for v in flat(args))):
        return frame_of(form, args, kwargs)
    owner = getattr(fn, "__self__", None)
    name = fn.__name__
    if owner is None or isinstance(owner, (types.ModuleType, type)):
        if getattr(fn, "__objclass__", None) is not None and args:
            owner = args[0]                                     # list.append(x, y)
        else:
            owner = None
    if type(owner) is str:
        found = later.text_method(fn, args, kwargs)
        if found is not NotImplemented:
            return found
    if owner is not None and type(owner) not in policy.ATOMS:
        found = method_call(world, fn, owner, name, args, kwargs)
        if found is not NULL:
            return found
    if name in policy.ITERATE and any(runs_python(a) for a in args):
        return frame_of(forms.with_lists, (fn, args, kwargs), {})
    if isinstance(owner, (list, dict, collections.deque)) and name in policy.HANDS_ON:
        for v in (*args, *kwargs.values()):
            world.expose(v, handed=True)
        return performed(fn, *args, **kwargs)
    return native(world, fn, args, kwargs)


def has_python_operators(x: Any) -> bool:
    """Whether comparing or adding what is in a container runs interpreted code."""
    items = x if type(x) in (list, tuple, set, frozenset) else (x,)
    return any(policy.python_class(type(i)) and not isinstance(i, (Slots, Module)) and not policy.framework_class(type(i)) and any(
        policy.python_method(type(i), n) is not None for n in ("__lt__", "__add__", "__radd__", "__bool__", "__gt__")) for i in items)


def method_call(world: Any, fn: Any, owner: Any, name: str, args: list, kwargs: dict) -> Any:
    """A method of a builtin container; NULL if it is nothing special."""
    bound = getattr(fn, "__self__", None) is owner
    given = args if bound else args[1:]
    if isinstance(owner, np.ndarray) and (name in policy.ARRAY_WRITES or name in policy.IN_PLACE.values()):
        world.written(owner)
    if isinstance(owner, policy.MAPPINGS) and id(owner) in world.sources and name in ("get", "__contains__", "setdefault") and given and policy.plain(
            given[0]) and policy.python_method(type(owner), "__getitem__") is None:
        key = given[0]
        if name == "__contains__":
            return world.contains(key, owner, 0)
        if key in owner:
            return world.get_item(owner, key)
        if name == "get":
            world.check_key(owner, key, False)
            return given[1] if len(given) > 1 else None
    if name in ("__getitem__", "__setitem__") and policy.python_method(type(owner), name) is None:                  # else super() asks
        if name == "__getitem__" and len(given) == 1 and (bound or isinstance(owner, CONTAINERS)):
            return world.get_item(owner, *given)
        if name == "__setitem__" and len(given) == 2 and bound:
            return world.store_item(given[1], owner, given[0])
    if name in ("values", "items") and not given and (stands := world.double(owner)) is not owner:
        return performed(getattr(stands, name))
    if name == "sort" and isinstance(owner, list):
        world.change(owner)
        if kwargs.get("key") is not None and callable_in_python(kwargs["key"]) or has_python_operators(owner):
            return frame_of(forms.sort_, (owner, *given), kwargs)
    if name == "clear" and type(owner) is list and not given:
        world.clear(owner)
        return performed(fn, *args)
    if name == "append" and type(owner) is list and world.unseen(owner) and len(given) == 1 and not kwargs:
        world.journal.append(owner, given[0])
        return None
    if isinstance(owner, (list, dict, set, collections.deque)) and name not in policy.READ_ONLY:
        if name == "update" and isinstance(owner, dict) and len(given) == 1 and mapping(given[0]):
            return frame_of(forms.update_from, (owner, given[0], kwargs), {})
        world.change(owner)
        if name in policy.ITERATE and any(runs_python(a) for a in given):
            if name == "extend":
                return frame_of(forms.into_list, (owner, *given), {})
            return frame_of(forms.with_lists, (fn, args, kwargs), {})
    elif isinstance(owner, (list, tuple, *policy.MAPPINGS, set, frozenset, collections.deque, *policy.BUFFERS)):
        world.expose(owner, DEEPEST * (name in policy.HANDS_ON), name in policy.HANDS_ON)
        if type(owner) is collections.OrderedDict and name == "move_to_end":
            world.change(owner)
    elif type(owner) in policy.ITERATORS and id(owner) in world.sources:
        refuse("PX005", f"a {type(owner).__name__}")
    return NULL


def call_numpy(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """A function of NumPy: it may run if nothing in it depends on a run."""
    name = getattr(fn, "__name__", "")
    if "random" in (getattr(fn, "__module__", "") or "") or "random" in type(getattr(fn, "__self__", None)).__name__.lower():
        refuse("PX015", f"numpy.{name}()")
    values = [*args, *kwargs.values()]
    if any(isinstance(v, (Slots, Array)) for v in flat(values)):
        for v in values:
            world.expose(v)
        try:
            return performed(arrays.numpy_call, fn, args, kwargs)
        except Break as error:
            refuse("PX018", f"numpy.{name}(): {error.what}")
    if kwargs.get("out") is not None or name in policy.ARRAY_WRITES or isinstance(fn, np.ufunc) and len(args) > fn.nin:
        world.written(*flat([*args, *kwargs.values(), getattr(fn, "__self__", None)]))
    args = [v.fixed() if type(v) is SymNumber else v for v in args]
    kwargs = {k: v.fixed() if type(v) is SymNumber else v for k, v in kwargs.items()}
    return native(world, fn, args, kwargs)


def flat(values: Any) -> list:
    found = []
    for v in values:
        if isinstance(v, (list, tuple)):
            found += flat(v)
        elif isinstance(v, dict):
            found += flat(v.values())
        else:
            found.append(v)
    return found
