"""In-place operators: the operator, then a write through the view chain, a version bump, and a new history.

`x.op_()` is `op` with its result written to `x`. If `x` is a view, the base's history becomes `view_scatter(base, new
value)`, and every living view of the family is given the history it would have if it were taken now.
"""
from __future__ import annotations

import numpy as np

from ..core import dtype as dt
from ..core.config import config
from ..core.errors import describe, fail
from ..ops.dispatch import local, state, watched
from ..ops.op import POINT, F, Op
from . import kernels
from .calls import FACTORS, factors_by_name
from .core import PLAIN, UNTRACKED, Invalid, Slots, Untracked, next_seq, node_extras, watch_view, wrap
from .devices import takes
from .eager import F32, F64, I64, check_apart, check_inference, check_internal_overlap, check_overlap, intercepted, record
from .fake import Geometry
from .overrides import overridden

SMALL = 1 << 31
_LENIENT = ("index_fill", "index_put", "masked_fill")      # to expanded tensors these may write, with a warning
_AMBIGUOUS = ("Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the "
              "view and the inplace either both inside the {0} block (if you don't want the inplace to be tracked) or both "
              "outside (if you want the inplace to be tracked).")
_WHY = {
    "no_grad": _AMBIGUOUS.format("no_grad"),
    "inference": _AMBIGUOUS.format("inference_mode"),
    "multi": "This view is the output of a function that returns multiple views. Such functions do not allow the output views to be "
             "modified inplace. You should replace the inplace operation by an out-of-place one.",
    "custom": "This view was created inside a custom Function (or because an input was returned as-is) and the autograd logic to "
              "handle view+inplace would override the custom backward associated with the custom Function, leading to incorrect "
              "gradients. This behavior is forbidden. You can fix this by cloning the output of the custom Function.",
}


def view_message(v, what: str) -> str:
    """Why the view `v` may not take part in an in-place write, where `what` happens to its family."""
    meta, fn = v._x.meta, v._fn
    if type(fn) in (Untracked, Invalid):
        fn = None
    origin = "" if fn is None else f"Output {v._oi} of {fn.name().removesuffix('0').removesuffix('Backward')} is a view"
    if meta in ("no_grad", "inference") or fn is None:
        start = origin + " of a view which was created in" if fn is not None else "A view was created in"
        mode, rest = ("inference", "in normal mode") if meta == "inference" else ("no_grad", "with grad mode enabled")
        return f"{start} {mode} mode and {what} modified inplace {rest}. {_WHY[meta]}"
    return f"{origin} and {what} modified inplace. {_WHY[meta]}"


def check_writable(t) -> None:
    """Refuse what PyTorch refuses: leaves that require grad, views of them, ambiguous views. Assumes that the write is recorded."""
    x = t._x
    base = x.base if x is not None else None
    if base is not None:
        if x.meta:
            fail(RuntimeError, "P322", view_message(t, "is being"), got=describe(t), fix="clone() the view before writing to it")
        if base._fn is None and (base._rg or t._rg):
            fail(RuntimeError, "P321", "a view of a leaf Variable that requires grad is being used in an in-place operation.",
                 got=describe(t), fix="wrap the update in `with pellucid.no_grad():`, or work on a clone()")
    if t._rg and t._fn is None:
        fail(RuntimeError, "P320", "a leaf Variable that requires grad is being used in an in-place operation.", got=describe(t),
             fix="wrap the update in `with pellucid.no_grad():`, or work on a clone()")


def write(t, value, name: str) -> None:
    """Put the values of `value` (a recorded result) into `t` and give `t` its history."""
    a, v = t._a, value._a
    if isinstance(v, Geometry):
        a = v.target(t)
    if v.shape != a.shape:
        fail(RuntimeError, "P324", f"output with shape {list(a.shape)} doesn't match the broadcast shape {list(v.shape)}",
             got=f"{name} on {describe(t)}", fix="an in-place operation cannot enlarge its tensor: use the out-of-place form")
    if v.dtype is not a.dtype and not dt.can_cast(dt.of(v.dtype), dt.of(a.dtype)):
        fail(RuntimeError, "P213", f"result type {dt.of(v.dtype).type_name} can't be cast to the desired output type "
             f"{dt.of(a.dtype).type_name}", got=f"{name} on {describe(t)}",
             fix=f"use the out-of-place form, or convert with .to({dt.of(v.dtype)}) first")
    x = t._x
    recorded = local.grad and (value._rg or t._rg or x is not None and x.base is not None and x.base._rg)
    if recorded:
        check_writable(t)
    elif t._fn is UNTRACKED:
        invalidate(t)
    if state.slow and local.before_write is not None:
        local.before_write(t)
    put(a, v, t)
    t._bump()
    if recorded:
        rebase(t, value if value._a.dtype is a.dtype else F.convert(value, dt.of(a.dtype)))


def put(a: np.ndarray, v: np.ndarray, t) -> None:
    """Put the values of `v` into `a`, the array of `t`."""
    if not a.flags.writeable:
        fail(RuntimeError, "P325", "the tensor's memory is read-only (it came from a read-only NumPy array or a mapped file)",
             fix="clone() it before writing")
    if isinstance(a, Geometry):
        a.write(v, t)
    elif a.size > 1 and 0 in a.strides:         # several elements in one place: only those that change are written
        np.copyto(a, v, casting="unsafe", where=(a != v) & ~((a != a) & (v != v)))
    else:
        np.copyto(a, v, casting="unsafe")


def rebase(t, value) -> None:
    """`t` now holds `value`: move histories accordingly."""
    x = t._x
    base = x.base if x is not None else None
    if base is None and value._rg and value._fn is not None:
        set_history(t, value._fn, value._oi)
        steal_saved_output(t, value)
        regenerate(t)
        return
    base, chain = (t, ()) if base is None else (base, x.chain)
    probe = _probe(base)
    record(F.view_scatter.op, (base, value), {"chain": chain}, (probe,))
    set_history(base, probe._fn, 0)
    regenerate(base)


def set_history(t, fn, oi: int) -> None:
    """Make `t` output `oi` of `fn`. A retained gradient is that of the tensor's latest value; hooks stay where they were."""
    x = t._x
    if x is not None and x.retains and t._fn is not None:
        weak = t._fn._x.retain.pop(t._oi, None)
        if weak is not None:
            extras = node_extras(fn)
            extras.retain = {**(extras.retain or {}), oi: weak}
    new = not t._rg or t._fn is None
    t._fn, t._oi, t._rg = fn, oi, True
    if new:
        state.moves += 1


def steal_saved_output(t, value) -> None:
    """A rule that keeps its result keeps the memory of `t`, not that of the value copied into it."""
    fn = value._fn
    if not fn._saved:
        return
    last = fn._saved[-1]
    if type(last) is tuple and last and last[0] is value._a:
        versions = fn._versions or (0,) * len(fn._saved)
        fn._saved = (*fn._saved[:-1], (t._a, t._storage()))
        fn._versions = (*versions[:-1], t._st.version)


def _probe(base):
    """Something that looks like `base` and can be given a history."""
    t = object.__new__(Slots)
    t._a, t._rg, t._fn, t._oi, t._grad, t._st, t._x = base._a, False, None, 0, None, None, None
    return t


def living_views(base) -> list:
    """The views of `base` that somebody still holds."""
    st = base._st
    if st is None or not st.views:
        return []
    found = [(r, r()) for r in st.views]
    st.views = [r for r, v in found if v is not None]
    return [v for _, v in found if v is not None and v._x is not None and v._x.base is base]


def invalidate(v) -> None:
    """The view `v` cannot follow the write to its base: whoever uses its history is told so."""
    v._fn, v._oi, v._rg = Invalid(view_message(v, "its base or another view of its base has been")), 0, True
    state.moves += 1


def regenerate(base) -> None:
    """Give every living view of `base` the history of a view taken now."""
    for v in living_views(base):
        if v._x.meta:
            invalidate(v)
            continue
        cur = base
        for op, attrs in v._x.chain:
            probe = _probe(cur)
            probe._a = op.ref(cur._a, **attrs)
            record(op, (cur,), attrs, (probe,))
            cur = probe
        set_history(v, cur._fn, cur._oi)


def keep_overwritten(fn, t) -> None:
    """A rule that needs the tensor about to be overwritten keeps a copy of its old value instead."""
    saved = fn._saved
    if not saved or not any(s is t for s in saved):
        return
    old = copy_of(t)
    if fn._versions:
        fn._versions = tuple(0 if s is t else v for s, v in zip(saved, fn._versions))
    fn._saved = tuple(old if s is t else s for s in saved)


def copy_of(t):
    """The value of `t` with its history, safe from writes to `t`."""
    old = wrap(t._a.duplicate() if isinstance(t._a, Geometry) else t._a.copy(order="K"))
    old._rg, old._fn, old._oi = t._rg, t._fn, t._oi
    return old


def unwatched(x) -> bool:
    """Whether a tensor's extras say nothing that an in-place write must heed."""
    return x is None or not x.inference and (x.base is None or not x.base._rg)


def fits(small: tuple, large: tuple) -> bool:
    """Whether a tensor of shape `small` broadcasts into one of shape `large`."""
    n = len(large) - len(small)
    return n >= 0 and all([a == 1 or a == b for a, b in zip(small, large[n:])])


def overwrite(op: Op, t, args: tuple, kwargs: dict, least: int) -> bool:
    """`t` = op(t) by a kernel that writes to the memory it reads, for an elementwise operator of one operand and `least` elements or
    more. False, and nothing done, where there is no such kernel, or views, hooks and the like need more care."""
    x, fn = t._a, t._fn
    if x.size < least or type(t) not in PLAIN or isinstance(x, Geometry) or (x.dtype is not F32 and x.dtype is not F64):
        return False
    if t._x is not None or not x.flags.writeable or not config.kernels:
        return False
    if type(fn) in (Untracked, Invalid) or t._st is not None and t._st.views or watched() or local.before_write is not None:
        return False
    recorded = bool(local.grad and t._rg and op.plan)
    if recorded and fn is None:
        return False
    try:
        canon = op.front(t, *args, **kwargs)
    except TypeError:                   # the general way words it
        return False
    if len(canon) == 3 or len(canon[0]) != 1:
        return False
    attrs = canon[1]
    keeps = recorded and "input" in op.saves and not op.of_result
    old = copy_of(t) if keeps else wrap(x)
    if kernels.point(op, [x], attrs, x) is None:
        return False
    t._bump()
    if recorded:
        if not keeps:
            old._st, old._rg, old._fn, old._oi = t._st, True, fn, t._oi
        new = _probe(t)
        new._st = t._st
        record(op, (old,), attrs, (new,))
        set_history(t, new._fn, new._oi)
    return True


_NUMBERS = frozenset((F32, F64, I64))


def assigned(name: str, t, args: tuple) -> bool:
    """`t.zero_()`, `t.fill_(number)` or `t.copy_(tensor)` where nothing needs care. False: nothing was done."""
    x = t._a
    if not x.flags.writeable or not unwatched(t._x) or t._fn is not None:
        return False
    if len(args) != (name != "zero"):
        return False
    if name == "zero":
        x.fill(0)
        return True
    value, d = args[0], x.dtype
    if name == "fill":
        if not ((type(value) is float or type(value) is int and -SMALL < value < SMALL) and (d is F32 or d is F64)
                or d is I64 and type(value) is int and -SMALL < value < SMALL):
            return False
        x.fill(value)
        return True
    if type(value) not in PLAIN or value._rg and local.grad or 0 in x.strides or t._st is not None and t._st is value._st:
        return False
    y = value._a
    if y.dtype is not d and not (y.dtype in _NUMBERS and d in _NUMBERS) or y.shape != x.shape and not fits(y.shape, x.shape):
        return False
    np.copyto(x, y, casting="unsafe")
    return True


def make_inplace(op: Op, entry):
    """The method `op_` of an operator with an in-place form."""
    name = op.public + "_"
    single = op.kind is POINT and op.front is not None and len(op.args) == 1 and op.nout == 1 and op.cast is None
    least = max(kernels.general_least(op), 1) if single else 0
    ufunc = op.ref if op.kind is POINT and isinstance(op.ref, np.ufunc) and op.name in ("add", "sub", "mul", "div") else None

    scales = op.name in ("add", "sub")          # alpha * other

    refuse = getattr(op.front, "refuse_inplace", None)     # what an operator forbids only in place

    grows = op.name == "addbmm"                 # the one whose tensor may become as large as the result, in PyTorch, too
    indexed = op.name.startswith(("index_", "scatter"))
    factored = op.name in FACTORS
    assigns = op.name if op.name in ("fill", "zero", "copy") else None
    uniform = op.name in ("fill", "zero")       # every element gets the same value: written twice, it is the same
    warned = name if op.name in _LENIENT else ""
    pointwise = op.kind is POINT

    def inplace(self, *args, **kwargs):
        if state.slow:
            r = slow_call_inplace(op, self, args, kwargs)
            if r is not NotImplemented:
                return r
            observer = state.observer
            if observer is not None and not local.stack:
                return observer.inplace(name, written, (self, *args), kwargs)
        elif ufunc is not None and len(args) == 1 and type(self) in PLAIN and not (self._rg and (local.grad or self._fn is not None)):
            x, other = self._a, args[0]
            d, factor = x.dtype, None
            if kwargs:
                factor = kwargs.get("alpha") if scales and len(kwargs) == 1 else None
                if type(factor) is not float and type(factor) is not int:
                    return written(self, *args, **kwargs)
            if (d is F32 or d is F64) and 0 not in x.strides and x.flags.writeable and unwatched(self._x):
                ty = type(other)
                if ty in PLAIN and not (other._rg and local.grad) and other._a.dtype is d \
                        and (self._st is None or self._st is not other._st or other is self):
                    y = other._a
                    same = y.shape == x.shape
                    if same or fits(y.shape, x.shape):
                        if factor is None or not (same and config.kernels and kernels.add_scaled(op, x, y, float(factor))):
                            ufunc(x, y if factor is None else F.mul(other, factor)._a, x)
                        self._bump()
                        return self
                if ty is float and factor is None:
                    ufunc(x, other, x)
                    self._bump()
                    return self
            elif d is I64 and type(other) is int and -SMALL < other < SMALL and op.name != "div" and x.flags.writeable \
                    and 0 not in x.strides and factor is None and unwatched(self._x):       # a counter
                ufunc(x, other, x)
                self._bump()
                return self
        elif assigns is not None and not kwargs and type(self) in PLAIN and not (self._rg and (local.grad or self._fn is not None)) \
                and assigned(assigns, self, args):
            self._bump()
            return self
        return written(self, *args, **kwargs)

    def written(self, *args, **kwargs):
        if factored and len(args) > 1:
            mended = factors_by_name(op, name, (self, *args), kwargs)
            if mended is not None:
                (_, *args), kwargs = mended
        if not uniform:
            check_internal_overlap(self, warned)
        if indexed:
            check_apart(self, args)
        check_inference(self)
        if refuse is not None:
            refuse(self)
        if pointwise and args:
            check_overlap(self, args)
        if single and overwrite(op, self, args, kwargs, least):
            return self
        if local.saved_hooks and local.grad:  # pack hooks get the value that is about to be overwritten
            value = entry(copy_of(self), *args, **kwargs)
        else:
            value = entry(self, *args, **kwargs)
            if value._fn is not None and value is not self:
                keep_overwritten(value._fn, self)
        if grows and value._a.shape != self._a.shape:
            self.resize_(value._a.shape)
        write(self, value, name)
        return self

    inplace.__name__ = inplace.__qualname__ = name
    inplace.__doc__ = f"In-place form of `{op.public}`: writes the result to `self` and returns it."
    inplace.__wrapped__ = op.body if op.front is None else op.front
    return inplace


def slow_call_inplace(op: Op, self, args: tuple, kwargs: dict):
    """Overrides see the in-place call as the operator followed by a write to its first argument. A tracer, which sees
    everything, needs no call of its own."""
    everything = local.stack and local.stack[-1].stays or takes(op, (self, *args), kwargs)
    if everything and not overridden((self, *args)):
        return NotImplemented
    r = intercepted(op, (self, *args), kwargs)
    if r is NotImplemented:
        return r
    if isinstance(r, Slots):
        if r.is_sparse and not self.is_sparse:
            r = r.to_dense()
        write(self, r, op.public + "_")
    return self


def hide_base(t, view) -> None:
    """`t`, which has living views, becomes a view itself, of a hidden tensor with its old geometry and history."""
    views = [v for v in living_views(t) if v is not view]
    if not views:
        return
    root = wrap(t._a)
    root._st, root._rg, root._fn, root._oi = t._storage(), t._rg, t._fn, t._oi
    for v in views:
        v._x.base = root
        if v._x.meta and t._rg and local.grad:
            invalidate(v)
    x = t._extras()
    x.base, x.chain = root, view._x.chain
    watch_view(root._st, t)


def detach_(self):
    """Cut the tensor's history, in place."""
    if self._x is not None and self._x.base is not None:
        fail(RuntimeError, "P327", "Can't detach views in-place. Use detach() instead.", got=describe(self))
    if self._fn is not None:
        self._storage()
        self._extras().detached = next_seq()
    self._fn, self._rg, self._oi = None, False, 0
    state.moves += 1
    return self


def make_relabel(op: Op, entry):
    """The method `op_` of a view operator: the tensor itself gets the view's shape, strides and history."""
    if not op.grads:
        return detach_
    name = op.public + "_"

    def relabel(self, *args, **kwargs):
        check_inference(self)
        if local.grad and self._rg:
            check_writable(self)
        x, leaf = self._x, self.is_leaf
        before, local.grad = local.grad, True           # the history must follow the geometry in any mode
        try:
            view = entry(self, *args, **kwargs)
        finally:
            local.grad = before
        if view is self:
            return self
        if x is None or x.base is None:
            hide_base(self, view)
        else:
            x.chain = view._x.chain
        if state.slow and local.before_write is not None:
            local.before_write(self)
        self._storage()
        self._a = view._a
        if not leaf:
            set_history(self, view._fn, view._oi)
        state.moves += 1
        self._bump()
        return self

    relabel.__name__ = relabel.__qualname__ = name
    relabel.__doc__ = f"`{op.public}` on the tensor itself: its shape, strides and history become the view's."
    return relabel
