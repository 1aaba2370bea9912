"""Reverse mode as functions of functions: `grad`, `grad_and_value`, `vjp`.

In: a function of tensors (in any structure of containers). Out: a function that gives its gradients. Definitions: torch.func.

How: the arguments are taken as new tensors that require grad, the tape records, and the ordinary backward pass runs. What
stays true: the arguments and what the function captures keep their own history, through which the results can be differentiated
again (a `grad` around this one, or `requires_grad` outside of all), and only then is the backward pass recorded; `no_grad`
around the call is heeded, as is `no_grad` inside the function, but recording does not depend on the mode around it.
"""
from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from ..core.errors import fail
from ..ops.dispatch import local
from ..ops.op import F
from ..tensor import autograd
from ..tensor.core import Node, Slots
from ..tensor.engine import leaf_uses
from ..tensor.levels import Level, unrecorded
from ..utils import _pytree as pytree

__all__ = ["grad", "grad_and_value", "vjp"]

Argnums = int | tuple[int, ...]


def uncaptured(fn: Callable) -> Callable:
    """Decorator: `compile` calls `fn` as it is, between what it compiles."""
    fn._capture_disabled = "transforms run as they are"
    return fn


# ---------------------------------------------------------------------------------------------------- arguments
def argnums_of(argnums: Argnums, n: int) -> Argnums:
    """`argnums`, counted from the front and checked against `n` arguments."""
    if not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    found = []
    for a in argnums if isinstance(argnums, tuple) else (argnums,):
        if not isinstance(a, int):
            raise RuntimeError(f"argnum must be int, got: {type(a)}")
        if not -n <= a < n:
            raise RuntimeError(f"Got argnum={a}, but only {n} positional inputs")
        found.append(a % n)
    if isinstance(argnums, int):
        return found[0]
    if not found:
        raise RuntimeError("argnums must be non-empty")
    if len(set(found)) != len(found):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return tuple(found)


def chosen(args: tuple, argnums: Argnums) -> Any:
    """The arguments that `argnums` names."""
    return args[argnums] if isinstance(argnums, int) else tuple([args[i] for i in argnums])


def replaced(args: tuple, new: Any, argnums: Argnums) -> tuple:
    """`args` with those that `argnums` names replaced by `new`."""
    places = dict(zip(argnums, new)) if isinstance(argnums, tuple) else {argnums: new}
    return tuple([places.get(i, a) for i, a in enumerate(args)])


# ---------------------------------------------------------------------------------------------------- new tensors
@contextlib.contextmanager
def recording() -> Iterator[bool]:
    """Record inside, whatever the mode. Gives the mode there was."""
    before, inference, local.grad, local.inference = local.grad, local.inference, True, False
    try:
        yield before
    finally:
        local.grad, local.inference = before, inference


def differentiable(x: Any):
    """`x` as a tensor of its own to differentiate with respect to: a leaf, unless `x` has a history to go on with."""
    if not isinstance(x, Slots):
        fail(ValueError, "P4020", f"Thing passed to transform API must be Tensor, got {type(x)}",
             fix="gradients are of tensors: name them by argnums, and pass anything else as another argument")
    level = local.stack[-1] if local.stack else None
    if isinstance(level, Level) and level.array_of(x) is None and not level.inherits:
        x = level.lift(x)
    return F.alias(x) if x._rg else plain(x, True)


def plain(x, requires_grad: bool = False):
    """The same memory as a tensor without history."""
    with unrecorded():
        y = F.alias(x)
    y._x = y._fn = None
    y._oi, y._rg = 0, requires_grad
    return y


def goes_on(outs: list, inputs: list) -> bool:
    """Whether the history of `outs` leads to anything but `inputs`: there is somebody who may differentiate again."""
    if any([x._fn is not None for x in inputs]):
        return True
    known = set(inputs)
    starts = [o if o._fn is None else o._fn for o in outs if o._rg]
    return any([not isinstance(e, Node) and e not in known for e in leaf_uses(starts, None)])


def released(tree: Any, on: bool) -> Any:
    """Results for the caller: with their history if it goes on, else without."""
    return pytree.tree_map_only(Slots, lambda t: t if on or not t._rg else plain(t), tree)


def gradients(outs: list, inputs: list, cotangents: list | None, keep: bool, create: bool, depth: int | None = None) -> list:
    """The gradients of those `outs` that depend on anything; zeros where none arrives. `depth`: how many interpreters there were
    when `outs` were computed: without `create`, those from this number on record nothing."""
    live = [i for i, o in enumerate(outs) if o._rg]
    found: tuple = (None,) * len(inputs)
    if live:
        outer = local.beneath
        if not create and outer is None and depth is not None:
            local.beneath = depth, local.grad
        try:
            found = autograd.grad([outs[i] for i in live], inputs, None if cotangents is None else [cotangents[i] for i in live],
                                  retain_graph=keep, create_graph=create, allow_unused=True)
        finally:
            local.beneath = outer
    return [F.zeros_like(x) if g is None else g for g, x in zip(found, inputs)]


# ---------------------------------------------------------------------------------------------------- public
def grad_and_value(func: Callable, argnums: Argnums = 0, has_aux: bool = False) -> Callable:
    """A function that returns `(gradient, value)` of `func`, whose result is a 0-d tensor.

    argnums: with respect to which positional arguments (an int, or a tuple for a tuple of gradients), each a tensor or a
    structure of tensors. has_aux: `func` returns `(value, anything)`; then the result is `(gradient, (value, anything))`.
    Raises RuntimeError for a result that is no 0-d tensor, ValueError for arguments that are no tensors.
    """
    @uncaptured
    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        return value_and_grads(func, argnums, has_aux, args, kwargs)
    return wrapper


def grad(func: Callable, argnums: Argnums = 0, has_aux: bool = False) -> Callable:
    """A function that returns the gradient of `func`, whose result is a 0-d tensor. Arguments: see `grad_and_value`; with
    `has_aux` the result is `(gradient, anything)`."""
    @uncaptured
    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        found, value = value_and_grads(func, argnums, has_aux, args, kwargs)
        return (found, value[1]) if has_aux else found
    return wrapper


def value_and_grads(func: Callable, argnums: Argnums, has_aux: bool, args: tuple, kwargs: dict) -> tuple:
    what = "grad_and_value(f)(*args):"
    with recording() as before:
        argnums = argnums_of(argnums, len(args))
        leaves, spec = pytree.tree_flatten(chosen(args, argnums))
        inputs = [differentiable(x) for x in leaves]
        out = func(*replaced(args, pytree.tree_unflatten(inputs, spec), argnums), **kwargs)
        aux = None
        if has_aux:
            out, aux = pair(out, what)
        if not isinstance(out, Slots):
            fail(RuntimeError, "P4021", f"{what} Expected f(*args) to return a Tensor, got {type(out)}", fix="return a tensor of one value")
        if out.ndim:
            fail(RuntimeError, "P4022", f"{what} Expected f(*args) to return a scalar Tensor, got tensor with {out.ndim} dims. Maybe you wanted "
                 "to use the vjp or jacrev APIs instead?", fix="reduce the result to one number, as by .sum()")
        on = before and goes_on([out, *[t for t in pytree.tree_leaves(aux) if isinstance(t, Slots)]], inputs)
        found = gradients([out], inputs, None, on, on)
        result = pytree.tree_unflatten(found, spec)
        value = released(out, on)
        return result, (value, released(aux, on)) if has_aux else value


def pair(out: Any, what: str) -> tuple:
    """(result, auxiliary) of a function with has_aux."""
    if not (isinstance(out, tuple) and len(out) == 2):
        raise RuntimeError(f"{what} output of function f should be a tuple: (output, aux) if has_aux is True")
    return out


@uncaptured
def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """`(func(*primals), vjp_fn)`: `vjp_fn(cotangents)` is the product of `cotangents`, structured like the results, with the
    Jacobian: a tuple of one gradient (or structure of them) per primal.

    has_aux: `func` returns `(results, anything)`; then the result is `(results, vjp_fn, anything)`. Raises RuntimeError for
    results that are no floating or complex tensors, and for cotangents of another structure.
    """
    return vjp_of(func, primals, None, has_aux)


def vjp_of(func: Callable, primals: tuple, argnums: Argnums | None, has_aux: bool) -> tuple:
    """`vjp` with respect to the chosen arguments only, the gradients structured like those."""
    what, depth = "vjp(f, *primals)", len(local.stack)
    with recording() as before:
        if argnums is None:
            argnums = tuple(range(len(primals)))
        else:
            argnums = argnums_of(argnums, len(primals))
        leaves, spec = pytree.tree_flatten(chosen(primals, argnums))
        inputs = [differentiable(x) for x in leaves]
        out = func(*replaced(primals, pytree.tree_unflatten(inputs, spec), argnums))
        aux = None
        if has_aux:
            out, aux = pair(out, f"{what}:")
        outs, out_spec = pytree.tree_flatten(out)
        check_outputs(outs, what)
        for o in outs:
            if not (o.is_floating_point() or o.is_complex()):
                fail(RuntimeError, "P4023", "vjp(f, ...): All outputs of f must be floating-point or complex Tensors, got Tensor with dtype "
                     f"{o.dtype}", fix="return other results through has_aux=True")
        on = before and goes_on([*outs, *[t for t in pytree.tree_leaves(aux) if isinstance(t, Slots)]], inputs)
        results, extra = released(out, on), released(aux, on)

    @uncaptured
    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None):
        """The gradients for `cotangents`, which are structured like the results."""
        flat, given = pytree.tree_flatten(cotangents)
        if given != out_spec:
            raise RuntimeError("Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function. "
                               f"cotangents: {given}, primal output: {out_spec}")
        create = local.grad and (on or any([isinstance(c, Slots) and c._rg for c in flat])) if create_graph is None else create_graph
        inference, local.inference = local.inference, False
        try:
            return pytree.tree_unflatten(gradients(outs, inputs, flat, retain_graph, create, depth), spec)
        finally:
            local.inference = inference
    return (results, vjp_fn, extra) if has_aux else (results, vjp_fn)


def check_outputs(outs: list, what: str) -> None:
    """Results must be tensors, and there must be some."""
    if not outs or len(outs) == 1 and outs[0] is None:
        raise RuntimeError(f"{what}: Expected f to be a function that has non-empty output (got output = {outs})")
    for o in outs:
        if not isinstance(o, Slots):
            raise RuntimeError(f"{what}: expected f(*primals) to return only tensors, got unsupported type {type(o)}")
