"""What a compiled version holds while it is called: run-time numbers, gradients it lends, memories it writes, facts about tensors.

In: the tensors and arrays of a version. Out: quick answers to what its generated code asks at each call. What stays true: whatever is
taken for granted is watched by a count in `state` or by the references to an object, and looked at again when that has moved.
"""
from __future__ import annotations

import threading
from collections import Counter
from operator import attrgetter, is_
from sys import getrefcount
from typing import Any
from weakref import WeakSet, finalize, getweakrefcount

import numpy as np

from ..core.pool import alone
from ..core.storage import STILL, Clock, root
from ..native.execute import Executable
from ..ops.dispatch import local, state
from ..ops.op import REGISTRY
from ..tensor import Tensor, eager
from ..tensor.core import wrap
from ..tensor.engine import observed
from .history import Finished

__all__: list[str] = []

JOINS = 6               # one clock is made to count for all again after 2 ** this calls, at most


class Cells(threading.local):
    """Where the run-time numbers of a call lie: memory of each thread's own."""

    def __init__(self, count: int):
        self.memory = np.zeros(count, np.float64)
        self.cells = [self.memory[k:k + 1].reshape(()) for k in range(count)]


class Store:
    """The gradients that a step stores. Their memory is used again as long as nobody but the tensors and this store holds it."""

    def __init__(self, owners: list[Tensor], places: list[int], outputs: int):
        self.owners, self.places, self.outputs = owners, places, outputs
        self.owners_set = set(owners)
        self.grads: list[Tensor] = []
        self.arrays: list[np.ndarray] = []
        kept = set(places)
        self.kept: tuple[list[np.ndarray | None], list[int]] = [None] * outputs, [k for k in range(outputs) if k not in kept]
        self.alone = [ALONE] * len(owners)
        self.seen = -1                              # `state.grads` when nobody else held any
        self.shared = False                         # whether a result is such a gradient

    def lend(self) -> tuple[list[np.ndarray | None], list[int]] | None:
        """The arrays for the outputs and the places that have none, if all gradients are where they were put and held by nobody else."""
        now = state.grads
        if now == self.seen:                        # nobody has been given a gradient since
            return self.kept
        grads = self.grads
        if not grads or not all(map(is_, map(_grad, self.owners), grads)):
            return None
        if [*map(getrefcount, grads)] != self.alone or [*map(getrefcount, self.arrays)] != self.alone_arrays:
            return None
        if not self.shared and not any(map(getweakrefcount, grads)) and not any(map(getweakrefcount, self.arrays)):
            self.seen = now
        return self.kept

    def take(self, outs: list[np.ndarray]) -> None:
        """Store new gradients."""
        self.arrays = [outs[at] for at in self.places]
        self.grads = [wrap(a) for a in self.arrays]
        for p, g in zip(self.owners, self.grads):
            p._grad = g
        state.grads += 1
        kept: list[np.ndarray | None] = [None] * self.outputs
        for at, a in zip(self.places, self.arrays):
            kept[at] = a
        self.kept = kept, self.kept[1]
        self.alone_arrays = [ALONE + 1] * len(self.arrays)


class Written:
    """The memories of tensors that a function holds and writes: one clock counts the writes to all of them, until another function's
    has taken over some."""

    def __init__(self, tensors: list[Tensor]):
        self.tensors, self.joins, self.since = tensors, 0, 0
        self.join()

    def join(self) -> None:
        """Let one clock count for all."""
        self.moves = state.moves
        self.storages = [t._storage() for t in self.tensors]
        those = list({id(s): s for s in self.storages}.values())
        clock = those[0].clock
        if clock is STILL or not clock.whole or clock.members != len(those) or any([s.clock is not clock for s in those]):
            clock = Clock(len(those))
            for s in those:
                s.join(clock)
        self.clock = clock

    def bump(self, times: int) -> None:
        """Count writes where the clock may not count for all of them any more."""
        moves, storages = state.moves, [t._storage() for t in self.tensors]
        if self.clock.whole and all(map(is_, storages, self.storages)):
            self.clock.count += times
            self.moves = moves
            return
        for s in {id(s): s for s in storages}.values():
            s.own += times
        self.since += 1
        if self.since >> self.joins:                # seldom, where functions that write different ones of the same tensors take turns
            self.joins, self.since = min(self.joins + 1, JOINS), 0
            self.join()


class Facts:
    """What a function relies on about the tensors that it holds, their values apart. It changes seldom, and `state.moves` counts when it
    does. `owners`: {tensor: the one in whose memory the program looks for it}. As long as it stands, `arrays` has the arrays of some
    (`runs`), and `storages` the Storages of others (`memories`)."""

    every: WeakSet[Facts] = WeakSet()
    loads = 0                                       # how often any of them took arrays or let some go

    def __init__(self, owners: dict[Tensor, Tensor]):
        self.owners, self.moves = owners, state.moves
        self.known = [(t, owner, facts(t, owner)) for t, owner in owners.items()]
        self.runs: list[list[Tensor]] = []
        self.memories: list[Tensor] = []

    def load(self) -> bool:
        """Take the arrays and Storages that there are now; whether none of the tensors is being traced."""
        self.arrays = [[t._a for t in run] for run in self.runs]
        self.storages = [t._storage() for t in self.memories]
        if self.runs:
            if self not in Facts.every:
                Facts.every.add(self)
                finalize(self, Facts.loaded)
            Facts.loaded()
        if any([type(a) is not np.ndarray for run in self.arrays for a in run]):
            self.moves = -1
            return False
        return True

    @staticmethod
    def loaded() -> None:
        Facts.loads += 1

    def hold(self) -> bool:
        """Whether they are as they were."""
        moves = state.moves
        if any([facts(t, owner) != known for t, owner, known in self.known]):
            self.moves, self.arrays = -1, []        # nobody asks for them until they hold again, and memory may be large
            Facts.loaded()
            return False
        if self.load():
            self.moves = moves
        return True


def facts(t: Tensor, owner: Tensor) -> tuple:
    """Geometry, place in the owner's memory, whether it wants gradients and is a leaf, its hooks."""
    a, x = t._a, t._x
    hooks = None
    if x is not None and observed(x):
        node = None if x.kept is None else x.kept._x
        hooks = tuple([tuple((d or {}).values()) for d in (x.hooks, x.post_hooks, node and node.pre, node and node.post)])
    return a.shape, a.dtype, a.strides, t is owner or distance(a, owner._a), t._rg, t._fn is None, hooks


class Constant:
    """Tensors whose values a program may keep in another form, because they are weights of an inference. `check` notices that
    they were written, replaced, or are in the hands of somebody whose writes nobody counts."""

    def __init__(self, tensors: list[Tensor]):
        self.tensors, self.refreshes = tensors, 0
        self.stamp()

    def stamp(self) -> None:
        self.arrays = [t._a for t in self.tensors]
        storages = [t._storage() for t in self.tensors]
        self.marks = [(s.version, s.handed) for s in storages]
        self.expect()

    def expect(self) -> None:
        """How often the arrays are referred to by what is known."""
        self.loads = Facts.loads
        held = Counter([id(a) for f in list(Facts.every) for run in f.arrays for a in run])
        self.alone = [ALONE + 1 + held[id(a)] for a in self.arrays]

    def check(self, run: Executable) -> None:
        """Have the program look at the values again if they may have changed."""
        tensors = self.tensors
        if self.loads != Facts.loads:
            self.expect()
        if ([(t._st.version, t._st.handed) if t._st is not None else None for t in tensors] != self.marks
                or not all(map(is_, map(_array, tensors), self.arrays)) or [*map(getrefcount, self.arrays)] != self.alone):
            run.refresh()
            self.refreshes += 1
            self.stamp()


def own_memory(t: Tensor) -> bool:
    """Whether nobody but the tensor has its memory."""
    return alone(t._a) and t._storage().array is t._a


def _references() -> int:
    """What `getrefcount` says, through `map`, of an object in one list and one tensor's slot."""
    grads = [wrap(np.empty(0))]
    owner = wrap(np.empty(0))
    owner._grad = grads[0]
    return [*map(getrefcount, grads)][0]


def _lonely() -> int:
    """What `getrefcount` says inside `lonely` of an array that one tensor and the caller's variable hold."""
    def inside(t: Tensor, a: np.ndarray) -> int:
        return getrefcount(a)
    t = wrap(np.empty(0))
    a = t._a
    return inside(t, a)


ALONE = _references()
LONELY = _lonely()
_grad, _array = attrgetter("_grad"), attrgetter("_a")


def same_array(a: Any, b: Any) -> bool:
    """Whether a NumPy array is what it was: dtype, shape and values."""
    return a.dtype == b.dtype and a.shape == b.shape and (a is b or np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))


def apart(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays may share memory."""
    return np.may_share_memory(a, b)


def distance(a: np.ndarray, b: np.ndarray) -> int:
    """How far `a` begins after `b`, in bytes."""
    return a.__array_interface__["data"][0] - b.__array_interface__["data"][0]


def lonely(t: Tensor, a: np.ndarray) -> bool:
    """Whether nothing but the tensor looks at its memory (which the caller has in a variable)."""
    shared = t._st is not None                  # the Storage holds the owner of the memory
    owner = a.base
    if type(owner) is np.ndarray:
        return owner.base is None and getrefcount(owner) <= 3 + shared and getrefcount(a) <= LONELY
    return (owner is None or alone(a)) and getrefcount(a) <= LONELY + shared


def meet(arrays: list[np.ndarray], tensors: list[Tensor]) -> bool:
    """Whether any of the arrays shares memory with any of the tensors."""
    owners = {id(a if a.base is None else root(a)) for a in map(_array, tensors)}
    for a in arrays:
        if id(a if a.base is None else root(a)) in owners and any(np.may_share_memory(a, t._a) for t in tensors):
            return True
    return False


def views(t: Tensor, chain: tuple) -> Tensor:
    """The views `chain` of `t`, without history."""
    before, local.grad = local.grad, False
    try:
        for name, attrs in chain or (("alias", {}),):
            t = eager.apply(REGISTRY[name], (t,), attrs)
        t._fn, t._rg = None, False
        return t
    finally:
        local.grad = before


def finished(t: Tensor) -> None:
    """Give a result of a whole step the history it has in eager: used up."""
    if t._a.dtype.kind in "fcV":
        t._fn, t._rg = Finished(), True
