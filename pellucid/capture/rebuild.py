"""Values at the end of a segment, as Python that makes them: for results, for what the next segment goes on with, for writes.

In: values as the capture left them. Out: a recipe: the tensors it needs, and steps in order. What stays true: what was there before is
named by its place; one object is made once, however often it is met; containers that hold themselves come out right.
"""
from __future__ import annotations

import collections
import functools
import sys
import types
import warnings
from typing import Any, NamedTuple

import numpy as np

from ..nn import Module
from ..nn.modules.module import Changes
from ..tensor.core import Slots
from ..tensor.fake import Fake
from ..tensor.symbolic import SymNumber
from ..tensor.tensor import Tensor
from . import policy
from .arrays import Array, ndarray
from .breaks import Break, refuse
from .calls import GeneratorMethod
from .choices import Choice
from .frame import Generator
from .journal import ABSENT, Change, fill
from .later import Later
from .raising import at_line

__all__: list[str] = []


class Part(NamedTuple):
    """One operand: "tensor" (its number), "source" (a place), "object" (itself), "made" (the step that makes it), "number" (an
    expression of run-time numbers)."""

    kind: str
    value: Any


class Step(NamedTuple):
    """`made` is the number of the variable it sets, if any; `code` has {} for each part."""

    made: int | None
    code: str
    parts: tuple


class Recipe:
    """How to make values. `tensors`: in the order of their numbers; `steps`; `result`."""

    def __init__(self, world: Any):
        self.world = world
        self.tensors: list[Any] = []
        self.steps: list[Step] = []
        self.writes: list[Step] = []
        self.parts: dict[int, Part] = {}
        self.raised: dict[int, Part] = {}           # id of what stands for a traceback -> an exception that has it
        self.keep: list[Any] = []                   # so that ids stay taken
        self.waiting: list[tuple[Part, Any]] = []   # cells that are to be filled
        self.count = 0
        self.result: Part = Part("object", None)

    # ------------------------------------------------------------------------------------------ parts
    def part(self, value: Any) -> Part:
        kind = type(value)
        if kind is SymNumber:
            return Part("number", value.expr)
        if kind in policy.ATOMS:
            return Part("object", value)
        found = self.parts.get(id(value))
        if found is None:
            self.keep.append(value)
            found = self.make(value, kind)
            self.parts[id(value)] = found
        return found

    def make(self, value: Any, kind: type) -> Part:
        world = self.world
        if kind is Later:
            return self.step(value.code, *value.parts)
        if isinstance(value, Slots):
            made = id(value) not in world.sources and type(value._a) is Fake
            known = world.tracer.saved.get(id(value))           # a tensor that was there, which only the tracer has met
            if made and (type(value) is not Tensor and (known is None or type(known.array) is Fake)
                         or value._a.cell.input is None and value._rg and value._fn is None):
                refuse("PX016", f"a {type(value).__name__} made inside" + " that wants gradients" * value._rg)
            self.tensors.append(value)
            return Part("tensor", len(self.tensors) - 1)
        place = world.sources.get(id(value))
        if place is not None:
            return Part("source", place[1])
        if kind is Choice:
            error = Break("PX001", "min() or max() of a tensor and a number")
            error.born = value._born
            raise error
        if kind is Array:
            return self.step("ndarray({}, {}, {})", value._tensor, value._scalar, value._frozen)
        if kind in (Generator, GeneratorMethod):
            error = Break("PX016", "a generator")
            error.born = value.born if kind is Generator else value.generator.born
            raise error
        if policy.plain(value):
            return Part("object", value)
        if kind is types.FunctionType:
            return self.function(value)
        if isinstance(value, Module):
            return self.instance(value, kind) if id(value) in world.fresh else Part("object", value)
        if kind is types.CellType:
            return self.cell(value)
        if isinstance(value, (list, tuple, dict, set, frozenset, collections.deque)):
            return self.container(value, kind)
        if kind is types.MethodType and type(value.__self__) is Array:
            return self.step("getattr({}, {})", value.__self__, value.__name__)
        if kind is types.MethodType:
            return self.step("MethodType({}, {})", value.__func__, value.__self__)
        if isinstance(value, (types.BuiltinFunctionType, types.MethodWrapperType)) and not isinstance(
                getattr(value, "__self__", None), (types.ModuleType, type, type(None))):
            return self.method(value, value.__self__, value.__name__)
        if policy.stable(value) and id(value) not in world.fresh:
            return Part("object", value)
        if kind is functools.partial:
            return self.step("partial({}, *{}, **{})", value.func, value.args, value.keywords)
        if kind is slice:
            return self.step("slice({}, {}, {})", value.start, value.stop, value.step)
        if kind in policy.ITERATORS:
            return self.iterator(value)
        if kind in (type({}.keys()), type({}.values()), type({}.items())):
            refuse("PX016", "a view of a dict")
        if isinstance(value, BaseException):
            return self.exception(value, kind)
        if policy.numpy_array(value):
            return self.array(value)
        if policy.python_class(kind) and not isinstance(value, type):
            if policy.framework_class(kind) and id(value) not in world.fresh and not kind.__module__.startswith("pellucid.tensor.modes"):
                return Part("object", value)
            if id(value) not in world.fresh and kind.__module__.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
                return Part("object", value)                    # of a module of Python's own
            return self.instance(value, kind)
        if isinstance(value, type):
            return Part("object", value)
        return refuse("PX016", f"a {kind.__module__}.{kind.__qualname__}")

    def step(self, code: str, *values: Any) -> Part:
        """A step that makes a value of others."""
        parts = tuple([Part("object", v.value) if type(v) is _Kept else self.part(v) for v in values])
        return self.add(code, parts)

    def add(self, code: str, parts: tuple) -> Part:
        self.count += 1
        self.steps.append(Step(self.count, code, parts))
        return Part("made", self.count)

    def then(self, code: str, *parts: Part) -> None:
        self.steps.append(Step(None, code, parts))

    def told_apart(self, goes_on: bool) -> None:
        """Refuse to hand on a tensor that stands for one of two, if somebody could tell: if the program goes on, or has those too."""
        cells = {id(t._a.cell) for t in self.tensors if type(t._a) is Fake}
        for chosen in self.world.chosen.values():
            if any(t is chosen.tensor for t in self.tensors) and (goes_on or cells & chosen.cells):
                error = Break("PX017", "the result of min() or max()")
                error.born = chosen.born
                raise error

    # ------------------------------------------------------------------------------------------ kinds
    def method(self, value: Any, owner: Any, name: str) -> Part:
        """A method in C of an object; through super() it may be one that the object's class has in Python too."""
        if policy.python_method(type(owner), name) is None:
            return self.step("getattr({}, {})", owner, name)
        for cls in type(owner).__mro__:
            found = cls.__dict__.get(name)
            if found is not None and type(found) is not types.FunctionType and found.__get__(owner) == value:
                return self.step("{}.__get__({})", _Kept(found), owner)
        return refuse("PX016", f"a method {name}()")

    def array(self, value: Any) -> Part:
        """An ndarray; a view of another's memory is one again."""
        before = [a for a, _ in self.world.sources.values() if isinstance(a, np.ndarray) and isinstance(value, np.ndarray)
                  and np.may_share_memory(a, value)]
        if not before and type(getattr(value, "base", None)) is not np.ndarray:
            return self.step("{}.copy()", _Kept(value.copy()))
        low, high = np.lib.array_utils.byte_bounds(value)
        for base in before or [value.base]:
            bounds = np.lib.array_utils.byte_bounds(base)
            if base.flags.c_contiguous and base.flags.writeable is value.flags.writeable and bounds[0] <= low and high <= bounds[1]:
                break
        else:
            return refuse("PX016", "a view of an array")
        start, first = (a.__array_interface__["data"][0] for a in (value, base))
        return self.step("array_view({}, {}, {}, {}, {})", base, value.shape, value.dtype, start - first, value.strides)

    def container(self, value: Any, kind: type) -> Part:
        if kind is tuple:
            return self.add(f"({'{}, ' * len(value)})", tuple([self.part(x) for x in value]))
        if kind is frozenset:
            return self.step("frozenset({})", list(value))
        if hasattr(kind, "_fields") and isinstance(value, tuple):
            return self.add("{}(" + ", ".join(["{}"] * len(value)) + ")", (Part("object", kind), *[self.part(x) for x in value]))
        if kind.__module__ == "pellucid.tensor.size":
            return Part("object", value)
        if isinstance(value, tuple):
            made = self.step("tuple.__new__({}, {})", _Kept(kind), tuple(value))
        elif kind is collections.defaultdict:
            made = self.step("defaultdict({})", value.default_factory)
        elif kind is collections.deque:
            made = self.step("deque((), {})", value.maxlen)
        elif kind in (list, dict, set):
            made = self.add(f"{kind.__name__}()", ())
        elif kind in (collections.OrderedDict, collections.Counter):
            made = self.step("{}()", _Kept(kind))
        else:
            made = self.step("new({})", _Kept(kind))
        self.parts[id(value)] = made
        self.fill(made, value)
        space = policy.space_of(value)
        if space:
            self.then("{}.__dict__.update({})", made, self.part(dict(space)))
        return made

    def fill(self, made: Part, value: Any) -> None:
        """Put the contents of a container into an empty one."""
        if not len(value) or isinstance(value, tuple):
            return
        if isinstance(value, dict):
            keys, values = [self.part(k) for k in value], [self.part(v) for v in value.values()]
            pairs = tuple([p for pair in zip(keys, values) for p in pair])
            owner = "dict" if type(value).__setitem__ is dict.__setitem__ else "type({0})"
            if owner == "dict" and not isinstance(value, collections.OrderedDict):
                self.steps.append(Step(None, "dict.update({}, {{" + ", ".join(["{}: {}"] * len(keys)) + "}})", (made, *pairs)))
            else:
                for k, v in zip(keys, values):
                    self.then("{}.__setitem__({}, {})" if owner != "dict" else "OrderedDict.__setitem__({}, {}, {})", made, k, v)
        elif isinstance(value, set):
            self.then("{}.update(({}))".replace("({})", "(" + "{}, " * len(value) + ")"), made, *[self.part(x) for x in value])
        else:
            owner = "list" if isinstance(value, list) else "deque"
            self.then(f"{owner}.extend({{}}, ({'{}, ' * len(value)}))", made, *[self.part(x) for x in value])

    def instance(self, value: Any, kind: type) -> Part:
        made = self.step("new({})", _Kept(kind))
        self.parts[id(value)] = made
        space = policy.space_of(value)
        if space:
            names = tuple(space)
            self.steps.append(Step(None, "{}.__dict__.update({{" + ", ".join(f"{n!r}: {{}}" for n in names) + "}})",
                                   (made, *[self.part(space[n]) for n in names])))
        for cls in kind.__mro__:
            for name, member in cls.__dict__.items():
                if type(member) is types.MemberDescriptorType and name not in ("__dict__", "__weakref__"):
                    try:
                        content = member.__get__(value)
                    except AttributeError:
                        continue
                    self.then("object.__setattr__({}, {}, {})", made, Part("object", name), self.part(content))
        return made

    def function(self, fn: types.FunctionType) -> Part:
        if id(fn) not in self.world.fresh:
            return Part("object", fn)
        cells = [self.part(c) for c in fn.__closure__ or ()]          # which may hold the function itself
        found = self.parts.get(id(fn))
        if found is not None:
            return found
        parts = (Part("object", fn.__code__), Part("object", fn.__globals__), self.part(fn.__defaults__), self.part(fn.__kwdefaults__), *cells)
        made = self.parts[id(fn)] = self.add("make_function({}, {}, {}, {}, (" + "{}, " * len(cells) + "))", parts)
        code, space = fn.__code__, fn.__globals__
        plain = types.FunctionType(code, space, code.co_name, None, fn.__closure__)
        for name in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
            if getattr(fn, name) != getattr(plain, name):
                self.then("setattr({}, {}, {})", made, Part("object", name), self.part(getattr(fn, name)))
        if fn.__dict__:
            self.then("{}.__dict__.update({})", made, self.part(dict(fn.__dict__)))
        return made

    def cell(self, cell: types.CellType) -> Part:
        made = self.add("CellType()", ())
        self.parts[id(cell)] = made
        try:
            content = cell.cell_contents
        except ValueError:
            return made
        self.waiting.append((made, content))            # after what it holds: a function may hold itself through a cell
        return made

    def settle(self) -> None:
        """Fill the cells."""
        while self.waiting:
            made, content = self.waiting.pop()
            self.then("set_cell({}, {})", made, self.part(content))

    def iterator(self, it: Any) -> Part:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reduced = it.__reduce__()
        fn, args, *state = reduced
        made = self.step("{}(" + ", ".join(["{}"] * len(args)) + ")", _Kept(fn), *args)
        if state and state[0] is not None:
            self.then("{}.__setstate__({})", made, self.part(state[0]))
        return made

    def exception(self, value: BaseException, kind: type) -> Part:
        made = self.step("{}.__new__({}, *{})", _Kept(kind), _Kept(kind), tuple(value.args))
        self.parts[id(value)] = made
        self.then("{}.args = {}", made, self.part(tuple(value.args)))
        if value.__dict__:
            self.then("{}.__dict__.update({})", made, self.part(dict(value.__dict__)))
        run = self.world.interpreter
        origin, raised = run.origins.get(id(value)), run.raised_at(value)
        if raised is not None and id(raised) in self.raised:            # parts of a group have one traceback, and are known by it
            self.then("{}.__traceback__ = {}.__traceback__", made, self.raised[id(raised)])
        elif origin is not None:
            self.then("at_line({}, {}, {})", made, Part("object", origin[0]), Part("object", origin[1]))
            self.raised[id(raised)] = made
        for name in ("__cause__", "__context__"):
            if getattr(value, name) is not None:
                self.then(f"{{}}.{name} = {{}}", made, self.part(getattr(value, name)))
        if value.__suppress_context__ != (value.__cause__ is not None):             # `from None`
            self.then("{}.__suppress_context__ = {}", made, Part("object", value.__suppress_context__))
        return made

    # ------------------------------------------------------------------------------------------ writes
    def write(self, change: Change) -> None:
        """A change of something that was there before, to be made again."""
        kind, owner, key, value = change
        if kind == "contents":
            place = self.part(owner) if id(owner) in self.world.sources else Part("object", owner)
            content = {dict: dict, set: set}.get(next((k for k in (dict, set) if isinstance(owner, k)), None), list)(value)
            self.later("refill({}, {})", place, self.part(content))
        elif kind == "append":
            self.later("list.append({}, {})", self.part(owner), self.part(value))
        elif kind == "cell":
            self.later("set_cell({}, {})", self.part(owner), self.part(value))
        elif kind == "item":
            place = self.part(owner) if id(owner) in self.world.sources else Part("object", owner)
            if value is ABSENT:
                self.later("del {}[{}]", place, Part("object", key))
            else:
                self.later("{}[{}] = {}", place, Part("object", key), self.part(value))
        elif value is ABSENT:
            self.later("object.__delattr__({}, {})", self.part(owner), Part("object", key))
        elif isinstance(owner, Module):
            self.later("set_field({}, {}, {})", self.part(owner), Part("object", key), self.part(value))
        else:
            self.later("object.__setattr__({}, {}, {})", self.part(owner), Part("object", key), self.part(value))

    def call(self, fn: Any, args: list, kwargs: dict) -> None:
        """A call that has waited."""
        places = ", ".join([*["{}"] * len(args), *[f"{k}={{}}" for k in kwargs]])
        self.later(f"{{}}({places})", Part("object", fn), *[self.part(x) for x in (*args, *kwargs.values())])

    def later(self, code: str, *parts: Part) -> None:
        self.writes.append(Step(None, code, parts))


class _Kept:
    """A value that is named as it is."""

    def __init__(self, value: Any):
        self.value = value


# ---------------------------------------------------------------------------------------------------- what the code calls
def new(cls: type) -> Any:
    """An object of a class, without its __init__."""
    for base in (dict, list, set, tuple, BaseException):
        if issubclass(cls, base):
            return base.__new__(cls)
    return object.__new__(cls)


def make_function(code: types.CodeType, space: dict, defaults: Any, keywords: Any, cells: Any) -> types.FunctionType:
    fn = types.FunctionType(code, space, code.co_name, defaults, cells or None)
    fn.__kwdefaults__ = keywords
    return fn


def set_cell(cell: types.CellType, value: Any) -> None:
    if value is ABSENT:
        del cell.cell_contents
    else:
        cell.cell_contents = value


def set_field(module: Module, name: str, value: Any) -> None:
    """An attribute of a module, past its registries."""
    Changes.count += 1
    module.__dict__[name] = value


def array_view(base: np.ndarray, shape: tuple, dtype: np.dtype, offset: int, strides: tuple) -> np.ndarray:
    return np.ndarray(shape, dtype, base, offset, strides)


SPACE = {"array_view": array_view, "at_line": at_line, "partial": functools.partial, "ndarray": ndarray, "new": new, "make_function": make_function, "set_cell": set_cell, "set_field": set_field, "refill": fill, "CellType": types.CellType,
         "MethodType": types.MethodType, "deque": collections.deque, "defaultdict": collections.defaultdict,
         "OrderedDict": collections.OrderedDict}
