"""Counting values into bins.

In: float tensors (`bincount`: non-negative integers), bins as numbers or edges, optional weights. Out: counts, and bin edges.
True always: a bin holds its left edge but not its right one, except the last, which holds both; values outside are dropped.
"""
from __future__ import annotations

import math

from ..core.return_types import result_type
from ._common import Spec, as_int, as_ints, describe, dt, fail, is_tensor, need_tensor, np
from .elementwise import not_implemented
from .op import EXTERN, F, composite, primitive
from .reduce import invalid_arguments


# ---------------------------------------------------------------------------------------------------- bincount
def bincount_ref(a, weights, *, length):
    r = np.bincount(a, weights, length)
    return r.astype(np.int64 if weights is None else weights.dtype, copy=False)


@primitive(EXTERN, args="input weights", ref=bincount_ref, grads=False, forms="", samples=None,
           infer=lambda a, w, *, length: Spec((length,), dt.int64 if w is None else w.dtype))
def bincount_into(input, weights, length):
    """Counts (or sums of weights) of 0..length-1, operands checked."""
    return (input, weights), {"length": length}


@composite(forms="function method", samples=lambda m: [((m.i(6, high=5),), {}), ((m.i(6, high=5), m.t(6).detach()), {}), ((m.i(4, high=3),), {"minlength": 7}),
                                                       ((m.i(0),), {"minlength": 2})])
def bincount(input, weights=None, minlength=0):
    """How often each of 0, 1, ..., max(input) occurs (at least `minlength` counts), or the sum of the weights there.

    int64 without weights; float32 or float64 with."""
    if need_tensor(input, "bincount").dtype.category >= dt.FLOAT or input.dtype is dt.bool_:
        not_implemented("bincount_cpu", input.dtype)
    if minlength < 0:
        fail(RuntimeError, "P740", "minlength should be >= 0", got=f"minlength={minlength}")
    if input.ndim != 1 or input.numel() and bool(F.any(F.lt(input, 0))):
        fail(RuntimeError, "P741", "bincount only supports 1-d non-negative integral inputs.", got=describe(input))
    if weights is not None:
        if weights.ndim != 1 or weights.shape[0] != input.shape[0]:
            fail(RuntimeError, "P742", "weights should be 1-d and have the same length as input", got=describe(input, weights))
        weights = F.detach(weights)
        if weights.dtype not in (dt.float32, dt.float64):
            weights = F.convert(weights, dt.float64)
    top = int(F.amax(input)) + 1 if input.numel() else 0
    if not input.numel():
        return F.zeros((minlength,), dtype=dt.int64 if weights is None else weights.dtype)
    return F.bincount_into(F.convert(input, dt.int64), weights, max(top, as_int(minlength)))


# ---------------------------------------------------------------------------------------------------- ranges and edges
def range_of(x, low, high, where: str, widen: float):
    """The bins' outer edges as floats: those given, or the data's extremes if equal; widened if still equal."""
    if low == high and x.numel():
        low, high = float(F.amin(x)), float(F.amax(x))
    if not (math.isfinite(low) and math.isfinite(high)):
        fail(RuntimeError, "P743", f"{where} [{low:g}, {high:g}] is not finite")
    if low == high:
        low, high = low - widen, high + widen
    return low, high


def need_histogram(x, kernel: str) -> None:
    if x.dtype not in (dt.float32, dt.float64):
        not_implemented(kernel, x.dtype)


def need_bins(n: int, d: int) -> int:
    if n <= 0:
        fail(RuntimeError, "P744", f"torch.histogram(): bins must be > 0, but got {n} for dimension {d}")
    return n


# ---------------------------------------------------------------------------------------------------- histc
def histc_ref(a, *, bins, low, high):
    """Bins of equal width, found by arithmetic."""
    x = a.reshape(-1)
    x = x[(x >= low) & (x <= high)]
    kind = x.dtype.type
    place = ((x - kind(low)) * kind(bins) / (kind(high) - kind(low))).astype(np.int64)
    return np.bincount(np.minimum(place, bins - 1), minlength=bins).astype(a.dtype)


@primitive(EXTERN, args="input", ref=histc_ref, infer=lambda s, *, bins, low, high: s.like((bins,)), grads=False, low=False, forms="function method out",
           exact_out="torch.histogram: input tensor and hist tensor should have the same dtype, but got input {want} and hist {have}",
           samples=lambda m: [((m.t(20),), {"bins": 5}), ((m.t(3, 4), 4, -1, 1), {}), ((m.t(0), 3), {})])
def histc(input, bins=100, min=0, max=0):
    """Counts of the elements in `bins` equal bins between `min` and `max` (the data's extremes if equal), as floats."""
    need_tensor(input, "histc")
    bins = need_bins(as_int(bins, "histc", "bins"), 0)
    if min > max:
        fail(RuntimeError, "P745", "torch.histc: max must be larger than min", got=f"min={min}, max={max}")
    if input.dtype.category != dt.FLOAT:
        not_implemented("histogram_cpu", input.dtype)
    low, high = range_of(F.detach(input), float(min), float(max), "torch.histc: range of", 1.0)
    return (input,), {"bins": bins, "low": low, "high": high}


# ---------------------------------------------------------------------------------------------------- histogram, histogramdd
def histogramdd_ref(points, weight, *edges, density):
    """Weights of the points summed over a grid given by its edges along each dimension."""
    if not edges:                                           # points without coordinates are in no bin
        return np.array(np.nan if density else 0, points.dtype)
    shape = tuple(len(e) - 1 for e in edges)
    inside = np.ones(len(points), bool)
    flat = np.zeros(len(points), np.int64)
    for d, e in enumerate(edges):
        x = points[:, d]
        inside &= (x >= e[0]) & (x <= e[-1])
        flat = flat * shape[d] + np.clip(np.searchsorted(e, x, "right") - 1, 0, shape[d] - 1)
    w = None if weight is None else weight[inside]
    h = np.bincount(flat[inside], w, int(np.prod(shape))).reshape(shape).astype(points.dtype)
    if density:
        h = h / h.sum(dtype=h.dtype)
        for d, e in enumerate(edges):
            h = h / np.diff(e).reshape([-1 if i == d else 1 for i in range(len(shape))])
    return h


@primitive(EXTERN, args="input weight *edges", ref=histogramdd_ref, grads=False, forms="",
           infer=lambda x, w, *edges, density: x.like(tuple(e.shape[0] - 1 for e in edges)))
def histogram_grid(input, weight, edges, density):
    """Counts of points (N, D) in the grid that D sorted edge tensors span."""
    return (input, weight, *edges), {"density": density}


def histogram_parts(fn: str, x, bins, range, weight, density, lead):
    """(counts, edges) of points x (N, D); `lead` is the shape the weights must have."""
    where = "torch.histogramdd"
    need_histogram(x, "histogramdd")
    n, count = x.shape
    if weight is not None and tuple(weight.shape) != tuple(lead):
        fail(RuntimeError, "P746", f"{where}: if weight tensor is provided it should have the same shape as the input tensor excluding its "
             f"innermost dimension, but got input with shape {[*lead, count]} and weight with shape {list(weight.shape)}")
    if weight is not None and weight.dtype is not x.dtype:
        fail(RuntimeError, "P747", f"{where}: if weight tensor is provided, input tensor and weight tensor should have the same dtype, but got "
             f"input({x.dtype.type_name}), and weight({weight.dtype.type_name})")
    if len(bins) != count:
        fail(RuntimeError, "P748", f"{fn}: The size of bins must be equal to the innermost dimension of the input.",
             got=f"{len(bins)} bins for points of {count} coordinates")
    if range is not None and len(range) != 2 * count:
        fail(RuntimeError, "P749", f"{where}: for a {count}-dimensional histogram range should have {2 * count} elements, but got {len(range)}")
    edges = []
    for d, b in enumerate(bins):
        if is_tensor(b):
            if b.dtype is not x.dtype:
                fail(RuntimeError, "P751", f"{where}: input tensor and bins tensors should have the same dtype, but got input with dtype "
                     f"{x.dtype.type_name} and bins for dimension {d} with dtype {b.dtype.type_name}")
            if b.ndim != 1:
                fail(RuntimeError, "P750", f"{where}: bins tensor should have one dimension, but got {b.ndim} dimensions in the bins tensor "
                     f"for dimension {d}")
            if not b.numel():
                fail(RuntimeError, "P774", f"{where}: bins tensor should have at least 1 element, but got 0 elements in the bins tensor "
                     f"for dimension {d}")
            edges.append(b)
            continue
        b = need_bins(as_int(b, fn, "bins"), d)
        if range is None:
            low, high = range_of(F.select(x, 1, d), 0.0, 0.0, f"{where}: dimension {d}'s range", 0.5) if n else (0.0, 1.0)
        else:
            low, high = float(range[2 * d]), float(range[2 * d + 1])
            if not (math.isfinite(low) and math.isfinite(high)):
                fail(RuntimeError, "P752", f"{where}: dimension {d}'s range [{low:g}, {high:g}] is not finite")
            if low > high:
                fail(RuntimeError, "P753", f"{where}: min should not exceed max, but got min {low:g} max {high:g} for dimension {d}")
            if low == high:
                low, high = low - 0.5, high + 0.5
        edges.append(F.linspace(low, high, b + 1, dtype=x.dtype))
    counts = F.histogram_grid(x, None if weight is None else F.reshape(F.detach(weight), (-1,)), tuple(F.detach(e) for e in edges), bool(density))
    return counts, tuple(edges)


@composite(forms="function method out",
           exact_out="torch.histogram: input tensor and {part} tensor should have the same dtype, but got input {want} and {part} {have}",
           samples=lambda m: [((m.t(20), 5), {}), ((m.t(3, 4), 4), {"range": (-1.0, 1.0), "density": True}),
                                                           ((m.t(6).detach(), m.t(4).detach().sort()[0]), {"weight": m.t(6).detach()}), ((m.t(0), 3), {})])
def histogram(input, bins, *, range=None, weight=None, density=False):
    """A named tuple (hist, bin_edges): counts (or weights) of all elements in `bins` equal bins over `range` (the data's
    extremes), or between given edges. `density`: scaled so that the integral is 1."""
    x = F.reshape(F.detach(need_tensor(input, "histogram")), (-1, 1))
    if is_tensor(bins) and range is not None:
        invalid_arguments("histogram", input, bins, range)
    if weight is not None:
        if tuple(weight.shape) != tuple(input.shape):
            fail(RuntimeError, "P746", "torch.histogramdd: if weight tensor is provided it should have the same shape as the input tensor "
                 f"excluding its innermost dimension, but got input with shape {list(x.shape)} and weight with shape {list(weight.shape)}")
        weight = F.reshape(weight, (-1,))
    counts, edges = histogram_parts("histogram", x, (bins,), None if range is None else tuple(range), weight, density, (x.shape[0],))
    return result_type("histogram")((counts, edges[0]))


@composite(forms="function method", samples=lambda m: [((m.t(10, 2), [3, 4]), {}), ((m.t(2, 5, 2), 3), {"range": (-1.0, 1.0, -2.0, 2.0), "density": True}),
                                                       ((m.t(0, 2), [2, 2]), {})])
def histogramdd(input, bins, range=None, weight=None, density=False):
    """A named tuple (hist, bin_edges): counts of points, the innermost dimension being their coordinates, in a grid. `bins`:
    a number, a number per coordinate, or an edge tensor per coordinate."""
    x = F.detach(need_tensor(input, "histogramdd"))
    if x.ndim < 2:
        fail(RuntimeError, "P754", f"torch.histogramdd: input tensor should have at least 2 dimensions, but got {x.ndim}")
    lead, count = tuple(x.shape[:-1]), x.shape[-1]
    if not isinstance(bins, (list, tuple)):
        bins = (bins,) * count
    elif bins and not is_tensor(bins[0]):
        bins = as_ints(bins)
    x = F.reshape(x, (math.prod(lead), count))
    counts, edges = histogram_parts("histogramdd", x, tuple(bins), None if range is None else tuple(range), weight, density, lead)
    return result_type("histogramdd")((counts, edges))
