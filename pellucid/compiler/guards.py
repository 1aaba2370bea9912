"""What a trace relied on, as one generated Python function that checks it and prepares the run.

In: a `Traced` function and what else was seen while tracing (modules that were called). Out: Python source of `call(args,
kwargs)`, which returns MISS if anything that the trace relied on has changed, and otherwise runs the executable and builds the
results. What stays true: nothing is written before every guard has passed; containers and modules are looked at anew at
each call, never remembered by value.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import is_
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from ..capture.journal import OWN
from ..capture.policy import plain
from ..capture.sources import Check, alike
from ..nn.modules.module import Changes, Module, _anywhere as anywhere
from ..tensor import Tensor
from ..tensor.tracing import Guard

__all__: list[str] = []

MISS = object()                     # what a generated `call` returns if it does not fit
_BY_VALUE = (int, float, complex, str, bytes)
_RELATIONS = {"add": "({} + {})", "sub": "({} - {})", "mul": "({} * {})", "div": "({} / {})", "pow": "({} ** {})", "neg": "(-{})",
              "abs": "abs({})", "floor_divide": "({} // {})", "remainder": "({} % {})", "sqrt": "({}) ** 0.5"}


class Checked(NamedTuple):
    """One guard as it was written: at which line, what it checks and why; see Writer.miss_if. `stands`: words stand for it."""

    line: int
    condition: str
    why: str
    but_sizes: str | None
    size: tuple | None
    check: Check | None
    stands: bool


class Writer:
    """Lines of Python, and the objects they refer to by name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.space: dict[str, Any] = {"MISS": MISS, "Tensor": Tensor, "order": order_of}
        self.names: dict[int, str] = {}
        self.depth = 1
        self.guards: list[Checked] = []
        self.standing: Any = None                   # a standing.Standing, where there are words
        self.stands = False                         # whether they stand for all that the guards being written read
        self.check: Check | None = None             # the one being written

    def put(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def miss_if(self, condition: str, why: str = "", but_sizes: str | None = None, size: tuple | None = None, stands: bool = False) -> None:
        """A guard. `but_sizes`: what it checks beside sizes, if it checks sizes; `size`: the path of the number that it checks; `stands`:
        whether words stand for all that it reads."""
        self.guards.append(Checked(len(self.lines), condition, why, but_sizes, size, self.check, stands or self.stands))
        self.put(f"if {condition}:" + (f"  # {why}" if why else ""))
        self.put("    return MISS")

    def name(self, value: Any, stem: str = "k") -> str:
        """A name under which the generated code finds an object."""
        found = self.names.get(id(value))
        if found is None:
            found = self.names[id(value)] = f"{stem}{len(self.names)}"
            self.space[found] = value
        return found

    def variable(self, stem: str) -> str:
        """A name for a local variable."""
        self.space.setdefault("_count", 0)
        self.space["_count"] += 1
        return f"{stem}_{self.space['_count']}"


# ---------------------------------------------------------------------------------------------------- arguments
def unpack(w: Writer, expr: str, value: Any, leaves: list[tuple[str, Tensor]], numbers: dict, path: tuple = ()) -> None:
    """Check that `expr` has the structure of `value` and name its tensors; `leaves` collects (variable, tensor).
    `numbers`: {path: ...} of Python numbers that are run-time inputs; their variables are filled in. `w.given` gets the variable of
    each value by its path; what is no container and no plain value is left to the capture's own checks."""
    if path in numbers:
        v = w.variable("n")
        w.put(f"{v} = {expr}")
        w.miss_if(f"type({v}) is not {type(value).__name__}")
        numbers[path] = w.given[path] = v
    elif isinstance(value, Tensor):
        v = w.given[path] = f"t{len(leaves)}"
        w.put(f"{v} = {expr}")
        leaves.append((v, value))
    elif isinstance(value, (list, tuple)):
        v = w.given[path] = w.variable("c")
        w.put(f"{v} = {expr}")
        w.miss_if(f"type({v}) is not {w.name(type(value), 'T')} or len({v}) != {len(value)}")
        for i, x in enumerate(value):
            unpack(w, f"{v}[{i}]", x, leaves, numbers, (*path, i))
    elif isinstance(value, dict):
        v = w.given[path] = w.variable("c")
        w.put(f"{v} = {expr}")
        keys = w.name(tuple(value), "K")
        w.miss_if(f"type({v}) is not {w.name(type(value), 'T')} or tuple({v}) != {keys}")
        for k, x in value.items():
            unpack(w, f"{v}[{w.name(k, 'k')}]" if not isinstance(k, str) else f"{v}[{k!r}]", x, leaves, numbers, (*path, k))
    elif value is None or type(value) in (bool, *_BY_VALUE):
        same_value(w, expr, value, path if type(value) is int else None)
        w.given[path] = expr
    else:
        v = w.given[path] = w.variable("c")
        w.put(f"{v} = {expr}")


def same_value(w: Writer, expr: str, value: Any, size: tuple | None = None) -> None:
    """Check that `expr` is the value that the trace saw: numbers and strings by value, other objects by identity. `size`: the path of an
    integer, which may be a size."""
    if value is None or value is True or value is False:
        w.miss_if(f"{expr} is not {value}")
    elif type(value) in _BY_VALUE and value == value:
        v = w.variable("v")
        w.put(f"{v} = {expr}")
        sign = f" or str({v}) != {str(value)!r}" if type(value) is float and not value else ""
        w.miss_if(f"type({v}) is not {type(value).__name__} or {v} != {w.name(value, 'k')}{sign}", size=size)
    elif isinstance(value, (dict, list, set)):
        w.miss_if(f"{expr} is not {w.name(value, 'o')} or len({w.name(value, 'o')}) != {len(value)}")
    else:
        w.miss_if(f"{expr} is not {w.name(value, 'o')}")


def tensor_guard(w: Writer, variable: str, array: str, t: Tensor, sized: bool) -> None:
    """Check class, shape, dtype, strides and requires_grad, and put the array into `array`. `sized`: another shape is another size."""
    a = t._a
    w.put(f"{array} = {variable}._a" if type(t) is Tensor else f"{array} = getattr({variable}, '_a', None)")
    shape, dtype, strides = (w.name(x, stem) for x, stem in ((a.shape, "shape"), (a.dtype, "dtype"), (a.strides, "strides")))
    layout = f"{array}.strides != {strides}"
    if a.flags.c_contiguous:
        layout = f"{layout} and not {array}.flags.c_contiguous"
    other = f"{array}.dtype != {dtype} or {variable}._rg is not {t._rg}"
    order = f"not {array}.flags.c_contiguous" if a.flags.c_contiguous else f"order({array}) != {order_of(a)}"
    w.miss_if(f"{array}.shape != {shape} or {other} or ({layout})", "shape, dtype, strides or requires_grad of an argument",
              f"{array}.ndim != {a.ndim} or {other} or {order}" if sized else None)


def order_of(a: np.ndarray) -> list[int]:
    """The dimensions by their strides."""
    return sorted(range(a.ndim), key=lambda d: a.strides[d])


def type_guard(w: Writer, variable: str, t: Tensor) -> None:
    w.miss_if(f"type({variable}) is not {w.name(type(t), 'T')}")


# ---------------------------------------------------------------------------------------------------- state
def path_of(w: Writer, container: Any, path: tuple) -> str:
    """An expression for the item at `path` of a container."""
    return w.name(container, "g") + "".join(f"[{k!r}]" if isinstance(k, (str, int)) else f"[{w.name(k, 'k')}]" for k in path)


def relation(guard: Guard, numbers: dict[int, str]) -> str:
    """A guard on run-time numbers as an expression; `numbers` names those at the graph's inputs."""
    return f"({number(guard.left, numbers)} {guard.relation} {number(guard.right, numbers)}) is not {guard.outcome}"


def number(expr: Any, numbers: dict[int, str]) -> str:
    """What is computed from run-time numbers, as an expression."""
    if type(expr) is not tuple:
        return repr(expr)
    head, *rest = expr
    return numbers[rest[0]] if head == "input" else _RELATIONS[head].format(*[number(e, numbers) for e in rest])


def module_kinds(w: Writer, native: Iterable[Any], called: Iterable[Any]) -> None:
    """Check modules, all at once: that those which ran are of the class they were of, have the attributes and the hooks that they had; and
    that those whose own code ran unseen (`native`) hold the modules they held."""
    native = list(native)
    modules = [*{id(m): m for m in (*called, *native)}.values()]
    if modules:
        spaces = [vars(m) for m in modules]
        w.miss_if(f"[*map(len, {w.name(spaces, 'D')})] != {w.name([*map(len, spaces)], 'k')}", "attributes of modules that came or went",
                  stands=w.standing is not None and w.standing.dicts(*spaces))
        known = w.name(Attributes(modules, native), "attributes")
        w.space.update(Changes=Changes, alike=alike)
        w.miss_if(f"Changes.count != {known}.seen and {known}.changed()", "attributes and hooks of modules")
    inner = [m._modules for m in native if m._modules]
    if inner:
        within = [child for d in inner for child in d.values()]
        names, D = [*chain.from_iterable(inner)], w.name(inner, "D")
        w.space.update(is_=is_, flat=chain.from_iterable, values=dict.values, Changes=Changes)
        w.miss_if(f"{D} != {w.name([*map(dict, inner)], 'k')} or [*flat({D})] != {w.name(names, 'k')} or Changes.equal and not all(map("
                  f"is_, flat(map(values, {D})), {w.name(within, 'M')}))", "modules in modules",
                  stands=w.standing is not None and w.standing.dicts(*inner))


def listings(w: Writer, modules: Iterable[Any], lifted: dict[int, Tensor]) -> None:
    """Check modules, all at once: that they have the parameters and buffers that they had, by the same names and in the same order, and
    parts where they had some. `module_kinds` knows those, and `module_guards` the tensors in `lifted`."""
    held = [vars(m)[name] for m in modules for name in ("_parameters", "_buffers")]
    empty = [d for d in (*held, *[m._modules for m in modules], *[m._non_persistent_buffers_set for m in modules]) if not d]
    if empty:
        w.miss_if(f"any({w.name(empty, 'E')})", "parameters, buffers or parts of modules that had none")
    held = [d for d in held if d]
    if held:
        R, within = w.name(held, "R"), [*chain.from_iterable(held)]
        w.space.update(flat=chain.from_iterable)
        w.miss_if(f"[*map(len, {R})] != {w.name([*map(len, held)], 'k')} or [*flat({R})] != {w.name(within, 'k')}",
                  "names of parameters and buffers of modules, their order")
        for registry in held:
            for key, t in registry.items():
                if t is not None and id(t) not in lifted:
                    w.miss_if(f"{w.name(registry, 'd')}[{key!r}] is not {w.name(t, 'p')}", "a parameter or buffer")
    sets = [m._non_persistent_buffers_set for m in modules if m._non_persistent_buffers_set]
    if sets:
        w.miss_if(f"{w.name(sets, 'S')} != {w.name([*map(set, sets)], 'k')}", "which buffers of modules are saved")


def implied(checks: Iterable[Check], modules: Iterable[Any]) -> list[Check]:
    """Those of the checks that are part of `module_kinds`."""
    known, registries = {id(m) for m in modules}, {id(m._modules) for m in modules}

    def within(check: Check) -> bool:
        kind, source, parent = check.kind, check.source, check.source.parent
        if kind == "type":
            return source.kind == "object" and id(source.key.value) in known
        if parent is None or parent.kind != "object":
            return False
        if kind == "length":
            return source.kind == "attribute" and source.key == "__dict__" and id(parent.key.value) in known
        return kind == "identity" and source.kind == "item" and id(parent.key.value) in registries
    return [c for c in checks if within(c)]


def module_guards(w: Writer, native: Sequence[Any], lifted: dict[int, Tensor]) -> None:
    """Check that modules whose own code ran unseen are in the mode they were in, and hold the parameters, buffers and other attributes they
    held."""
    read = frozenset().union(*[names_read(type(m)) for m in native])
    for m in native:
        space = vars(m)
        d = w.name(space, "d")
        stands = w.standing
        found = [other(w, f"{d}[{k!r}]", v) for k, v in space.items() if k in read and k not in OWN and k not in ("training", "_has_hooks")]
        if reads_training(type(m)):
            found.append(f"{d}['training'] is not {m.training}")
        if found:
            w.miss_if(" or ".join(found), type(m).__name__, stands=stands is not None and stands.items(space, read))
        for registry in (m._parameters, m._buffers):
            held = stands is not None and stands.dicts(registry)
            for key, t in registry.items():
                if t is None or id(t) in lifted:
                    w.miss_if(f"{w.name(registry, 'd')}[{key!r}] is not {'None' if t is None else w.name(t, 'p')}", stands=held)


def other(w: Writer, expr: str, value: Any) -> str:
    """Whether an attribute is not what it was, as an expression: numbers and the like by value, other objects by identity."""
    if value is None or type(value) is bool:
        return f"{expr} is not {value}"
    name = w.name(value, "k")
    return f"{expr} is not {name}" + (f" and not alike({expr}, {name})" if plain(value) else "")


class Attributes:
    """The classes of modules, which have no hooks, and the plain attributes and the names of parameters and buffers of those whose own
    code ran, as the trace saw them. To be asked when an attribute of any module was set, or a hook added, since."""

    def __init__(self, modules: list[Any], native: list[Any]):
        self.modules, self.types, self.spaces = modules, [*map(type, modules)], [*map(vars, modules)]
        self.bare = [m for m in modules if not m._any_hook_left()]
        self.flags = [m._has_hooks for m in self.bare]
        self.names = [(r, [*r]) for m in native for r in (m._parameters, m._buffers)]
        self.known = [(vars(m), {k: v for k, v in vars(m).items() if k != "training" and plain(v)}) for m in native]
        self.seen = Changes.count

    def changed(self) -> bool:
        count = Changes.count
        if not all(map(is_, map(vars, self.modules), self.spaces)):
            return True
        if (anywhere or any(self.flags)) and any([m._any_hook_left() for m in self.bare]):
            return True
        if [*map(type, self.modules)] != self.types or any([[*registry] != names for registry, names in self.names]):
            return True
        for now, before in self.known:
            for k, v in before.items():
                x = now.get(k, self)
                if x is not v and (type(x) is not type(v) or x != v):
                    return True
        self.seen = count
        return False


_names_read: dict[type, frozenset[str]] = {}


def names_read(cls: type) -> frozenset[str]:
    """The names in the code that a call of a module of pellucid's runs: in forward, and in what it names of its class and file."""
    found = _names_read.get(cls)
    if found is None:
        seen: list[Any] = [f for c in cls.__mro__ if isinstance(f := vars(c).get("forward"), FunctionType)]
        read: set[str] = set()
        for f in seen:
            read |= names(f)
            for n in names(f):
                parts = [vars(c).get(n) for c in cls.__mro__ if c not in (Module, object)]
                parts = [p.fget if isinstance(p, property) else getattr(p, "__func__", p) for p in (*parts, f.__globals__.get(n))]
                seen += [p for p in parts if isinstance(p, FunctionType) and p.__globals__ is f.__globals__ and p not in seen]
        found = _names_read[cls] = frozenset(read)
    return found


_reads_training: dict[type, bool] = {}


def reads_training(cls: type) -> bool:
    """Whether methods of a module class (not those common to all modules) look at `training`."""
    found = _reads_training.get(cls)
    if found is None:
        found = any("training" in names(f) for c in cls.__mro__ if c.__module__ != "pellucid.nn.modules.module" and c is not object
                    for k, f in vars(c).items() if callable(f) and k not in ("train", "eval"))
        _reads_training[cls] = found
    return found


def names(function: Any) -> set[str]:
    """The names and strings in a function's code, with that of functions inside it."""
    code = getattr(function, "__code__", None)
    found: set[str] = set()
    stack = [code] if code is not None else []
    while stack:
        c = stack.pop()
        found.update(c.co_names)
        found.update(x for x in c.co_consts if isinstance(x, str))
        stack += [x for x in c.co_consts if hasattr(x, "co_names")]
    return found
