"""Reductions over segments: stretches of unequal length along one dimension, one after the other.

In: data and, for each stretch, its length (or where it begins and ends). Out: one value per stretch. True always: an empty stretch
gives `initial`, or what the reduction of nothing is.
"""
from __future__ import annotations

from ._common import describe, dt, fail, need_tensor, wrap_dim
from .dispatch import values_known
from .gather import _WAY, scatter_at_ref, scatter_lower
from .op import SCATTER, F, composite, primitive

_REDUCE = {"sum": ("sum", 0.0), "mean": ("sum", 0.0), "prod": ("prod", 1.0), "max": ("amax", -float("inf")), "min": ("amin", float("inf"))}


def segment_at_vjp(g, start, place, src, out, dim, reduce):
    """The gradient of each element. A NaN counts as the extreme of its segment; each factor's is the product of the others."""
    def at(x):
        return F.gather(x, dim, place)

    def total(x):
        return at(F.scatter_add(F.zeros_like(out), dim, place, x))
    nan = F.isnan(src)
    if reduce == "sum":
        return None, None, at(g)
    if reduce != "prod":
        mine = F.convert(F.logical_or(F.eq(src, at(out)), nan), src.dtype)
        return None, None, F.mul(mine, F.div(at(g), F.clamp(total(mine), min=1)))
    zero = F.eq(src, 0)
    special = F.logical_or(zero, nan)
    factors = F.where(special, F.ones_like(src), src)
    others = F.div(at(F.segment_at(start, place, factors, dim, "prod")), factors)
    for kind, value in ((zero, 0.0), (nan, float("nan"))):
        kind = F.convert(kind, src.dtype)
        others = F.where(F.gt(F.sub(total(kind), kind), 0), F.full_like(others, value), others)
    return None, None, F.mul(at(g), others)


@primitive(SCATTER, args="start place src", forms="", ref=scatter_at_ref,
           lower=scatter_lower(lambda b, d, reduce: b.combining(_WAY[reduce], d)), infer=lambda a, i, s, *, dim, reduce: a.like(), vjp=segment_at_vjp)
def segment_at(start, place, src, dim, reduce):
    """`start` combined with `src` at `place` along `dim`; the gradients of `src` are those of a reduction, and `start` is a constant."""
    return (start, place, src), {"dim": dim, "reduce": reduce}


def check_lengths(lengths, n: int) -> None:
    if not values_known() or not lengths.numel():
        return
    if bool(F.any(F.lt(lengths, 0))):
        fail(RuntimeError, "P2896", "lengths contains negative value!", got=describe(lengths), fix="a segment has 0 or more elements")
    if not bool(F.all(F.eq(F.sum(lengths, -1), n))):
        fail(RuntimeError, "P2897", "segment_reduce(): Expected all rows of lengths along axis to sum to data.size(lengths.dim()-1) when "
             "!unsafe.", got=f"{describe(lengths)} for {n} elements", fix="each element belongs to one segment; unsafe=True leaves the last ones out")


@composite(forms="function", aliases="_segment_reduce", samples=lambda m: [
    ((m.t(6, 2), "sum"), {"lengths": m.i(3).new_tensor([2, 0, 4])}), ((m.t(6), "mean"), {"lengths": m.i(3).new_tensor([2, 1, 3])}),
    ((m.t(2, 5), "max"), {"lengths": m.i(2).new_tensor([[2, 3], [5, 0]]), "axis": 1, "initial": 0.5}),
    ((m.t(6, 2), "prod"), {"offsets": m.i(3).new_tensor([0, 2, 2, 6])}), ((m.t(0), "min"), {"lengths": m.i(2).new_tensor([0, 0]), "initial": 1})])
def segment_reduce(data, reduce, *, lengths=None, indices=None, offsets=None, axis=0, unsafe=False, initial=None):
    """The "sum", "mean", "prod", "max" or "min" of each segment of `data` along `axis`.

    `lengths`: how long each segment is, its last dimension being `axis` of `data`, those before as in `data`; or `offsets`: where each
    begins and, last, where the last ends. `initial` takes part in each. Raises RuntimeError where the lengths do not add up to the
    size of `axis`, unless `unsafe`.
    """
    if reduce not in _REDUCE:
        fail(RuntimeError, "P2898", f"Unsupported reduction given! {reduce}", fix=f"one of {', '.join(_REDUCE)}")
    axis = wrap_dim(axis, need_tensor(data, "segment_reduce", "data").ndim)
    if indices is not None:
        fail(RuntimeError, "P2899", "segment_reduce(): indices based reduction is not supported yet.", fix="give lengths or offsets")
    if (lengths is None) == (offsets is None):
        fail(RuntimeError, "P2900", "segment_reduce(): Either lengths or offsets must be defined.", fix="give one of them")
    given = offsets if lengths is None else lengths
    name = "offsets" if lengths is None else "lengths"
    if not data.numel() and not given.numel():
        return F.empty_like(data)
    if axis != given.ndim - 1:
        fail(RuntimeError, "P2901", f"segment_reduce(): Expected axis to be the last dimension of {name} but got {axis}.", got=describe(data, given))
    if tuple(given.shape[:-1]) != tuple(data.shape[:axis]):
        fail(RuntimeError, "P2902", f"segment_reduce(): Expected {name} and data to have the same dimensions before axis {axis}.",
             got=describe(data, given))
    n = data.shape[axis]
    given = F.convert(given, dt.int64)
    if lengths is None:
        ends, lengths = F.narrow(given, -1, 1, given.shape[-1] - 1), F.diff(given)
    else:
        ends, lengths = F.cumsum(given, -1), given
        if not unsafe:
            check_lengths(lengths, n)
    count = lengths.shape[-1]
    where = F.expand(F.arange(n), tuple(data.shape[:axis + 1]))
    place = F.searchsorted(F.contiguous(ends), F.contiguous(where), right=True)         # the segment that each element is in
    rest = (1,) * (data.ndim - axis - 1)
    place = F.expand(F.reshape(place, (*place.shape, *rest)), tuple(data.shape))
    how, start = _REDUCE[reduce]
    extremes = reduce in ("max", "min")
    if initial is not None and not extremes:
        start = initial
    shape = (*data.shape[:axis], count + 1, *data.shape[axis + 1:])                     # one more for what is in none
    r = F.narrow(F.segment_at(F.full(shape, start, dtype=data.dtype), place, data, axis, how), axis, 0, count)
    if extremes:
        return r if initial is None else F.where(F.lt(r, initial) if reduce == "max" else F.gt(r, initial), initial, r)
    if reduce == "mean":
        lengths = F.reshape(lengths, (*lengths.shape, *rest))
        empty = F.eq(lengths, 0)
        return F.where(empty, float("nan") if initial is None else float(initial), F.div(r, F.convert(F.clamp(lengths, min=1), r.dtype)))
    return r
