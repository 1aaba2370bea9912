"""The functions that users call, made from operators: `make_entry(op)`.

In: an `Op`. Out: its entry point, which fills the late slot `entry`. The shapes of call that matter for speed (elementwise on
plain float tensors, views, plain operands that need no conversion) have a short path of their own; everything else takes
`eager.general`. True always: a short path computes and records what the general one would.
"""
from __future__ import annotations

import numbers

import numpy as np

from ..core.config import config
from ..core.device import on_meta
from ..core.late import late
from ..core.storage import Storage
from ..ops.dispatch import local, state
from ..ops.op import COMPARE, COMPOSITE, FLOAT, NONE, POINT, SAME, VIEW, F, Op
from . import eager, kernels
from .calls import understand
from .core import PLAIN, Slots, new, next_seq, wrap
from .eager import (ALIASED, B1, F32, F64, I64, apply, asarray, check_operands, explain, general, interpreted, ndarray, record, rename,
                    slow_call, view_result)
from .interop import from_numpy
from .rules import node_type

Tensor: type = Slots            # set by tensor.py
_COMMON = frozenset((F32, F64, I64, B1))
MOST_I64 = (1 << 63) - 1


def set_tensor_type(cls: type) -> None:
    """Called once by tensor.py."""
    global Tensor
    Tensor = cls
    eager.set_tensor_type(cls)


def primitive_entry(op: Op):
    """Any operator with a front. Plain tensors of the usual dtypes that need no conversion are computed here; the rest is `general`."""
    front, ref, none = op.front, op.ref, op.promote is NONE
    parts = op.body is not None and not op.plan         # a derivative there is only of its parts
    # What it gives for the array of a plain tensor that wants no gradient, or for the arrays of a list of such tensors, and the other
    # arguments; or None.
    of_array, of_arrays = getattr(front, "of_array", None), getattr(front, "of_arrays", None)
    if ref is None or op.kind is VIEW:
        def entry(*args, **kwargs):
            return general(op, args, kwargs)
        return entry
    plan, least, run_kernel = op.plan, kernels.least(op), kernels.run

    def entry(*args, **kwargs):
        if state.slow or kwargs and ("out" in kwargs or not ALIASED.isdisjoint(kwargs)):
            return general(op, args, kwargs)
        if of_arrays is not None and not kwargs and args and type(args[0]) in (list, tuple):
            arrays = [t._a for t in args[0] if type(t) in PLAIN and not t._rg]
            if len(arrays) == len(args[0]):
                a = of_arrays(arrays, *args[1:])
                if a is not None:
                    return wrap(a)
        elif of_array is not None and not kwargs and args and type(args[0]) in PLAIN and not args[0]._rg:
            a = of_array(args[0]._a, *args[1:])
            if a is not None:
                return wrap(a)
        try:
            canon = front(*args, **kwargs)
        except (TypeError, AttributeError) as error:
            args, kwargs = understand(op, args, kwargs, error)
            return entry(*args, **kwargs)
        if len(canon) == 3:                   # the front hands the call over to another operator
            name, args, kwargs = canon
            return getattr(F, name)(*args, **kwargs)
        flat, attrs = canon
        if not flat:
            try:
                return wrap(ref(**attrs))
            except MemoryError:
                raise
            except Exception as error:
                raise explain(op, flat, attrs, error) from None
        given = flat
        arrays, first, size, rg = [], None, 0, False
        for t in flat:
            if type(t) in PLAIN:
                a = t._a
                d = a.dtype
                if d is not first:
                    if first is None and d in _COMMON or none and d in _COMMON:
                        first = d
                    else:
                        break
                if a.size > size:
                    size = a.size
                if t._rg:
                    rg = True
                arrays.append(a)
            elif t is None or type(t) is float:
                arrays.append(t)
            elif type(t) is int:
                arrays.append(t if none else float(t))
                flat = (*flat[:len(arrays) - 1], arrays[-1], *flat[len(arrays):])
            else:
                break
        else:
            r = None
            if parts and rg and local.grad:
                pass
            elif none or first is F32 or first is F64:
                if size >= least and size and config.kernels:
                    r = run_kernel(op, arrays, attrs)
                if r is None:
                    try:
                        r = ref(*arrays, **attrs)
                    except MemoryError:
                        raise
                    except Exception as error:
                        raise explain(op, flat, attrs, error) from None
                if type(r) is tuple:
                    made = []
                    for a in r:                             # as `wrap` does
                        t = new(Tensor)
                        t._a = a if type(a) is ndarray else asarray(a)
                        t._rg = False
                        t._fn = t._grad = t._st = t._x = None
                        t._oi = 0
                        made.append(t)
                    outs = tuple(made)
                    if rg and plan and local.grad:
                        record(op, flat, attrs, outs)
                    return outs
                t = new(Tensor)
                t._a = r if type(r) is ndarray else asarray(r)
                t._rg = False
                t._fn = t._grad = t._st = t._x = None
                t._oi = 0
                if rg and plan and local.grad:
                    record(op, flat, attrs, (t,))
                return t
        check_operands(op, given)
        return apply(op, given, attrs)          # integers are still integers
    return entry


def view_entry(op: Op):
    """A view: no promotion, no rounding, straight to the index map."""
    front, ref = op.front, op.ref

    def entry(*args, **kwargs):
        if state.slow or kwargs and ("out" in kwargs or not ALIASED.isdisjoint(kwargs)):
            return general(op, args, kwargs)
        try:
            canon = front(*args, **kwargs)
        except (TypeError, AttributeError) as error:
            args, kwargs = understand(op, args, kwargs, error)
            return entry(*args, **kwargs)
        if len(canon) == 3:
            name, args, kwargs = canon
            return getattr(F, name)(*args, **kwargs)
        flat, attrs = canon
        source = flat[0]
        if type(source) not in PLAIN:
            check_operands(op, flat)
            return apply(op, flat, attrs)
        try:
            a = ref(source._a, **attrs)
        except Exception as error:
            raise explain(op, flat, attrs, error) from None
        return view_result(op, source, flat, attrs, a)

    def canonical(source, **attrs):
        """The view by attributes that the front would give: they are right."""
        if state.slow or type(source) not in PLAIN:
            return entry(source, **attrs)
        return view_result(op, source, (source,), attrs, ref(source._a, **attrs))

    entry.canonical = canonical
    return entry


def composite_entry(op: Op):
    """A function of other operators. `of_plain` on it: what it gives for the arrays of plain tensors that want no gradient, if nothing else
    is given; or None."""
    body, of_plain = op.body, getattr(op.body, "of_plain", None)
    tensors = of_plain.__code__.co_argcount if of_plain is not None else -1

    def entry(*args, **kwargs):
        if len(args) == tensors and not kwargs and not state.slow:
            for t in args:
                if type(t) not in PLAIN or t._rg:
                    break
            else:
                a = of_plain(*[t._a for t in args])
                if a is not None:
                    return wrap(a)
        if state.slow or kwargs and "device" in kwargs and on_meta(kwargs["device"]):
            r = slow_call(op, args, kwargs)
            if r is not NotImplemented:
                return r
        if kwargs:
            if "out" in kwargs and "out" in op.forms:
                return interpreted(op, args, kwargs, apply)
            if not ALIASED.isdisjoint(kwargs):
                kwargs = rename(kwargs, op)
        try:
            return body(*args, **kwargs)
        except (TypeError, AttributeError) as error:
            args, kwargs = understand(op, args, kwargs, error)
            return entry(*args, **kwargs)
    return entry


def again(op: Op, args: tuple):
    """A call that failed on a short path, by the general one: it words the error."""
    try:
        return general(op, args, {})
    except Exception as error:
        raise error from None


def unary_entry(op: Op):
    """Elementwise on one plain float tensor: reference, wrap, record."""
    ref = op.ref
    saves_in, saves_out = "input" in op.saves, "out" in op.saves
    simple = not (saves_in and saves_out)
    cls = None
    least, wait = kernels.flat_least(op, F32), kernels.general_least(op)
    f32 = f64 = None

    def use32(call):
        nonlocal f32
        f32 = call

    def use64(call):
        nonlocal f64
        f64 = call
    kernels.form(op, F32, ("array",), use32), kernels.form(op, F64, ("array",), use64)

    def entry(input, **kwargs):
        nonlocal cls
        if state.slow or kwargs or type(input) not in PLAIN:
            return general(op, (input,), kwargs)
        x = input._a
        d = x.dtype
        if d is F32:
            r = f32(x) if x.size >= least else None
        elif d is F64:
            r = f64(x) if x.size >= least else None
        else:
            return general(op, (input,), kwargs)
        if r is None:
            if x.size >= wait:
                return general(op, (input,), kwargs)
            try:
                r = ref(x)
            except TypeError:
                return again(op, (input,))
        t = new(Tensor)
        t._a = r if type(r) is ndarray else asarray(r)
        t._fn = t._grad = t._st = t._x = None
        t._oi = 0
        if input._rg and local.grad and simple and op.plan:
            if cls is None:
                cls = node_type(op)
            n = new(cls)
            fn = input._fn
            n._edges = (input,) if fn is None else (fn,)
            n._idx = (input._oi,) if input._oi else None
            n._versions = n._shapes = n._attrs = n._x = None
            if saves_in:
                n._saved = (input,)
                st = input._st
                if st is not None:
                    n._versions = (st.own + st.clock.count,)
            elif saves_out:
                t._st = st = Storage(t._a)
                n._saved = (None, (t._a, st))
            else:
                n._saved = ()
            n._seq = next_seq()
            t._fn = n
            t._rg = True
        else:
            t._rg = False
            if input._rg and local.grad and op.plan:
                record(op, (input,), {}, (t,))
        return t
    return entry


def binary_entry(op: Op, *, reverse: bool = False, dunder: bool = False):
    """Elementwise on two plain operands of one dtype (or a float tensor and a number)."""
    ref = op.ref
    cls = None
    first, second = op.args
    rules = dict((name, params) for name, _, params in op.plan)
    # which operands each rule keeps: (of the first operand's rule, of the second's)
    keep = tuple(tuple(a in rules.get(name, ()) for a in op.args) for name in op.args)
    simple = all(set(p) <= {"g", *op.args} for p in rules.values()) and op.plan and not callable(op.vjp)
    grads = op.grads and bool(op.plan)
    numbers = getattr(op.front, "numbers", True)
    ints = op.promote is not FLOAT and getattr(op.front, "ints", True)
    bools = op.promote is not FLOAT and getattr(op.front, "bools", False)
    whole = getattr(op.front, "whole", False)
    least, wait, large = kernels.flat_least(op, F32), kernels.general_least(op), kernels.flat_least(op, I64)
    f32 = f64 = n32 = n64 = None

    def use32(call):
        nonlocal f32
        f32 = call

    def use64(call):
        nonlocal f64
        f64 = call

    def use_n32(call):
        nonlocal n32
        n32 = call

    def use_n64(call):
        nonlocal n64
        n64 = call
    two, number = ("array", "array"), ("number", "array") if reverse else ("array", "number")
    kernels.form(op, F32, two, use32), kernels.form(op, F64, two, use64)
    kernels.form(op, F32, number, use_n32), kernels.form(op, F64, number, use_n64)

    def entry(input, other, third=None, **kwargs):
        nonlocal cls
        if state.slow or kwargs or type(input) not in PLAIN or third is not None:
            if dunder and not acceptable(other):
                return NotImplemented
            if third is not None:               # add(x, 0.5, y), or an error in the front's words
                return general(op, (input, other, third), kwargs)
            return general(op, (other, input) if reverse else (input, other), kwargs)
        x = input._a
        d = x.dtype
        ty = type(other)
        r = None
        if ty in PLAIN:
            y = other._a
            if y.dtype is not d:
                return general(op, (other, input) if reverse else (input, other), kwargs)
            rg = (input._rg or other._rg) and grads and local.grad
            if rg and not simple:
                return general(op, (other, input) if reverse else (input, other), kwargs)
            if d is F32:
                if x.size >= least:
                    r = f32(y, x) if reverse else f32(x, y)
            elif d is F64:
                if x.size >= least:
                    r = f64(y, x) if reverse else f64(x, y)
            elif not (d is I64 and ints or d is B1 and bools):
                return general(op, (other, input) if reverse else (input, other), kwargs)
        elif whole and ty is int and d is I64 and -MOST_I64 <= other <= MOST_I64:
            y, rg = asarray(other, I64), False
        elif numbers and (ty is float or ty is int) and (d is F32 or d is F64):
            y = other if ty is float else float(other)
            rg = input._rg and grads and local.grad
            if rg and not simple:
                return general(op, (other, input) if reverse else (input, other), kwargs)
            if x.size >= least:
                call = n32 if d is F32 else n64
                r = call(y, x) if reverse else call(x, y)
        else:
            if dunder and not acceptable(other):
                return NotImplemented
            return general(op, (other, input) if reverse else (input, other), kwargs)
        if r is None:
            if x.size >= wait and (d is F32 or d is F64 or x.size >= large):
                return general(op, (other, input) if reverse else (input, other), kwargs)
            try:
                r = ref(y, x) if reverse else ref(x, y)
            except (ValueError, TypeError):
                return again(op, (other, input) if reverse else (input, other))
        t = new(Tensor)
        t._a = r if type(r) is ndarray else asarray(r)
        t._fn = t._grad = t._st = t._x = None
        t._oi = 0
        if rg:
            if reverse:
                input, other, x, y = other, input, y, x
            if cls is None:
                cls = node_type(op)
            n = new(cls)
            n._attrs = n._x = n._idx = n._versions = n._shapes = None
            e1 = e2 = None
            s1 = s2 = None
            v1 = v2 = 0
            # each operand: its edge if it wants a gradient, and whether the other's rule needs its value
            if type(input) in PLAIN:
                if input._rg:
                    e1 = input._fn
                    if e1 is None:
                        e1 = input
                    elif input._oi:
                        n._idx = (input._oi, 0)
            if type(other) in PLAIN:
                if other._rg:
                    e2 = other._fn
                    if e2 is None:
                        e2 = other
                    elif other._oi:
                        n._idx = (n._idx[0] if n._idx else 0, other._oi)
                if type(input) in PLAIN:
                    xs = x.shape
                    if xs != y.shape:
                        n._shapes = (xs, y.shape)
            k1, k2 = keep
            if (e1 is not None and k1[0]) or (e2 is not None and k2[0]):
                s1 = input
                if type(s1) in PLAIN and s1._st is not None:
                    v1 = s1._st.own + s1._st.clock.count
            if (e1 is not None and k1[1]) or (e2 is not None and k2[1]):
                s2 = other
                if type(s2) in PLAIN and s2._st is not None:
                    v2 = s2._st.own + s2._st.clock.count
            n._edges = (e1, e2)
            n._saved = () if s1 is None and s2 is None else (s1, s2)
            if v1 or v2:
                n._versions = (v1, v2)
            n._seq = next_seq()
            t._fn = n
            t._rg = True
        else:
            t._rg = False
        return t
    return entry


def acceptable(x) -> bool:
    """Whether a Python operator may take `x` as its other operand."""
    return isinstance(x, (Slots, numbers.Number, np.generic)) or hasattr(type(x), "__torch_function__")


def operator_entry(op: Op, entry, *, reverse: bool = False):
    """The function behind a Python operator such as `x + y` (or `y + x` with `reverse`): NotImplemented for strangers."""
    if op.name in ("eq", "ne"):
        return equality_entry(op)
    if fast(op):
        return binary_entry(op, reverse=reverse, dunder=True)

    def operator(self, other):
        if not acceptable(other):
            return NotImplemented
        return entry(other, self) if reverse else entry(self, other)
    return operator


def equality_entry(op: Op):
    """`x == y` and `x != y`: these two take NumPy's arrays as well, which would compare themselves with the tensor as an object."""
    compare = binary_entry(op, dunder=True)

    def operator(self, other):
        return compare(self, from_numpy(other) if isinstance(other, ndarray) else other)
    return operator


def fast(op: Op) -> bool:
    """Whether plain float operands may skip the front: it says so by an attribute `plain`, or is one of op.py's own."""
    return (op.kind is POINT and op.promote in (SAME, FLOAT, COMPARE) and len(op.args) in (1, 2)
            and (getattr(op.front, "plain", False) or op.front.__name__ in ("_unary_front", "_binary_front"))
            and (len(op.args) == 2 or op.args == ("input",) and all(set(p) <= {"g", "input", "out"} for _, _, p in op.plan)))


def make_entry(op: Op):
    """The function users call for `op`."""
    if op.kind is COMPOSITE and op.front is None:
        entry = composite_entry(op)
    elif fast(op):
        entry = unary_entry(op) if len(op.args) == 1 else binary_entry(op)
    elif op.kind is VIEW and op.promote is NONE and op.ref is not None and op.body is None:
        entry = view_entry(op)
    else:
        entry = primitive_entry(op)
    entry.__name__ = entry.__qualname__ = op.public
    entry.__doc__ = op.doc
    entry.__module__ = f"pellucid.{op.ns[0]}" if op.ns and op.ns[0] else "pellucid"
    entry.__wrapped__ = op.body if op.front is None else op.front
    entry.op = op
    return entry


late.entry = make_entry
