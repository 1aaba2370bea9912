"""How compiled functions take part in autograd: a node for a compiled forward, and the end of history after a whole step.

In: results of a compiled forward, the arrays that its backward needs. Out: tensors whose `backward()` runs the compiled
backward. What stays true: gradients come back one per edge in the shape and dtype of the input; what was saved is checked
against in-place writes, and is let go after the first backward unless it is asked to stay.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from ..core.errors import fail, message
from ..core.storage import Storage
from ..ops.dispatch import local
from ..tensor import Tensor
from ..tensor.core import Node, blank, new, next_seq, node_extras, wrap
from ..tensor.fake import Fake, TraceError
from ..tensor.saved import freed

__all__: list[str] = []


class Finished(Node):
    """The history of a result of a compiled step that called backward() itself."""

    __slots__ = ()

    def __init__(self) -> None:
        blank(self, next_seq())

    def _run(self, g: Any) -> list:
        freed(self)
        return []


class CompiledBackward(Node):
    """One call of a compiled forward."""

    __slots__ = ("joint", "nout")

    @property
    def _nout(self) -> int:
        return self.nout

    def _run(self, g: Any) -> list:
        if self._saved is None:
            freed(self)
        if local.grad:
            fail(RuntimeError, "P3103", "the gradient of a compiled function cannot be differentiated again",
                 fix="compile the function that takes the second derivative as a whole, or call the function itself for this")
        for memory, version in zip(*self._versions):
            if memory.version != version:
                fail(RuntimeError, "P3109", "one of the variables needed for gradient computation has been modified by an inplace "
                     "operation",
                     got=f"version {memory.version} of it; expected version {version}", fix="clone() it before it is written, or after")
        gs = g if isinstance(g, tuple) else (g,)
        if any(type(x._a) is Fake for x in gs):
            raise TraceError(message("P3115", "backward() would go on into what an earlier part of a compiled function computed",
                                     fix="compute the loss and call backward() in one part, without a break in between"))
        return self.joint.backward(self._saved, [x._a for x in gs])


def edges_of(owners: Sequence[Tensor]) -> tuple[tuple, tuple]:
    """Where gradients of these tensors go: (edges, which outputs of them)."""
    return tuple([t if t._fn is None else t._fn for t in owners]), tuple([t._oi for t in owners])


class Joint:
    """The compiled backward of a forward. `wrt`: the tensors it differentiates by, as the trace saw them; `live`: which results
    need gradients; `extra`: how many further outputs of the trace are gradients; `saved`: where each input of the backward
    comes from: ("in", place) an input of the forward, ("out", index) an output."""

    def __init__(self, wrt: list[Tensor], live: list[int], extra: int, saved: list[tuple[str, int]], execute: Any, grads: list[int | None],
                 specs: list[tuple]):
        self.wrt, self.live, self.extra, self.saved, self.execute = wrt, live, extra, saved, execute
        self.grads, self.specs = grads, specs
        self.pick: Callable | None = None                   # takes what is saved out of the inputs and outputs of the forward
        self.numbers: frozenset[int] = frozenset()          # inputs that are run-time numbers: their memory is used again

    def connect(self, edges: tuple, idx: tuple, results: Sequence[Tensor], memories: list[Storage], inputs: list[np.ndarray],
                outs: list[np.ndarray]) -> None:
        """Hang one node on the results. `memories`: those of the tensors that are saved (not the tensors: a saved result would hold its own
        node)."""
        n = new(CompiledBackward)
        n.joint, n.nout = self, len(results)
        n._edges, n._idx = edges, idx
        n._attrs = n._x = n._shapes = None
        n._seq = next_seq()
        if self.pick is None:
            count = len(inputs)
            self.numbered = [(j, k) for j, (kind, k) in enumerate(self.saved) if kind == "in" and k in self.numbers]
            places = [k if kind == "in" else count + k for kind, k in self.saved]
            self.pick = itemgetter(0, 0, *places)           # two more, as one alone gives no tuple
        n._saved = [*self.pick([*inputs, *outs])[2:]] if self.saved else [None]
        for j, k in self.numbered:
            n._saved[j] = inputs[k].copy()
        n._versions = memories, [memory.own + memory.clock.count for memory in memories]
        if n.nout > 1:
            node_extras(n).out_specs = self.specs
        for i, r in enumerate(results):
            r._fn, r._oi, r._rg = n, i, True

    def backward(self, saved: list, tangents: list[np.ndarray]) -> list:
        """The gradients of the `wrt` tensors; None where there is none."""
        ready = [g if g.flags.c_contiguous else np.ascontiguousarray(g) for g in tangents]
        outs = self.execute([*[a for a in saved if a is not None], *ready])
        return [None if i is None else wrap(outs[i]) for i in self.grads]
