"""Why a compiled version does not fit a call: the first thing it relied on that has changed.

In: a version, the arguments of a call. Out: what changed, from what to what, where in the user's code it is read, and what helps.
"""
from __future__ import annotations

from typing import Any, NamedTuple

from ..capture import policy
from ..capture.sources import Source, evaluate
from ..tensor import Tensor
from ..tensor.tracing import flatten
from .held import same_array

__all__: list[str] = []


class Recompile(NamedTuple):
    """A version that did not fit. `what` changed from `old` to `new`; `where` the user's line that reads it; `remedy` what helps."""

    function: str
    what: str
    old: str
    new: str
    where: str
    remedy: str = ""


class Changed(NamedTuple):
    """`what` changed from `old` to `new`; `where` the user's line that reads it; `remedy` what helps."""

    what: str
    old: str
    new: str
    where: str
    remedy: str


def moved(entry: Any, args: tuple, kwargs: dict) -> tuple[set[Source], set[Source]]:
    """The places outside the arguments whose numbers have changed, and those whose tensors or arrays were replaced."""
    numbers, tensors = set(), set()
    for check in entry.checks:
        try:
            now = evaluate(check.source, (args, kwargs))
        except Exception:
            continue
        if check.kind == "value" and type(check.what) in (int, float) and type(now) in (int, float) and now != check.what:
            numbers.add(check.source)
        elif check.kind == "identity" and now is not check.what and isinstance(now, Tensor) and isinstance(check.what, Tensor):
            tensors.add(check.source)
        elif check.kind == "length" and hasattr(now, "__len__") and len(now) != check.what:
            numbers.add(Source("length", None, check.source))
        elif check.kind == "array" and policy.numpy_array(now) and not same_array(now, check.what):
            tensors.add(Source("array", None, check.source))
    return numbers, tensors


def why(entry: Any, args: tuple, kwargs: dict) -> Changed | None:
    """What the version relied on that is otherwise now; None if that cannot be told."""
    found = arguments(entry, args, kwargs)
    if found is not None:
        return found
    given = args, kwargs
    for check in entry.checks:
        try:
            now = evaluate(check.source, given)
        except Exception:
            return Changed(str(check.source), _text(check.what), "gone", check.where, "")
        kind, what = check.kind, check.what
        if kind == "value" and (type(now) is not type(what) or now != what):
            number = type(what) in (int, float) and type(now) in (int, float)
            return Changed(str(check.source), _text(what), _text(now), check.where,
                           "it is a run-time number from now on" if number else "keep it as it is, or pass it as a tensor")
        if kind == "identity" and now is not what:
            both = isinstance(now, Tensor) and isinstance(what, Tensor)
            return Changed(str(check.source), _text(what), _text(now), check.where,
                           "it is read at each call from now on" if both else "keep it as it is, or pass it as an argument")
        if kind == "array" and not (type(now) is type(what) and same_array(now, what)):
            return Changed(str(check.source), "an array", _text(now) if not policy.numpy_array(now) else "another array", check.where,
                           "it is read at each call from now on")
        if kind == "type" and type(now) is not what or kind == "length" and len(now) != what or kind == "keys" and tuple(now) != what:
            seen = {"type": type, "length": len, "keys": tuple}[kind](now)
            return Changed(f"{kind} of {check.source}", _text(what), _text(seen), check.where, "")
    return Changed("a module, a gradient, or memory that is shared", "", "", "", "")


def arguments(entry: Any, args: tuple, kwargs: dict) -> Changed | None:
    """A tensor among the arguments that differs."""
    leaves: list[Tensor] = []
    flatten((args, kwargs), leaves)
    count = len(entry.traced_as) - len(entry.promoted)
    if len(leaves) != count:
        return Changed("the number of tensors among the arguments", str(count), str(len(leaves)), "", "")
    for k, (t, seen) in enumerate(zip(leaves, entry.traced_as)):
        a, b = t._a, seen._a
        for what, old, new in (("shape", b.shape, a.shape), ("dtype", b.dtype, a.dtype), ("requires_grad", seen._rg, t._rg),
                               ("strides", b.strides, a.strides)):
            if old != new:
                return Changed(f"{what} of argument {k}", str(old), str(new), "",
                               "pad the batch to one size, or drop the last one (drop_last=True)" if what == "shape" else "")
    return None


def _text(x: Any) -> str:
    if isinstance(x, Tensor):
        return "a tensor"
    text = repr(x) if not isinstance(x, type) else x.__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
