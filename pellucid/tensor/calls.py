"""Why a call of an operator could not be understood, in the user's words.

In: the operator, the arguments as the user gave them, and the exception that its front or body raised. Out: the exception
to raise instead: a TypeError that names function, argument and expected type, or the same exception when it is about
something else; or, for a call in the order of PyTorch before 1.5 (`x.add_(-lr, grad)`), the call in today's order.
Nothing here runs unless a call has failed or has such an order.
"""
from __future__ import annotations

import numbers
import warnings

from ..core.errors import describe, message, nearest
from ..ops.op import Op
from .core import Slots

_SHOWN = 6


# Operators that once took their factors by position, before the operands they belong to: what these are called now.
FACTORS = {**dict.fromkeys(("add", "sub"), ("alpha",)), **dict.fromkeys(("addcmul", "addcdiv"), ("value",)),
           **dict.fromkeys(("addmm", "addbmm", "baddbmm", "addmv", "addr"), ("beta", "alpha"))}


def understand(op: Op, args: tuple, kwargs: dict, error: Exception) -> tuple[tuple, dict]:
    """The call in today's order, if it is in the old one; otherwise raises the better error for it."""
    mended = factors_by_name(op, op.public, args, kwargs) if isinstance(error, TypeError) and op.name in FACTORS else None
    if mended is None:
        raise explain_call(op, args, kwargs, error, 1) from None
    return mended


def factors_by_name(op: Op, called: str, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
    """`add(x, 0.5, y)` as `add(x, y, alpha=0.5)`, with PyTorch's warning; None if the arguments are not of that form."""
    names = FACTORS[op.name]
    operands = [p for p in op.signature.parameters if p not in names]
    tensors = tuple([a for a in args if isinstance(a, Slots)])
    factors = [a for a in args if isinstance(a, numbers.Number) and not isinstance(a, Slots)]
    if len(tensors) != len(operands) or not 0 < len(factors) <= len(names) or len(tensors) + len(factors) != len(args) \
            or not isinstance(args[-1], Slots) or not kwargs.keys() <= {"out"}:
        return None
    given, today = ", ".join([*(f"Number {n}" for n in names[:len(factors)]), *(f"Tensor {n}" for n in operands[1:])]), \
        ", ".join([*(f"Tensor {n}" for n in operands[1:]), "*", *(f"Number {n} = 1" for n in names)])
    warnings.warn(f"This overload of {called} is deprecated:\n\t{called}({given})\nConsider using one of the following signatures "
                  f"instead:\n\t{called}({today})", stacklevel=4)
    return tensors, {**kwargs, **dict(zip(names, factors))}


def explain_call(op: Op, args: tuple, kwargs: dict, error: Exception, depth: int = 1) -> Exception:
    """The better error for `op(*args, **kwargs)`. `depth`: how many frames of ours lie above the function that was called."""
    if "\n  [P" in str(error):
        return error
    trace, frames = error.__traceback__, 0
    while trace is not None and frames <= depth:
        trace, frames = trace.tb_next, frames + 1
    if isinstance(error, TypeError) and trace is None and frames <= depth:
        return signature_error(op, args, kwargs, error)
    try:
        bound = op.signature.bind(*args, **kwargs).arguments
    except TypeError:
        return error
    for position, (name, value) in enumerate(bound.items()):
        wrong = not_a_tensor(op, position, name, value, error)
        if wrong is not None:
            return wrong
    return error


def signature_error(op: Op, args: tuple, kwargs: dict, error: TypeError) -> TypeError:
    """Arguments that do not fit the signature: the interpreter's words, the public name, and the signature."""
    text = str(error).partition(". Did you mean")[0]          # Python 3.13 guesses too
    text = op.public + text[text.find("("):] if "(" in text else text
    names = list(op.signature.parameters)
    if "out" in op.forms:
        names.append("out")
    hints = [f"{near!r} instead of {k!r}?" for k in kwargs if k not in names and (near := nearest(k, names))]
    shape = ", ".join(str(p) for p in op.signature.parameters.values() if not p.name.startswith("_"))
    return TypeError(message("P002", text, got=operands(args, kwargs),
                             fix=" ".join([*hints, f"the signature is {op.public}({shape}{', *, out=None' if names[-1] == 'out' else ''})"])))


def not_a_tensor(op: Op, position: int, name: str, value, error: Exception) -> Exception | None:
    """The TypeError for an argument that should be a tensor, if it is what the exception stumbled over."""
    stumbled = getattr(error, "obj", None)          # AttributeError: the object without the attribute
    if stumbled is None or isinstance(stumbled, Slots):
        tensor = name in op.args and isinstance(value, (str, list, tuple, dict, set, bytes)) or type(value).__module__ == "numpy"
        if not tensor:
            return None
    if isinstance(value, (list, tuple)) and (name in ("tensors", "arrays") or "*" + name in op.args):
        for i, item in enumerate(value):
            if not isinstance(item, Slots) and (item is stumbled or stumbled is None):
                return TypeError(message("P003", f"expected Tensor as element {i} in argument {position}, but got {type(item).__name__}",
                                         got=f"{op.public}({name}={describe(value)})", fix=wrap_hint(item)))
        return None
    if stumbled is not None and value is not stumbled:
        return None
    return TypeError(message("P211", f"{op.public}(): argument '{name}' (position {position + 1}) must be Tensor, "
                             f"not {type(value).__name__}", fix=wrap_hint(value)))


def wrap_hint(value) -> str:
    """How to make a tensor of what was given instead of one."""
    if value is None:
        return "a value is missing here: None was passed"
    if isinstance(value, (str, bytes, dict, set)):
        return "only tensors (and numbers, where a tensor may be one element) can be computed with"
    return "wrap the value with pellucid.tensor(...)"


def operands(args: tuple, kwargs: dict) -> str:
    """The arguments of a call in a few words."""
    words = [describe(a) for a in args[:_SHOWN]] + [f"{k}={describe(v)}" for k, v in list(kwargs.items())[:_SHOWN]]
    return ", ".join(words) or "no arguments"
