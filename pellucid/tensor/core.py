"""The Tensor's memory layout and the graph nodes that record its history; nothing here computes.

`Tensor` holds one ndarray. Everything rarely needed lies in `_x` (Extras), so that making a result is a few stores.
`Node` is one recorded operation: `edges` lead to the nodes (or leaf tensors) its inputs came from.

True always: `_rg` of a non-leaf is True exactly when `_fn` is a node; `_st` is None until memory is shared or written.
"""
from __future__ import annotations

from itertools import count
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from ..core.errors import fail, interpreted
from ..core.spec import TensorLike
from ..core.storage import ARRAYS, Storage
from ..ops.dispatch import local, state
from .fake import Fake, Geometry, TraceError, brief, refuse, without_data

new = object.__new__
next_seq = count(1).__next__
ndarray, asarray = np.ndarray, np.asarray


PLAIN: set[type] = set()        # Tensor types without behaviour of their own


class Extras:
    """What few tensors need: view geometry, hooks, flags."""

    # class attributes as defaults: making one costs nothing, and few fields are ever set
    base = None             # the tensor this one is a view of (never itself a view)
    chain: tuple = ()       # ((op, attrs), ...): how the base's array becomes this one's
    meta = ""               # why an in-place write through this view is refused: "no_grad", "inference", "multi", "custom"
    hooks = None            # dict of hooks on a leaf
    post_hooks = None       # dict of post-accumulate-grad hooks
    retains = False
    detached = 0            # when detach_() cut its history; nodes made before may have saved it
    inference = False
    marks = None            # {dimension: whether its size varies}, of mark_dynamic and mark_static
    acc = None              # a weak reference to the AccumulateGrad node, once somebody looked at it
    kept = None             # that node itself, once it has hooks


class Slots(TensorLike):
    """Base of Tensor: the slots, and how tensors are made from arrays."""

    __slots__ = ("_a", "_rg", "_fn", "_oi", "_grad", "_st", "_x", "__dict__", "__weakref__")

    def _storage(self) -> Storage:
        st = self._st
        if st is None:
            st = self._st = Storage(self._a)
        return st

    def _bump(self, times: int = 1) -> None:
        """Say that the memory was written in place."""
        st = self._st
        if st is None:
            st = self._st = Storage(self._a)
        st.own += times

    def _extras(self) -> Extras:
        x = self._x
        if x is None:
            x = self._x = Extras()
        return x


class Dropped:
    """Stands in `_grad` for a gradient that a step compiled with keep_grads=False did not store: whoever reads it is told so."""

    def __getattr__(self, name):
        fail(RuntimeError, "P3106", "the gradient was not stored: the step that computed it was compiled with keep_grads=False",
             fix="compile the step with keep_grads=True, or set .grad to None (optimizer.zero_grad()) before the next backward()")


DROPPED = Dropped()


class Node:
    """One recorded operation. Subclasses are made per operator, so that `type(y.grad_fn).__name__` is `MulBackward0`.

    Fields begin with an underscore because the node of a custom Function is also the `ctx` that users put attributes on.
    """

    __slots__ = ("_edges", "_idx", "_saved", "_versions", "_attrs", "_shapes", "_seq", "_x", "__dict__", "__weakref__")
    _nout = 1
    _materialize = True         # whether outputs that got no gradient count as having got zeros

    def name(self) -> str:
        """The node's name, as `MulBackward0`."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple:
        """((node, output index), ...) of the inputs; leaves appear as AccumulateGrad, constants as (None, 0)."""
        found = []
        for i, e in enumerate(self._edges):
            if e is None or type(e) is Untracked:
                found.append((None, 0))
            elif isinstance(e, Node):
                found.append((e, self._idx[i] if self._idx else 0))
            else:
                found.append((accumulator(e), 0))
        return tuple(found)

    @property
    def metadata(self) -> dict:
        """Whatever users and anomaly mode attach to the node."""
        x = node_extras(self)
        if x.metadata is None:
            x.metadata = {}
        return x.metadata

    def __call__(self, *grads):
        """The gradients of the inputs, given those of the outputs."""
        if len(grads) != self._nout:
            raise TypeError(f"expected {self._nout} arguments, got {len(grads)} instead")
        r = self._run(grads[0] if self._nout == 1 else grads)
        return r[0] if len(r) == 1 else tuple(r)

    def _sequence_nr(self) -> int:
        return self._seq

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"


class NodeExtras:
    """Hooks and diagnostics of a node."""

    # class attributes as defaults, as in Extras
    tensor_hooks = None     # {output index: {id: hook}} from Tensor.register_hook
    pre = None              # {id: hook}: Node.register_prehook
    post = None             # {id: hook}: Node.register_hook
    retain = None           # {output index: weakref to the tensor whose grad is retained}
    where = None            # the user's line, in anomaly mode
    parent = None           # in anomaly mode: the node whose backward made this one
    metadata = None
    out_specs = None        # [(shape, np dtype) or None, ...] of the outputs, where known


def node_extras(node: Node) -> NodeExtras:
    if node._x is None:
        node._x = NodeExtras()
    return node._x


class AccumulateGrad(Node):
    """Stands for a leaf in `next_functions`; its hooks run around the accumulation."""

    __slots__ = ("variable",)

    def __init__(self, leaf):
        self.variable = leaf
        blank(self, 1 << 62)

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    def _run(self, g) -> list:
        raise RuntimeError("AccumulateGrad cannot be called: run backward() on the results instead")


class Untracked(Node):
    """The history of views taken under `no_grad` of something that requires grad: gradients that get here are dropped."""

    __slots__ = ()

    def __init__(self):
        blank(self, 0)

    def _run(self, g) -> list:
        return []


class Invalid(Untracked):
    """The history of a view that lost it, because its base was written in place where PyTorch forbids it."""

    __slots__ = ("message",)

    def __init__(self, message: str):
        blank(self, next_seq())
        self.message = message

    def _run(self, g) -> list:
        raise RuntimeError(self.message)


def blank(node: Node, seq: int) -> None:
    """A node that leads nowhere."""
    node._edges = node._saved = ()
    node._idx = node._versions = node._attrs = node._shapes = node._x = None
    node._seq = seq


UNTRACKED = Untracked()


class GradientEdge(NamedTuple):
    """A place in the graph where a gradient flows: a node and which of its outputs."""

    node: Node
    output_nr: int
    ownership_token: Any = None         # keeps alive what the node needs; nothing here


def accumulator(leaf) -> AccumulateGrad:
    """The AccumulateGrad node of a leaf, made when first looked at."""
    extras = leaf._extras()
    node = extras.acc() if extras.acc is not None else None
    if node is None:
        node = AccumulateGrad(leaf)
        extras.acc = ref(node)
    return node


class _Types:
    """The Tensor class, known once tensor.py has defined it."""

    tensor: type = Slots


def wrap(a: ndarray):
    """A new tensor over `a`, without history."""
    t = new(_Types.tensor)
    t._a = a if type(a) in ARRAYS else asarray(a)
    t._rg = False
    t._fn = t._grad = t._st = t._x = None
    t._oi = 0
    return t


def touch(t) -> None:
    """Say that a field of `t` is about to be set: a tracer puts it back at the end."""
    if state.slow and local.stack and local.stack[-1].stays:
        local.stack[-1].touch(t)


def readable(a: np.ndarray) -> np.ndarray:
    """The values of `a`. A tracer refuses: to it no tensor has values that may be looked at, neither fakes nor those it has yet to
    meet."""
    if isinstance(a, Geometry):
        a = a.values()
    if local.stack and not all([i.values or not i.covers for i in local.stack]):
        refuse(got=brief(a))
    return a


def values(a: np.ndarray) -> np.ndarray:
    """`readable`, or the constant that a traced tensor holds."""
    known = a.constant() if type(a) is Fake else None
    return readable(a) if known is None else known


def check_keeps(t, where: str) -> None:
    """Refuse to keep a tensor without values, which was computed in a traced function, where that function's caller looks."""
    if interpreted.place is not None:                       # a capture puts everything back, and makes the write again
        return
    if type(t._a) is Fake and not without_data(t) and id(t) not in t._a.cell.tracer.saved:       # a real tensor may come back, as in self.total += x
        fail(TraceError, "P3009", f"{where} was set to a tensor that the traced function computed",
             got=brief(t._a), fix="write into a tensor that is there, as in self.buffer.copy_(value), or return the value")


def watch_view(st: Storage, view) -> None:
    """Remember a view, so that an in-place write to its family can give it its new history."""
    views = st.views
    if views is None:
        st.views = [ref(view)]
        return
    if len(views) > 32 and len(views) & (len(views) - 1) == 0:      # now and then, forget the dead
        st.views = views = [r for r in views if r() is not None]
    views.append(ref(view))
