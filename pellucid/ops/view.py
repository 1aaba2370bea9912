"""Views: operators whose result looks at their input's memory.

`ref` is the index map itself, applied to an array: it gives the array view. Derivative, inferred strides and the write
of an in-place operator through a view all follow from it: `view_grad` adds a gradient through the map into zeros,
`view_scatter` writes a value through a chain of maps. Permutations, expansions and reshapes have cheaper rules of their own.
"""
from __future__ import annotations

import math

from ..core.layout import contiguous_format
from ..core.storage import ARRAYS
from ._common import Spec, as_int, dt, as_ints, describe, fail, np, sizes_from, wrap_dim, wrap_dims
from .op import GATHER, REGISTRY, SCATTER, VIEW, F, composite, primitive, resolve



def as_strided_array(a: np.ndarray, shape, strides) -> np.ndarray:
    """A view of `a`'s memory with the given shape and byte strides."""
    try:
        return np.ndarray(shape, a.dtype, a, 0, strides)        # ten times faster; wants contiguous memory and room to spare
    except (TypeError, ValueError, BufferError):
        return np.lib.stride_tricks.as_strided(a, shape, strides)


def view_infer(ref):
    """Shape rule of a view: the map applied to an array of the same geometry without memory of its own."""
    def infer(spec: Spec, **attrs) -> Spec:
        strides = spec.strides or np.empty(spec.shape, np.bool_).strides
        probe = as_strided_array(np.empty(1, np.bool_), spec.shape, strides)
        r = ref(probe, **attrs)
        return Spec(r.shape, spec.dtype, tuple(r.strides))
    return infer


def overlaps(a: np.ndarray) -> bool:
    """Whether two indices of `a` may name the same element."""
    if a.size < 2:
        return False
    dims = sorted((s, n) for n, s in zip(a.shape, a.strides) if n > 1)
    span = 0
    for s, n in dims:
        if s <= span and s * n > 0 or s == 0:
            return True
        span += s * (n - 1)
    return False


def add_through(z: np.ndarray, view, g: np.ndarray) -> np.ndarray:
    """Add `g` to the elements of `z` that `view(z)` looks at, repeated ones as often as they repeat."""
    v = view(z)
    if not overlaps(v):
        v += g
        return z
    where = view(np.arange(z.size).reshape(z.shape))
    np.add.at(z.reshape(-1), where.reshape(-1), g.reshape(-1))
    return z


def view_grad_ref(g, *, op, attrs, shape):
    ref = resolve(op).ref
    return add_through(np.zeros(shape, g.dtype), lambda z: ref(z, **attrs), g)


# ---- for kernels: `lower(b, i, load, spec, **attrs)` is the element of the view at index i
def view_place(b, op, attrs: dict, shape, i):
    """Where in an array of `shape` the element `i` of its view lies."""
    place = []

    def load(k, idx):
        place.append(idx)
        return b.const(0, dt.int64)
    resolve(op).lower(b, i, load, Spec(tuple(shape), dt.int64), **attrs)
    return place[0]


def chain_place(b, chain, shapes, i):
    """Where in the first of `shapes` the element `i` of the last view of a chain lies."""
    for (op, attrs), shape in zip(reversed(chain), reversed(shapes)):
        i = view_place(b, op, attrs, shape, i)
    return i


def chain_shapes(chain, spec) -> list:
    """The shape each view of a chain is taken of, and the last one's own."""
    shapes = [spec.shape]
    s = spec.like()
    for op, attrs in chain:
        s = resolve(op).infer(s, **attrs)
        shapes.append(s.shape)
    return shapes


def slices_of(index, shape):
    """(start, stop, step, dimension of the view or None) per dimension of `shape` that a basic index cuts; None if the
    view's element cannot be told from the index of the input."""
    out, d, k = [], 0, 0
    for it in index:
        if it is None:
            k += 1
            continue
        n = shape[d]
        if isinstance(it, slice):
            start, stop, step = it.indices(n)
            out.append((start, max(start, stop), step, k))
            k += 1
        else:
            out.append((it % n if n else 0, (it % n if n else 0) + 1, 1, None))
        d += 1
    return out + [(0, n, 1, k + j) for j, n in enumerate(shape[d:])], k + len(shape) - d


def boxes_around(inner, shape):
    """Boxes that cover `shape` but for the box `inner` of (start, stop) pairs."""
    lo, hi = [0] * len(shape), list(shape)
    out = []
    for d, (a, z) in enumerate(inner):
        out += [(tuple(lo), (*hi[:d], a, *hi[d + 1:])), ((*lo[:d], z, *lo[d + 1:]), tuple(hi))]
        lo[d], hi[d] = a, z
    return out


def place_slice(b, index, shape, value, other):
    """The descriptor of an array of `shape` that has `value(view's index, load)` where a basic index cuts, and
    `other(index, load)` elsewhere."""
    cuts, ndim = slices_of(index, shape)

    def inside(o, load):
        i = [0] * ndim
        for x, (start, _, step, k) in zip(o, cuts):
            if k is not None:
                i[k] = b.idiv(b.isub(x, start), step)
        return value(tuple([b.iadd(x, 0) for x in i]), load)

    if all(stop > start for start, stop, _, _ in cuts) and all(step == 1 for _, _, step, _ in cuts):
        inner = [(start, stop) for start, stop, _, _ in cuts]
        return b.pieces([(*zip(*inner), inside), *((a, z, other) for a, z in boxes_around(inner, shape))] if shape else [((), (), inside)])

    def element(o, load):
        if any(stop <= start for start, stop, _, _ in cuts):
            return other(o, load)
        hit, at = b.const(True, dt.bool_), []
        for x, (start, stop, step, _) in zip(o, cuts):
            last = start + (stop - 1 - start) // step * step
            hit = b.and_(hit, b.and_(b.iwithin(x, start, last + 1), b.ieq(b.imod(b.isub(x, start), step), 0)))
            at.append(b.clamp(x, start, last))
        return b.select(hit, inside(at, load), other(o, load))
    return b.element(element)


def view_grad_lower(b, g, *, op, attrs, shape):
    zero = lambda o, load: b.zero(g.dtype)        # noqa: E731
    if resolve(op).ref is basic_index_ref:
        return place_slice(b, attrs["index"], shape, lambda i, load: load(0, i), zero)
    if resolve(op).name == "diagonal":
        first, second, offset = attrs["dim1"], attrs["dim2"], attrs["offset"]

        def element(o, load):
            if 0 in g.shape:
                return b.zero(g.dtype)
            rest = tuple([x for d, x in enumerate(o) if d not in (first, second)])
            at = b.clamp(b.iadd(o[first], min(offset, 0)), 0, g.shape[-1] - 1)
            on = b.ieq(b.iadd(o[first], offset), o[second])
            return b.select(on, load(0, (*rest, at)), b.zero(g.dtype))
        return b.element(element)
    return b.scatter(g.shape, b.zero(g.dtype), "add", lambda i, load: (view_place(b, op, attrs, shape, i), load(0, i)))


def batch_of_view(op, attrs, n, step):
    """The attributes of the view `op` of n examples that lie `step` elements apart."""
    rule = resolve(op).batch
    if rule is not None:
        return rule(n, step, **attrs)
    return {k: v + 1 if k in ("dim1", "dim2", "dimension") else v for k, v in attrs.items()}


def view_grad_batch(b, g, *, op, attrs, shape):
    step = math.prod(shape)
    return F.view_grad(g.x, op, batch_of_view(op, attrs, b.size, step), (b.size, *shape))


@primitive(SCATTER, jvp="g", args="g", forms="", ref=view_grad_ref, batch=view_grad_batch, lower=view_grad_lower, infer=lambda g, *, op, attrs, shape: g.like(shape), low=False,
           vjp={"g": lambda g, op, attrs: F.apply_view(g, op, attrs)})
def view_grad(g, op, attrs, shape):
    """The gradient of a view's input: `g` added through the view into zeros of `shape`."""
    return (g,), {"op": op, "attrs": attrs, "shape": shape}


@composite(forms="")
def apply_view(input, op, attrs):
    """The view operator `op` with canonical attributes, on another tensor."""
    return getattr(F, op)(input, **attrs)


def run_chain(a: np.ndarray, chain) -> np.ndarray:
    for op, attrs in chain:
        a = resolve(op).ref(a, **attrs)
    return a


def view_scatter_ref(base, value, *, chain):
    r = base.copy(order="K")
    np.copyto(run_chain(r, chain), value, casting="unsafe")
    return r


def _zero_through(g, chain):
    g = own_memory(g, chain)
    return F.view_scatter(g, F.zeros_like(F.view_chain(g, chain)), chain)


def own_memory(g, chain):
    """`g`, copied if the chain names places of the storage rather than of the tensor."""
    return F.clone(g, memory_format=contiguous_format) if any(resolve(op).name == "as_strided" for op, _ in chain) else g


def view_scatter_lower(b, base, value, *, chain):
    shapes = chain_shapes(chain, base)
    if len(chain) == 1 and resolve(chain[0][0]).ref is basic_index_ref:
        return place_slice(b, chain[0][1]["index"], base.shape, lambda i, load: b.cast(load(1, b.broadcast(i, value.shape)), b.compute(base.dtype)),
                           lambda o, load: load(0, o))
    return b.scatter(shapes[-1], 0, "set", lambda i, load: (
        chain_place(b, chain, shapes[:-1], i), b.cast(load(1, b.broadcast(i, value.shape)), b.compute(base.dtype))))


def view_scatter_batch(b, base, value, *, chain):
    if any(resolve(op).name in ("as_strided", "expand") for op, _ in chain):
        return b.each(REGISTRY["view_scatter"], (base, value), {"chain": chain})
    whole, v = b.full(base), value.x
    new = tuple([(op, batch_of_view(op, attrs, b.size, 0)) for op, attrs in chain])
    if value.batched:
        n = F.view_chain(whole, new).ndim - 1
        v = F.basic_index(v, (slice(None), *(None,) * (n - value.ndim)))
    return F.view_scatter(whole, v, new)


@primitive(SCATTER, jvp="base+value", args="base value", forms="", ref=view_scatter_ref, batch=view_scatter_batch, lower=view_scatter_lower, infer=lambda base, value, *, chain: base.like(), low=False,
           vjp={"base": lambda g, chain: _zero_through(g, chain),
                "value": lambda g, chain: F.clone(F.view_chain(own_memory(g, chain), chain))})
def view_scatter(base, value, chain):
    """`base` with `value` written through a chain of views."""
    return (base, value), {"chain": chain}


@composite(forms="")
def view_chain(input, chain):
    """A chain of views, one after another."""
    for op, attrs in chain:
        input = F.apply_view(input, resolve(op).name, attrs)
    return input


def view_op(ref, vjp=None, **kw):
    """Decorator over the front of a view operator. Its front accepts the canonical attributes by keyword; without `vjp`
    the derivative follows from the map."""
    def define(front):
        name = kw.get("name") or front.__name__
        rules = vjp or (lambda g, input_shape, attrs_: F.view_grad(g, name, attrs_, input_shape))
        return primitive(VIEW, args="input", ref=ref, infer=kw.pop("infer", None) or view_infer(ref), low=False,
                         vjp={"input": rules}, **kw)(front)
    return define


# ---------------------------------------------------------------------------------------------------- primitives
def reshape_ref(a, *, shape):
    return a.reshape(shape) if a.flags.c_contiguous else np.reshape(a, shape, copy=False)


def resolve_shape(shape: tuple, numel: int, fn: str) -> tuple:
    """`shape` with its -1 worked out, checked against the number of elements."""
    known, hole = 1, None
    for i, s in enumerate(shape):
        if s == -1:
            if hole is not None:
                fail(RuntimeError, "P220", "only one dimension can be inferred", got=f"shape {list(shape)}", fix="write -1 at most once")
            hole = i
        elif s < 0:
            fail(RuntimeError, "P221", f"invalid shape dimension {s}", got=f"shape {list(shape)}",
                 fix="sizes are 0 or more, or -1 for one to be worked out")
        else:
            known *= s
    if hole is not None:
        if known == 0:
            fail(RuntimeError, "P222", f"cannot reshape tensor of {numel} elements into shape {list(shape)} because the "
                 "unspecified dimension size -1 can be any value and is ambiguous", fix="name every size of an empty tensor")
        if numel % known == 0:
            return shape[:hole] + (numel // known,) + shape[hole + 1:]
    elif known == numel:
        return shape
    fail(RuntimeError, "P223", f"shape '{list(shape)}' is invalid for input of size {numel}",
         fix=f"the product of the sizes must be {numel}; one size may be -1")


def view_shape_infer(spec: Spec, *, shape) -> Spec:
    probe = as_strided_array(np.empty(1, np.bool_), spec.shape, spec.strides or np.empty(spec.shape, np.bool_).strides)
    try:
        r = reshape_ref(probe, shape=shape)
    except ValueError:
        fail(RuntimeError, "P224", "view size is not compatible with input tensor's size and stride (at least one dimension "
             "spans across two contiguous subspaces). Use .reshape(...) instead.",
             got=f"input {list(spec.shape)} with strides {list(spec.strides or ())}, view {list(shape)}",
             fix="call .reshape(...), which copies when it must, or .contiguous() first")
    return Spec(r.shape, spec.dtype, tuple(r.strides))


@view_op(reshape_ref, lambda g, input_shape: F.reshape(g, input_shape), infer=view_shape_infer, forms="",
         batch=lambda n, step, *, shape: {"shape": (n, *shape)},
         lower=lambda b, i, load, s, *, shape: load(0, b.unflatten(b.flatten(i, shape), s.shape)))
def view_shape(input, shape):
    """`input` seen with another shape, without copying."""
    return (input,), {"shape": resolve_shape(shape, input.numel(), "view")}


@view_op(lambda a, *, dims: a.transpose(dims), batch=lambda n, step, *, dims: {"dims": (0, *[d + 1 for d in dims])}, lower=lambda b, i, load, s, *, dims: load(0, tuple([i[dims.index(d)] for d in range(len(dims))])),
         vjp=
         lambda g, dims: F.permute(g, tuple(sorted(range(len(dims)), key=dims.__getitem__))), forms="function method",
         samples=lambda m: [((m.t(2, 3, 4), 2, 0, 1), {}), ((m.t(2, 3), (1, 0)), {}), ((m.t(0, 3), 1, 0), {})])
def permute(input, *args, dims=None):
    """The dimensions in another order: `x.permute(2, 0, 1)`. A view."""
    dims = sizes_from(args, "permute", "dims") if dims is None else as_ints(dims)
    n = input.ndim
    if len(dims) != n:
        fail(RuntimeError, "P225", f"permute(): number of dimensions in the tensor input ({n}) does not match the length of the "
             f"desired ordering of dimensions ({len(dims)})",
             got=describe(input), fix=f"name each of the {n} dimensions once, as in permute({', '.join(map(str, range(n)[::-1]))})")
    wrapped = tuple([wrap_dim(d, n) for d in dims])
    if len(set(wrapped)) != n:
        fail(RuntimeError, "P226", "permute(): duplicate dims are not allowed.", got=f"dims {list(dims)}", fix="name each dimension once")
    return (input,), {"dims": wrapped}


def expand_ref(a, *, shape):
    lead = len(shape) - a.ndim
    strides = [0] * lead + [0 if n == 1 and m != 1 else s for n, m, s in zip(a.shape, shape[lead:], a.strides)]
    return as_strided_array(a, shape, strides)


@view_op(expand_ref, lambda g, input_shape: F.sum_to_size(g, input_shape), forms="method", batch=lambda n, step, *, shape: {"shape": (n, *shape)},
         lower=lambda b, i, load, s, *, shape: load(0, b.broadcast(i, s.shape)),
         samples=lambda m: [((m.t(1, 3), 2, 3), {}), ((m.t(3), (2, -1)), {}), ((m.t(1, 0), 2, 0), {})])
def expand(input, *args, size=None, shape=None, implicit=False):
    """`input` with its size-1 dimensions repeated to `size` without copying; -1 keeps a dimension's size."""
    size = size if size is not None else shape
    sizes = sizes_from(args, "expand") if size is None else as_ints(size)
    have = tuple(input.shape)
    lead = len(sizes) - len(have)
    if lead < 0:
        fail(RuntimeError, "P227", f"expand({describe(input)}, size={list(sizes)}): the number of sizes provided ({len(sizes)}) must be "
             f"greater or equal to the number of dimensions in the tensor ({len(have)})",
             fix="expand() adds dimensions only in front; use reshape or sum to remove some")
    out = []
    for i, s in enumerate(sizes):
        n = have[i - lead] if i >= lead else None
        if s == -1:
            if n is None:
                fail(RuntimeError, "P228", f"expand({describe(input)}, size={list(sizes)}): the expanded size of the tensor (-1) "
                     f"isn't allowed in a leading, non-existing dimension {i}",
                     fix="-1 keeps a size that is there; name the sizes of new dimensions")
            s = n
        elif n is not None and n != s and n != 1:
            fail(RuntimeError, "P229", f"The expanded size of the tensor ({s}) must match the existing size ({n}) at non-singleton "
                 f"dimension {i}.  Target sizes: {list(sizes)}.  Tensor sizes: {list(have)}",
                 fix="only dimensions of size 1 can be expanded")
        elif s < 0:
            fail(RuntimeError, "P215", f"Trying to create tensor with negative dimension {s}: {list(sizes)}")
        out.append(s)
    return (input,), {"shape": tuple(out)}


def basic_index_ref(a, *, index):
    r = a[index]
    return r if type(r) is np.ndarray else a[(*index, ...)]        # all ints: keep a 0-d view, not a scalar


def index_batch(n, step, *, index):
    return {"index": (slice(None), *index)}


def basic_index_lower(b, i, load, s, *, index):
    at, k = [], 0
    for it in index:
        if it is None:
            k += 1
        elif isinstance(it, slice):
            start, _, step = it.indices(s.shape[len(at)])
            at.append(b.iadd(b.imul(i[k], step), start))
            k += 1
        else:
            n = s.shape[len(at)]
            at.append(b.iadd(it + n if it < 0 else it, 0))
    return load(0, (*at, *i[k:]))


def spread_lower(b, i, load, g, *, shape, dims, keepdim):
    if g.ndim == 0:
        return load(0, ())
    if keepdim:
        return load(0, tuple([b.iadd(0, 0) if d in dims else x for d, x in enumerate(i)]))
    return load(0, tuple([x for d, x in enumerate(i) if d not in dims]))


def spread_ref(g, *, shape, dims, keepdim):
    """`g` broadcast over reduced dimensions, by strides of 0."""
    if g.ndim == 0:
        return as_strided_array(g, shape, (0,) * len(shape))
    if keepdim:
        return as_strided_array(g, shape, [0 if i in dims else s for i, s in enumerate(g.strides)])
    it = iter(g.strides)
    return as_strided_array(g, shape, [0 if i in dims else next(it) for i in range(len(shape))])


def spread_batch(b, g, *, shape, dims, keepdim):
    if g.ndim == 0 and shape:
        return F.expand(F.reshape(g.x, (b.size, *[1] * len(shape))), (b.size, *shape))
    return F.spread(g.x, (b.size, *shape), tuple([d + 1 for d in dims]), keepdim)


@primitive(GATHER, jvp="g", args="g", ref=spread_ref, batch=spread_batch, infer=lambda g, *, shape, dims, keepdim: g.like(shape), low=False, forms="", lower=spread_lower,
           vjp={"g": lambda g, dims, keepdim: F.sum(g, dims, keepdim) if dims else g})
def spread(g, shape, dims, keepdim):
    """The gradient of a sum's input: `g` repeated over the dimensions that were summed."""
    return (g,), {"shape": shape, "dims": dims, "keepdim": keepdim}


@view_op(basic_index_ref, forms="", lower=basic_index_lower, batch=index_batch)
def basic_index(input, index):
    """Basic indexing: ints, slices with positive steps, None and no Ellipsis, as a canonical tuple. A view."""
    return (input,), {"index": index}


@view_op(basic_index_ref, forms="", refuse="multi", lower=basic_index_lower, batch=index_batch)
def piece(input, index):
    """Basic indexing by an operator that returns several views: none of them may be written in place while recording."""
    return (input,), {"index": index}


def strided_ref(a, *, size, stride, offset):
    """`offset` counts from the first element of `a`'s memory (None: from a's own first element)."""
    item = a.itemsize
    root = a
    if offset is not None:
        while type(root.base) in ARRAYS:
            root = root.base
        have = root.nbytes
        need = (offset + sum((n - 1) * s for n, s in zip(size, stride)) + 1) * item if all(size) else 0
        if need > have:
            fail(RuntimeError, "P230", f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and "
                 f"itemsize {item} requiring a storage size of {need} are out of bounds for storage of size {have}",
                 fix="the last element must lie within the storage")
        if not root.flags.c_contiguous:
            root = as_strided_array(root, (root.size,), (root.itemsize,))
        flat = root.reshape(-1).view(a.dtype)
        a = flat[offset:] if all(size) else flat
    return as_strided_array(a, size, tuple(s * item for s in stride))


def strided_lower(b, i, load, s, *, size, stride, offset):
    last = (offset or 0) + sum((n - 1) * t for n, t in zip(size, stride)) if all(size) else 0
    if last >= max(s.numel(), 1):
        b.refuse("a strided view of memory beyond the tensor")
    return load(0, b.unflatten(b.iadd(b.flatten(i, size, stride), offset or 0), s.shape))


def as_strided_vjp(g, input_shape, attrs_):
    return F.view_grad(g, "as_strided", attrs_, input_shape)


@view_op(strided_ref, as_strided_vjp, forms="function method relabel", lower=strided_lower,
         infer=lambda spec, *, size, stride, offset: Spec(size, spec.dtype, stride),
         batch=lambda n, step, *, size, stride, offset: {"size": (n, *size), "stride": (step, *stride), "offset": offset},
         samples=lambda m: [((m.t(12), (3, 2), (4, 1), 1), {}), ((m.t(6), (2, 2), (1, 1)), {}), ((m.t(4), (0, 2), (1, 1)), {})])
def as_strided(input, size, stride, storage_offset=None, offset=None):
    """A view with given sizes, strides and storage offset, all in elements."""
    if storage_offset is None:
        storage_offset = offset if offset is not None else input.storage_offset()
    size, stride = as_ints(size), as_ints(stride)
    if len(size) != len(stride):
        fail(RuntimeError, "P231", f"mismatch in length of strides and shape: {len(stride)} strides, {len(size)} sizes",
             fix="one stride per size")
    for s in stride:
        if s < 0:
            fail(RuntimeError, "P232", f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}")
    return (input,), {"size": size, "stride": stride, "offset": as_int(storage_offset)}


@primitive(VIEW, args="input", ref=lambda a: a, infer=lambda s: s, low=False, grads=False, forms="method function relabel", lower=lambda b, i, load, s: load(0, i),
         samples=lambda m: [((m.t(2, 3),), {}), ((m.i(3),), {}), ((m.t(0),), {})])
def detach(input):
    """The same memory, outside the history: no gradient flows through it."""
    return (input,), {}


@view_op(lambda a: a, lambda g: g, forms="", lower=lambda b, i, load, s: load(0, i))
def alias(input):
    """The tensor itself as a view."""
    return (input,), {}


# ---------------------------------------------------------------------------------------------------- composites
@composite(forms="method",
         samples=lambda m: [((m.t(2, 3), 3, 2), {}), ((m.t(2, 6), (2, -1, 3)), {}), ((m.t(0, 3), 3, 0), {})])
def view(input, *size, dtype=None):
    """`x.view(2, -1)`: the same memory with another shape; `x.view(dtype)`: its bytes read as another type.

    Raises RuntimeError when strides forbid it (use reshape, which copies)."""
    if size and isinstance(size[0], type(np.float32)) or dtype is not None or (size and hasattr(size[0], "category")):
        return F.view_dtype(input, dtype if dtype is not None else size[0])
    return F.view_shape(input, sizes_from(size, "view"))


@composite(forms="function method",
         samples=lambda m: [((m.t(2, 3), 3, 2), {}), ((m.t(2, 6), (2, -1, 3)), {}), ((m.t(0, 3), (3, 0)), {})])
def reshape(input, *shape, **kw):
    """The same values with another shape: a view where strides allow, a copy where not."""
    size = sizes_from(shape, "reshape", "shape") if not kw else as_ints(kw["shape"])
    size = resolve_shape(size, input.numel(), "reshape")
    if input.is_contiguous() or can_view(input, size):
        return F.view_shape(input, size)
    return F.view_shape(F.contiguous(input), size)


def can_view(x, size) -> bool:
    """Whether `x` can take shape `size` without a copy."""
    probe = as_strided_array(np.empty(1, np.bool_), tuple(x.shape), tuple(x.stride()))
    try:
        np.reshape(probe, size, copy=False)
    except ValueError:
        return False
    return True


@composite(forms="function method relabel", aliases="swapaxes swapdims",
         samples=lambda m: [((m.t(2, 3), 0, 1), {}), ((m.t(2, 3, 4), -1, 0), {}), ((m.t(0, 3), 0, 1), {})])
def transpose(input, dim0, dim1):
    """Two dimensions exchanged. A view."""
    n = input.ndim
    if n == 0:
        wrap_dim(dim0, 0), wrap_dim(dim1, 0)
        return F.alias(input)
    a, b = wrap_dim(as_int(dim0, "transpose", "dim0"), n), wrap_dim(as_int(dim1, "transpose", "dim1"), n)
    dims = list(range(n))
    dims[a], dims[b] = b, a
    return F.permute.canonical(input, dims=tuple(dims))


@composite(forms="function method relabel",
         samples=lambda m: [((m.t(2, 3), 0), {}), ((m.t(2), -1), {}), ((m.t(0, 3), 1), {})])
def unsqueeze(input, dim):
    """A new dimension of size 1 at `dim`. A view."""
    n = input.ndim
    d = wrap_dim(as_int(dim, "unsqueeze", "dim"), n + 1)
    return F.basic_index(input, (slice(None),) * d + (None,))


@composite(forms="function method relabel",
         samples=lambda m: [((m.t(1, 3, 1),), {}), ((m.t(2, 1), 1), {}), ((m.t(1, 0, 1), (0, 2)), {})])
def squeeze(input, dim=None):
    """Without its dimensions of size 1 (all, or those in `dim`). A view."""
    shape = input.shape
    dims = wrap_dims(dim, len(shape)) if dim is not None else range(len(shape))
    return F.basic_index(input, tuple([0 if n == 1 and i in dims else slice(None) for i, n in enumerate(shape)]))


@composite(forms="function method",
         samples=lambda m: [((m.t(2, 3), 1, -1), {}), ((m.t(3), 0, 1), {}), ((m.t(2, 0), 0, 1), {})])
def select(input, dim, index):
    """The slice at `index` of dimension `dim`, without that dimension. A view."""
    n = input.ndim
    if n == 0:
        fail(IndexError, "P233", "select() cannot be applied to a 0-dim tensor.", fix="item() gives the value of a 0-d tensor")
    d, i = wrap_dim(as_int(dim, "select", "dim"), n), as_int(index, "select", "index")
    size = input.shape[d]
    if not -size <= i < size:
        fail(IndexError, "P234", f"select(): index {i} out of range for tensor of size {list(input.shape)} at dimension {d}",
             fix=f"indices of that dimension are {-input.shape[d]} to {input.shape[d] - 1}")
    return F.basic_index(input, (slice(None),) * d + (i,))


@composite(forms="function method",
         samples=lambda m: [((m.t(2, 3),), {}), ((m.t(2, 3), 1), {}), ((m.t(0, 3),), {})])
def unbind(input, dim=0):
    """All slices along `dim`, as a tuple of views."""
    d = wrap_dim(as_int(dim, "unbind", "dim"), input.ndim)
    if input.ndim == 0:
        fail(RuntimeError, "P235", "Dimension specified as 0 but tensor has no dimensions")
    lead = (slice(None),) * d
    return tuple([F.piece(input, lead + (i,)) for i in range(input.shape[d])])

