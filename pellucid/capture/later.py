"""Values that only the run knows and that Python merely hands on: a tensor's number, what is computed from it, text that holds it; and
calls that act on the world outside, which wait until the graph has run.

In: `tensor.item()` and what is done with the number; `print`, logging, a scheduler's step. Out: a `Later`, which a recipe makes from
the run's tensors, and host calls, which a recipe makes in their order after everything else. What stays true: a Later stands for the
value at that point of the program, whatever is written afterwards; making it cannot fail; whoever asks what it is gets a Break.
"""
from __future__ import annotations

import builtins
import functools
import logging
import types
from typing import Any

from ..core.dtype import bool_, float64, get_default_dtype, int64
from ..ops.op import F
from ..optim.lr_scheduler import OneCycleLR
from ..tensor import Tensor
from ..tensor.core import Slots
from ..tensor.fake import Fake
from ..tensor.interop import tensor
from ..tensor.symbolic import SymNumber
from . import policy
from .breaks import Break, refuse

__all__: list[str] = []

# For each kind of value, those with which an operation is tried during the capture: what succeeds with them always does.
SAMPLES: dict[type, tuple] = {float: (float("nan"), float("inf"), -0.5), int: (-(1 << 63), -1, 0), bool: (False, True), str: ("", "a b"),
                              complex: (complex("nan+infj"),)}
ITEM = "{}.item()"
LIMIT = 1 << 53                     # of integers that computing with Laters is known to stand


class Later:
    """A value of the run. `kind`: its type; `code`: Python that makes it, with {} for each of `parts`; `computed`: it is more than one
    tensor's number."""

    __slots__ = ("kind", "code", "parts", "computed")

    def __init__(self, kind: type, code: str, parts: tuple, computed: bool = False):
        self.kind, self.code, self.parts, self.computed = kind, code, parts, computed

    def __getattr__(self, name: str) -> Any:
        asked(f".{name} of tensor.item()")


def asked(what: str) -> Any:
    return refuse("PX001", f"{what} needs a value that is not known while the function is traced")


def _asking(name: str, what: str) -> None:
    """Not a function: those are interpreted."""
    setattr(Later, name, functools.partialmethod(lambda self, *args: asked(what)))


for _name in ("hash", "bool", "float", "int", "index", "complex", "str", "repr", "format", "len", "iter", "eq", "ne", "lt", "le",
              "gt", "ge", "round", "trunc", "floor", "ceil"):
    _asking(f"__{_name}__", {"bool": "a branch on tensor.item()", "index": "an index by tensor.item()"}.get(
        _name, "a comparison with tensor.item()" if _name in ("eq", "ne", "lt", "le", "gt", "ge") else f"{_name}() of tensor.item()"))


def holds(x: Any, depth: int = 0) -> bool:
    """Whether a value is a Later, or a plain container with one in it."""
    if type(x) is Later:
        return True
    if depth > 4 or type(x) not in (list, tuple, dict):
        return False
    return any(holds(v, depth + 1) for v in (x.values() if type(x) is dict else x))


# ---------------------------------------------------------------------------------------------------- numbers
def item(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """tensor.item()"""
    t = args[0]
    if kwargs or len(args) != 1 or not isinstance(t, Tensor) or t._a.size != 1 or t._a.dtype.kind not in "fiubc":
        return fn(*args, **kwargs)
    if type(t._a) is Fake and t._a.constant() is not None:             # known already
        return fn(t)
    kind = {"f": float, "i": int, "u": int, "b": bool, "c": complex}[t._a.dtype.kind]
    return Later(kind, ITEM, (snapshot(world, t),))


def snapshot(world: Any, t: Tensor) -> Tensor:
    """A tensor that holds what `t` holds now."""
    tracer = world.tracer
    a = t._a
    if not hasattr(a, "cell") or a.cell.tracer is not tracer:
        a = tracer.lift(t)
    value = a.read()
    return tracer.tensor(value) if value.node is not None else tracer.tensor_over(tracer.copy(a))


def binary(a: Any, b: Any, sign: str) -> Any:
    """a `sign` b, one of them a Later: an operation of Python's numbers, or the joining of text. In place is the
    same: numbers and text are immutable."""
    sign = sign.rstrip("=")
    kinds = kind_of(a), kind_of(b)
    if kinds == (str, str) and sign == "+":
        return Later(str, "({} + {})", (a, b), True)
    if kinds[0] is str and sign == "%" and type(a) is str:
        return formatted(lambda b: a % b, "({} % {})", (a,), b)
    if None in kinds or str in kinds or sign not in ("+", "-", "*", "/") or complex in kinds:
        return asked(f"{sign} with tensor.item()")
    whole = all(issubclass(k, int) for k in kinds)
    endless = whole and sign == "*" and any(type(x) is Later and x.computed for x in (a, b))
    if endless or sign == "/" and (type(b) in (Later, SymNumber) or not b):
        return asked(f"{sign} with tensor.item()")               # which may fail, or give a number without end
    return Later(int if whole and sign != "/" else float, f"({{}} {sign} {{}})", (a, b), True)


def kind_of(x: Any) -> type | None:
    """The kind of an operand, if computing with it is known to succeed."""
    if type(x) is Later:
        return x.kind
    if type(x) is SymNumber:
        return type(x.now)
    if type(x) is int and abs(x) > LIMIT:
        return None
    return type(x) if type(x) in SAMPLES else None


def unary(a: Later, sign: str) -> Any:
    if sign not in "+-" or a.kind in (str, complex):
        return asked(f"{sign} of tensor.item()")
    return Later(int if a.kind is bool else a.kind, f"({sign}{{}})", (a,), True)


def number(cls: type, x: Later) -> Any:
    """int(x), float(x), complex(x)."""
    if cls is x.kind:
        return x
    if cls is float and x.kind in (int, bool) or cls is int and x.kind is bool:
        return Later(cls, f"{cls.__name__}({{}})", (x,), True)
    return asked(f"{cls.__name__}() of tensor.item()")


def cast(world: Any, cls: type, t: Tensor) -> Any:
    """int(tensor), float(tensor); NotImplemented where that may fail."""
    found = item(world, Tensor.item, [t], {})
    simple = ((float, float), (int, int), (float, int), (float, bool), (int, bool))
    return number(cls, found) if type(found) is Later and (cls, found.kind) in simple else NotImplemented


def tensor_of(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """`tensor(data)`, `as_tensor(data)` of numbers that only the run knows; NotImplemented for other data."""
    data = args[0] if args else None
    numbers = leaves(data)
    if not any(type(v) in (Later, SymNumber) for v in numbers) or len(args) != 1 or not kwargs.keys() <= {"dtype", "requires_grad"}:
        return NotImplemented
    if not regular(data) or any(kind_of(v) not in (int, float, bool) or type(v) is Later and v.code != ITEM for v in numbers):
        return asked("tensor() of what is computed from tensor.item()")
    kinds = {kind_of(v) for v in numbers}
    d = kwargs.get("dtype") or (get_default_dtype() if float in kinds else int64 if int in kinds else bool_)
    parts = [v.parts[0] if type(v) is Later else v.tensor if type(v) is SymNumber else tensor(v, dtype=float64) for v in numbers]
    made = F.detach(F.reshape(F.stack([F.reshape(F.to(t, d), ()) for t in parts]), shape_of(data)))
    return made.requires_grad_() if kwargs.get("requires_grad") else made


def regular(x: Any) -> bool:
    """Whether nested lists are all alike."""
    return type(x) not in (list, tuple) or bool(x) and all(map(regular, x)) and len({shape_of(v) for v in x}) == 1


def leaves(x: Any) -> list:
    return [v for item in x for v in leaves(item)] if type(x) in (list, tuple) else [x]


def shape_of(x: Any) -> tuple:
    return (len(x), *shape_of(x[0])) if type(x) in (list, tuple) else ()


def rounded(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """round(number, digits)"""
    x = args[0] if args else None
    if type(x) is Later and x.kind in (float, int) and len(args) == 2 and not kwargs and type(args[1]) is int:
        return Later(x.kind, "round({}, {})", tuple(args), True)
    return NotImplemented


# ---------------------------------------------------------------------------------------------------- text
def text(world: Any, value: Any, how: str, spec: str = "") -> Any:
    """str(), repr() or format() of what only the run knows; NotImplemented for other values."""
    kind = type(value)
    if kind is Tensor and how != "format" and not value._rg:
        return Later(str, how + "({})", (snapshot(world, value),), True)
    if kind is Tensor and how == "format" and value._a.ndim == 0:
        value = item(world, Tensor.item, [value], {})
    elif kind is Tensor and how == "format" and not spec and not value._rg:
        return Later(str, "str({})", (snapshot(world, value),), True)
    if type(value) is SymNumber:
        return formatted_number(value, type(value.now), how, spec)
    if type(value) is not Later:
        return NotImplemented
    return formatted_number(value, value.kind, how, spec)


def formatted_number(value: Any, kind: type, how: str, spec: str) -> Later:
    if how != "format":
        return Later(str, how + "({})", (value,), True)
    for sample in SAMPLES[kind]:
        try:
            format(sample, spec)
        except Exception:
            return asked("format() of tensor.item()")
    return Later(str, "format({}, {})", (value, spec), True)


def formatted(fn: Any, code: str, parts: tuple, given: Any) -> Any:
    """A text made of `given`, if it can be made whatever the Laters in it turn out to be."""
    for k in range(3):
        try:
            fn(sampled(given, k))
        except Break:
            raise
        except Exception:
            return asked("formatting")
    return Later(str, code, (*parts, given), True)


def sampled(x: Any, k: int) -> Any:
    """`x` with sample number `k` for each Later in it."""
    if type(x) in (Later, SymNumber):
        samples = SAMPLES[x.kind if type(x) is Later else type(x.now)]
        return samples[k % len(samples)]
    if type(x) in (list, tuple):
        return type(x)([sampled(v, k) for v in x])
    return {key: sampled(v, k) for key, v in x.items()} if type(x) is dict else x


def text_method(fn: Any, args: list, kwargs: dict) -> Any:
    """A method of a text with Laters among its arguments; NotImplemented if it is none."""
    owner, name = getattr(fn, "__self__", None), fn.__name__
    if type(owner) is not str or name not in ("format", "join") or not holds([args, kwargs]):
        return NotImplemented
    places = [*["{}"] * len(args), *[f"{k}={{}}" for k in kwargs]]
    tried = formatted(lambda given: fn(*given[0], **given[1]), "", (), (tuple(args), kwargs))
    return Later(str, f"{{}}.{name}({', '.join(places)})", (owner, *args, *kwargs.values()), True) if type(tried) is Later else tried


def joined(parts: list) -> Later:
    """The parts of an f-string."""
    return Later(str, "''.join((" + "{}, " * len(parts) + "))", tuple(parts), True)


# ---------------------------------------------------------------------------------------------------- calls that wait
def waits(x: Any) -> bool:
    """Whether an argument of a host call is the same later on."""
    return type(x) in (Later, SymNumber) or policy.plain(x) or isinstance(x, tuple) and all(map(waits, x))


def prints(world: Any, fn: Any, args: list, kwargs: dict) -> Any:
    """print()"""
    shown = []
    for x in args:
        made = text(world, x, "str") if isinstance(x, Tensor) else x
        shown.append(x if made is NotImplemented else made)
    if not kwargs.keys() <= {"sep", "end", "flush"} or not all(map(waits, (*shown, *kwargs.values()))):
        return refuse("PX003", "print()")
    world.later(builtins.print, shown, kwargs)
    return None


LOGS = frozenset(("debug", "info", "warning", "error", "critical", "log"))


def logs(world: Any, fn: types.FunctionType, args: list, kwargs: dict) -> bool:
    """Whether this is a call of `logging` that can wait; if so, it does."""
    given = args[1:] if args and isinstance(args[0], logging.Logger) else args
    if fn.__module__ != "logging" or fn.__name__ not in LOGS or kwargs or not all(map(waits, given)):
        return False
    world.later(fn, args, kwargs)
    return True


def schedules(world: Any, fn: types.FunctionType, args: list, kwargs: dict) -> None:
    """A learning-rate scheduler's step: plain Python over the numbers of parameter groups, done after the graph. From then on nothing
    may look at those numbers before it has been done."""
    scheduler, rest = args[0], [*args[1:], *kwargs.values()]
    touched: dict[int, Any] = {}
    if not can_wait(scheduler, touched) or not all(type(x) is Later or policy.plain(x) for x in rest):
        refuse("PX021", f"{type(scheduler).__name__}.step()")
    world.later(fn, args, kwargs)
    world.touched.update(touched)


def can_wait(scheduler: Any, touched: dict[int, Any]) -> bool:
    """Whether a scheduler runs none of the user's code, cannot fail and changes numbers only; `touched`: what it changes."""
    parts = [*getattr(scheduler, "_schedulers", ())]
    optimizer = getattr(scheduler, "optimizer", None)
    if not policy.framework_class(type(scheduler)) or isinstance(scheduler, OneCycleLR) or optimizer is None:
        return False
    values = [*vars(scheduler).values(), *(v for group in optimizer.param_groups for k, v in group.items() if k != "params")]
    if any(isinstance(v, Slots) or callable(v) and not own(v) for x in values for v in (x if isinstance(x, (list, tuple)) else (x,))):
        return False
    for x in (scheduler, vars(scheduler), optimizer, vars(optimizer), optimizer.param_groups, *optimizer.param_groups):
        touched[id(x)] = x
    return all(can_wait(s, touched) for s in parts)


def own(fn: Any) -> bool:
    """Whether a callable is pellucid's."""
    fn = getattr(fn, "func", fn)
    return policy.framework_file(getattr(getattr(fn, "__func__", fn), "__code__", own.__code__).co_filename) if isinstance(
        fn, (types.FunctionType, types.MethodType)) else policy.framework_class(type(fn))


STILL = frozenset(("zero_grad", "step"))        # what a scheduler's step does not concern, and what waits like it
