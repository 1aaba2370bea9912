"""Indexing: `x[...]` read and written.

`parse(index, shape)` gives an index PyTorch's meaning once: a basic part (ints, slices, None), which makes a view, and
tensor indices into the view's dimensions, which the operators `index` and `index_put` read.
"""
from __future__ import annotations

from ._common import Spec, as_int, broadcast_shapes, describe, dt, fail, is_tensor, np, within
from .dispatch import top, values_known
from .op import GATHER, SCATTER, F, composite, primitive

_INT = (dt.int64, dt.int32, dt.int16, dt.int8)


# ---------------------------------------------------------------------------------------------------- parsing
def parse(x, index):
    """(basic, tensors): a canonical basic index for a view of `x`, and a tuple with a tensor index or None per dimension
    of that view (empty if there are none)."""
    items = index if type(index) is tuple else sequence_as_index(index)
    shape = tuple(x.shape)
    used, ellipsis = 0, None
    for i, it in enumerate(items):
        if it is Ellipsis:
            if ellipsis is not None:
                fail(IndexError, "P250", "an index can only have a single ellipsis ('...')",
                     fix="... stands for all dimensions not named: once is enough")
            ellipsis = i
        elif it is None or it is True or it is False:
            pass
        elif is_tensor(it) and it.dtype in (dt.bool_, dt.uint8):
            used += it.ndim
        elif isinstance(it, (list, tuple, np.ndarray)):
            used += mask_rank(it)
        else:
            used += 1
    if used > len(shape):
        fail(IndexError, "P251", f"too many indices for tensor of dimension {len(shape)}", got=f"{describe(x)}, {used} indices",
             fix="index at most once per dimension")
    gap = len(shape) - used
    basic: list = []
    tensors: list = []                       # one entry per dimension of the view so far
    d = 0
    for it in items:
        if it is Ellipsis:
            basic += [slice(None)] * gap
            tensors += [None] * gap
            d += gap
        elif it is None:
            basic.append(None)
            tensors.append(None)
        elif it is True or it is False or isinstance(it, np.bool_):
            basic.append(None)
            tensors.append(F.nonzero(F.full((1,), bool(it), dtype=dt.bool_))[:, 0])
        elif isinstance(it, slice):
            basic.append(read_slice(it))
            tensors.append(None)
            d += 1
        elif is_tensor(it) or isinstance(it, (list, tuple, range, np.ndarray)):
            t = it if is_tensor(it) else F.index_tensor(it)
            if t.dtype in (dt.bool_, dt.uint8):
                for j, n in enumerate(t.shape):
                    if n != shape[d + j]:
                        fail(IndexError, "P252", f"The shape of the mask {list(t.shape)} at index {j} does not match the shape of "
                             f"the indexed tensor {list(shape)} at index {d + j}",
                             fix="a mask needs the sizes of the dimensions that it selects from")
                if t.ndim == 0:
                    basic.append(None)
                    tensors.append(F.nonzero(F.view_shape(F.to(t, dt.bool_), (1,)))[:, 0])
                else:
                    places = F.nonzero(t)
                    for j in range(t.ndim):
                        basic.append(slice(None))
                        tensors.append(F.select(places, 1, j))
                    d += t.ndim
            elif t.dtype in _INT:
                if t.ndim == 0 and is_tensor(it) and not t.requires_grad and _concrete(t):
                    basic.append(check_int(int(t), d, shape))
                else:
                    basic.append(slice(None))
                    tensors.append(t if t.dtype is dt.int64 else F.convert(t, dt.int64))
                d += 1
            elif t.numel() == 0 and not is_tensor(it):
                basic.append(slice(None))
                tensors.append(F.convert(t, dt.int64))
                d += 1
            else:
                fail(IndexError, "P253", "tensors used as indices must be long, int, byte or bool tensors", got=describe(t),
                     fix="convert the index with .long()")
        else:
            try:
                i = as_int(it)
            except TypeError:
                fail(IndexError if not isinstance(it, str) else TypeError, "P254", "only integers, slices (`:`), ellipsis (`...`), "
                     f"None and long or byte Variables are valid indices (got {type(it).__name__})",
                     fix="use whole numbers, slices, None, ..., lists, or integer and bool tensors")
            basic.append(check_int(i, d, shape))
            d += 1
    if all(t is None for t in tensors):
        tensors = []
    return tuple(basic), tuple(tensors)


def _concrete(t) -> bool:
    return hasattr(t, "item") and values_known()


def check_int(i: int, d: int, shape) -> int:
    if not shape:
        fail(IndexError, "P255", "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to "
             "convert a 0-dim tensor to a number", fix="item() gives the value of a 0-d tensor")
    n = shape[d]
    if not -n <= i < n:
        fail(IndexError, "P256", f"index {i} is out of bounds for dimension {d} with size {n}", got=f"a tensor of shape {list(shape)}",
             fix=f"valid indices are {-n} to {n - 1}" if n else "the dimension is empty")
    return i


def read_slice(s: slice) -> slice:
    if s.start is None and s.stop is None and s.step is None:
        return s
    step = 1 if s.step is None else as_int(s.step)
    if step <= 0:
        fail(ValueError, "P257", "step must be greater than zero", fix="use pellucid.flip to reverse a dimension")
    return slice(None if s.start is None else as_int(s.start), None if s.stop is None else as_int(s.stop), step)


def sequence_as_index(index) -> tuple:
    """A bare index as a tuple of indices; a list of slices or tensors counts as a tuple, as in PyTorch."""
    if isinstance(index, list) and len(index) < 32 and any(
            isinstance(i, (slice, list, tuple)) or i is Ellipsis or i is None or is_tensor(i) for i in index) \
            and any(isinstance(i, slice) or i is Ellipsis or i is None or is_tensor(i) for i in index):
        return tuple(index)
    return (index,)


def mask_rank(it) -> int:
    """How many dimensions a sequence used as an index consumes: its rank if it is a mask, else one."""
    if isinstance(it, np.ndarray):
        return it.ndim if it.dtype == np.bool_ else 1
    first, rank = it, 0
    while isinstance(first, (list, tuple)):
        rank += 1
        if not first:
            return 1
        first = first[0]
    return rank if isinstance(first, (bool, np.bool_)) else 1


# ---------------------------------------------------------------------------------------------------- x[...]
@composite(forms="", name="getitem")
def getitem(input, index):
    """`input[index]`."""
    if type(index) is int:                               # x[3]: the most common index
        n = input.ndim
        if n:
            return F.basic_index(input, (check_int(index, 0, input.shape),))
    elif is_tensor(index) and index.dtype is dt.int64 and index.ndim and input.ndim:      # x[i]
        return F.index(input, (index,))
    basic, tensors = parse(input, index)
    trivial = all(type(b) is slice and b.start is None and b.stop is None and b.step is None for b in basic)
    view = input if tensors and trivial else F.basic_index(input, basic)
    if not tensors:
        return view
    r = F.index(view, tensors)
    if not values_known() and all([t is None or t.ndim == 0 for t in tensors]):
        top().copied(r)                                  # where 0-d tensors have values, they are ints here
    return r


def fills_mask(input, index, value) -> bool:
    """Whether `input[index] = value` gives every place of a mask the same: then nobody must know how many there are."""
    mask = index[0] if type(index) is tuple and len(index) == 1 else index
    if not is_tensor(mask) or mask.dtype is not dt.bool_ or tuple(mask.shape) != tuple(input.shape)[:mask.ndim] or not mask.ndim:
        return False
    if not is_tensor(value):
        return isinstance(value, (int, float, bool, complex)) or hasattr(value, "now")
    rest = tuple(input.shape)[mask.ndim:]
    return value.ndim <= len(rest) and broadcast_shapes(tuple(value.shape), rest) == rest


@composite(forms="")
def setitem(input, index, value):
    """`input[index] = value`, in place."""
    if not values_known() and fills_mask(input, index, value):
        mask = index[0] if type(index) is tuple else index
        mask = F.view_shape(F.contiguous(mask), (*mask.shape, *(1,) * (input.ndim - mask.ndim)))
        return input.copy_(F.where(mask, value, input))
    basic, tensors = parse(input, index)
    trivial = all(type(b) is slice and b.start is None and b.stop is None and b.step is None for b in basic)
    view = input if trivial else F.basic_index(input, basic)
    if not is_tensor(value):
        value = F.full((), value, dtype=input.dtype) if isinstance(value, (int, float, bool, complex)) else \
            F.index_tensor(value, input.dtype)
    if tensors:
        if value.dtype is not input.dtype:
            value = F.convert(value, input.dtype)
        return view.index_put_(tensors, value)
    have, want = tuple(value.shape), tuple(view.shape)
    while len(have) > len(want) and have[0] == 1:       # leading sizes of 1 do not matter in an assignment
        value = F.select(value, 0, 0)
        have = have[1:]
    try:
        fits = broadcast_shapes(have, want) == want
    except RuntimeError:
        fits = False
    if not fits:
        fail(RuntimeError, "P258", f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to indexing "
             f"result of shape {list(want)}", got=f"{describe(input)}[...] = {describe(value)}",
             fix="the value must have the shape of the indexed part, or broadcast to it")
    return view.copy_(value)


def index_shape(shape, tensors) -> tuple[int, ...]:
    """The result's shape: the indices' broadcast shape in place of the indexed dimensions, in front if they are apart."""
    places = [i for i, t in enumerate(tensors) if t is not None]
    try:
        inner = broadcast_shapes(*[tuple(tensors[i].shape) for i in places])
    except RuntimeError:
        shapes = ", ".join(str(list(tensors[i].shape)) for i in places)
        fail(IndexError, "P259", f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}",
             fix="index tensors that stand side by side pick elements together: give them one shape, or index in two steps: x[i][:, j]")
    rest = shape[len(tensors):]
    if places[-1] - places[0] + 1 == len(places):
        lead = tuple(shape[:places[0]])
        return lead + inner + tuple(shape[places[-1] + 1:len(tensors)]) + tuple(rest)
    return inner + tuple(n for i, n in enumerate(shape[:len(tensors)]) if tensors[i] is None) + tuple(rest)


def pattern_index(indices, pattern):
    it = iter(indices)
    return tuple(next(it) if p else slice(None) for p in pattern)


def index_ref(a, *indices, pattern):
    return np.ascontiguousarray(a[pattern_index(indices, pattern)])


def index_infer(spec, *indices, pattern):
    it = iter(indices)
    tensors = [next(it) if p else None for p in pattern]
    return spec.like(index_shape(spec.shape, tensors))


def check_bounds(x, tensors) -> None:
    for d, t in enumerate(tensors):
        if t is not None and t.numel():
            n = x.shape[d]
            a = getattr(t, "_a", None)
            if type(a) is np.ndarray and a.dtype == np.int64 and within(a, n):          # nearly always
                continue
            lo, hi = extremes(t)
            if lo < -n or hi >= n:
                fail(IndexError, "P256", f"index {lo if lo < -n else hi} is out of bounds for dimension {d} with size {n}",
                     got=f"{describe(x)} indexed by {describe(t)}",
                     fix=f"valid indices are {-n} to {n - 1}" if n else "the dimension is empty")


def extremes(t) -> tuple[int, int]:
    """The least and the greatest index; (0, -1) while tracing, when values are not known."""
    a = getattr(t, "_a", None)
    if a is None or not values_known():
        return 0, -1
    a = a.values() if hasattr(a, "values") else a       # a dual number's
    return int(a.min()), int(a.max())


def index_place(b, load, first, specs, shape, pattern, i):
    """Where in an array of `shape` the element `i` of the indexed result lies; operands from `first` on are the indices."""
    places = [d for d, p in enumerate(pattern) if p]
    inner = broadcast_shapes(*[s.shape for s in specs])
    start = places[0] if places[-1] - places[0] + 1 == len(places) else 0
    mine, rest = i[start:start + len(inner)], iter(i[:start] + i[start + len(inner):])
    out, k = [], 0
    for d, n in enumerate(shape):
        if d < len(pattern) and pattern[d]:
            out.append(b.guarded(load(first + k, b.broadcast(mine, specs[k].shape)), n, wrap=True))
            k += 1
        else:
            out.append(next(rest))
    return tuple(out)


def index_lower(b, i, load, x, *indices, pattern):
    return load(0, index_place(b, load, 1, indices, x.shape, pattern, i))


def index_grad_lower(b, g, *indices, pattern, shape):
    return b.scatter(g.shape, b.zero(g.dtype), b.adding(g.dtype),
                     lambda i, load: (index_place(b, load, 1, indices, shape, pattern, i), load(0, i)))


def index_put_lower(b, x, v, *indices, pattern, accumulate):
    it = iter(indices)
    updates = index_shape(x.shape, [next(it) if p else None for p in pattern])
    return b.scatter(updates, 0, b.adding(x.dtype) if accumulate else "set", lambda i, load: (
        index_place(b, load, 2, indices, x.shape, pattern, i), load(1, b.broadcast(i, v.shape))))


def batched_indices(b, indices, pattern) -> tuple:
    """(indices, whether the batch is an index too): what examples of a batch in front of the indexed tensor are indexed by."""
    if not any([i.batched for i in indices]):
        return (None, *fill_pattern([i.x for i in indices], pattern)), False
    n = max([i.ndim for i in indices])
    own = [F.basic_index(i.x, (slice(None), *(None,) * (n - i.ndim))) if i.batched else i.x for i in indices]
    return (F.reshape(F.arange(b.size), (b.size, *[1] * n)), *fill_pattern(own, pattern)), True


def pattern_place(indices, pattern) -> tuple[int, int]:
    """(dimensions of the indices' common shape, where it is in the indexed result)."""
    places = [d for d, p in enumerate(pattern) if p]
    return max([i.ndim for i in indices]), places[0] if places[-1] - places[0] + 1 == len(places) else 0


def to_place(x, n: int, start: int, back: bool = False):
    """With the batch an index too, the indices' n + 1 dimensions come first, as they are apart or begin at 0; here those of an
    example go to `start` (or, with `back`, from there)."""
    if not start:
        return x
    order = (0, *range(n + 1, n + 1 + start), *range(1, n + 1), *range(n + 1 + start, x.ndim))
    return F.permute(x, tuple(sorted(range(x.ndim), key=order.__getitem__)) if back else order)


def index_batch(b, x, *indices, pattern):
    picked, own = batched_indices(b, indices, pattern)
    n, start = pattern_place(indices, pattern)
    if own:
        if start:                       # side by side with the batch only if they begin at 0: see to_place
            return to_place(F.index(b.full(x), picked), n, start)
        return F.index(b.full(x), picked)
    if start or pattern[0] and all(pattern[:sum(pattern)]):
        return F.index(x.x, picked)
    return F.movedim(F.index(x.x, picked), n, 0)       # apart: the indices' dimensions come before the batch


def index_grad_batch(b, g, *indices, pattern, shape):
    whole = F.zeros((b.size, *shape), dtype=g.x.dtype)
    return index_put_into(b, whole, b.full(g), indices, pattern, True)


def index_put_into(b, x, v, indices, pattern, accumulate):
    """`x[indices] = v` (or +=) for batches; `v` has all dimensions of the result."""
    picked, own = batched_indices(b, indices, pattern)
    n, start = pattern_place(indices, pattern)
    if own:
        v = to_place(v, n, start, back=True)
    elif not (start or pattern[0] and all(pattern[:sum(pattern)])):
        v = F.movedim(v, 0, n)
    return F.index_put(x, picked, v, accumulate)


def index_put_batch(b, x, values, *indices, pattern, accumulate):
    shape = index_shape(x.shape, fill_pattern(indices, pattern))
    v = values.x
    if values.batched:
        v = F.basic_index(v, (slice(None), *(None,) * (len(shape) - values.ndim)))
    return index_put_into(b, b.full(x), F.expand(v, (b.size, *shape)), indices, pattern, accumulate)


@primitive(GATHER, args="input *indices", ref=index_ref, jvp="input", batch=index_batch, lower=index_lower, infer=index_infer, low=False, forms="",
           vjp=lambda g, input_shape, indices, pattern: (F.index_grad(g, indices, pattern, input_shape), None),
           samples=lambda m: [((m.t(4, 3), (m.i(5, low=-4, high=4),)), {}), ((m.t(4, 3), (None, m.i(2, 2, low=0, high=3))), {}),
                              ((m.t(2, 4, 3), (m.i(2, low=0, high=2), None, m.i(2, low=0, high=3))), {}),
                              ((m.t(4, 3), (m.i(0, high=1),)), {})])
def index(input, indices):
    """Elements of `input` at integer tensors, one or None per leading dimension (`x[i, :, j]`)."""
    if len(indices) > input.ndim:
        fail(IndexError, "P251", f"too many indices for tensor of dimension {input.ndim} (got {len(indices)})",
             got=describe(input), fix="index at most once per dimension")
    tensors = expand_masks(input, indices)
    check_bounds(input, tensors)
    if len(tensors) > 1:
        index_shape(tuple(input.shape), tensors)
    return (input, *[t for t in tensors if t is not None]), {"pattern": tuple(t is not None for t in tensors)}


def expand_masks(x, indices) -> list:
    out = []
    for t in indices:
        if t is not None and t.dtype in (dt.bool_, dt.uint8):
            places = F.nonzero(t)
            out += [F.select(places, 1, j) for j in range(t.ndim)]
        else:
            out.append(t if t is None or t.dtype is dt.int64 else F.convert(t, dt.int64))
    return out


def accumulate_at(z, where, values):
    """`z[where] += values`, repeated places as often as they repeat. Row indices go through sorting, which is far faster
    than `np.add.at` for wide rows."""
    if z.dtype == np.bool_:
        np.logical_or.at(z, where, values)
        return z
    first = where[0] if type(where) is tuple else where
    if (type(where) is not tuple or len(where) == 1) and type(first) is np.ndarray and z.ndim > 1 and first.size > 8:
        rows = first.reshape(-1)
        if z.shape[0]:
            rows = np.where(rows < 0, rows + z.shape[0], rows)
        v = np.broadcast_to(values, first.shape + z.shape[1:]).reshape((rows.size,) + z.shape[1:])
        order = np.argsort(rows, kind="stable")
        sorted_rows = rows[order]
        starts = np.flatnonzero(np.r_[True, sorted_rows[1:] != sorted_rows[:-1]])
        z[sorted_rows[starts]] += np.add.reduceat(v[order], starts, axis=0)
        return z
    np.add.at(z, where, values)
    return z


def index_grad_ref(g, *indices, pattern, shape):
    return accumulate_at(np.zeros(shape, g.dtype), pattern_index(indices, pattern), g)


@primitive(SCATTER, args="g *indices", ref=index_grad_ref, jvp="g", batch=index_grad_batch, lower=index_grad_lower, infer=lambda g, *i, pattern, shape: g.like(shape), forms="",
           vjp=lambda g, indices, pattern: (F.index(g, fill_pattern(indices, pattern)), None))
def index_grad(g, indices, pattern, shape):
    """The gradient of `index`: `g` added at the indices into zeros."""
    return (g, *indices), {"pattern": pattern, "shape": tuple(shape)}


def fill_pattern(indices, pattern) -> tuple:
    it = iter(indices)
    return tuple(next(it) if p else None for p in pattern)


def index_put_ref(a, value, *indices, pattern, accumulate):
    r = a.copy()
    where = pattern_index(indices, pattern)
    if accumulate:
        return accumulate_at(r, where, value)
    r[where] = value
    return r


@primitive(SCATTER, jvp="input+values", args="input values *indices", ref=index_put_ref, batch=index_put_batch, lower=index_put_lower, low=False, forms="function method inplace",
           infer=lambda a, v, *i, pattern, accumulate: a.like(),
           vjp=lambda g, indices, pattern, accumulate, values_shape: (
               g if accumulate else F.index_put(g, fill_pattern(indices, pattern), F.zeros((), dtype=g.dtype)),
               F.index(g, fill_pattern(indices, pattern)), None),
           samples=lambda m: [((m.t(4, 3), (m.unique(2, high=4),), m.t(2, 3)), {}),
                              ((m.t(4, 3), (m.i(5, high=4),), m.t(3)), {"accumulate": True}),
                              ((m.t(4, 3), (m.i(0, high=4),), m.t(0, 3)), {})])
def index_put(input, indices, values, accumulate=False):
    """`input` with `values` put (or added) at the places that integer or bool tensors name."""
    if len(indices) > input.ndim:
        fail(IndexError, "P251", f"too many indices for tensor of dimension {input.ndim} (got {len(indices)})",
             got=describe(input), fix="index at most once per dimension")
    if values.dtype is not input.dtype:
        fail(RuntimeError, "P260", f"Index put requires the source and destination dtypes match, got {input.dtype.type_name} for the "
             f"destination and {values.dtype.type_name} for the source.", fix=f"convert the values with .to({input.dtype})")
    tensors = expand_masks(input, indices)
    check_bounds(input, tensors)
    want = index_shape(tuple(input.shape), tensors)
    have = tuple(values.shape)
    while len(have) > len(want) and have[0] == 1:
        have = have[1:]
        values = F.select(values, 0, 0)
    try:
        fits = broadcast_shapes(have, want) == want
    except RuntimeError:
        fits = False
    if not fits:
        fail(RuntimeError, "P258", f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to indexing "
             f"result of shape {list(want)}", got=describe(input, values),
             fix="the value must have the shape of the indexed part, or broadcast to it")
    return ((input, values, *[t for t in tensors if t is not None]),
            {"pattern": tuple(t is not None for t in tensors), "accumulate": bool(accumulate)})


@composite(forms="")
def index_tensor(data, dtype=None):
    """Python or NumPy data used as an index or a value, as a tensor."""
    a = np.asarray(data)
    if a.dtype.kind in "iu" and a.dtype != np.uint8:
        a = a.astype(np.int64)
    elif a.size == 0 and a.dtype.kind == "f" and not isinstance(data, np.ndarray):
        a = a.astype(np.int64)
    return F.constant(a if dtype is None else a.astype(dtype.np))


@primitive(GATHER, args="", ref=lambda *, value: value.copy(), infer=lambda *, value: Spec(value.shape, dt.of(value.dtype)), forms="", low=False)
def constant(value):
    """A tensor holding a copy of an array."""
    return (), {"value": value}
