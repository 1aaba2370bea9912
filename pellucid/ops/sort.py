"""Order: sorting, the largest k, distinct values, search in sorted sequences.

In: a real tensor and a dimension. Out: values, indices, or a named tuple of both.
True always: sorts are stable, also descending; nan is greater than every number. Gradients go where the indices point.
"""
from __future__ import annotations

import functools

from ..core.return_types import result_type
from ._common import as_int, describe, dt, fail, is_tensor, need_tensor, np, wrap_dim
from .elementwise import common_dtype, not_implemented
from .op import EXTERN, GATHER, F, composite, primitive
from .reduce import EXACT, invalid_arguments


# ---------------------------------------------------------------------------------------------------- sort
def stable_order(a: np.ndarray, dim: int, descending: bool) -> np.ndarray:
    """The stable argsort along `dim`; nan last, or first if descending."""
    if not descending:
        return np.argsort(a, dim, "stable")
    flipped = np.argsort(np.flip(a, dim), dim, "stable")            # equal elements, met from the end, keep their order
    return np.flip(a.shape[dim] - 1 - flipped, dim)


def sort_ref(a, *, dim, descending):
    if a.ndim == 0:
        return a.copy(), np.zeros((), np.int64)
    order = np.ascontiguousarray(stable_order(a, dim, descending))
    return np.take_along_axis(a, order, dim), order


def scattered(g, index, input_shape, dim):
    """A gradient of picked values put back where they came from; each place was picked at most once."""
    return F.scatter_src(F.zeros(tuple(input_shape), dtype=g.dtype), dim, index, g)


def values_indices_vjp(gs, out1, input_shape, dim):
    return scattered(gs[0], out1, input_shape, dim)


@primitive(GATHER, args="input", ref=sort_ref, infer=lambda s, *, dim, descending: (s.like(), s.like(dtype=dt.int64)), nout=2, forms="",
           vjp={"input": values_indices_vjp})
def sort_lines(input, dim, descending):
    """(values, indices) of `sort`."""
    return (input,), {"dim": dim, "descending": descending}


def check_sort(fn: str, input, dim, descending, stable) -> int:
    need_tensor(input, fn)
    for flag in (descending, stable):
        if flag is not None and not isinstance(flag, (bool, np.bool_)):
            invalid_arguments(fn, input, dim, flag)
    if isinstance(dim, bool):
        invalid_arguments(fn, input, dim)
    if input.dtype.is_complex:
        fail(RuntimeError, "P2487", f" {fn.capitalize() if fn != 'topk' else fn} does not support complex dtypes on CPU")
    return wrap_dim(as_int(dim, fn, "dim"), input.ndim)


_SORT_SAMPLES = lambda m: [((m.t(3, 4),), {}), ((m.t(2, 3, 4), 1, True), {}), ((m.t(5),), {"stable": True, "descending": True}),   # noqa: E731
                           ((m.t(0, 3), 0), {}), ((m.t(),), {})]


@composite(forms="function method out", exact_out=EXACT, samples=_SORT_SAMPLES)
def sort(input, dim=-1, descending=False, *, stable=None):
    """A named tuple (values, indices): the elements along `dim` in ascending (or descending) order. Always stable."""
    d = check_sort("sort", input, dim, descending, stable)
    return result_type("sort")(F.sort_lines(input, d, bool(descending)))


def order_ref(a, *, dim, descending):
    return np.zeros((), np.int64) if a.ndim == 0 else np.ascontiguousarray(stable_order(a, dim, descending))


@primitive(GATHER, args="input", ref=order_ref, infer=lambda s, *, dim, descending: s.like(dtype=dt.int64), grads=False,
           forms="function method out", samples=_SORT_SAMPLES)
def argsort(input, dim=-1, descending=False, *, stable=None):
    """The indices that sort `input` along `dim`. int64. Always stable."""
    return (input,), {"dim": check_sort("sort", input, dim, descending, stable), "descending": bool(descending)}


@composite(forms="function method out", samples=lambda m: [((m.t(3, 4),), {}), ((m.t(5),), {}), ((m.t(0, 3),), {})])
def msort(input):
    """`input` sorted along its first dimension."""
    return F.sort(input, 0)[0]


# ---------------------------------------------------------------------------------------------------- topk
def first_few(a, k, dim, largest):
    """topk for a handful out of many: `k` passes of argmax. None where infinities make the passes ambiguous."""
    rest, order = a.copy(), []
    taken = -np.inf if largest else np.inf
    for _ in range(k):
        i = np.expand_dims(rest.argmax(dim) if largest else rest.argmin(dim), dim)
        if (np.take_along_axis(rest, i, dim) == taken).any():
            return None
        np.put_along_axis(rest, i, taken, dim)
        order.append(i)
    order = np.concatenate(order, dim)
    return np.take_along_axis(a, order, dim), order


def topk_ref(a, *, k, dim, largest):
    if a.ndim == 0:
        return a.copy(), np.zeros((), np.int64)
    n = a.shape[dim]
    head = (slice(None),) * dim
    if 0 < k <= 8 and n > 64 and a.dtype.kind == "f" and (largest or not np.isnan(a).any()):
        r = first_few(a, k, dim, largest)
        if r is not None:
            return r
    if k * 8 < n > 256 and a.dtype != np.bool_:                     # few of many: find them first, then order them
        part = np.argpartition(a, n - k if largest else k - 1, dim) if k else np.argsort(a, dim)
        part = np.sort(part[(*head, slice(n - k, None) if largest else slice(None, k))], dim)
        order = stable_order(np.take_along_axis(a, part, dim), dim, largest)
        order = np.take_along_axis(part, order, dim)
    else:
        order = stable_order(a, dim, largest)[(*head, slice(None, k))]
    order = np.ascontiguousarray(order)
    return np.take_along_axis(a, order, dim), order


def topk_infer(s, *, k, dim, largest):
    shape = tuple(k if i == dim else n for i, n in enumerate(s.shape))
    return s.like(shape), s.like(shape, dt.int64)


@primitive(GATHER, args="input", ref=topk_ref, infer=topk_infer, nout=2, forms="", vjp={"input": values_indices_vjp})
def topk_lines(input, k, dim, largest):
    """(values, indices) of `topk`."""
    return (input,), {"k": k, "dim": dim, "largest": largest}


@composite(forms="function method out", onnx="TopK", exact_out=EXACT,
           samples=lambda m: [((m.t(3, 4), 2), {}), ((m.t(2, 3, 4), 2, 1), {"largest": False}), ((m.t(5), 0), {}), ((m.t(0, 3), 2), {}), ((m.t(), 1), {})])
def topk(input, k, dim=-1, largest=True, sorted=True):
    """A named tuple (values, indices) of the `k` largest (or smallest) elements along `dim`, in order."""
    d = check_sort("topk", input, dim, bool(largest), None)
    if input.dtype is dt.bool_:
        fail(RuntimeError, "P778", "topk does not support bool dtypes on CPU", fix="convert with .int()")
    k = as_int(k, "topk", "k")
    n = input.shape[d] if input.ndim else 1
    if not 0 <= k <= n:
        fail(RuntimeError, "P2488", "selected index k out of range", got=f"k={k} for {describe(input)} along dimension {d}",
             fix=f"take at most {n}")
    return result_type("topk")(F.topk_lines(input, k, d, bool(largest)))


# ---------------------------------------------------------------------------------------------------- distinct values
def compare(p: list, q: list) -> int:
    """-1, 0 or 1 as `p` comes before, beside or after `q`, at the first pair of numbers that have an order."""
    return next((-1 if x < y else 1 for x, y in zip(p, q) if x < y or x > y), 0)


def slice_order_ref(a, *, dim):
    n = a.shape[dim]
    rows = np.moveaxis(a, dim, 0).reshape(n, a.size // n if n else 0)
    if rows.dtype.kind == "f" and np.isnan(rows).any():     # nan is neither less nor greater: PyTorch leaves it where it is
        lines = rows.tolist()
        return np.array(sorted(range(n), key=functools.cmp_to_key(lambda i, j: compare(lines[i], lines[j]))), np.int64)
    return np.lexsort(rows.T[::-1]).astype(np.int64) if rows.shape[1] else np.arange(len(rows))


@primitive(EXTERN, batch="each", args="input", ref=slice_order_ref, infer=lambda s, *, dim: s.like((s.shape[dim],), dt.int64), grads=False, forms="",
           samples=lambda m: [((m.t(3, 4), 0), {}), ((m.i(2, 5, high=2), 1), {}), ((m.t(0, 3), 0), {})])
def slice_order(input, dim):
    """The order that sorts the slices along `dim` lexicographically."""
    return (input,), {"dim": dim}


def starts_of_runs(x, dim):
    """Where along `dim` a slice differs from the one before; True at the first. bool of length n."""
    n = x.shape[dim]
    if n < 2:
        return F.ones((n,), dtype=dt.bool_)
    differs = F.ne(F.narrow(x, dim, 1, n - 1), F.narrow(x, dim, 0, n - 1))
    others = [i for i in range(x.ndim) if i != dim]
    differs = F.any(differs, others) if others else differs
    return F.cat([F.ones((1,), dtype=dt.bool_), differs], 0)


def runs(x, dim, return_inverse: bool, return_counts: bool, order=None, inverse_shape=None):
    """The first slice of each run of equal slices, the run each slice belongs to, the runs' lengths."""
    new = starts_of_runs(x, dim)
    places = F.select(F.nonzero(new), 1, 0)
    out = [F.index_select(x, dim, places)]
    if return_inverse:
        number = F.sub(F.cumsum(new, 0), 1)
        if order is not None:
            number = F.scatter_src(F.zeros_like(number), 0, order, number)
        out.append(number if inverse_shape is None else F.reshape(number, inverse_shape))
    if return_counts:
        out.append(F.diff(places, append=F.full((1,), x.shape[dim], dtype=dt.int64)))
    return tuple(out) if len(out) > 1 else out[0]


def check_unique(input, dim):
    if need_tensor(input, "unique").dtype.is_complex:
        not_implemented("unique", input.dtype)
    if dim is None:
        return F.detach(input), None
    d = wrap_dim(dim, input.ndim)
    if input.ndim == 0:
        fail(IndexError, "P779", f"Dimension specified as {dim} but tensor has no dimensions")
    zeros = list(input.shape).count(0)
    if zeros > 1:
        fail(RuntimeError, "P773", "Number of zero sized dimensions is more than one, so unique cannot be applied", got=describe(input))
    if zeros and input.shape[d]:
        fail(RuntimeError, "P2489", "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied",
             got=describe(input))
    return F.detach(input), d


_UNIQUE_SAMPLES = lambda m: [((m.i(3, 4, high=3),), {}), ((m.i(6, high=3),), {"return_inverse": True, "return_counts": True}),   # noqa: E731
                             ((m.i(6, 2, high=2),), {"dim": 0, "return_inverse": True}), ((m.i(0, 3),), {})]


@composite(forms="function method", samples=_UNIQUE_SAMPLES)
def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct values of `input`, sorted (or its distinct slices along `dim`), and on request for each element the place
    of its value in the result, and how often each value occurs."""
    x, d = check_unique(input, dim)
    if d is None:
        values, order = F.sort_lines(F.reshape(x, (-1,)), 0, False)
        return runs(values, 0, return_inverse, return_counts, order, tuple(x.shape))
    order = F.slice_order(x, d)
    return runs(F.index_select(x, d, order), d, return_inverse, return_counts, order)


@composite(forms="function method", samples=_UNIQUE_SAMPLES)
def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """The first of every run of equal values (or of equal slices along `dim`), and on request for each element the number of
    its run, and the runs' lengths."""
    x, d = check_unique(input, dim)
    if d is None:
        return runs(F.reshape(x, (-1,)), 0, return_inverse, return_counts, None, tuple(x.shape))
    return runs(x, d, return_inverse, return_counts)


# ---------------------------------------------------------------------------------------------------- search
def bisect(bounds: np.ndarray, values: np.ndarray, right: bool) -> np.ndarray:
    """Per row, the place of each value by bisection. A comparison with nan is false: nan comes after everything."""
    low, high = np.zeros(values.shape, np.int64), np.full(values.shape, bounds.shape[-1], np.int64)
    for _ in range(int(bounds.shape[-1]).bit_length()):
        middle = (low + high) >> 1
        at = np.take_along_axis(bounds, np.minimum(middle, bounds.shape[-1] - 1), -1)
        up = (~(at > values) if right else ~(at >= values)) & (low < high)
        high = np.where(up | (low >= high), high, middle)
        low = np.where(up, middle + 1, low)
    return low


def search_ref(bounds, values, sorter, *, right, narrow):
    kind = np.int32 if narrow else np.int64
    if sorter is not None:
        bounds = np.take_along_axis(bounds, sorter, -1)
    n = bounds.shape[-1]
    if not n or not values.size:
        return np.zeros(values.shape, kind)
    if bounds.ndim == 1:
        clean = bounds.dtype.kind != "f" or not (np.isnan(bounds[-1]) or np.isnan(values).any())
        if clean:
            return np.asarray(np.searchsorted(bounds, values, "right" if right else "left")).astype(kind)
        r = bisect(bounds, values.reshape(-1), right).reshape(values.shape)
    else:
        r = bisect(bounds, values, right)
    return r.astype(kind)


def search(fn: str, bounds, input, out_int32, right, sorter):
    common = common_dtype(bounds, input)
    if common.is_complex or common is dt.bool_:
        not_implemented("searchsorted_out_cpu", common)
    if not is_tensor(input):
        input = F.full((), input, dtype=common)
    bounds, input = (x if x.dtype is common else F.convert(x, common) for x in (bounds, input))
    return F.search_lines(bounds, input, sorter, bool(right), bool(out_int32))


@primitive(EXTERN, args="sorted_sequence input sorter", ref=search_ref, grads=False, forms="",
           infer=lambda b, v, s, *, right, narrow: v.like(dtype=dt.int32 if narrow else dt.int64))
def search_lines(sorted_sequence, input, sorter, right, narrow):
    """The places of `searchsorted`, operands checked and of one dtype."""
    return (sorted_sequence, input, sorter), {"right": right, "narrow": narrow}


@composite(forms="function out", samples=lambda m: [((m.i(5).new_ones(5).cumsum(0), m.i(2, 3, high=7)), {}),
                                                    ((m.i(5).new_ones(5).cumsum(0), m.t(4)), {"right": True}),
                                                    ((m.i(5).new_ones(2, 4).cumsum(1), m.t(2, 3)), {"side": "right", "out_int32": True}),
                                                    ((m.i(5).new_ones(5).cumsum(0), m.i(0)), {})])
def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where each value would be inserted into the sorted innermost dimension of `sorted_sequence`: before equal elements, or
    after them with `right=True` or `side="right"`. int64 (int32 on request). `sorter`: the argsort of an unsorted sequence."""
    bounds = need_tensor(sorted_sequence, "searchsorted", "sorted_sequence")
    where = "torch.searchsorted(): "
    if side is not None:
        if side not in ("left", "right"):
            fail(RuntimeError, "P2490", f"{where}side can only be 'left' or 'right' but got {side}")
        if side == "left" and right:
            fail(RuntimeError, "P2491", f"{where}side and right can't be set to opposites, got side of left while right was True")
        right = side == "right"
    shape = tuple(input.shape) if is_tensor(input) else ()
    if bounds.ndim != 1 and not shape:
        fail(RuntimeError, "P2492", f"{where}input value can be a scalar only when boundaries tensor dimension is 1, but we got boundaries "
             f"tensor dim({bounds.ndim}) and input value's dim(0) numel(1)")
    if bounds.ndim != 1 and (bounds.ndim != len(shape) or tuple(bounds.shape[:-1]) != shape[:-1]):
        fail(RuntimeError, "P2493", f"{where}boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor and "
             f"input value tensor must match, but we got boundaries tensor {list(bounds.shape)} and input value tensor {list(shape)}")
    if sorter is not None:
        if tuple(sorter.shape) != tuple(bounds.shape):
            fail(RuntimeError, "P2494", f"{where}boundary and sorter must have the same size, but got boundary tensor "
                 f"{list(bounds.shape)}and got sorter tensor {list(sorter.shape)}")
        if sorter.dtype is not dt.int64:
            fail(RuntimeError, "P2495", f"{where}sorter must be a tensor of long dtype but got dtype {sorter.dtype.type_name}")
        if sorter.numel() and bool(F.any(F.logical_or(F.lt(sorter, 0), F.ge(sorter, bounds.shape[-1])))):
            fail(RuntimeError, "P2496", f"{where}sorter index out of range")
    return search("searchsorted", bounds, input, out_int32, right, sorter)


@composite(forms="function out", samples=lambda m: [((m.t(2, 3), m.i(5).new_ones(5).cumsum(0)), {}), ((m.i(4, high=7), m.i(5).new_ones(5).cumsum(0)), {"right": True}),
                                                    ((m.t(0), m.i(5).new_ones(5).cumsum(0)), {})])
def bucketize(input, boundaries, *, out_int32=False, right=False):
    """The index of the bucket each value falls in, between the sorted 1-d `boundaries`: `boundaries[i-1] < v <= boundaries[i]`,
    with `right` `boundaries[i-1] <= v < boundaries[i]`."""
    if need_tensor(boundaries, "bucketize", "boundaries", 2).ndim != 1:
        fail(RuntimeError, "P2497", f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return search("bucketize", boundaries, input, out_int32, right, None)


def isin_ref(elements, tests, *, invert):
    return np.asarray(np.isin(elements, tests, invert=invert))


@primitive(EXTERN, args="elements test_elements", ref=isin_ref, infer=lambda e, t, *, invert: e.like(dtype=dt.bool_), grads=False,
           forms="function out", samples=lambda m: [((m.i(3, 4, high=5), m.i(3, high=5)), {}), ((m.i(6, high=5), 3), {}),
                                                    ((m.i(6, high=5), m.i(2, 2, high=5)), {"invert": True, "assume_unique": False}), ((m.i(0), m.i(3)), {})])
def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """Whether each element of `elements` is among `test_elements`. A bool tensor of `elements`' shape."""
    for x in (elements, test_elements):
        if not is_tensor(x) and not isinstance(x, (int, float, complex, np.number)):
            invalid_arguments("isin", elements, test_elements)
    common = common_dtype(elements, test_elements)
    for x in (elements, test_elements):
        if is_tensor(x) and (x.dtype.is_complex or x.dtype is dt.bool_):
            fail(RuntimeError, "P2498", f"Unsupported input type encountered for isin(): {x.dtype.type_name}")
    pair = [x if is_tensor(x) else F.full((), x, dtype=common) for x in (elements, test_elements)]
    return tuple(x if x.dtype is common else F.convert(x, common) for x in pair), {"invert": bool(invert)}
