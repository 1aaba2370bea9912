"""What nodes keep for backward: through the user's hooks, checked against in-place writes since.

In: tensors when an operation is recorded. Out: the same values when its backward runs, with their history, so that
double backward works. A node's `_saved` holds, per argument of the operator and then for its result, one of:

- the tensor itself (an input), with the version of its memory in `_versions`; a number or None as it is;
- `(array, storage)`: a result, kept without its history, which would lead back to the node;
- `Packed`: what a saved-tensor hook made of it.

`_versions` is None when all are 0; `_saved` is None once the graph was freed.
"""
from __future__ import annotations

from ..core.errors import at, call_back, describe, fail
from ..core.storage import Storage
from ..ops.dispatch import local
from ..ops.op import F
from .core import Node, Slots, wrap
from .fake import Geometry


class Packed:
    """A saved tensor that went through a user's hooks. `history`: None, the leaf it was, (node, output index), or the
    output index alone for a result of the saving node itself."""

    __slots__ = ("value", "unpack", "history")

    def __init__(self, t, hooks: tuple, history):
        hook, self.unpack = hooks
        self.history = history
        before = local.saved_hooks, local.grad
        local.saved_hooks, local.grad = (), False
        version = version_of(t)
        try:
            self.value = call_back(hook, t)
        finally:
            local.saved_hooks, local.grad = before
        if version_of(t) != version:
            fail(RuntimeError, "P312", "A saved tensor pack hook is modifying its input in place. Tensors provided as input to "
                 "pack hook can not be modified by in-place operations as this can lead to unexpected side-effects.",
                 got=describe(t), fix="return a new tensor from the pack hook")

    def open(self, n: Node):
        """The tensor, by the unpack hook, with the history of the one that was saved."""
        r = call_back(self.unpack, self.value)
        if not isinstance(r, Slots):
            raise TypeError("Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                            + type(r).__name__)
        h = self.history
        if h is None or r is h:
            return r
        if isinstance(h, Slots):              # a leaf: gradients of the unpacked value belong to it
            before, local.grad = local.grad, True
            try:
                fn, oi = F.alias(h)._fn, 0
            finally:
                local.grad = before
        else:
            fn, oi = (n, h) if type(h) is int else h
            if r._fn is fn and r._oi == oi:
                return r
        t = wrap(r._a)
        t._st = r._storage()
        t._rg, t._fn, t._oi = True, fn, oi
        return t


# ---------------------------------------------------------------------------------------------------- saving
def version_of(t) -> int:
    return t._st.version if isinstance(t, Slots) and t._st is not None else 0


def pack(t, hooks: tuple):
    """Save an input, through the user's hooks if there are any."""
    if isinstance(t, Slots):
        if t._x is not None and t._x.inference:
            fail(RuntimeError, "P304", "Inference tensors cannot be saved for backward. Please do not use Tensors created in "
                 "inference mode in computation tracked by autograd. To work around this, you can make a clone to get a normal "
                 "tensor and use it in autograd, or use `torch.no_grad()` instead of `torch.inference_mode()`.", got=describe(t))
        if hooks:
            return Packed(t, hooks[-1], None if not t._rg else t if t._fn is None else (t._fn, t._oi))
    return t


def pack_out(t, oi: int | None, hooks: tuple):
    """Save a result (output `oi`, None if it has no gradient) without a reference back to its node."""
    st = t._st
    if st is None:
        st = t._st = Storage(t._a)
    if hooks:
        alias = wrap(t._a)
        alias._st = st
        return Packed(alias, hooks[-1], oi)
    return t._a, st


# ---------------------------------------------------------------------------------------------------- reading
def unpack(n: Node, s, k: int, j: int | None = None):
    """The saved value at place `k` (item `j` of a list of tensors), checked against in-place writes."""
    if isinstance(s, Slots):
        v = n._versions[k] if n._versions else 0
        if j is not None and n._versions:
            v = v[j]
        st = s._st
        if st is not None and st.own + st.clock.count != v:
            stale(n, s, v, st.version)
        if s._x is not None and s._x.detached > n._seq:
            fail(RuntimeError, "P313", "Trying to use a saved tensor that has been detached in-place, i.e. with .detach_(). This is "
                 "not supported, please use out-of-place `.detach()` instead", got=describe(s))
        return s
    if type(s) is Packed:
        return s.open(n)
    return s


def unpack_out(n: Node, s, j: int | None, version: int = 0):
    """The saved result `j`, as an output of its node again."""
    if type(s) is Packed:
        return s.open(n)
    a, st = s
    t = wrap(a.settled() if isinstance(a, Geometry) else a)
    if st.own + st.clock.count != version:
        stale(n, t, version, st.version, j)
    t._st = st
    if j is not None:
        t._rg, t._fn, t._oi = True, n, j          # so that double backward reaches this node
    return t


def unpack_outs(n: Node, k: int):
    """The saved result, or all of them, at place `k`."""
    s = n._saved[k]
    v = n._versions[k] if n._versions else 0
    if type(s) is not list:
        return unpack_out(n, s, 0, v)
    return tuple([None if x is None else unpack_out(n, x, j, v[j]) for j, x in enumerate(s)])


# ---------------------------------------------------------------------------------------------------- errors
def _recorded(n: Node) -> str:
    return f"recorded at {at(n._x.where)}" if n._x is not None and n._x.where else ""


def freed(n: Node) -> None:
    where = _recorded(n)
    fail(RuntimeError, "P301", "Trying to backward through the graph a second time (or directly access saved tensors after "
         "they have already been freed). Saved intermediate values of the graph are freed when you call .backward() or "
         "autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or if you need "
         "to access saved tensors after calling backward.", got=f"the node {n.name()}" + (f", {where}" if where else ""),
         fix="pass retain_graph=True to the first backward(), or compute the loss again before the second")


def stale(n: Node, t, saved: int, now: int, out: int | None = None) -> None:
    fn, oi = (n, out) if out is not None else (t._fn, t._oi)
    which = f"which is output {oi} of {fn.name()}" if fn is not None else f"which is saved by {n.name()}"
    if fn is not None and fn is not n:
        which += f", saved by {n.name()}"
    where = _recorded(n)
    hint = f"It was {where}" if where else ("Hint: enable anomaly detection to find the operation that failed to compute its gradient, "
                                            "with torch.autograd.set_detect_anomaly(True)")
    fail(RuntimeError, "P302", "one of the variables needed for gradient computation has been modified by an inplace operation: "
         f"[{t.type()} {list(t._a.shape)}], {which}, is at version {now}; expected version {saved} instead. {hint}.",
         got=describe(t), fix="replace the in-place operation by its out-of-place form (x = x + 1), or clone() before it")


# ---------------------------------------------------------------------------------------------------- looking at nodes
class _SavedTensor(type):
    def __call__(cls, *args, **kwargs):
        raise RuntimeError("Trying to create a SavedTensor object from Python is forbidden")


class SavedTensor(metaclass=_SavedTensor):
    """One saved tensor of a node (`y.grad_fn._raw_saved_self`), to register hooks on it alone."""

    __slots__ = ("_node", "_place", "_item")

    def register_hooks(self, pack_hook, unpack_hook) -> None:
        """Keep `pack_hook(tensor)` instead of the tensor; backward gets `unpack_hook` of that.

        Raises RuntimeError if the value was freed, is None or has hooks already."""
        n, k, j = self._node, self._place, self._item
        if n._saved is None:
            freed(n)
        s = n._saved[k]
        if j is not None:
            s = s[j]
        if s is None:
            raise RuntimeError("Calling register_hooks on a saved tensor with value None is forbidden")
        if type(s) is Packed:
            raise RuntimeError("Calling register_hooks on a saved tensor whose hooks have already been set. "
                               "Hint: only one pair of hooks is allowed at a time.")
        hooks = (pack_hook, unpack_hook)
        if isinstance(s, Slots):
            alias = wrap(s._a)                # without history, as an in-place write would change that
            alias._st = s._storage()
            new = Packed(alias, hooks, None if not s._rg else s if s._fn is None else (s._fn, s._oi))
        elif type(s) is tuple:
            new = Packed(unpack_out(n, s, None, s[1].version), hooks, s[2] if len(s) > 2 else j or 0)
        else:
            raise RuntimeError("Calling register_hooks on a saved value that is no tensor is forbidden")
        if j is not None:
            items = list(n._saved[k])
            items[j] = new
            new = items if type(n._saved[k]) is list else tuple(items)
        n._saved = (*n._saved[:k], new, *n._saved[k + 1:])


def raw(n: Node, place: int, item: int | None = None) -> SavedTensor:
    s = object.__new__(SavedTensor)
    s._node, s._place, s._item = n, place, item
    return s


def _node_attribute(self: Node, name: str):
    """`_saved_x` and `_raw_saved_x`: what the node keeps of argument or attribute `x` (`self`: the first; `result`)."""
    prefix = "_raw_saved_" if name.startswith("_raw_saved_") else "_saved_"
    args = getattr(type(self), "_args", ())
    if name.startswith(prefix) and args:
        what, item = name[len(prefix):], None
        if what.startswith("result"):
            if what[6:].isdigit() and type(self)._nout > 1:
                item = int(what[6:])
            place = len(args)
        elif what == "self" or what in args:
            place = 0 if what == "self" else args.index(what)
        else:
            place = None
            if prefix == "_saved_" and self._attrs and what in self._attrs:
                return self._attrs[what]
        if place is not None:
            if self._saved is None:
                freed(self)
            s = self._saved[place] if place < len(self._saved) else None
            if prefix == "_raw_saved_":
                return tuple(raw(self, place, i) for i in range(len(s))) if type(s) is tuple and place < len(args) else raw(self, place, item)
            if place == len(args):
                return None if s is None else unpack_outs(self, place) if item is None else unpack_outs(self, place)[item]
            if type(s) is tuple:
                return tuple(unpack(self, x, place, i) for i, x in enumerate(s))
            return unpack(self, s, place)
    raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


Node.__getattr__ = _node_attribute
