"""Extremes: the largest and smallest elements, and where they are.

In: a tensor and dimensions. Out: a tensor, or a named tuple (values, indices).
True always: nan is larger and smaller than everything; of equal elements the first one's index counts. A value gives its
gradient to the element its index names; a value without an index shares it evenly among equal elements.
"""
from __future__ import annotations

from ..core.return_types import result_type
from ._common import dt, fail, is_tensor, need_tensor, np, wrap_dim
from .elementwise import not_implemented
from .op import REDUCE, F, composite, primitive
from .reduce import EXACT, invalid_arguments, read_dims, reduced, reduced_infer, restore


def need_elements(fn: str, shape, dims, full: bool, kind=RuntimeError) -> None:
    """An extreme of nothing has no value: PyTorch's errors."""
    if 0 not in shape:
        return
    if full:
        fail(kind, "P2466", f"{fn}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with "
             "the 'dim' argument.", got=f"a tensor of shape {list(shape)}",
             fix="an empty tensor has no largest or smallest element: test x.numel() first")
    for d in dims:
        if shape[d] == 0:
            fail(IndexError, "P2467", f"{fn}(): Expected reduction dim {d} to have non-zero size.", got=f"a tensor of shape {list(shape)}",
                 fix="an empty dimension has no largest or smallest element: test x.shape first")


def even_share(g, input, out, dims, keepdim):
    """The gradient shared evenly among the elements that equal the extreme."""
    mask = F.convert(F.eq(input, restore(out, input.shape, dims, keepdim)), g.dtype)
    return F.div(F.mul(restore(g, input.shape, dims, keepdim), mask), F.sum(mask, dims, True))


def even_share_all(g, input, out):
    """The gradient of the extreme of a whole tensor: shared among the elements that equal it, or are nan as it is."""
    mask = F.eq(input, out)
    if input.dtype.is_floating_point:
        mask = F.logical_or(mask, F.logical_and(F.isnan(input), F.isnan(out)))
    mask = F.convert(mask, g.dtype)
    return F.mul(F.div(g, F.sum(mask)), mask)


def to_index(g, index, input_shape, dim, keepdim):
    """The gradient of `values` put where the indices point."""
    if not keepdim and input_shape:
        g, index = F.unsqueeze(g, dim), F.unsqueeze(index, dim)
    return F.scatter_src(F.zeros(tuple(input_shape), dtype=g.dtype), dim, index, g)


def values_indices_infer(spec, *, dim, keepdim):
    shape = reduced(spec.shape, (dim,), keepdim) if spec.shape else ()
    return spec.like(shape), spec.like(shape, dt.int64)


def pick(a, index, dim, keepdim):
    """(values, indices) of `a` at one index (kept dimension) per line along `dim`."""
    values = np.take_along_axis(a, index, dim)
    return (values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))


_FULL_SAMPLES = lambda m: [((m.t(3, 4),), {}), ((m.t(2, 3, 4), 1), {}), ((m.t(3, 2), -1, True), {}), ((m.t(3, 0), 0), {}),   # noqa: E731
                           ((m.t(3, 1), m.t(4)), {}), ((m.t(),), {})]


# ---------------------------------------------------------------------------------------------------- max, min
def extreme(name: str, ufunc, arg, pair: str, onnx: str, doc: str):
    """`max` or `min` with all its overloads, from a ufunc and the method finding the index."""
    kernel = f"{name}_all"

    def full_ref(a, *, dims, keepdim):
        return np.asarray(ufunc.reduce(a, None))

    def front(input, dim=None, keepdim=False, *, other=None):
        if dim is None and other is None:
            need_tensor(input, name)
            if keepdim is not False:
                invalid_arguments(name, input, keepdim)
            if input.dtype.is_complex:
                not_implemented(kernel, input.dtype)
            if not input.numel():
                need_elements(name, input.shape, (), True)
            return (input,), {"dims": tuple(range(input.ndim)), "keepdim": False}
        if other is not None or is_tensor(dim):
            return pair, (input, dim if other is None else other), {}
        if type(dim) is not int and (isinstance(dim, (tuple, list, float, str)) or not hasattr(dim, "__index__")):
            invalid_arguments(name, input, dim)
        return f"{name}_named", (input, dim, keepdim), {}

    def full_lower(b, s, *, dims, keepdim):
        return b.reduction(b.combining(name, s.dtype), s, dims, keepdim)

    primitive(REDUCE, name=name, args="input", ref=full_ref, lower=full_lower, infer=reduced_infer, vjp={"input": even_share_all}, doc=doc,
              batch=lambda b, x, *, dims, keepdim: getattr(F, f"{name}_lines")(F.reshape(x.x, (b.size, -1)), 1)[0],
              forms="function method out", onnx=onnx, samples=_FULL_SAMPLES)(front)

    def lines_ref(a, *, dim, keepdim):
        if a.ndim == 0:
            return a.copy(), np.zeros((), np.int64)
        if not a.size:
            shape = reduced(a.shape, (dim,), keepdim)
            return np.empty(shape, a.dtype), np.empty(shape, np.int64)
        return np.asarray(ufunc.reduce(a, dim, None, None, keepdim)), np.asarray(arg(a, dim, keepdims=keepdim))

    def lines_lower(b, s, *, dim, keepdim):
        dims = (dim,) if s.ndim else ()
        if b.out == 0:
            return b.reduction(b.combining(name, s.dtype), s, dims, keepdim)
        return b.reduction("arg" + name, s, dims, keepdim)

    def lines_front(input, dim, keepdim=False):
        d = wrap_dim(dim, need_tensor(input, name).ndim)
        if input.dtype.is_complex:
            fail(RuntimeError, "P2468", f"{name}(): does not support complex input")
        if input.ndim:
            need_elements(name, input.shape, (d,), False)
        return (input,), {"dim": d, "keepdim": bool(keepdim)}

    primitive(REDUCE, name=f"{name}_lines", args="input", ref=lines_ref, lower=lines_lower, infer=values_indices_infer, nout=2, forms="",
              vjp={"input": lambda gs, out1, input_shape, dim, keepdim: to_index(gs[0], out1, input_shape, dim, keepdim)},
              doc=f"(values, indices) of the {name} along one dimension.")(lines_front)

    def named(input, dim, keepdim=False):
        return result_type(name)(getattr(F, name + "_lines")(input, dim, keepdim))
    composite(named, name=f"{name}_named", forms="", exact_out=EXACT, doc=f"`{name}(input, dim)`: the named tuple (values, indices).",
              samples=lambda m: [((m.t(2, 3, 4), 1), {}), ((m.t(3, 2), -1, True), {}), ((m.t(3, 0), 0), {}), ((m.t(), 0), {})])


extreme("max", np.maximum, np.argmax, "maximum", "ReduceMax",
        "`max(input)`: the largest element. `max(input, dim, keepdim)`: a named tuple (values, indices) along `dim`.\n"
        "`max(input, other)`: see maximum. nan counts as the largest.")
extreme("min", np.minimum, np.argmin, "minimum", "ReduceMin",
        "`min(input)`: the smallest element. `min(input, dim, keepdim)`: a named tuple (values, indices) along `dim`.\n"
        "`min(input, other)`: see minimum. nan counts as the smallest.")


# ---------------------------------------------------------------------------------------------------- amax, amin, aminmax
def several(name: str, ufunc, kernel: str, onnx: str, word: str):
    def front(input, dim=(), keepdim=False):
        dims = read_dims(name, input, dim)
        if input.dtype.is_complex:
            not_implemented(kernel, input.dtype)
        if not input.numel():
            need_elements(name, input.shape, dims, dim is None or dim == () or dim == [])
        return (input,), {"dims": dims, "keepdim": bool(keepdim)}

    primitive(REDUCE, name=name, args="input", infer=reduced_infer, vjp={"input": even_share},
              lower=lambda b, s, *, dims, keepdim: b.reduction(b.combining(name[1:], s.dtype), s, dims, keepdim), forms="function method out", onnx=onnx,
              exact_out="Expected the dtype for input and out to match, but got {Want} for input's dtype and {Have} for out's dtype.",
              ref=lambda a, *, dims, keepdim: np.asarray(ufunc.reduce(a, dims, None, None, keepdim)),
              doc=f"The {word} elements over `dim` (an int, several, or all dimensions). Equal elements share the gradient evenly.",
              samples=lambda m: [((m.t(3, 4),), {}), ((m.t(2, 3, 4), (0, 2)), {}), ((m.t(3, 2), -1, True), {}), ((m.t(3, 0), 0), {}), ((m.t(),), {})])(front)


several("amax", np.maximum, "max_values_cpu", "ReduceMax", "largest")
several("amin", np.minimum, "min_values_cpu", "ReduceMin", "smallest")


@composite(forms="function method out", exact_out=EXACT,
           samples=lambda m: [((m.t(3, 4),), {}), ((m.t(3, 4),), {"dim": 1}), ((m.t(3, 0),), {"dim": 0, "keepdim": True}), ((m.t(),), {})])
def aminmax(input, *, dim=None, keepdim=False):
    """A named tuple (min, max): the smallest and the largest elements, over all dimensions or along `dim`."""
    need_tensor(input, "aminmax")
    if input.dtype.is_complex:
        not_implemented("aminmax_cpu", input.dtype)
    if dim is None:
        if not input.numel():
            fail(RuntimeError, "P2469", "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity.",
                 got=f"a tensor of shape {list(input.shape)}")
        dim = ()
    elif input.ndim and input.shape[wrap_dim(dim, input.ndim)] == 0:
        fail(IndexError, "P2470", f"aminmax: Expected reduction dim {wrap_dim(dim, input.ndim)} to have non-zero size.")
    return result_type("aminmax")((F.amin(input, dim, keepdim), F.amax(input, dim, keepdim)))


# ---------------------------------------------------------------------------------------------------- argmax, argmin
def where_extreme(name: str, arg, onnx: str, word: str):
    def ref(a, *, dim, keepdim):
        if dim is None:
            r = np.asarray(arg(a))
            return r.reshape((1,) * a.ndim) if keepdim else r
        if a.ndim == 0:
            return np.zeros((), np.int64)
        return np.asarray(arg(a, dim, keepdims=keepdim) if a.size else np.empty(reduced(a.shape, (dim,), keepdim), np.int64))

    def lower(b, s, *, dim, keepdim):
        dims = tuple(range(s.ndim)) if dim is None else (dim,) if s.ndim else ()
        return b.reduction(name, s, dims, keepdim)

    def infer(spec, *, dim, keepdim):
        dims = range(spec.ndim) if dim is None else (dim,)
        return spec.like(reduced(spec.shape, tuple(dims), keepdim), dt.int64)

    def front(input, dim=None, keepdim=False):
        need_tensor(input, name)
        d = input.dtype
        if d.is_complex or d is dt.bool_:
            fail(RuntimeError, "P2471", f"{name}(): does not support {'complex' if d.is_complex else 'bool'} input")
        if dim is not None:
            dim = read_dims(name, input, int(dim) if type(dim) is not int and hasattr(dim, "__index__") else dim)
            dim = dim[0] if dim else 0
        if not input.numel():
            if dim is None:
                fail(IndexError, "P2472", f"{name}(): Expected reduction dim to be specified for input.numel() == 0.",
                     got=f"a tensor of shape {list(input.shape)}", fix="pass dim=")
            need_elements(name, input.shape, (dim,), False)
        return (input,), {"dim": dim, "keepdim": bool(keepdim)}

    primitive(REDUCE, name=name, args="input", ref=ref, lower=lower, infer=infer, grads=False, forms="function method out", onnx=onnx, exact_out=EXACT,
              doc=f"The index of the {word} element along `dim`, or in the flattened tensor if `dim` is None; the first among equals. int64.",
              samples=lambda m: [((m.t(3, 4),), {}), ((m.t(2, 3, 4), 1), {}), ((m.t(3, 2), -1, True), {}), ((m.t(3, 0), 0), {}), ((m.t(),), {})])(front)


where_extreme("argmax", np.argmax, "ArgMax", "largest")
where_extreme("argmin", np.argmin, "ArgMin", "smallest")
