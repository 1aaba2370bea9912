"""Forward mode and whole derivatives as functions of functions: `jvp`, `linearize`, `jacrev`, `jacfwd`, `hessian`.

In: a function of tensors. Out: a function that gives its derivative along a direction, or all of it. Definitions: torch.func.
What stays true: `jacrev` runs the function once and all rows of the Jacobian in one batched backward pass, `jacfwd` all columns in
one batched forward pass; a Jacobian has the result's structure outside, the arguments' inside, shapes likewise.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from ..core.errors import fail
from ..ops.dispatch import interpreting
from ..ops.op import F
from ..tensor.core import Slots
from ..utils import _pytree as pytree
from .forward import Jvp
from .gradients import Argnums, argnums_of, check_outputs, chosen, gradients, pair, recording, released, replaced, uncaptured, vjp_of
from .gradients import differentiable
from .mapping import vmap

__all__ = ["hessian", "jacfwd", "jacrev", "jvp", "linearize"]

_JVP = "jvp(f, primals, tangents)"


# ---------------------------------------------------------------------------------------------------- one direction
@uncaptured
def jvp(func: Callable, primals: tuple, tangents: tuple, *, strict: bool = False, has_aux: bool = False) -> tuple:
    """`(func(*primals), tangent)`: the value, and the product of the Jacobian with `tangents`, structured like `primals`.

    strict: a result that does not depend on the primals is an error instead of zeros. has_aux: `func` returns
    `(results, anything)`; then the result is `(results, tangents, anything)`. Raises RuntimeError for tangents of another
    structure, shape or dtype.
    """
    return jvp_of(func, primals, tangents, None, strict, has_aux)


def jvp_of(func: Callable, primals: tuple, tangents: tuple, argnums: Argnums | None, strict: bool, has_aux: bool) -> tuple:
    """`jvp` along the chosen arguments only."""
    if not isinstance(primals, tuple):
        raise RuntimeError(f"{_JVP}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    if argnums is not None:
        argnums = argnums_of(argnums, len(primals))
    moving = primals if argnums is None else chosen(primals, argnums)
    leaves, spec = pytree.tree_flatten(moving)
    directions, given = pytree.tree_flatten(tangents)
    if given != spec:
        raise RuntimeError(f"{_JVP}: Expected primals and tangents to have the same python structure. For example, if primals is a tuple of 3 "
                           f"tensors, tangents also must be. Got primals with structure {spec} and tangents with structure {given}")
    check_tensors(leaves, "primals")
    check_tensors(directions, "tangents")
    for x, t in zip(leaves, directions):
        check_tangent(x, t)
    level = Jvp()
    duals = pytree.tree_unflatten([level.lift(x, t if x.dtype == t.dtype else t.to(x.dtype)) for x, t in zip(leaves, directions)], spec)
    with interpreting(level):
        out = func(*(duals if argnums is None else replaced(primals, duals, argnums)))
    aux = None
    if has_aux:
        out, aux = pair(out, f"{_JVP}:")
    outs, out_spec = pytree.tree_flatten(out)
    check_outputs(outs, _JVP)
    values, found = [], []
    for o in outs:
        value, tangent = level.parts(o)
        if tangent is None:
            if strict:
                raise RuntimeError("jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not allowed "
                                   "with strict=True.")
            tangent = F.zeros_like(value)
        values.append(value)
        found.append(tangent)
    result = pytree.tree_unflatten(values, out_spec), pytree.tree_unflatten(found, out_spec)
    if not has_aux:
        return result
    return *result, pytree.tree_map_only(Slots, lambda t: level.parts(t)[0], aux)


def check_tensors(leaves: list, name: str) -> None:
    if not leaves:
        raise RuntimeError(f"{_JVP}: Expected {name} to contain at least one Tensor.")
    for x in leaves:
        if not isinstance(x, Slots):
            raise RuntimeError(f"{_JVP}: Expected {name} to only contain Tensors, got {type(x)}")


def check_tangent(x, t) -> None:
    """A tangent has the shape of its value, and lies in the same space."""
    if x.shape != t.shape:
        fail(RuntimeError, "P4032", f"Expected tangent to have the same shape as its primal, but got {list(t.shape)} for {list(x.shape)}: all tensors "
             "must have matching sizes", fix="a tangent has the shape of its primal")
    if not (x.is_floating_point() or x.is_complex()):
        fail(ValueError, "P4033", f"Expected primal to be floating point or complex, but got: {x.dtype}", fix="convert it: x.float()")
    if not (t.is_floating_point() or t.is_complex()):
        fail(ValueError, "P4033", f"Expected tangent to be floating point or complex, but got: {t.dtype}", fix="convert it: t.float()")


@uncaptured
def linearize(func: Callable, *primals: Any) -> tuple:
    """`(func(*primals), jvp_fn)`: `jvp_fn(*tangents)` is the product of the Jacobian at `primals` with `tangents`, structured like
    the primals, without running the function again.

    How: the backward pass, recorded for a variable gradient of the results, in which it is linear; each call transposes it.
    Raises RuntimeError for tangents of another structure, shape or dtype.
    """
    leaves, spec = pytree.tree_flatten(primals)
    with recording() as before:
        inputs = [differentiable(x) for x in leaves]
        outs, out_spec = pytree.tree_flatten(func(*pytree.tree_unflatten(inputs, spec)))
        check_outputs(outs, "linearize(f, *primals)")
        seeds = [differentiable(F.zeros_like(o)) if o._rg else None for o in outs]
        live = [s for s in seeds if s is not None]
        back = gradients([o for o in outs if o._rg], inputs, live, True, True) if live else [F.zeros_like(x) for x in inputs]
        values = released(pytree.tree_unflatten(outs, out_spec), before and any([x._fn is not None for x in inputs]))

    @uncaptured
    def jvp_fn(*tangents: Any):
        """The derivative along `tangents`."""
        flat, given = pytree.tree_flatten(tangents)
        if given != spec:
            raise RuntimeError(f"Expected the tangents {given} to have the same argspec as the primals {spec}")
        for i, (x, t) in enumerate(zip(inputs, flat)):
            if t.shape != x.shape:
                raise RuntimeError(f"tangent:{i} with shape {t.shape} in flattened pytree doesn't match the shape {x.shape} of the corresponding "
                                   "primal.")
            if t.dtype != x.dtype:
                raise RuntimeError(f"tangent:{i} with dtype {t.dtype} in flattened pytree doesn't match the dtype {x.dtype} of the corresponding "
                                   "primal.")
        found = iter(gradients(back, live, flat, True, before and any([x._fn is not None or t._rg for x, t in zip(inputs, flat)])) if live else ())
        return pytree.tree_unflatten([F.zeros_like(o) if s is None else next(found) for o, s in zip(outs, seeds)], out_spec)
    return values, jvp_fn


# ---------------------------------------------------------------------------------------------------- all directions
def refuse_complex(fn: str, tree: Any, which: str) -> None:
    for i, x in enumerate(pytree.tree_leaves(tree)):
        if isinstance(x, Slots) and x.is_complex():
            raise RuntimeError(f"{fn}: Expected all {which} to be real but received complex tensor at flattened input idx: {i}")


def basis(tensors: list, start: int, n: int) -> list:
    """Rows `start` to `start + n` of the identity over all elements of `tensors`, one block per tensor in its shape."""
    found, at = [], start
    for t in tensors:
        rows = F.zeros((n, t.numel()), dtype=t.dtype)
        F.diagonal(rows, at).fill_(1) if -n < at < t.numel() else None
        found.append(F.reshape(rows, (n, *t.shape)))
        at -= t.numel()
    return found


def jacrev(func: Callable, argnums: Argnums = 0, *, has_aux: bool = False, chunk_size: int | None = None) -> Callable:
    """A function that returns the Jacobian of `func` by reverse mode: cheap where results have fewer elements than arguments.

    argnums: with respect to which positional arguments (an int, or a tuple for a tuple of Jacobians). For each result and argument
    a tensor of shape `result.shape + argument.shape`. has_aux: `func` returns `(results, anything)`, and so does the function.
    chunk_size: so many rows at a time, to save memory (1: one backward pass after another). Raises RuntimeError for complex tensors.
    """
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @uncaptured
    @functools.wraps(func)
    def wrapper(*args):
        refuse_complex("jacrev", args, "inputs")
        out, vjp_fn, *aux = vjp_of(func, args, argnums, has_aux)
        outs, out_spec = pytree.tree_flatten(out)
        refuse_complex("jacrev", outs, "outputs")
        inputs, in_spec = pytree.tree_flatten(chosen(args, argnums_of(argnums, len(args))))
        numels = [o.numel() for o in outs]
        total = sum(numels)
        step = chunk_size or max(total, 1)
        chunks = []
        for start in range(0, total, step):
            rows = basis(outs, start, min(step, total - start))
            if step == 1:
                g = vjp_fn(pytree.tree_unflatten([r[0] for r in rows], out_spec))
                chunks.append([F.unsqueeze(x, 0) for x in pytree.tree_leaves(g)])
            else:
                chunks.append(pytree.tree_leaves(vmap(vjp_fn)(pytree.tree_unflatten(rows, out_spec))))
        if not chunks:
            chunks = [[F.zeros((0, *x.shape), dtype=x.dtype) for x in inputs]]
        stacked = chunks[0] if len(chunks) == 1 else [F.cat(list(parts)) for parts in zip(*chunks)]
        split = [F.split(s, numels) for s in stacked]
        parts = [pytree.tree_unflatten([F.reshape(split[k][i], (*o.shape, *x.shape)) for k, x in enumerate(inputs)], in_spec)
                 for i, o in enumerate(outs)]
        result = pytree.tree_unflatten(parts, out_spec)
        return (result, aux[0]) if has_aux else result
    return wrapper


def jacfwd(func: Callable, argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error") -> Callable:
    """A function that returns the Jacobian of `func` by forward mode: cheap where arguments have fewer elements than results.

    randomness: of random operators in `func`, as in `vmap`. Other arguments and the result: see `jacrev`.
    """
    @uncaptured
    @functools.wraps(func)
    def wrapper(*args):
        refuse_complex("jacfwd", args, "inputs")
        places = argnums_of(argnums, len(args))
        inputs, in_spec = pytree.tree_flatten(chosen(args, places))
        for x in inputs:
            if not isinstance(x, Slots):
                raise RuntimeError(f"{_JVP}: Expected primals to only contain Tensors, got {type(x)}")
        numels = [x.numel() for x in inputs]
        directions = basis(inputs, 0, sum(numels))

        def push(*flat):
            found = jvp_of(func, args, pytree.tree_unflatten(list(flat), in_spec), places, False, has_aux)
            refuse_complex("jacfwd", found[0], "outputs")
            return found[1:] if has_aux else found[1]

        if math.prod([sum(numels)]):
            out = vmap(push, randomness=randomness)(*directions)
        else:                               # no direction at all: only the shapes matter
            out = pytree.tree_map_only(Slots, lambda t: F.zeros((0, *t.shape), dtype=t.dtype), push(*[d.new_zeros(d.shape[1:]) for d in directions]))
        aux = None
        if has_aux:
            out, aux = out
            aux = pytree.tree_map_only(Slots, lambda t: t[0], aux)
        outs, out_spec = pytree.tree_flatten(out)
        parts = []
        for o in outs:
            columns = F.split(F.movedim(o, 0, -1), numels, -1)
            parts.append(pytree.tree_unflatten([F.reshape(c, (*o.shape[1:], *x.shape)) for c, x in zip(columns, inputs)], in_spec))
        result = pytree.tree_unflatten(parts, out_spec)
        return (result, aux) if has_aux else result
    return wrapper


def hessian(func: Callable, argnums: Argnums = 0) -> Callable:
    """A function that returns the matrix of second derivatives of `func`: forward mode over reverse mode. For each pair of arguments
    a tensor of shape `result.shape + argument_i.shape + argument_j.shape`."""
    return jacfwd(jacrev(func, argnums), argnums)
