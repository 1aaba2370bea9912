"""Order statistics: medians, the k-th smallest, the most frequent value, quantiles.

In: a real tensor and a dimension. Out: a value per line, with its index in a named tuple where PyTorch gives one.
True always: a median is the lower of the two middle elements; nan makes a median or quantile nan unless the name begins
with `nan`. An indexed value gives its gradient to the element its index names.
"""
from __future__ import annotations

from ..core.return_types import result_type
from ._common import as_int, describe, dt, fail, is_tensor, need_tensor, np, wrap_dim
from .elementwise import not_implemented
from .extremes import even_share_all, need_elements, pick, to_index, values_indices_infer
from .dispatch import values_known
from .op import REDUCE, F, composite, primitive
from .reduce import EXACT, reduced_infer


# ---------------------------------------------------------------------------------------------------- where a line's value is
def median_index(a, dim):
    """Per line, the index of the lower median; of the first nan if there is one."""
    order = np.argsort(a, dim, "stable")
    index = np.take(order, [(a.shape[dim] - 1) // 2], dim)
    if a.dtype.kind == "f":
        gone = np.isnan(a)
        index = np.where(gone.any(dim, keepdims=True), gone.argmax(dim, keepdims=True), index)
    return index


def nanmedian_index(a, dim):
    """Per line, the index of the lower median of what is not nan."""
    if a.dtype.kind != "f":
        return median_index(a, dim)
    have = np.add.reduce(~np.isnan(a), dim, np.int64, keepdims=True)
    return np.take_along_axis(np.argsort(a, dim, "stable"), np.maximum(have - 1, 0) // 2, dim)


def kth_index(a, dim, k):
    return np.take(np.argsort(a, dim, "stable"), [k - 1], dim)


def mode_index(a, dim):
    """Per line, the index of the last occurrence of the most frequent value, the smallest of several."""
    order = np.argsort(a, dim, "stable")
    s = np.moveaxis(np.take_along_axis(a, order, dim), dim, -1)
    steps = np.arange(s.shape[-1])
    new = np.concatenate([np.ones(s.shape[:-1] + (1,), bool), s[..., 1:] != s[..., :-1]], -1)
    length = steps - np.maximum.accumulate(np.where(new, steps, 0), -1)         # how many equals came before
    return np.take_along_axis(order, np.moveaxis(length.argmax(-1)[..., None], -1, dim), dim)


def picked(name: str, find, refuse: str):
    """The primitive behind a per-line selection, `<name>_lines`: (values, indices) at the indices that `find` gives."""
    def ref(a, *, dim, keepdim, **more):
        if a.ndim == 0:
            return a.copy(), np.zeros((), np.int64)
        index = find(a, dim, **more) if a.size else np.empty([1 if i == dim else n for i, n in enumerate(a.shape)], np.int64)
        return pick(a, index, dim, keepdim)

    def front(input, dim, keepdim, **more):
        d = wrap_dim(as_int(dim, name, "dim"), need_tensor(input, name).ndim)
        if input.dtype.is_complex or input.dtype is dt.bool_ and name != "mode":
            not_implemented(refuse, input.dtype)
        if input.ndim:
            need_elements(name.removeprefix("nan"), input.shape, (d,), False)
        return (input,), {"dim": d, "keepdim": bool(keepdim), **more}

    primitive(REDUCE, name=f"{name}_lines", args="input", ref=ref, nout=2, forms="", doc=f"(values, indices) of `{name}`.",
              infer=lambda s, *, dim, keepdim, **more: values_indices_infer(s, dim=dim, keepdim=keepdim),
              vjp={"input": lambda gs, out1, input_shape, dim, keepdim: to_index(gs[0], out1, input_shape, dim, keepdim)})(front)


_LINES = lambda m: [((m.t(3, 5), 1), {}), ((m.t(2, 3, 4), 0, True), {}), ((m.t(3, 0), 0), {}), ((m.t(), 0), {})]     # noqa: E731
_ALL = lambda m: [((m.t(3, 5),), {}), *_LINES(m)]                                                                   # noqa: E731
picked("median", median_index, "median_out")
picked("nanmedian", nanmedian_index, "median_out")
picked("kthvalue", kth_index, "kthvalue_cpu")
picked("mode", mode_index, "mode_cpu")


# ---------------------------------------------------------------------------------------------------- medians
def middle(name: str, drop_nan: bool, doc: str):
    """`median` or `nanmedian`: over everything a tensor, along a dimension a named tuple."""
    def ref(a, *, dims, keepdim):
        flat = a.reshape(-1)
        if flat.dtype.kind == "f":
            gone = np.isnan(flat)
            if gone.any():
                flat = flat[~gone] if drop_nan else flat[:0]
            if not flat.size:
                return np.asarray(a.dtype.type(np.nan))
        elif not flat.size:
            return np.asarray(np.iinfo(a.dtype).min, a.dtype)
        k = (flat.size - 1) // 2
        return np.asarray(np.partition(flat, k)[k])

    def front(input, dim=None, keepdim=False):
        need_tensor(input, name)
        if dim is not None:
            return f"{name}_named", (input, dim, keepdim), {}
        if input.dtype.is_complex or input.dtype is dt.bool_:
            not_implemented("median_cpu", input.dtype)
        return (input,), {"dims": tuple(range(input.ndim)), "keepdim": False}

    primitive(REDUCE, name=name, args="input", ref=ref, infer=reduced_infer, vjp={"input": even_share_all}, forms="function method out",
              batch=lambda b, x, *, dims, keepdim: getattr(F, f"{name}_named")(F.reshape(x.x, (b.size, -1)), 1)[0],
              samples=_ALL, doc=doc)(front)

    def named(input, dim, keepdim=False):
        return result_type(name)(getattr(F, f"{name}_lines")(input, dim, keepdim))
    composite(named, name=f"{name}_named", forms="", exact_out=EXACT, samples=_LINES, doc=f"`{name}(input, dim)`: the named tuple (values, indices).")


middle("median", False, "`median(input)`: the middle element, the lower of two; nan if there is a nan. `median(input, dim, keepdim)`:\n"
       "a named tuple (values, indices) along `dim`.")
middle("nanmedian", True, "`nanmedian(input)`: the middle of the elements that are not nan, the lower of two. `nanmedian(input, dim, keepdim)`:\n"
       "a named tuple (values, indices) along `dim`.")


@composite(forms="function method out", exact_out=EXACT, samples=lambda m: [((m.t(3, 5), 2), {}), ((m.t(2, 3, 4), 1, 0, True), {}), ((m.t(3, 0), 1, 0), {}), ((m.t(), 1), {})])
def kthvalue(input, k, dim=-1, keepdim=False):
    """A named tuple (values, indices): the `k`-th smallest element along `dim`, k counting from 1."""
    d = wrap_dim(as_int(dim, "kthvalue", "dim"), need_tensor(input, "kthvalue").ndim)
    n = input.shape[d] if input.ndim else 1
    if input.ndim:
        need_elements("kthvalue", input.shape, (d,), False)
    if not 1 <= k <= n:
        fail(RuntimeError, "P2499", f"kthvalue(): selected number k out of range for dimension {d}", got=f"k={k} for {describe(input)}",
             fix=f"k is from 1 to {n}")
    return result_type("kthvalue")(F.kthvalue_lines(input, d, keepdim, k=int(k)))


@composite(forms="function method out", exact_out="expected scalar type '{Want}' but got '{Have}' for {part}", samples=_ALL)
def mode(input, dim=-1, keepdim=False):
    """A named tuple (values, indices): the most frequent value along `dim` (the smallest of several), and its last index."""
    return result_type("mode")(F.mode_lines(input, dim, keepdim))


# ---------------------------------------------------------------------------------------------------- quantiles
_WAYS = ("linear", "lower", "higher", "midpoint", "nearest")


def quantile_of(fn: str, input, q, dim, keepdim, interpolation, drop_nan: bool):
    need_tensor(input, fn)
    where = "quantile() "
    if input.dtype not in (dt.float32, dt.float64):
        fail(RuntimeError, "P730", f"{where}input tensor must be either float or double dtype", got=describe(input))
    if not input.numel():
        fail(RuntimeError, "P731", f"{where}input tensor must be non-empty", got=describe(input))
    if interpolation not in _WAYS:
        fail(RuntimeError, "P732", f"{where}interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}")
    if not is_tensor(q):
        if not 0 <= q <= 1:
            fail(RuntimeError, "P733", f"{where}q must be in the range [0, 1] but got {q:g}")
        q = F.full((), q, dtype=input.dtype)
    if q.ndim > 1:
        fail(RuntimeError, "P734", f"{where}q must be a scalar or 1D tensor", got=describe(q))
    if q.dtype is not input.dtype:
        fail(RuntimeError, "P735", f"{where}q tensor must be same dtype as the input tensor", got=describe(input, q))
    if q.numel() and values_known() and not bool(F.all(F.logical_and(F.ge(q, 0), F.le(q, 1)))):
        fail(RuntimeError, "P736", f"{where}q values must be in the range [0, 1]")
    if dim is None:
        x, kept = F.reshape(input, (-1,)), (1,) * input.ndim
    else:
        d = wrap_dim(dim, input.ndim)
        x = F.movedim(input, d, -1) if input.ndim else F.reshape(input, (1,))
        kept = tuple(1 if i == d else n for i, n in enumerate(input.shape))
    lead = tuple(x.shape[:-1])
    n = x.shape[-1]
    values = F.sort_lines(x, x.ndim - 1, False)[0]
    gone = F.isnan(F.detach(x))
    if drop_nan:
        last = F.clamp_min(F.sub(F.sum(F.logical_not(gone), -1, True), 1), 0)
        rank = F.mul(q, F.convert(last, x.dtype))                   # (*lead, number of q)
    else:
        rank = F.mul(q, n - 1)
        rank = F.expand(F.reshape(rank, (1,) * len(lead) + (-1,)), (*lead, q.numel()))
        rank = F.masked_fill(rank, F.any(gone, -1, True), n - 1)    # nan is sorted last: a line with one is nan at every rank
    if interpolation in ("lower", "higher", "nearest"):
        rank = {"lower": F.floor, "higher": F.ceil, "nearest": F.round}[interpolation](rank)
    below = F.convert(F.floor(F.detach(rank)), dt.int64)
    r = F.gather(values, -1, below)
    if interpolation in ("linear", "midpoint"):
        above = F.convert(F.ceil(F.detach(rank)), dt.int64)
        weight = F.full_like(rank, 0.5) if interpolation == "midpoint" else F.sub(rank, F.convert(below, x.dtype))
        r = F.lerp(r, F.gather(values, -1, above), weight)
    r = F.movedim(r, -1, 0) if q.ndim else F.squeeze(r, -1)
    if keepdim:
        r = F.reshape(r, (*q.shape, *kept))
    return r


_QUANTILES = lambda m: [((m.t(3, 5), 0.4), {}), ((m.t(3, 5), 0.3, 1, True), {"interpolation": "midpoint"}), ((m.t(2, 3, 4), 0.5, 0), {}),   # noqa: E731
                        ((m.t(6), m.t(6).detach().abs().clamp_max(1).to(m.dtype)), {}), ((m.t(4, 2), 0.6, 0), {"interpolation": "nearest"})]


@composite(cast="high", forms="function method out", exact_out="quantile() out tensor must be same dtype as the input tensor", samples=_QUANTILES)
def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """The q-th quantile (0 to 1) along `dim`, or of all elements. A 1-d `q` gives a leading dimension. nan if there is a nan.

    `interpolation` between the two nearest elements: linear, lower, higher, midpoint or nearest."""
    return quantile_of("quantile", input, q, dim, keepdim, interpolation, False)


@composite(forms="function method out", exact_out="quantile() out tensor must be same dtype as the input tensor", samples=_QUANTILES)
def nanquantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """The quantile of the elements that are not nan; see quantile."""
    return quantile_of("nanquantile", input, q, dim, keepdim, interpolation, True)
