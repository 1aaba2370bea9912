"""`vmap`: a function of single examples as one of whole batches.

In: a function, and which dimension of each argument is the batch. Out: a function that calls it once, with tensors that stand
for one example each (`batching.Vmap`), and gives its results a batch dimension. Definition: torch.func.vmap.

What stays true: the result is that of calling the function on each example and stacking; tensors that are not mapped over are
shared by all examples.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

from ..core.errors import fail
from ..core.rng import default_engine
from ..ops.dispatch import interpreting
from ..ops.op import F
from ..tensor.core import Slots
from ..utils import _pytree as pytree
from .batching import Vmap
from .gradients import uncaptured

__all__ = ["vmap"]

Dims = Any                      # an int, None, or a structure of them


def vmap(func: Callable, in_dims: Dims = 0, out_dims: Dims = 0, randomness: str = "error", *, chunk_size: int | None = None) -> Callable:
    """`func`, mapped over a dimension of its arguments.

    in_dims: for each positional argument the dimension to map over (None: the argument is shared by all examples), an int for
    all of them or a structure like the arguments'. out_dims: where the results get the mapped dimension (None: a result that is
    the same for all examples is returned as it is). randomness: "error", "same" or "different" random numbers for the examples.
    chunk_size: map over so many examples at a time, to save memory. Keyword arguments are mapped over their first dimension.
    Raises ValueError for dimensions that do not fit the arguments, RuntimeError where one example's result cannot be computed
    together with the others' (it asks for a value, or its shape depends on one).
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if not (chunk_size is None or isinstance(chunk_size, int) and chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @uncaptured
    @functools.wraps(func)
    def mapped(*args, **kwargs):
        for d in pytree.tree_leaves(out_dims, lambda d: d is None):
            if not (d is None or isinstance(d, int)):
                raise ValueError(f"vmap({name_of(func)}, ..., out_dims={out_dims}): `out_dims` must be an int, None or a python collection of ints "
                                 "representing where in the outputs the vmapped dimension should appear.")
        size, dims, leaves, spec = read_inputs(func, in_dims, args)
        if chunk_size is None or size <= chunk_size:
            return run(func, size, dims, leaves, spec, out_dims, randomness, kwargs)
        return in_chunks(func, size, dims, leaves, spec, out_dims, randomness, kwargs, chunk_size)
    return mapped


def name_of(func: Callable) -> str:
    if hasattr(func, "__name__"):
        return func.__name__
    return f"functools.partial({name_of(func.func)}, ...)" if isinstance(func, functools.partial) else repr(func)


# ---------------------------------------------------------------------------------------------------- arguments
def spread_dims(dims: Dims, spec: pytree.TreeSpec) -> list | None:
    """`dims` for each leaf of `spec`, where it may stand for a whole part; None if it has another structure."""
    if dims is None or isinstance(dims, int) or not isinstance(dims, (tuple, list, dict)):
        return [dims] * spec.num_leaves
    parts, own = pytree.tree_flatten(dims, is_leaf=lambda x: x is not dims)
    if own.type is not spec.type or own.context != spec.context or len(parts) != len(spec.children_specs):
        return None
    found: list = []
    for part, child in zip(parts, spec.children_specs):
        below = spread_dims(part, child)
        if below is None or child.is_leaf() and isinstance(part, (tuple, list, dict)):
            return None
        found += below
    return found


def read_inputs(func: Callable, in_dims: Dims, args: tuple) -> tuple[int, list, list, pytree.TreeSpec]:
    """(number of examples, dimension of each leaf or None, leaves, structure) of the arguments."""
    where = f"vmap({name_of(func)}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(f"{where}: expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, "
                         f"got: {type(in_dims)}.")
    if not args:
        raise ValueError(f"vmap({name_of(func)})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a "
                         "function with no inputs. The latter is unsupported.")
    leaves, spec = pytree.tree_flatten(args)
    dims = spread_dims(in_dims, spec)
    if dims is None:
        raise ValueError(f"{where}: in_dims is not compatible with the structure of `inputs`. in_dims has structure "
                         f"{pytree.tree_structure(in_dims)} but inputs has structure {spec}.")
    sizes = []
    for i, (x, d) in enumerate(zip(leaves, dims)):
        if d is None:
            continue
        if not isinstance(d, int):
            raise ValueError(f"{where}: Got in_dim={d} for an input but in_dim must be either an integer dimension or None.")
        if not isinstance(x, Slots):
            raise ValueError(f"{where}: Got in_dim={d} for an input but the input is of type {type(x)}. We cannot vmap over non-Tensor "
                             "arguments, please use None as the respective in_dim")
        if not -x.ndim <= d < x.ndim:
            raise ValueError(f"{where}: Got in_dim={d} for some input, but that input is a Tensor of dimensionality {x.ndim} so expected in_dim "
                             f"to satisfy -{x.ndim} <= in_dim < {x.ndim}.")
        dims[i] = d % x.ndim
        sizes.append(x.shape[d])
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if any([n != sizes[0] for n in sizes]):
        raise ValueError("vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
                         f"{sizes} for the mapped dimension")
    return sizes[0], dims, leaves, spec


# ---------------------------------------------------------------------------------------------------- running
def run(func: Callable, size: int, dims: list, leaves: list, spec: pytree.TreeSpec, out_dims: Dims, randomness: str, kwargs: dict):
    """One call for `size` examples."""
    level = Vmap(size, randomness)
    args = pytree.tree_unflatten([x if d is None else example(level, x, d) for x, d in zip(leaves, dims)], spec)
    with interpreting(level):
        out = func(*args, **pytree.tree_map_only(Slots, lambda x: example(level, x, 0), kwargs))
    return results(func, level, out, out_dims)


def example(level: Vmap, x, d: int):
    """`x` as it looks to one example, mapped over dimension `d`."""
    return level.lift(F.movedim(x, d, 0) if d else x, True)


def results(func: Callable, level: Vmap, out: Any, out_dims: Dims):
    """What the function returned, with the batch at `out_dims`."""
    leaves, spec = pytree.tree_flatten(out)
    if isinstance(out, Slots) and isinstance(out_dims, tuple) and len(out_dims) == 1:
        out_dims = out_dims[0]
    dims = None if isinstance(out, Slots) and not (out_dims is None or isinstance(out_dims, int)) else spread_dims(out_dims, spec)
    if dims is None:
        raise ValueError(f"vmap({name_of(func)}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of `outputs`. "
                         f"out_dims has structure {pytree.tree_structure(out_dims)} but outputs has structure {spec}.")
    return pytree.tree_unflatten([placed(func, level, x, d) for x, d in zip(leaves, dims)], spec)


def placed(func: Callable, level: Vmap, x: Any, d: int | None):
    """One result, with the batch as dimension `d`."""
    name = name_of(func)
    a = level.array_of(x) if isinstance(x, Slots) else None
    if d is None:
        if a is not None and a.extra:
            fail(ValueError, "P4010", f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None",
                 fix="give the result an out_dim")
        return x if a is None else a.lower
    if not isinstance(x, Slots):
        fail(ValueError, "P4011", f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(x)}. Did you mean to set out_dims= to None "
             "for output?", fix="return tensors, or set out_dims=None for what is none")
    lower = x if a is None else a.lower
    n = lower.ndim if a is not None and a.extra else lower.ndim + 1
    if not -n <= d < n:
        out_of_range(d, n)
    if a is None or not a.extra:
        lower = F.expand(lower, (level.size, *lower.shape))
    return F.movedim(lower, 0, d) if d % n else lower


def out_of_range(d: int, n: int) -> NoReturn:
    fail(IndexError, "P4012", f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {d})",
         fix="out_dims counts the result's dimensions with the mapped one")


def in_chunks(func: Callable, size: int, dims: list, leaves: list, spec, out_dims: Dims, randomness: str, kwargs: dict, chunk_size: int):
    """`run` for at most `chunk_size` examples at a time; the results are joined."""
    chunks, shape = [], None
    state = default_engine().get_state() if randomness == "same" else None
    for start in range(0, size, chunk_size):
        if state is not None:
            default_engine().set_state(state)           # the same numbers for all examples, whichever chunk they are in
        n = min(chunk_size, size - start)
        part = [x if d is None else F.narrow(x, d, start, n) for x, d in zip(leaves, dims)]
        found, shape = pytree.tree_flatten(run(func, n, dims, part, spec, out_dims, randomness, kwargs))
        chunks.append(found)
    places = spread_dims(out_dims[0] if isinstance(out_dims, tuple) and len(out_dims) == 1 and shape.is_leaf() else out_dims, shape)
    return pytree.tree_unflatten([parts[0] if d is None else F.cat(list(parts), d) for parts, d in zip(zip(*chunks), places)], shape)
