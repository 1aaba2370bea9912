"""The eager interpreter: runs an operator's reference on the tensors' arrays and records it for backward.

In: operators in canonical form. Out: Tensors. `general` takes any call of an operator with a front; the functions that
users call, with short paths for the shapes of call that matter for speed, are made in `entries.py`.

True always: operands are promoted once, before the reference sees them; float16/bfloat16 are computed in float32 and
rounded at the operator's boundary; `state.slow == 0` means no mode, subclass or interpreter needs a look.
"""
from __future__ import annotations

import numbers
import warnings

import numpy as np

from ..core import dtype as dt
from ..core.config import config
from ..core.errors import PACKAGE, describe, fail, message, user_location
from ..core.late import late
from ..core.spec import Spec
from ..core.storage import ARRAYS
from ..ops.canonical import number_as
from ..ops.dispatch import call_top, local, state
from ..ops.op import BITWISE, FLOAT, NONE, POINT, VIEW, F, Op
from . import autocast, devices, kernels
from .calls import understand, wrap_hint
from .core import PLAIN, UNTRACKED, Extras, Slots, _Types, new, next_seq, node_extras, watch_view, wrap
from .fake import Geometry
from .overrides import override
from .rules import TYPES, node_type

ndarray, asarray = np.ndarray, np.asarray
F32, F64, I64, B1 = (np.dtype(t) for t in (np.float32, np.float64, np.int64, np.bool_))
LOW = frozenset(d.np for d in dt.LOW_PRECISION)
Tensor: type = Slots            # set by set_tensor_type
_NUMBERS = frozenset((int, float, bool, complex))
_DIFFERENTIABLE = frozenset(d.np for d in dt.ALL if d.category >= dt.FLOAT)
_ALIASES = {"axis": "dim", "keepdims": "keepdim", "x1": "input", "x2": "other", "x": "input"}
ALIASED = frozenset(_ALIASES)


def set_tensor_type(cls: type) -> None:
    """Called once, by entries.py."""
    global Tensor
    Tensor = _Types.tensor = cls
    PLAIN.add(cls)


def register_plain_class(cls: type) -> type:
    """Tell the fast path that `cls`, a subclass of Tensor, changes no operator's behaviour."""
    PLAIN.add(cls)
    return cls


# ---------------------------------------------------------------------------------------------------- promotion
def promote(op: Op, tensors: tuple) -> tuple:
    """Operands with one dtype. Numbers become arrays of that dtype (weak: they never raise the dtype's category order)."""
    first = None
    for t in tensors:                         # the common case: float tensors of one dtype, with numbers
        if isinstance(t, Slots):
            d = t._a.dtype
            if first is None:
                first = d
            elif d is not first:
                break
        elif t is not None and type(t) is not float and type(t) is not int:
            break
    else:
        if first is F32 or first is F64:
            return tuple([float(t) if type(t) is int else t for t in tensors])
    dims, zeros, nums = [], [], []
    for t in tensors:
        if isinstance(t, Slots):
            a = t._a
            (dims if a.ndim else zeros).append(dt.of(a.dtype))
        elif t is not None:
            nums.append(dt.of_number(t))
    common = dt.result_type_of(dims, zeros, nums)
    kind = op.promote
    if kind is FLOAT and common.category < dt.FLOAT:
        common = dt.get_default_dtype()
    elif kind is BITWISE and common.category >= dt.FLOAT:
        fail(RuntimeError, "P210", f'"{op.public}" not implemented for \'{common.type_name}\'',
             got=describe(*tensors), fix="convert to an integer or bool dtype first")
    npd = common.np
    out = []
    for t in tensors:
        if isinstance(t, Slots):
            out.append(t if t._a.dtype == npd else F.convert(t, common))
        elif t is None or (type(t) is float and common.is_floating_point) or (type(t) is bool and common is dt.bool_):
            out.append(t)
        else:
            out.append(number_as(t, common))
    return tuple(out)


# ---------------------------------------------------------------------------------------------------- computing
def compute(op: Op, flat: tuple, attrs: dict):
    """The reference on the arrays of `flat`, low precision through float32. Returns an array or a tuple of arrays."""
    arrays = [t._a if isinstance(t, Slots) else t for t in flat]
    if config.kernels:
        size = 0
        for a in arrays:
            if type(a) is ndarray and a.size > size:
                size = a.size
        if size >= kernels.least(op) and size:
            r = kernels.run(op, arrays, attrs)
            if r is not None:
                return r
    low = None
    if op.low:
        for i, a in enumerate(arrays):
            if type(a) is ndarray and a.dtype is not F32 and a.dtype in LOW:
                low = a.dtype
                arrays[i] = a.astype(F32)
    try:
        r = op.ref(*arrays, **attrs)
    except MemoryError:
        raise
    except Exception as error:
        raise explain(op, flat, attrs, error) from None
    if low is not None:
        if type(r) is tuple:
            return tuple(x.astype(low) if x.dtype == F32 else x for x in r)
        if r.dtype == F32:
            return r.astype(low)
    return r


def explain(op: Op, flat: tuple, attrs: dict, error: Exception) -> Exception:
    """The user-facing error for a reference that failed: the shape rule's own, or the original with its operands."""
    if op.infer is not None:
        try:
            op.infer(*[spec_of(t) for t in flat], **attrs)
        except Exception as better:
            return better
    raw = type(error).__module__.startswith("numpy") or str(error).startswith("ufunc ")      # NumPy's words, not ours
    if isinstance(error, TypeError) and raw:
        kinds = {t._a.dtype for t in flat if isinstance(t, Slots)}
        return NotImplementedError(message("P210", f'"{op.public}" not implemented for {" and ".join(repr(dt.of(k).type_name) for k in kinds)}',
                                           got=describe(*flat), fix="convert to a dtype that the operation is defined for, with .to(...)"))
    if isinstance(error, (RuntimeError, IndexError, TypeError)) and not raw:
        return error
    return RuntimeError(message("P299", f"{op.public}: {error}", got=describe(*flat)))


def spec_of(t):
    """The Spec of a tensor; other values as they are."""
    if isinstance(t, Slots):
        a = t._a
        size = a.itemsize
        return Spec(a.shape, dt.of(a.dtype), tuple(s // size for s in a.strides))
    if type(t) is ndarray:
        return Spec(t.shape, dt.of(t.dtype))
    return t


def apply(op: Op, flat: tuple, attrs: dict):
    """Run a canonical call: promote, compute, wrap, record. Returns a Tensor or a tuple of Tensors."""
    if state.slow and state.meta is not None and devices.any_without(flat):
        return state.meta.apply(op, flat, attrs)
    if op.promote is not NONE:
        flat = promote(op, flat)
    if op.body is not None and not op.plan and local.grad and op.grads and any(isinstance(t, Slots) and t._rg for t in flat):
        return op.body(*flat, **attrs)        # no rule of its own: the derivative is that of its parts
    if op.ref is None:                        # a composite with its own derivative: its parts are not recorded
        before = local.grad
        local.grad = False
        try:
            r = op.body(*flat, **attrs)
        finally:
            local.grad = before
        outs = r if type(r) is tuple else (r,)
        outs = tuple(wrap(t._a) for t in outs)
    else:
        r = compute(op, flat, attrs)
        if op.kind is VIEW:
            return view_result(op, flat[0], flat, attrs, r)
        outs = tuple([wrap(a) for a in r]) if type(r) is tuple else (wrap(r),)
    if op.plan:
        for t in flat:
            if isinstance(t, Slots) and t._rg:
                if local.grad:
                    record(op, flat, attrs, outs)
                break
    if state.slow and local.inference:
        for t in outs:
            t._extras().inference = True
    return outs if type(r) is tuple else outs[0]


def view_result(op: Op, source, flat: tuple, attrs: dict, a: ndarray):
    """Wrap a view: it shares storage with `source` and knows how its base becomes it."""
    t = new(Tensor)
    t._a = a if type(a) in ARRAYS else asarray(a)
    t._rg = False
    t._fn = t._grad = t._x = None
    t._oi = 0
    t._st = st = source._st or source._storage()
    sx = source._x
    if sx is not None and sx.inference:       # autograd follows no views of inference tensors
        t._extras().inference = True
        return t
    if not op.grads:                          # detach: shares memory and version, but is no view for autograd
        return t
    t._x = x = Extras()
    if sx is not None and sx.base is not None:
        x.base, x.chain = sx.base, sx.chain + ((op, attrs),)
        if sx.meta:
            x.meta = sx.meta
    else:
        x.base, x.chain = source, ((op, attrs),)
    if local.grad:
        if op.refuse:
            x.meta = op.refuse
        if source._rg:
            record(op, flat, attrs, (t,))
    else:
        x.meta = "inference" if local.inference else "no_grad"
        if source._rg:
            t._fn, t._rg = UNTRACKED, True
    watch_view(st, t)
    return t


def record(op: Op, flat: tuple, attrs: dict, outs: tuple) -> None:
    """Make the node of a call whose inputs want gradients, and hang it on the outputs."""
    dtypes = _DIFFERENTIABLE
    if len(outs) == 1:
        if outs[0]._a.dtype not in dtypes:
            return
    elif not any([t._a.dtype in dtypes for t in outs]):
        return
    cls = TYPES.get(op) or node_type(op)
    if cls._record is not None and not state.slow and len(flat) == len(op.args):
        return cls._record(cls, flat, attrs, outs[0])
    n = new(cls)
    edges, idx, shapes = [], None, []
    for i, t in enumerate(flat):
        if isinstance(t, Slots):
            shapes.append(t._a.shape)
            if t._rg:
                edges.append(t if t._fn is None else t._fn)
                if t._oi:
                    idx = idx or [0] * len(flat)
                    idx[i] = t._oi
                continue
        else:
            shapes.append(None)
        edges.append(None)
    n._edges, n._idx, n._shapes = tuple(edges), idx, shapes
    n._attrs = attrs
    n._seq = next_seq()
    n._x = None
    cls._save(n, flat, outs)
    if len(outs) == 1:
        t = outs[0]
        t._fn, t._oi, t._rg = n, 0, True
    else:
        for i, t in enumerate(outs):
            if t._a.dtype in dtypes:
                t._fn, t._oi, t._rg = n, i, True
        node_extras(n).out_specs = [(t._a.shape, t._a.dtype) for t in outs]
    if state.slow:
        if local.anomaly:
            remember_where(n)
        if local.stack and local.stack[-1].stays:
            local.stack[-1].recorded(n)


def remember_where(n) -> None:
    """In anomaly mode: the user's line, the way there, and the node whose backward made this one."""
    x = node_extras(n)
    import traceback                # here, because only anomaly mode has a use for it
    x.where, x.parent = user_location(), local.node
    stack = [f for f in traceback.extract_stack() if not f.filename.startswith(PACKAGE)]
    x.metadata = {**(x.metadata or {}), "traceback_": traceback.format_list(stack)}


# ---------------------------------------------------------------------------------------------------- entries
def rename(kwargs: dict, op: Op) -> dict:
    """NumPy spellings of keyword arguments that PyTorch accepts too."""
    names = op.signature.parameters
    return {(_ALIASES.get(k, k) if k not in names else k): v for k, v in kwargs.items()}


def slow_call(op: Op, args: tuple, kwargs: dict):
    """The path for modes, subclasses, interpreters and observers. Returns NotImplemented when nothing special applies."""
    r = intercepted(op, args, kwargs)
    if r is NotImplemented:
        observer = state.observer
        if observer is not None:
            return observer.operator(op.public if op.ns else op.name, unobserved, op, args, kwargs)
    return r


def intercepted(op: Op, args: tuple, kwargs: dict):
    """What modes, subclasses and interpreters make of a call; NotImplemented if there are none."""
    if not local.in_override:
        r = override(op, args, kwargs)
        if r is not NotImplemented:
            return r
    if local.autocast is not None and (op.cast == "low" or op.cast == "high"):
        return autocast.call(local.autocast, op, args, kwargs)
    if local.device is not None:
        return devices.on_default(op, args, kwargs)
    r = devices.take(op, args, kwargs)
    if r is not NotImplemented:
        return r
    if local.stack:
        return call_top(op, args, kwargs)
    return NotImplemented


def unobserved(op: Op, args: tuple, kwargs: dict):
    """A call with nobody left to ask."""
    return interpreted(op, args, kwargs, apply)


def general(op: Op, args: tuple, kwargs: dict):
    """Any call of an operator with a front."""
    if state.slow:
        r = slow_call(op, args, kwargs)
        if r is not NotImplemented:
            return r
    return perform(op, args, kwargs, apply)


def perform(op: Op, args: tuple, kwargs: dict, run):
    """A call with the user's arguments: `run(op, tensors, attributes)` on its canonical form, then into `out=` if given."""
    out = None
    if kwargs:
        if "out" in kwargs:
            kwargs = dict(kwargs)
            out = kwargs.pop("out")
        if not ALIASED.isdisjoint(kwargs):
            kwargs = rename(kwargs, op)
    try:
        canon = op.front(*args, **kwargs)
    except (TypeError, AttributeError) as error:
        args, kwargs = understand(op, args, kwargs, error)
        canon = op.front(*args, **kwargs)
    if len(canon) == 3:                       # the front hands the call over to another operator
        name, args, kwargs = canon
        entry = getattr(F, name)
        op, r = entry.op, entry(*args, **kwargs)
    else:
        flat, attrs = canon
        check_operands(op, flat)
        if out is not None and op.kind is POINT:
            check_overlap(out, flat)
        r = run(op, flat, attrs)
    return r if out is None else write_out(op, r, out)


def check_overlap(out, operands: tuple) -> None:
    """Refuse to write elementwise results where an element would be written twice, or before another one reads it."""
    if not isinstance(out, Slots) or out._st is None:
        return
    a = out._a
    for t in operands:
        if isinstance(t, Slots) and t._st is out._st and t._a is not a:
            b = t._a
            if not (a.flags.forc and b.flags.forc):        # with gaps, PyTorch does not look
                continue
            if (a.strides != b.strides or a.shape != b.shape or a.__array_interface__["data"] != b.__array_interface__["data"]) \
                    and np.shares_memory(a, b):
                fail(RuntimeError, "P204", "unsupported operation: some elements of the input tensor and the written-to tensor refer to "
                     "a single memory location. Please clone() the tensor before performing the operation.", got=describe(out, t))


def check_apart(out, operands) -> None:
    """Refuse to write at indices where an operand lies in the memory that is written to."""
    a = out._a
    for t in operands:
        if isinstance(t, (tuple, list)):
            check_apart(out, t)
        elif isinstance(t, Slots) and (t is out or t._st is not None and t._st is out._st) and a.size and t._a.size:
            b = t._a
            if a.flags.forc and b.flags.forc and np.may_share_memory(a, b):
                fail(RuntimeError, "P204", "unsupported operation: some elements of the input tensor and the written-to tensor refer to "
                     "a single memory location. Please clone() the tensor before performing the operation.", got=describe(out, t))


def check_internal_overlap(t, only_warn: str = "") -> None:
    """Refuse to write to an expanded tensor; the operator `only_warn` warns of it."""
    a = t._a
    if a.size > 1 and 0 in a.strides:
        for n, s in zip(a.shape, a.strides):
            if n > 1 and s == 0:
                if only_warn:
                    return warnings.warn(f"Use of {only_warn} on expanded tensors is deprecated. Please clone() the tensor before performing "
                                         "this operation. This also applies to advanced indexing e.g. tensor[indices] = tensor", stacklevel=4)
                fail(RuntimeError, "P323", "unsupported operation: more than one element of the written-to tensor refers to a "
                     "single memory location. Please clone() the tensor before performing the operation.", got=describe(t),
                     fix="clone() the expanded tensor first")


def interpreted(op: Op, args: tuple, kwargs: dict, run):
    """Any call as an interpreter sees it: `perform`, or a composite's body, whose parts come back to the interpreter."""
    if op.front is not None:
        return perform(op, args, kwargs, run)
    out = None
    if kwargs:
        if "out" in kwargs and "out" in op.forms:
            kwargs = dict(kwargs)
            out = kwargs.pop("out")
            if isinstance(out, Slots) and makes_anew(op):
                kwargs["dtype"] = dtype_for(out, kwargs.get("dtype"))
        if not ALIASED.isdisjoint(kwargs):
            kwargs = rename(kwargs, op)
    try:
        r = op.body(*args, **kwargs)
    except (TypeError, AttributeError) as error:
        args, kwargs = understand(op, args, kwargs, error)
        r = op.body(*args, **kwargs)
    if out is None:
        return r
    if makes_anew(op) and "end" in op.signature.parameters and r.numel() == out.numel():       # a range: in the shape of `out`
        r = F.reshape(r, out.shape)
    return write_out(op, r, out)


def makes_anew(op: Op) -> bool:
    """Whether an operator makes a tensor from nothing, which `out=` gives its dtype."""
    names = op.signature.parameters
    return "dtype" in names and "input" not in names


def dtype_for(out, asked) -> dt.dtype:
    """The dtype of `out`, in which what goes there is computed; `asked`, if given, must be the same."""
    if asked is not None and dt.as_dtype(asked) is not out.dtype:
        fail(RuntimeError, "P2904", f"dtype {dt.as_dtype(asked).type_name} does not match dtype of out parameter ({out.dtype})",
             got=describe(out), fix="leave dtype= out, or give an out of that dtype")
    return out.dtype


_C_NAMES = {"Float": "float", "Double": "double", "Long": "long int", "Int": "int", "Short": "short int", "Char": "signed char",
            "Byte": "unsigned char", "Bool": "bool", "Half": "c10::Half", "BFloat16": "c10::BFloat16"}


def check_inference(t) -> None:
    """Refuse to write to an inference tensor outside inference mode."""
    if t._x is not None and t._x.inference and not local.inference:
        fail(RuntimeError, "P326", "Inplace update to inference tensor outside InferenceMode is not allowed. You can make a "
             "clone to get a normal tensor before doing inplace update.", got=describe(t),
             fix="clone() it, or make it under no_grad() instead of inference_mode()")


def write_out(op: Op, r, out, part: str = ""):
    """Store a result into the tensor(s) the user gave as `out=`, resizing as PyTorch does. Returns `out`."""
    if isinstance(r, tuple):
        if not isinstance(out, (tuple, list)):
            raise TypeError(f"{op.public}(): argument 'out' must be tuple of Tensors, not {type(out).__name__}")
        for x, o, name in zip(r, out, getattr(r, "_names", ("",) * len(r))):
            write_out(op, x, o, name)
        return out
    if isinstance(out, (tuple, list)) and len(out) == 1:
        out = out[0]
    if not isinstance(out, Slots):
        fail(TypeError, "P212", f"{op.public}(): argument 'out' must be Tensor, not {type(out).__name__}",
             fix="give a tensor that the result is written to")
    if local.grad and (r._rg or out._rg):
        fail(RuntimeError, "P305", f"{op.public}(): functions with out=... arguments don't support automatic differentiation, "
             "but one of the arguments requires grad.", fix="leave out=, or call it inside `with pellucid.no_grad():`")
    check_inference(out)
    if state.slow and local.before_write is not None:
        local.before_write(out)
    a, o = r._a, out._a
    if isinstance(a, Geometry):
        o = a.target(out)
    if op.exact_out and a.dtype != o.dtype:
        want, have = dt.of(a.dtype), dt.of(o.dtype)
        fail(RuntimeError, "P780", op.exact_out.format(want=_C_NAMES.get(want.type_name, want.type_name),
                                                       have=_C_NAMES.get(have.type_name, have.type_name),
                                                       Want=want.type_name, Have=have.type_name, part=part),
             fix=f"make `out` of dtype {want}")
    if not dt.can_cast(dt.of(a.dtype), dt.of(o.dtype)):
        fail(RuntimeError, "P213", f"result type {dt.of(a.dtype).type_name} can't be cast to the desired output type "
             f"{dt.of(o.dtype).type_name}", fix=f"make `out` of dtype {dt.of(a.dtype)}")
    if a.shape != o.shape:
        if o.size:
            warnings.warn(f"An output with one or more elements was resized since it had shape {list(o.shape)}, which does "
                          f"not match the required output shape {list(a.shape)}. This behavior is deprecated, and in a "
                          "future PyTorch release outputs will not be resized unless they have zero elements. You can "
                          "explicitly reuse an out tensor t by resizing it, inplace, to zero elements with t.resize_(0).",
                          stacklevel=4)
        o = out._a = a.duplicate() if isinstance(o, Geometry) else np.empty(a.shape, o.dtype)
        out._st = None
        state.moves += 1
    else:
        check_internal_overlap(out)
    if isinstance(o, Geometry):
        o.write(a, out)
    else:
        np.copyto(out._a, a, casting="unsafe")
    out._bump()
    return out


def check_operands(op: Op, flat: tuple) -> None:
    """Every operand is a Tensor, a number or None; NumPy scalars count as numbers."""
    for i, t in enumerate(flat):
        if isinstance(t, Slots) or t is None or type(t) in _NUMBERS:
            continue
        if isinstance(t, (np.generic, numbers.Number)) or (type(t) is ndarray and t.ndim == 0):
            continue
        name = op.args[min(i, len(op.args) - 1)].lstrip("*") if op.args else "input"
        fail(TypeError, "P211", f"{op.public}(): argument '{name}' (position {i + 1}) must be Tensor, not {type(t).__name__}",
             fix=wrap_hint(t))


late.apply = apply
