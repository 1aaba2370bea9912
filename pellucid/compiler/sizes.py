"""Sizes that vary: which ones are compiled, and which run as plain Python until compiling them would pay.

In: calls that no version fits. Out: whether only sizes of tensors among the arguments (and integers that a trace needed as sizes) are
otherwise, and whether this call is to be compiled. A program is made for one set of sizes; so the first two sizes of a dimension are
compiled, and any other one once running it as plain Python has taken longer than making a program does (ski rental: at most twice what
the better choice would have cost). Its machine code need not be made again: what differed between the first two sizes is an argument
there (native/varying.py), so that only capture and planning are to be paid. What stays true: either way the results are the function's
own; what is kept is bounded.
"""
from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ..core.config import config
from ..core.errors import fail
from ..native.varying import Varying
from ..tensor import Tensor

__all__: list[str] = []

AT_ONCE = 2                         # sizes of a dimension that are compiled as they come
CALLS = 8                           # under use_deterministic_algorithms: calls after which a size is compiled
KEPT = 256                          # sizes of one function that are remembered


class Met:
    """A size that runs as plain Python: how often, for how long, and how long compiling took before."""

    __slots__ = ("calls", "seconds", "price")

    def __init__(self, price: float):
        self.calls, self.seconds, self.price = 0, 0.0, price

    @property
    def pays(self) -> bool:
        """Whether compiling it would have been worth it; by time, or where runs must be alike by a fixed count."""
        return self.calls >= CALLS if config.deterministic else self.seconds > self.price

    def __str__(self) -> str:
        if config.deterministic:
            return f"after {max(CALLS - self.calls, 0)} more calls"
        if not self.calls:
            return "once it pays"
        return f"after about {max(int((self.price - self.seconds) / (self.seconds / self.calls)) + 1, 1)} more calls"


class Sizes:
    """What one function knows about its sizes. A place is a path in (args, kwargs); of a tensor's dimension, with its number behind."""

    def __init__(self, dynamic: bool | None):
        self.dynamic = dynamic
        self.marks: dict[tuple, bool] = {}              # of mark_dynamic and mark_static
        self.met: dict[tuple, Met] = {}                 # by modes and sizes
        self.code = Varying()                           # what varied in its programs: arguments of the code, from the second size on

    def plainly(self, key: tuple, entries: list, args: tuple, kwargs: dict, fixed: set, full: bool) -> Met | None:
        """For a call in the modes `key` that none of `entries` fits: None if it is to be compiled, else where its time is to be noted.
        `fixed`: paths of integers that are sizes; `full`: no further version can be made."""
        found = collected(args, kwargs, fixed)
        at = key, tuple(found)
        met = self.met.get(at)
        if met is None:
            sizes = dict(spread(found))
            alike = [e for e in entries if e.otherwise(args, kwargs, fixed)]
            if not alike or not self.varies(sizes, alike[0], entries, args, kwargs):
                return None
            if len(self.met) >= KEPT:
                self.met.pop(next(iter(self.met)), None)
            met = self.met[at] = Met(min(e.price for e in alike))
        elif met.pays and not full:
            self.met.pop(at, None)
            return None
        return met

    def varies(self, sizes: dict, like: Any, entries: list, args: tuple, kwargs: dict) -> bool:
        """Whether a dimension in which this call differs from the version `like` has been compiled for enough sizes."""
        self.marks |= marked(args, kwargs)
        differs = [p for p, n in sizes.items() if like.sizes.get(p) != n]
        for p in differs:
            mark = self.marks.get(p)
            dynamic = self.dynamic if mark is None else mark
            known = {e.sizes[p] for e in entries if p in e.sizes}
            if dynamic is not False and len(known) >= (1 if dynamic else AT_ONCE):
                return True
        return False

    def told(self, parts: list) -> list[dict[str, Any]]:
        """For people and programs: the dimensions that varied, with what became of each of their sizes. `parts`: versions."""
        rows = [(dict(e.sizes), None, e.new_objects) for e in parts]
        rows += [(dict(spread(found)), met, 0) for (_, found), met in tuple(self.met.items())]
        places = {p for sizes, *_ in rows for p in sizes}
        varying = sorted((p for p in places if len({sizes.get(p) for sizes, *_ in rows if p in sizes}) > 1), key=repr)
        if not varying:
            return []
        return [{"sizes": {spelt(p): sizes[p] for p in varying if p in sizes}, "status": "compiled" if met is None else "plain",
                 "plain_calls": 0 if met is None else met.calls, "plain_seconds": 0.0 if met is None else met.seconds,
                 "compiled_when": None if met is None else str(met), "new_objects": new} for sizes, met, new in rows]


def leaves(x: Any, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """(path, value) of what is in a structure; special containers are values."""
    if type(x) in (tuple, list):
        for k, v in enumerate(x):
            yield from leaves(v, (*path, k))
    elif type(x) is dict:
        for k, v in x.items():
            yield from leaves(v, (*path, k))
    else:
        yield path, x


def collected(args: tuple, kwargs: dict, fixed: set | None) -> list[tuple[tuple, Any]]:
    """The shapes of tensors in a call, and the integers at the paths `fixed` (None: all of them)."""
    return [(path, x._a.shape if isinstance(x, Tensor) else x) for path, x in leaves((args, kwargs))
            if isinstance(x, Tensor) or type(x) is int and (fixed is None or path in fixed)]


def spread(found: Any) -> list[tuple[tuple, int]]:
    """Each size with its place."""
    return [(p, n) for path, size in found for p, n in
            ([((*path, d), n) for d, n in enumerate(size)] if type(size) is tuple else [(path, size)])]


def sizes_of(args: tuple, kwargs: dict) -> dict[tuple, int]:
    """All sizes and integers of a call by their places."""
    return dict(spread(collected(args, kwargs, None)))


def marked(args: tuple, kwargs: dict) -> dict[tuple, bool]:
    """What mark_dynamic and mark_static said of the tensors in a call."""
    return {(*path, d): dynamic for path, x in leaves((args, kwargs)) if isinstance(x, Tensor) and x._x is not None
            for d, dynamic in (x._x.marks or {}).items()}


def spelt(place: tuple) -> str:
    """A place in words."""
    return "argument" + "".join(f"[{k!r}]" for k in place[1:])


# ---------------------------------------------------------------------------------------------------- public
def mark_dynamic(tensor: Tensor, dim: int | list[int] | tuple[int, ...]) -> None:
    """Say that the size of this dimension will vary: where the tensor is an argument of a compiled function, one size is compiled at
    once, and any other one when running it as plain Python has cost more than compiling it."""
    _mark(tensor, dim, True)


def mark_static(tensor: Tensor, dim: int | list[int] | tuple[int, ...] | None = None) -> None:
    """Say that each size of this dimension (None: of all dimensions) is worth a compiled version of its own."""
    _mark(tensor, range(tensor.dim()) if dim is None and isinstance(tensor, Tensor) else dim, False)


def _mark(tensor: Tensor, dim: Any, dynamic: bool) -> None:
    if not isinstance(tensor, Tensor):
        fail(TypeError, "P3124", f"only dimensions of tensors can be marked, not of {type(tensor).__name__}", fix="pass the tensor")
    for d in [dim] if isinstance(dim, int) else dim:
        if not -tensor.dim() <= d < tensor.dim():
            fail(IndexError, "P3125", f"no dimension {d} to mark", got=f"shape {tuple(tensor.shape)}",
                 fix="count dimensions as shape does")
        extras = tensor._extras()
        extras.marks = {**(extras.marks or {}), d % tensor.dim(): dynamic}


def timed(met: Met, run: Any, args: tuple, kwargs: dict) -> Any:
    """Run a call as plain Python, and note what it took."""
    start = time.perf_counter()
    result = run(args, kwargs)
    met.seconds += time.perf_counter() - start
    met.calls += 1
    return result
