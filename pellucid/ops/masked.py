"""Masks and flat places: masked reads and writes, take and put, the places of nonzero elements."""
from __future__ import annotations

from ._common import as_int, as_ints, broadcast_shapes, describe, dt, fail, is_tensor, need_tensor, np, wrap_dim
from .creation import _number_for
from .op import GATHER, POINT, F, composite, primitive


@composite(forms="function method out", samples=lambda m: [((m.t(3, 4), m.i(2, 2, low=-12, high=12)), {}), ((m.t(5), m.i(3, high=5)), {}),
                                                            ((m.t(3, 4), m.i(0, high=12)), {})])
def take(input, index):
    """The elements of the flattened `input` at `index`."""
    if index.dtype is not dt.int64:
        fail(RuntimeError, "P261", "take(): Expected a long tensor for index", got=describe(index), fix="convert the index with .long()")
    if input.numel() == 0 and index.numel():
        fail(IndexError, "P256", "take(): tried to take from an empty tensor")
    flat = F.index(F.reshape(input, (-1,)), (F.reshape(index, (-1,)),))
    return F.reshape(flat, tuple(index.shape))


@composite(forms="function method inplace", samples=lambda m: [((m.t(3, 4), m.unique(3, high=12), m.t(3)), {}),
                                                      ((m.t(5), m.i(3, high=5), m.t(3)), {"accumulate": True}), ((m.t(3), m.i(0, high=3), m.t(0)), {})])
def put(input, index, source, accumulate=False):
    """`input` with `source` written (or added) at flat places."""
    if index.numel() != source.numel():
        fail(RuntimeError, "P263", "put_(): Expected source and index to have the same number of elements", got=describe(index, source))
    flat = F.index_put(F.reshape(input, (-1,)), (F.reshape(index, (-1,)),), F.reshape(source, (-1,)), accumulate)
    return F.reshape(flat, tuple(input.shape))


@composite(forms="function method out", samples=lambda m: [((m.t(3, 4), m.i(3, 1, high=4), 1), {}), ((m.t(3, 4), m.i(5, high=12)), {}),
                                                            ((m.t(0, 4), m.i(0, 1, high=4), 1), {})])
def take_along_dim(input, indices, dim=None):
    """Elements at `indices` along `dim`, broadcasting the other dimensions; of the flattened input without `dim`."""
    if dim is None:
        return F.take(input, F.reshape(indices, (-1,)))
    if input.ndim != indices.ndim:
        fail(RuntimeError, "P262", "pellucid.take_along_dim(): input and indices should have the same number of dimensions, "
             f"but got {input.ndim} dimensions for input, and {indices.ndim} dimensions for indices")
    d = wrap_dim(dim, input.ndim)
    ishape, xshape = list(indices.shape), list(input.shape)
    n, m = ishape[d], xshape[d]
    ishape[d] = xshape[d] = 1
    common = list(broadcast_shapes(tuple(ishape), tuple(xshape)))
    a, b = common.copy(), common.copy()
    a[d], b[d] = m, n
    indices = F.where(F.lt(indices, 0), F.add(indices, m), indices)
    return F.gather(F.expand(input, a), d, F.contiguous(F.expand(indices, b)))


_CPP = {"int64": "long int", "int32": "int", "uint8": "unsigned char", "float32": "float", "float64": "double"}


def masked_check(fn, mask):
    if mask.dtype is not dt.bool_:
        what = (f"{fn}: expected BoolTensor for mask" if fn == "masked_select" else
                f"{fn} only supports boolean masks, but got mask with dtype {_CPP.get(mask.dtype.name, mask.dtype.name)}")
        fail(RuntimeError, "P268", what, got=describe(mask),
             fix="compare first: x.masked_fill(mask > 0, ...), or mask.bool()")


def masked_fill_ref(a, mask, v):
    r = np.where(mask, v, a)
    return r if r.dtype is a.dtype else r.astype(a.dtype)


@primitive(POINT, args="input mask value", scalar=lambda b, x, mask, value: b.select(mask, value, x), ref=masked_fill_ref, low=False,
           forms="function method inplace out", infer=lambda a, m, v: a.like(broadcast_shapes(a.shape, m.shape)),
           vjp={"input": lambda g, mask: F.masked_fill(g, mask, 0),
                "value": lambda g, mask: F.sum(F.where(mask, g, F.zeros((), dtype=g.dtype)))},
           samples=lambda m: [((m.t(3, 4), m.b(3, 4), 1.5), {}), ((m.t(3, 4), m.b(4), m.t()), {}), ((m.t(0, 4), m.b(4), 0), {})])
def masked_fill(input, mask, value):
    """`input` with a number where `mask` is True."""
    masked_check("masked_fill_", need_tensor(mask, "masked_fill", "mask", 2))
    if is_tensor(value):
        if value.ndim:
            fail(RuntimeError, "P219", f"masked_fill only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s).",
                 fix="use a number, or where(mask, value, input) for values that differ")
        value = F.to(value, input.dtype)
    else:
        if isinstance(value, complex) and not input.is_complex():
            fail(RuntimeError, "P216", f"value cannot be converted to type {input.dtype.type_name} without overflow", got=repr(value))
        d = input.dtype
        value = float(value) if d.category == dt.FLOAT else _number_for(value, d)
    return (input, mask, value), {}


@composite(forms="function method out", samples=lambda m: [((m.t(3, 4), m.b(3, 4)), {}), ((m.t(3, 4), m.b(4)), {}), ((m.t(0), m.b(0)), {})])
def masked_select(input, mask):
    """The elements where `mask` is True, as a vector."""
    masked_check("masked_select", mask)
    shape = broadcast_shapes(tuple(input.shape), tuple(mask.shape))
    if not shape:
        return F.index(F.view_shape(input, (1,)), (F.select(F.nonzero(F.view_shape(mask, (1,))), 1, 0),))
    places = F.nonzero(F.expand(mask, shape))
    return F.index(F.expand(input, shape), tuple(F.select(places, 1, j) for j in range(len(shape))))


@composite(forms="function method inplace", samples=lambda m: [((m.t(3, 4), m.b(3, 4), m.t(12)), {}), ((m.t(3, 4), m.b(4), m.t(3, 4)), {}),
                                                               ((m.t(0), m.b(0), m.t(0)), {})])
def masked_scatter(input, mask, source):
    """`input` with the elements of `source`, in order, where `mask` is True."""
    masked_check("masked_scatter", mask)
    if source.dtype is not input.dtype:
        fail(RuntimeError, "P266", f"masked_scatter: expected self and source to have same dtypes but got {input.dtype.type_name} and "
             f"{source.dtype.type_name}")
    shape = broadcast_shapes(tuple(input.shape), tuple(mask.shape))
    x, m = F.expand(input, shape), F.expand(mask, shape)
    if not shape:
        return F.where(m, F.reshape(source, (-1,))[0], x)
    places = F.nonzero(m)
    count = places.shape[0]
    if source.numel() < count:
        fail(RuntimeError, "P263", f"masked_scatter: expected the number of ones in mask ({count}) to be at most the number of "
             f"elements in source ({source.numel()})", fix="give at least as many values as the mask has True")
    return F.index_put(x, tuple(F.select(places, 1, j) for j in range(len(shape))), F.reshape(source, (-1,))[:count])


@primitive(GATHER, args="input", ref=lambda a: np.argwhere(a.astype(bool) if a.dtype.kind == "V" else a).astype(np.int64), low=False,
           infer=lambda s: fail(RuntimeError, "P269", "nonzero: the result's shape depends on the values"), forms="",
           samples=lambda m: [((m.b(3, 4),), {}), ((m.i(5),), {}), ((m.t(0, 2),), {})])
def nonzero_places(input):
    """The places of nonzero elements, one row each."""
    return (input,), {}


@composite(forms="function method out", exact_out="nonzero(): Expected out tensor to have scalar type {Want} but got scalar type {Have}",
           samples=lambda m: [((m.b(3, 4),), {}), ((m.i(5),), {"as_tuple": True}), ((m.t(0, 2),), {})])
def nonzero(input, *, as_tuple=False):
    """The places of nonzero elements: an (n, ndim) tensor, or one vector per dimension with `as_tuple`."""
    if as_tuple:
        places = F.nonzero_places(F.view_shape(input, (1,)) if input.ndim == 0 else input)
        return F.unbind(places, 1)
    return F.nonzero_places(input)


@composite(forms="function method out", samples=lambda m: [((m.t(3, 4),), {}), ((m.i(5),), {}), ((m.t(0, 2),), {})])
def argwhere(input):
    """The places of nonzero elements, one row each."""
    return F.nonzero(input)


@composite(forms="function method out", samples=lambda m: [((m.b(3, 4),), {"size": 5}), ((m.i(5, high=3),), {"size": 2}), ((m.t(0, 2),), {"size": 3, "fill_value": 7})])
def nonzero_static(input, *, size, fill_value=-1):
    """The first `size` places of nonzero elements, one row each: a (size, ndim) int64 tensor, filled up with `fill_value`."""
    size = as_int(size, "nonzero_static", "size")
    if size < 0:
        fail(RuntimeError, "P2841", "nonzero_static: 'size' must be an non-negative integer", got=f"size={size}", fix="size is the number of rows of the result")
    places = F.nonzero(input)[:size]
    missing = size - places.shape[0]
    return F.cat([places, F.full((missing, input.ndim), fill_value, dtype=dt.int64)], 0) if missing else places


@composite(samples=lambda m: [((m.i(2, 3, high=20), (4, 5)), {}), ((m.i(4, high=12, dtype=dt.int32), (2, 3, 2)), {}), ((m.i(), 10), {}), ((m.i(0), (3, 2)), {})])
def unravel_index(indices, shape):
    """The coordinates, in a tensor of `shape`, of flat places: a tuple of int64 tensors, one per dimension.

    TypeError unless `indices` are integers and `shape` an int or ints; ValueError for negative sizes. As numpy.unravel_index, but
    places beyond the end wrap around."""
    if need_tensor(indices, "unravel_index", "indices").dtype.category != dt.INT:
        fail(TypeError, "P2842", f"expected 'indices' to be integer dtype, but got {indices.dtype!r}", got=describe(indices), fix="convert with .long()")
    if not isinstance(shape, (int, list, tuple)):
        fail(TypeError, "P2843", f"expected 'shape' to be int or sequence of ints, but got {type(shape).__name__}", fix="give the tensor's shape")
    sizes = as_ints(shape, "unravel_index", "shape")
    if min(sizes, default=0) < 0:
        fail(ValueError, "P2844", f"'shape' cannot have negative values, but got {sizes}", fix="sizes are 0 or more")
    rest, found, step = F.to(indices, dt.int64), [], 1
    for n in reversed(sizes):
        found.append(F.remainder(F.floor_divide(rest, step), n))
        step *= n
    return tuple(reversed(found))
