"""Operators that make tensors, copy them or change their dtype: full, empty, arange, linspace, eye, clone, to, ..."""
from __future__ import annotations

import functools
import math

from ..core import pool
from ..core.config import config
from ..core.device import check, on_meta
from ..core.late import late
from ..core.layout import channels_last, contiguous_format, empty_in, preserve_format, sparse_coo, strided
from ._common import Spec, as_int, as_ints, as_size, broadcast_shapes, describe, dt, fail, is_tensor, np, sizes_from
from .op import EXTERN, F, composite, primitive


def dtype_or_default(d):
    return dt.get_default_dtype() if d is None else dt.as_dtype(d)


def finish(t, requires_grad):
    """Apply a factory function's `requires_grad`."""
    return t.requires_grad_() if requires_grad else t


def dense_order(x) -> tuple[int, ...] | None:
    """The dimensions of a dense non-overlapping tensor from slowest to fastest; None if it has gaps or overlaps."""
    shape, strides = tuple(x.shape), tuple(x.stride())
    order = sorted(range(len(shape)), key=lambda d: (-strides[d], d) if shape[d] != 1 else (-strides[d] - 0.5, d))
    expect = 1
    for d in reversed(order):
        if shape[d] != 1 and strides[d] != expect:
            return None
        expect *= shape[d]
    return tuple(order)


# ---------------------------------------------------------------------------------------------------- filled memory
def unset(d):
    """What memory holds that nobody has written to: anything (None) or, under `use_deterministic_algorithms`, NaN or the largest integer."""
    if not (config.deterministic and config.fill_uninitialized):
        return None
    return True if d is dt.bool_ else np.iinfo(d.np).max if d.category < dt.FLOAT else complex(np.nan, np.nan) if d.category == dt.COMPLEX else np.nan


def full_ref(*, shape, value, dtype, fmt):
    if fmt is contiguous_format or fmt is preserve_format:
        if value == 0 and type(value) is not complex:
            return pool.zeros(shape, dtype.np)
        a = pool.empty(shape, dtype.np)
    elif isinstance(fmt, tuple):
        a = np.empty([shape[d] for d in fmt], dtype.np).transpose([fmt.index(d) for d in range(len(shape))])
    else:
        a = empty_in(shape, dtype.np, fmt)
    if value is not None:
        a.fill(value)
    return a


@primitive(EXTERN, args="", name="filled", forms="", ref=full_ref, infer=lambda *, shape, value, dtype, fmt: Spec(shape, dtype),
           low=False, lower=lambda b, i, load, *, shape, value, dtype, fmt: b.const(0 if value is None else value, dtype),
           samples=lambda m: [(((2, 3), 1.5, dt.float32), {}), (((0, 2), 0, dt.int64), {}), (((), 1, dt.bool_), {})])
def filled(shape, value, dtype, fmt=contiguous_format):
    """Dense memory of `shape`, filled with `value` (None: left as it is), in a memory format or an order of dimensions."""
    return (), {"shape": shape, "value": value, "dtype": dtype, "fmt": fmt}


def _filled(name, value, shape, dtype, device, layout, requires_grad, memory_format, out=None):
    check(device)
    if layout is sparse_coo and not value:
        return finish(late.sparse().nothing(tuple(shape), len(shape), dtype_or_default(dtype)), requires_grad)
    if layout is not None and layout is not strided:
        fail(RuntimeError, "P035", f"{name}(): layout {layout!r} is not available", fix="use layout=strided")
    if memory_format is preserve_format:
        raise RuntimeError("memory format option is only supported by strided tensors" if layout else
                           f"{name}(): preserve_format has no tensor to preserve the format of; pass contiguous_format")
    d = dtype_or_default(dtype)
    return finish(F.filled(shape, unset(d) if value is None else value, d, memory_format or contiguous_format), requires_grad)


def _shape(size, kw, name):
    return as_size(sizes_from(size if kw is None else (kw,), name), name)


_FACTORY = dict(forms="function out")
_SHAPES = lambda m: [((2, 3), {}), (((0, 2),), {}), ((), {"size": (4,), "dtype": dt.int64})]  # noqa: E731


@composite(samples=_SHAPES, **_FACTORY)
def zeros(*args, size=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False, names=None,
          memory_format=None):
    """A tensor of zeros of the given size."""
    return _filled("zeros", 0, _shape(args, size, "zeros"), dtype, device, layout, requires_grad, memory_format)


@composite(samples=_SHAPES, **_FACTORY)
def ones(*args, size=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False, names=None,
         memory_format=None):
    """A tensor of ones of the given size."""
    return _filled("ones", 1, _shape(args, size, "ones"), dtype, device, layout, requires_grad, memory_format)


@composite(samples=_SHAPES, **_FACTORY)
def empty(*args, size=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False, names=None,
          memory_format=None):
    """Uninitialised memory of the given size."""
    return _filled("empty", None, _shape(args, size, "empty"), dtype, device, layout, requires_grad, memory_format)


@composite(samples=lambda m: [(((2, 3), 7), {}), (((0,), 1.5), {}), (((), True), {})], **_FACTORY)
def full(size, fill_value, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False, names=None):
    """A tensor of the given size filled with a number; its dtype is the number's unless given."""
    if is_tensor(fill_value):
        dtype = dtype or fill_value.dtype
        fill_value = fill_value.item()
    d = dt.as_dtype(dtype) if dtype is not None else dt.of_number(fill_value)
    return _filled("full", _number_for(fill_value, d), as_size(size, "full"), d, device, layout, requires_grad, None)


def _number_for(x, d):
    """`x` as `d` would hold it; PyTorch's error if it cannot."""
    if isinstance(x, complex) and d.category != dt.COMPLEX:
        if x.imag:
            fail(RuntimeError, "P216", f"value cannot be converted to type {d.type_name} without overflow", got=repr(x),
                 fix="choose a dtype that can hold the value")
        x = x.real
    if d.category == dt.INT and not isinstance(x, bool):
        if isinstance(x, float) and not math.isfinite(x):
            fail(RuntimeError, "P216", f"value cannot be converted to type {d.type_name} without overflow", got=repr(x),
                 fix="choose a dtype that can hold the value")
        x = int(x)
        info = np.iinfo(d.np)
        if not info.min <= x <= info.max:
            if x < 0 and d.is_signed is False and x >= -int(info.max) - 1:
                return x % (int(info.max) + 1)
            fail(RuntimeError, "P216", f"value cannot be converted to type {d.type_name} without overflow", got=repr(x),
                 fix="choose a dtype that can hold the value")
    elif d.category == dt.BOOL:
        x = bool(x)
    return x


def _like(input, value, dtype, device, requires_grad, memory_format):
    check(device)
    d = input.dtype if dtype is None else dt.as_dtype(dtype)
    fmt = memory_format or preserve_format
    if fmt is preserve_format:
        fmt = contiguous_format if input.is_contiguous() else dense_order(input) or contiguous_format
    return finish(F.filled(tuple(input.shape), unset(d) if value is None else _number_for(value, d), d, fmt), requires_grad)


_LIKE = lambda m: [((m.t(2, 3),), {}), ((m.t(0, 2),), {"dtype": dt.int64}), ((m.i(4),), {})]  # noqa: E731


@composite(batch="like", samples=_LIKE)
def zeros_like(input, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False, memory_format=None):
    """Zeros of `input`'s shape, dtype and order of dimensions."""
    if layout is not None and layout is not strided:
        return F.zeros(tuple(input.shape), dtype=dtype or input.dtype, layout=layout, device=device, requires_grad=requires_grad)
    return _like(input, 0, dtype, device, requires_grad, memory_format)


zeros_like.of_plain = lambda a: pool.zeros(a.shape, a.dtype) if a.flags.c_contiguous else None


@composite(batch="like", samples=_LIKE)
def ones_like(input, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False, memory_format=None):
    """Ones of `input`'s shape, dtype and order of dimensions."""
    return _like(input, 1, dtype, device, requires_grad, memory_format)


ones_like.of_plain = lambda a: np.ones(a.shape, a.dtype) if a.flags.c_contiguous else None


@composite(batch="like", samples=_LIKE)
def empty_like(input, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False, memory_format=None):
    """Uninitialised memory of `input`'s shape, dtype and order of dimensions."""
    if layout is not None and layout is not strided:
        return F.zeros(tuple(input.shape), dtype=dtype or input.dtype, layout=layout, device=device, requires_grad=requires_grad)
    return _like(input, None, dtype, device, requires_grad, memory_format)


@composite(batch="like", samples=lambda m: [((m.t(2, 3), 2), {}), ((m.i(0),), {"fill_value": 1.7}), ((m.t(3), True), {"dtype": dt.bool_})])
def full_like(input, fill_value, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False,
              memory_format=None):
    """`fill_value` in `input`'s shape and dtype."""
    if is_tensor(fill_value):
        fill_value = fill_value.item()
    return _like(input, fill_value, dtype, device, requires_grad, memory_format)


_NEW = lambda m: [((m.t(2, 3), 2, 3), {}), ((m.i(2), (0, 2)), {}), ((m.t(0), 4), {"dtype": dt.int64})]  # noqa: E731


def _new_kw(input, dtype):
    return input.dtype if dtype is None else dtype


@composite(batch="like", forms="method", samples=_NEW)
def new_zeros(input, *args, size=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """Zeros of the given size, in this tensor's dtype."""
    return _filled("new_zeros", 0, _shape(args, size, "new_zeros"), _new_kw(input, dtype), device, layout, requires_grad, None)


@composite(batch="like", forms="method", samples=_NEW)
def new_ones(input, *args, size=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """Ones of the given size, in this tensor's dtype."""
    return _filled("new_ones", 1, _shape(args, size, "new_ones"), _new_kw(input, dtype), device, layout, requires_grad, None)


@composite(batch="like", forms="method", samples=_NEW)
def new_empty(input, *args, size=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """Uninitialised memory of the given size, in this tensor's dtype."""
    return _filled("new_empty", None, _shape(args, size, "new_empty"), _new_kw(input, dtype), device, layout, requires_grad, None)


@composite(batch="like", forms="method", samples=lambda m: [((m.t(2, 3), (2, 3), 1.5), {}), ((m.i(2), (0, 2), 3), {}), ((m.t(0), (4,), True), {"dtype": dt.bool_})])
def new_full(input, size, fill_value, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """`fill_value` in the given size and this tensor's dtype."""
    d = dt.as_dtype(_new_kw(input, dtype))
    return _filled("new_full", _number_for(fill_value, d), as_size(size, "new_full"), d, device, layout, requires_grad, None)


def strided_memory(size, stride, d):
    n = 1 + sum((s - 1) * t for s, t in zip(size, stride)) if all(size) else 0
    return F.as_strided(F.filled((n,), unset(d), d), size, stride, 0)


@composite(samples=lambda m: [(((2, 3), (1, 2)), {}), (((0,), (1,)), {}), (((2, 2), (4, 2)), {"dtype": dt.int64})], **_FACTORY)
def empty_strided(size, stride, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """Uninitialised memory with given sizes and strides."""
    check(device)
    size, stride = as_size(size), as_ints(stride)
    if len(size) != len(stride):
        fail(RuntimeError, "P231", f"dimensionality of sizes ({len(size)}) must match dimensionality of strides ({len(stride)})",
             fix="one stride per size")
    return finish(strided_memory(size, stride, dtype_or_default(dtype)), requires_grad)


@composite(batch="like", forms="method", samples=lambda m: [((m.t(2), (2, 3), (1, 2)), {}), ((m.i(2), (0,), (1,)), {}), ((m.t(0), (2, 2), (4, 2)), {})])
def new_empty_strided(input, size, stride, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """Uninitialised memory with given sizes and strides, in this tensor's dtype."""
    return F.empty_strided(size, stride, dtype=_new_kw(input, dtype), device=device, requires_grad=requires_grad)


@composite(samples=lambda m: [(((2, 3), (1, 0)), {}), (((0, 2), (0, 1)), {}), (((2, 3, 4), (0, 2, 1)), {"dtype": dt.int64})], **_FACTORY)
def empty_permuted(size, physical_layout, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """Uninitialised dense memory whose dimensions lie in the order `physical_layout`, slowest first."""
    check(device)
    order = as_ints(physical_layout)
    if sorted(order) != list(range(len(size))):
        fail(RuntimeError, "P217", f"Duplicate or missing dim in physical_layout {list(order)} for size {list(size)}")
    d = dtype_or_default(dtype)
    return finish(F.filled(as_size(size), unset(d), d, order), requires_grad)


# ---------------------------------------------------------------------------------------------------- sequences
def _range_dtype(dtype, *numbers):
    if dtype is not None:
        return dt.as_dtype(dtype)
    return dt.get_default_dtype() if any(isinstance(x, float) for x in numbers) else dt.int64


def arange_ref(*, start, end, step, count, dtype):
    if dtype.category == dt.INT and isinstance(start, int) and isinstance(step, int):
        return (start + np.arange(count, dtype=np.int64) * step).astype(dtype.np)
    return (start + np.arange(count, dtype=np.float64) * step).astype(dtype.np)


def arange_lower(b, i, load, *, start, end, step, count, dtype):
    at = b.value(i[0])
    if not (dtype.category == dt.INT and isinstance(start, int) and isinstance(step, int)):
        at = b.cast(at, dt.float64)
    return b.cast(b.add(b.mul(at, step), b.const(start, at)), dtype)


@primitive(EXTERN, args="", ref=arange_ref, lower=arange_lower, low=False, forms="",
           infer=lambda *, start, end, step, count, dtype: Spec((count,), dtype),
           samples=lambda m: [((0, 5, 1, 5, dt.int64), {}), ((1.0, 2.0, 0.5, 2, dt.float32), {}), ((0, 0, 1, 0, dt.int64), {})])
def range_values(start, end, step, count, dtype):
    """`count` numbers from `start`, `step` apart."""
    return (), {"start": start, "end": end, "step": step, "count": count, "dtype": dtype}


def _check_range(fn, start, end, step):
    if step == 0:
        fail(RuntimeError, "P218", "step must be nonzero",
             got=f"{fn}({start}, {end}, {step})", fix="give a step in the direction from start to end")
    if not (math.isfinite(start) and math.isfinite(end)):
        fail(RuntimeError, "P218", f"unsupported range: {start} -> {end}", fix="the ends must be finite")
    if (step > 0 and end < start) or (step < 0 and end > start):
        fail(RuntimeError, "P218", "upper bound and lower bound inconsistent with step sign", got=f"{fn}({start}, {end}, {step})",
             fix="give a step in the direction from start to end")


@composite(samples=lambda m: [((5,), {}), ((1, 2.5, 0.5), {}), ((3, 3), {}), ((), {"start": 0, "end": 10, "step": 3})],
           **_FACTORY)
def arange(*args, start=None, end=None, step=None, dtype=None, layout=None, device=None, pin_memory=False,
           requires_grad=False):
    """Numbers from `start` (0) up to but not including `end`, `step` (1) apart. int64 unless a float is given."""
    check(device)
    values = [v.item() if is_tensor(v) else v for v in args]
    if len(values) == 1 and end is None:
        end = values[0]
    elif len(values) == 1:
        start = values[0]
    elif values:
        start, end = values[0], values[1]
        step = values[2] if len(values) > 2 else step
    start, step = 0 if start is None else start, 1 if step is None else step
    start, end, step = (v.item() if is_tensor(v) else v for v in (start, end, step))
    d = _range_dtype(dtype, start, end, step)
    if d.category == dt.INT:                    # PyTorch cuts the bounds to integers first
        start, end, step = int(start), int(end), int(step)
    _check_range("arange", start, end, step)
    count = max(0, -((start - end) // step) if isinstance(step, int) and isinstance(start, int) and isinstance(end, int)
                else math.ceil((end - start) / step))
    return finish(F.range_values(start, end, step, int(count), d), requires_grad)


def linspace_lower(b, i, load, *, start, end, steps, dtype):
    if steps == 1:
        return b.cast(b.const(start, dt.float64 if isinstance(start, float) else dt.int64), dtype)
    real = dt.float32 if dtype is dt.float32 else dt.float64
    step = b.const(float((end - start) / (steps - 1)) if steps > 1 else 0.0, real)
    up = b.add(b.const(start, real), b.mul(step, b.cast(b.value(i[0]), real)))
    down = b.sub(b.const(end, real), b.mul(step, b.cast(b.value(b.isub(steps - 1, i[0])), real)))
    if dtype.category == dt.INT:
        up, down = b.trunc(up), b.trunc(down)
    return b.cast(b.select(b.ilt(i[0], steps // 2), up, down), dtype)


def linspace_ref(*, start, end, steps, dtype):
    if steps == 1:
        return np.array([start]).astype(dtype.np)
    wide = np.complex128 if dtype.category == dt.COMPLEX else np.float64
    i = np.arange(steps)
    step = (end - start) / (steps - 1) if steps > 1 else 0
    if dtype.category == dt.INT:
        step = float(step)
        return np.where(i < steps // 2, np.trunc(start + step * i), np.trunc(end - step * (steps - 1 - i))).astype(dtype.np)
    if dtype in (dt.float32, dt.complex64):             # PyTorch steps in the result's own precision, from both ends
        s = dtype.np.type(step)
        half = steps // 2
        a, b = dtype.np.type(start), dtype.np.type(end)
        return np.where(i < half, a + s * i.astype(dtype.np), b - s * (steps - 1 - i).astype(dtype.np)).astype(dtype.np)
    return np.where(i < steps // 2, start + step * i.astype(wide), end - step * (steps - 1 - i).astype(wide)).astype(dtype.np)


@primitive(EXTERN, args="", ref=linspace_ref, low=False, forms="",
           infer=lambda *, start, end, steps, dtype: Spec((steps,), dtype), lower=linspace_lower,
           samples=lambda m: [((0, 1, 5, dt.float32), {}), ((-2.0, 3.0, 4, dt.float64), {}), ((1, 2, 0, dt.int64), {})])
def linspace_values(start, end, steps, dtype):
    """`steps` evenly spaced numbers."""
    return (), {"start": start, "end": end, "steps": steps, "dtype": dtype}


@composite(samples=lambda m: [((0, 1, 5), {}), ((-2.0, 3.0, 4), {}), ((1, 2, 0), {})], **_FACTORY)
def linspace(start, end, steps, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """`steps` numbers evenly spaced from `start` to `end`, both included."""
    check(device)
    start, end = (v.item() if is_tensor(v) else v for v in (start, end))
    return finish(F.linspace_values(*_spaced("linspace", start, end, steps, dtype)), requires_grad)


def _spaced(fn, start, end, steps, dtype, *others):
    """(start, end, steps, dtype) of `linspace` and `logspace`, checked; `others`: further numbers that may make it complex."""
    steps = as_int(steps, fn, "steps")
    if steps < 0:
        fail(RuntimeError, "P218", f"number of steps must be non-negative, got {steps}",
             fix="steps counts the numbers made: 0 or more")
    d = dtype_or_default(dtype)
    if any(isinstance(v, complex) for v in (start, end, *others)):
        if dtype is None:
            d = d.to_complex()
        elif d.category < dt.COMPLEX:
            fail(RuntimeError, "P2905", f"torch.{fn}(): inferred dtype {dt.get_default_dtype().to_complex().type_name} can't be safely cast to passed "
                 f"dtype {d.type_name}", got=f"{start!r}, {end!r}", fix="choose a complex dtype, or pass real numbers")
    if d.category == dt.INT:
        start, end = int(start), int(end)           # the ends are of the result's dtype
    return start, end, steps, d


@composite(samples=lambda m: [((0, 2, 5), {}), ((-1.0, 1.0, 3), {"base": 2.0}), ((1, 2, 0), {})], **_FACTORY)
def logspace(start, end, steps, base=10.0, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """`base` to the powers `linspace(start, end, steps)`."""
    check(device)
    start, end = (v.item() if is_tensor(v) else v for v in (start, end))
    start, end, steps, d = _spaced("logspace", start, end, steps, dtype, base)
    wide = dt.complex128 if d.category == dt.COMPLEX else dt.float64
    return finish(F.convert(F.pow(base, F.linspace(start, end, steps, dtype=wide)), d), requires_grad)


@composite(samples=lambda m: [((0, 4), {}), ((1.0, 2.0, 0.5), {}), ((3, 3), {})], **_FACTORY)
def range_(start=0, end=None, step=1, *, dtype=None, layout=None, device=None, requires_grad=False):
    """Deprecated in PyTorch too: like arange but with `end` included. Use arange."""
    if end is None:
        start, end = 0, start
    start, end, step = (v.item() if is_tensor(v) else v for v in (start, end, step))
    _check_range("range", start, end, step)
    count = math.floor((end - start) / step) + 1
    d = dtype_or_default(dtype)
    return finish(F.convert(F.arange(0, count, dtype=dt.float64) * step + start, d), requires_grad)


@primitive(EXTERN, args="", low=False, forms="", ref=lambda *, n, m, dtype: np.eye(n, m, dtype=dtype.np),
           lower=lambda b, i, load, *, n, m, dtype: b.cast(b.ieq(i[0], i[1]), dtype),
           infer=lambda *, n, m, dtype: Spec((n, m), dtype),
           samples=lambda m: [((3, 3, dt.float32), {}), ((2, 4, dt.int64), {}), ((0, 0, dt.float32), {})])
def eye_values(n, m, dtype):
    """An n x m matrix with a diagonal of ones."""
    return (), {"n": n, "m": m, "dtype": dtype}


@composite(samples=lambda m: [((3,), {}), ((2, 4), {}), ((0,), {"dtype": dt.int64})], **_FACTORY)
def eye(n, m=None, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """A matrix with ones on the diagonal and zeros elsewhere."""
    check(device)
    n = as_int(n, "eye", "n")
    m = n if m is None else as_int(m, "eye", "m")
    if n < 0 or m < 0:
        fail(RuntimeError, "P218", f"n must be greater or equal to 0, got {n if n < 0 else m}", fix="sizes are 0 or more")
    return finish(F.eye_values(n, m, dtype_or_default(dtype)), requires_grad)


@composite(samples=lambda m: [((1.5,), {}), ((2,), {"dtype": dt.int64}), ((True,), {})])
def scalar_tensor(s, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """A 0-d tensor holding a number."""
    return F.full((), s, dtype=dtype_or_default(dtype), device=device, requires_grad=requires_grad)


# ---------------------------------------------------------------------------------------------------- copies
def clone_ref(a, *, fmt):
    if fmt is contiguous_format:
        return a.copy()
    if fmt is preserve_format:
        if a.flags.c_contiguous:
            return a.copy()
        r = np.empty_like(a, order="K", subok=False)
    else:
        r = empty_in(a.shape, a.dtype, fmt)
    np.copyto(r, a)
    return r


@primitive(EXTERN, args="input", ref=clone_ref, jvp="input",
           batch=lambda b, x, *, fmt: F.clone(x.x, memory_format=fmt if fmt is preserve_format else contiguous_format), infer=lambda s, *, fmt: s, low=False, lower=lambda b, i, load, s, *, fmt: load(0, i), vjp={"input": lambda g: g},
           forms="function method", samples=lambda m: [((m.t(2, 3),), {}), ((m.t(0, 2),), {}),
                                                       ((m.t(2, 3, 4, 5),), {"memory_format": channels_last})])
def clone(input, *, memory_format=None):
    """A copy with memory of its own. The gradient flows through."""
    return (input,), {"fmt": memory_format or preserve_format}


@composite(forms="method", samples=lambda m: [((m.t(2, 3),), {}), ((m.t(3, 2).transpose(0, 1),), {}), ((m.t(0, 1),), {})])
def contiguous(input, memory_format=contiguous_format):
    """`input` itself if its elements lie in order, a copy in that order if not."""
    if memory_format is preserve_format:
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    rows = memory_format is contiguous_format
    return input if input.is_contiguous(None if rows else memory_format) else F.clone(input, memory_format=memory_format)


contiguous.of_plain = lambda a: a.copy() if a.size < 1 << 14 and not a.flags.c_contiguous else None


# `x.copy_(y)`, `x.fill_(v)` and `x.zero_()` are the in-place forms of these: results that forget their input's values.
def copy_batch(b, x, src):
    return F.copy(b.full(x), F.basic_index(src.x, (slice(None), *(None,) * (x.ndim - src.ndim))) if src.batched else src.x)


@primitive(EXTERN, args="input src", batch=copy_batch, jvp=lambda primals, tangents: None if tangents[1] is None else F.copy(primals[0], tangents[1]),
           ref=lambda a, b: np.broadcast_to(b, a.shape).astype(a.dtype), low=False,
           forms="inplace", infer=lambda a, b: a.like(), lower=lambda b, i, load, x, y: b.cast(load(1, b.broadcast(i, y.shape)), x.dtype),
           samples=lambda m: [((m.t(2, 3), m.t(2, 3)), {}), ((m.t(2, 3), m.t(3)), {}), ((m.t(0, 3), m.t(3)), {})],
           vjp={"input": lambda g: F.zeros_like(g), "src": lambda g, src_dtype: F.convert(g, src_dtype)})
def copy(input, src, non_blocking=False):
    """The values of `src` in `input`'s shape and dtype."""
    if not is_tensor(src):
        src = F.scalar_tensor(src, dtype=input.dtype)
    if broadcast_shapes(tuple(input.shape), tuple(src.shape)) != tuple(input.shape):
        fail(RuntimeError, "P219", f"The size of tensor a ({list(input.shape)}) must match the size of tensor b ({list(src.shape)})",
             got=f"copy_ into {describe(input)} from {describe(src)}", fix="the source must broadcast to the shape of the target")
    return (input, src), {}


@composite(forms="inplace function", samples=lambda m: [((m.t(2, 3), 1.5), {}), ((m.t(3), m.t()), {}), ((m.i(0), 2), {})])
def fill(input, value):
    """`value` in `input`'s shape and dtype."""
    if is_tensor(value):
        if value.ndim:
            fail(RuntimeError, "P219", f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions.")
        return F.copy(input, value)
    return F.copy(input, F.full((), _number_for(value, input.dtype), dtype=input.dtype))


@composite(forms="inplace", samples=lambda m: [((m.t(2, 3),), {}), ((m.i(3),), {}), ((m.t(0),), {})])
def zero(input):
    """Zeros in `input`'s shape and dtype."""
    return F.fill(input, 0)


@composite(forms="inplace", samples=lambda m: [((m.t(4, 3), 1.5), {}), ((m.t(3, 3, 3), 2), {}), ((m.t(8, 3), 0, True), {}), ((m.t(0, 2), 1), {})])
def fill_diagonal(input, fill_value, wrap=False):
    """`input` with `fill_value` on its main diagonal; with `wrap` a tall matrix has the diagonal again below a free row."""
    if input.ndim < 2:
        fail(RuntimeError, "P219", "dimensions must larger than 1", got=describe(input), fix="give a matrix, or a cube of more dimensions")
    if input.ndim > 2 and len(set(input.shape)) > 1:
        fail(RuntimeError, "P219", "all dimensions of input must be of equal length", got=describe(input), fix="give a cube, or a matrix")
    shape = tuple(input.shape)
    at = np.indices(shape, sparse=True)
    if input.ndim > 2 or not wrap:
        mask = functools.reduce(np.logical_and, [at[0] == k for k in at[1:]])
    else:
        mask = at[0] % (shape[1] + 1) == at[1]
    return F.where(F.index_tensor(mask), _number_for(fill_value, input.dtype), input)


# ---------------------------------------------------------------------------------------------------- conversion
@composite(forms="method", samples=lambda m: [((m.t(2, 3), dt.float64), {}), ((m.i(0), dt.float32), {}), ((m.t(3), "cpu"), {})])
def to(input, *args, device=None, dtype=None, non_blocking=False, copy=False, memory_format=None, other=None):
    """`x.to(dtype)`, `x.to(device)`, `x.to(device, dtype)`, `x.to(other)`: a converted tensor, or `x` itself if it fits."""
    args = list(args)
    if args:
        first = args.pop(0)
        if type(first) is dt.dtype or first in (float, int, bool, complex):
            dtype = dt.as_dtype(first)
        elif is_tensor(first):
            other = first
        elif first is not None:
            device = first
            if args and not isinstance(args[0], bool):
                dtype = args.pop(0)
        elif args and not isinstance(args[0], bool):
            dtype = args.pop(0)
    if args:
        copy = args[1] if len(args) > 1 else copy
    if other is not None:
        dtype, device = other.dtype, other.device
    d = input.dtype if dtype is None else dt.as_dtype(dtype)
    if on_meta(device):
        if not input.is_meta:
            return F.empty_like(input, dtype=d, device=device, memory_format=memory_format)
    elif device is not None and input.is_meta:
        check(device)
        fail(NotImplementedError, "P3021", "Cannot copy out of meta tensor; no data!", got=describe(input),
             fix="make it anew: empty_like(x, device='cpu'); module.to_empty(device='cpu') does it for parameters")
    else:
        check(device)
    fmt = memory_format or preserve_format
    if d is not input.dtype:
        r = F.convert(input, d)
        return r if fmt is preserve_format else F.contiguous(r, fmt)
    if copy or (fmt is not preserve_format and not input.is_contiguous(fmt)):
        return F.clone(input, memory_format=fmt)
    return input


_SAME = lambda m: [((m.t(2, 3),), {}), ((m.i(3),), {}), ((m.t(0, 2),), {})]  # noqa: E731


def _conversion(name: str, d: dt.dtype):
    def body(input, memory_format=preserve_format):
        if memory_format is preserve_format:
            return input if input.dtype is d else F.convert(input, d)
        return F.to(input, d, memory_format=memory_format)
    composite(name=name, forms="method", doc=f"The values as {d.name}.", samples=lambda m: [((m.t(2, 3),), {}),
              ((m.i(0),), {}), ((m.b(3),), {})])(body)


for _name in ("float", "double", "half", "bfloat16", "long", "int", "short", "bool", "cfloat", "cdouble"):
    _conversion(_name, dt.ALIASES[_name])
_conversion("char", dt.int8)
_conversion("byte", dt.uint8)


@composite(forms="method", samples=_SAME)
def cpu(input, memory_format=preserve_format):
    """`input` itself: it lies in the CPU's memory."""
    return F.to(input, device="cpu", memory_format=memory_format)


@composite(forms="method")
def cuda(input, device=None, non_blocking=False, memory_format=preserve_format):
    """Raises RuntimeError: there is no CUDA device in this build."""
    return F.to(input, device="cuda" if device is None else device)


@composite(forms="method", samples=lambda m: [((m.t(2, 3), m.i(1)), {}), ((m.i(3), m.t(1)), {}), ((m.t(0), m.b(1)), {})])
def type_as(input, other):
    """The values in `other`'s dtype."""
    return F.to(input, other.dtype)


@composite(forms="method", samples=_SAME)
def pin_memory(input, device=None):
    """`input` itself: pinning has no meaning without an accelerator."""
    if input.is_meta:
        fail(RuntimeError, "P3019", f"cannot pin '{input.type()}' only dense CPU tensors can be pinned", got=describe(input))
    return input


@composite(forms="method function", samples=lambda m: [((m.t(2, 3),), {}), ((m.c(2),), {}), ((m.t(0, 3),), {})])
def resolve_conj(input):
    """`input` itself: conjugation is computed at once here."""
    return input


@composite(forms="method function", samples=lambda m: [((m.t(2, 3),), {}), ((m.c(2),), {}), ((m.t(0, 3),), {})])
def resolve_neg(input):
    """`input` itself: negation is computed at once here."""
    return input
