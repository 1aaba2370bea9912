"""Running reductions along a dimension, their differences, and integrals by the trapezoid rule.

In: a tensor and a dimension. Out: a tensor of the same shape (`diff`: one shorter per order), or (values, indices).
True always: position i of a scan depends on positions 0..i only, so a scan's derivative is a scan from the other end.
"""
from __future__ import annotations

from ..core.return_types import result_type
from ._common import Spec, as_int, dt, fail, is_tensor, need_tensor, np, wrap_dim, wrap_dims
from .elementwise import not_implemented
from .op import CUMULATIVE, F, composite, primitive
from .reduce import EXACT, invalid_arguments, lines

FORMS = "function method inplace out"
_SAMPLES = lambda m: [((m.t(3, 4), 1), {}), ((m.t(2, 3, 4), 0), {}), ((m.t(3, 0), -1), {}), ((m.t(), 0), {})]    # noqa: E731


def same_infer(spec: Spec, *rest, dim) -> Spec:
    return spec.like()


def reversed_along(fn, x, dim):
    """A scan from the other end."""
    return F.flip(fn(F.flip(x, (dim,)), dim), (dim,)) if x.ndim else fn(x, dim)


def scan_front(fn: str, input, dim, dtype=None):
    """Integers and bools are scanned in int64 unless `dtype` says otherwise."""
    d = need_tensor(input, fn).dtype
    axis = wrap_dim(dim if type(dim) is int else as_int(dim, fn, "dim"), input.ndim)
    want = dt.as_dtype(dtype) if dtype is not None else dt.int64 if d.category < dt.FLOAT else d
    return (input if want is d else F.convert(input, want),), {"dim": axis}


def place(shape, dim, index) -> tuple:
    """An index of `shape` that is `index` along `dim`."""
    return (slice(None),) * dim + (index,)


# ---------------------------------------------------------------------------------------------------- sums and products
@primitive(CUMULATIVE, jvp="input", args="input", forms=FORMS, infer=same_infer, onnx="CumSum", cast="gpu-high", samples=_SAMPLES,
           ref=lambda a, *, dim: np.add.accumulate(lines(a), dim, a.dtype).reshape(a.shape),
           vjp={"input": lambda g, dim: reversed_along(F.cumsum, g, dim)})
def cumsum(input, dim, *, dtype=None):
    """The sum of the elements up to and including each one, along `dim`."""
    return scan_front("cumsum", input, dim, dtype)


def linear_scan_ref(x, a, *, dim):
    """y[i] = x[i] + a[i] * y[i-1], by doubling: log2(n) passes over the arrays."""
    y, a = lines(x).copy(), lines(a).copy()
    n, step = y.shape[dim], 1
    while step < n:
        late, early = place(y.shape, dim, slice(step, None)), place(y.shape, dim, slice(None, -step))
        y[late] += a[late] * y[early]
        a[late] *= a[early].copy()
        step *= 2
    return y.reshape(x.shape)


def shifted(x, dim, fill: float, later: bool):
    """The elements moved one place towards the end (`later`) or the beginning, `fill` in the free place."""
    n = x.shape[dim]
    edge = F.full_like(F.narrow(x, dim, 0, 1), fill)
    return F.cat([edge, F.narrow(x, dim, 0, n - 1)], dim) if later else F.cat([F.narrow(x, dim, 1, n - 1), edge], dim)


def conj(x):
    return F.conj_physical(x) if x.is_complex() else x


def linear_scan_vjp(g, a, out, dim):
    if not a.numel():
        return F.zeros_like(g), F.zeros_like(a)
    back = F.flip(F.linear_scan(F.flip(g, (dim,)), F.flip(shifted(conj(a), dim, 0, False), (dim,)), dim), (dim,))
    return back, F.mul(back, conj(shifted(out, dim, 0, True)))


@primitive(CUMULATIVE, args="input a", forms="", infer=same_infer, ref=linear_scan_ref, vjp=linear_scan_vjp,
           samples=lambda m: [((m.t(3, 4), m.t(3, 4), 1), {}), ((m.t(5), m.t(5), 0), {}), ((m.t(2, 0), m.t(2, 0), 1), {})])
def linear_scan(input, a, dim):
    """`y[i] = input[i] + a[i] * y[i-1]` along `dim`, y[-1] being 0: the recurrence behind the derivatives of scans."""
    return (input, a), {"dim": dim}


def cumprod_vjp(g, input, out, dim):
    """d out[k] / d x[i] = (product before i) * (product of i+1..k): the second factor, summed over k, is a linear recurrence
    from the end. Zeros need no care."""
    if not input.ndim or not input.numel():
        return g
    x = conj(input)
    after = F.flip(F.linear_scan(F.flip(g, (dim,)), F.flip(shifted(x, dim, 0, False), (dim,)), dim), (dim,))
    return F.mul(after, conj(shifted(out, dim, 1, True)))


@primitive(CUMULATIVE, args="input", forms=FORMS, infer=same_infer, cast="gpu-high", vjp={"input": cumprod_vjp}, samples=_SAMPLES,
           ref=lambda a, *, dim: np.multiply.accumulate(lines(a), dim, a.dtype).reshape(a.shape))
def cumprod(input, dim, *, dtype=None):
    """The product of the elements up to and including each one, along `dim`."""
    return scan_front("cumprod", input, dim, dtype)


# ---------------------------------------------------------------------------------------------------- extremes
def running(name: str, ufunc, word: str):
    def ref(a, *, dim):
        x = lines(a)
        values = ufunc.accumulate(x, dim)
        here = values == x
        if x.dtype.kind == "f":
            here |= np.isnan(x)
        steps = np.arange(x.shape[dim]).reshape([-1 if i == dim else 1 for i in range(x.ndim)])
        indices = np.maximum.accumulate(np.where(here, steps, 0), dim)
        return values.reshape(a.shape), indices.reshape(a.shape)

    def vjp(gs, out1, input_shape, dim):
        return F.scatter_add(F.zeros(input_shape, dtype=gs[0].dtype), dim, out1, gs[0])

    def front(input, dim):
        if need_tensor(input, name).ndim == 0 and as_int(dim, name, "dim") not in (-1, 0):
            fail(IndexError, "P775", f"{name}(): Expected reduction dim -1 or 0 for scalar but got {dim}")
        axis = wrap_dim(as_int(dim, name, "dim"), input.ndim)
        if input.dtype.is_complex:
            not_implemented(f"{name}_cpu", input.dtype)
        return (input,), {"dim": axis}

    primitive(CUMULATIVE, name=f"{name}_lines", args="input", ref=ref, nout=2, forms="", vjp={"input": vjp},
              infer=lambda s, *, dim: (s.like(), s.like(dtype=dt.int64)), doc=f"(values, indices) of `{name}`.")(front)

    def body(input, dim):
        return result_type(name)(getattr(F, f"{name}_lines")(input, dim))
    composite(body, name=name, forms="function method out", exact_out=EXACT, samples=_SAMPLES,
              doc=f"A named tuple (values, indices): the {word} element so far along `dim`, and where it was last seen.")


running("cummax", np.maximum, "largest")
running("cummin", np.minimum, "smallest")


# ---------------------------------------------------------------------------------------------------- logcumsumexp
def log_add_exp(p, q):
    """log(exp(p) + exp(q)) of complex arrays: the number with the larger real part stays outside the logarithm."""
    first = p.real >= q.real
    top, low = np.where(first, p, q), np.where(first, q, p)
    r = top + np.log1p(np.exp(low - top))
    equal = np.isinf(top.real) & (top.real == low.real)     # both -inf: nothing; both inf: only their phases matter
    r = np.where(equal, np.where(top.real < 0, p, np.log(np.exp(low) + np.exp(top))), r)
    return np.where(np.isnan(p) | np.isnan(q), complex(np.nan, np.nan), r)


def logcumsumexp_ref(a, *, dim):
    x = lines(a)
    if x.dtype.kind != "c":
        return np.logaddexp.accumulate(x, dim).reshape(a.shape)
    if not x.size:
        return a.copy()
    r = np.empty_like(x)
    so_far = np.asarray(complex(-np.inf), x.dtype)
    for i in range(x.shape[dim]):
        r[place(x.shape, dim, i)] = so_far = log_add_exp(so_far, x[place(x.shape, dim, i)])
    return r.reshape(a.shape)


def logcumsumexp_vjp(g, input, out, dim):
    """dx[i] = exp(x[i] - out[i]) * R[i] with R[i] = g[i] + exp(out[i] - out[i+1]) * R[i+1]: no exponent is positive."""
    if not input.numel():
        return g
    if not input.ndim:
        return g
    complex_ = input.is_complex()
    nothing = F.isneginf(F.real(out) if complex_ else out)

    def ratio(x, y, none):
        r = F.exp(F.sub(x, F.where(none, F.zeros_like(y), y)))
        return conj(r)
    decay = shifted(ratio(shifted(out, dim, -float("inf"), True), out, nothing), dim, 0, False)
    after = F.flip(F.linear_scan(F.flip(g, (dim,)), F.flip(decay, (dim,)), dim), (dim,))
    return F.mul(after, ratio(input, out, nothing))


@primitive(CUMULATIVE, args="input", forms="function method out", infer=same_infer, ref=logcumsumexp_ref, vjp={"input": logcumsumexp_vjp},
           samples=_SAMPLES)
def logcumsumexp(input, dim):
    """`log(cumsum(exp(input)))` along `dim`, without overflow."""
    axis = wrap_dim(as_int(dim, "logcumsumexp", "dim"), need_tensor(input, "logcumsumexp").ndim)
    if input.dtype.category < dt.FLOAT:
        not_implemented("logcumsumexp_out_cpu", input.dtype)
    return (input,), {"dim": axis}


# ---------------------------------------------------------------------------------------------------- differences
@composite(forms="function method out", samples=lambda m: [((m.t(3, 4),), {}), ((m.t(5, 3), 2, 0), {}), ((m.t(3, 4),), {"prepend": m.t(3, 1)}),
                                                           ((m.t(3, 4), 1, 1), {"append": m.t(3, 2)}), ((m.t(0, 3),), {})])
def diff(input, n=1, dim=-1, prepend=None, append=None):
    """The n-th difference `x[i+1] - x[i]` along `dim`, after `prepend` and `append` are joined to it. Bools: logical_xor."""
    if need_tensor(input, "diff").ndim == 0:
        fail(RuntimeError, "P2474", "diff expects input to be at least one-dimensional")
    d = wrap_dim(dim, input.ndim)
    if n < 0:
        fail(RuntimeError, "P2475", f"order must be non-negative but got {n}")
    for name, t in (("prepend", prepend), ("append", append)):
        if t is not None:
            if t.ndim != input.ndim:
                fail(RuntimeError, "P2476", f"diff expects prepend or append to be the same dimension as input, but {name} has {t.ndim} "
                     f"dimensions and input has {input.ndim}")
            for i in range(input.ndim):
                if i != d and t.shape[i] != input.shape[i]:
                    fail(RuntimeError, "P2477", "diff expects the shape of tensor to prepend or append to match that of input except along "
                         f"the differencing dimension; input.size({i}) = {input.shape[i]}, but got tensor.size({i}) = {t.shape[i]}")
    if n == 0:
        return F.clone(input)
    parts = [t for t in (prepend, input, append) if t is not None]
    x = F.cat(parts, d) if len(parts) > 1 else input
    for _ in range(min(n, x.shape[d])):
        size = x.shape[d]
        if not size:
            break
        later, earlier = F.narrow(x, d, 1, size - 1), F.narrow(x, d, 0, size - 1)
        x = F.logical_xor(later, earlier) if x.dtype is dt.bool_ else F.sub(later, earlier)
    return F.clone(x) if x is input else x


# ---------------------------------------------------------------------------------------------------- integrals
def steps_between(fn: str, y, x, d: int):
    """The widths of the intervals between points `x`, shaped to multiply y's intervals along `d`."""
    if x.ndim == 0:
        fail(IndexError, "P2478", f"{fn}: Expected x to have at least one dimension")
    if x.ndim == 1 and y.ndim > 0:
        if x.shape[0] != y.shape[d]:
            fail(RuntimeError, "P2479", f"{fn}: There must be one `x` value for each sample point, got {x.shape[0]} points and "
                 f"{y.shape[d]} samples")
        return F.reshape(F.diff(x), [-1 if i == d else 1 for i in range(y.ndim)])
    if x.ndim < y.ndim:
        x = F.reshape(x, (1,) * (y.ndim - x.ndim) + tuple(x.shape))
    return F.diff(x, 1, d)


def intervals(fn: str, y, x, dx, dim):
    """(area of each interval along d, d)."""
    d = wrap_dim(dim, y.ndim)
    for t, name in ((y, "y"), (x, "x")):
        if is_tensor(t) and t.dtype is dt.bool_:
            fail(RuntimeError, "P2480", f"{fn}: received a bool input for `{name}`, but bool is not supported")
    n = y.shape[d]
    heights = F.add(F.narrow(y, d, 1, n - 1), F.narrow(y, d, 0, n - 1))
    if x is not None:
        return F.div(F.mul(steps_between(fn, y, x, d), heights), 2), d
    return F.mul(heights, dx / 2) if isinstance(dx, (int, float, complex)) else F.mul(F.mul(heights, dx), 0.5), d


def integral_args(fn, y, x, dx):
    if x is not None and not is_tensor(x):
        return None, x
    return x, 1 if dx is None else dx


_TRAPEZOID = lambda m: [((m.t(3, 4),), {}), ((m.t(3, 4), m.t(4)), {}), ((m.t(3, 4),), {"dx": 0.5, "dim": 0}), ((m.t(0, 3),), {"dim": 0}),   # noqa: E731
                        ((m.t(2, 3), m.t(2, 3)), {"dim": 1})]


@composite(aliases="trapz", samples=_TRAPEZOID)
def trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integral of samples `y` along `dim` by the trapezoid rule, at points `x` or `dx` (default 1) apart."""
    x, dx = integral_args("trapezoid", y, x, dx)
    if need_tensor(y, "trapezoid", "y").ndim == 0:
        fail(IndexError, "P776", f"Dimension specified as {dim} but tensor has no dimensions")
    if y.shape[wrap_dim(dim, y.ndim)] == 0:
        shape = [n for i, n in enumerate(y.shape) if i != wrap_dim(dim, y.ndim)]
        return F.zeros(shape, dtype=y.dtype)
    areas, d = intervals("trapezoid", y, x, dx, dim)
    return F.sum(areas, d)


@composite(samples=_TRAPEZOID)
def cumulative_trapezoid(y, x=None, *, dx=None, dim=-1):
    """The running integral of samples `y` along `dim` by the trapezoid rule; one element shorter than `y`."""
    x, dx = integral_args("cumulative_trapezoid", y, x, dx)
    if need_tensor(y, "cumulative_trapezoid", "y").ndim == 0:
        fail(IndexError, "P777", "slice() cannot be applied to a 0-dim tensor.")
    if y.shape[wrap_dim(dim, y.ndim)] == 0:
        return F.mul(y, 0.5)
    areas, d = intervals("cumulative_trapezoid", y, x, dx, dim)
    return F.cumsum(areas, d)


# ---------------------------------------------------------------------------------------------------- gradient
def slopes(x, d: int, h, edge_order: int):
    """Second-order central differences of `x` along `d` at spacing `h`: a number, or a 1-d tensor of coordinates."""
    n = x.shape[d]
    at = lambda start, length: F.narrow(x, d, start, length)            # noqa: E731
    if not is_tensor(h):
        inner = F.div(F.sub(at(2, n - 2), at(0, n - 2)), 2 * h)
        if edge_order == 1:
            first, last = F.div(F.sub(at(1, 1), at(0, 1)), h), F.div(F.sub(at(n - 1, 1), at(n - 2, 1)), h)
        else:
            first = F.div(F.sub(F.sub(F.mul(at(1, 1), 4), F.mul(at(0, 1), 3)), at(2, 1)), 2 * h)
            last = F.div(F.add(F.sub(F.mul(at(n - 1, 1), 3), F.mul(at(n - 2, 1), 4)), at(n - 3, 1)), 2 * h)
        return F.cat([first, inner, last], d)
    gaps = F.reshape(F.diff(h), [-1 if i == d else 1 for i in range(x.ndim)])
    gap = lambda start, length: F.narrow(gaps, d, start, length)        # noqa: E731
    left, right = gap(0, n - 2), gap(1, n - 2)
    span = F.add(left, right)
    a = F.neg(F.div(right, F.mul(left, span)))
    b = F.div(F.sub(right, left), F.mul(left, right))
    c = F.div(left, F.mul(right, span))
    inner = F.add(F.add(F.mul(a, at(0, n - 2)), F.mul(b, at(1, n - 2))), F.mul(c, at(2, n - 2)))
    if edge_order == 1:
        first, last = F.div(F.sub(at(1, 1), at(0, 1)), gap(0, 1)), F.div(F.sub(at(n - 1, 1), at(n - 2, 1)), gap(n - 2, 1))
    else:
        p, q = gap(0, 1), gap(1, 1)
        first = F.sub(F.add(F.mul(F.neg(F.div(F.add(F.mul(p, 2), q), F.mul(p, F.add(p, q)))), at(0, 1)),
                            F.mul(F.div(F.add(p, q), F.mul(p, q)), at(1, 1))), F.mul(F.div(p, F.mul(q, F.add(p, q))), at(2, 1)))
        p, q = gap(n - 3, 1), gap(n - 2, 1)
        last = F.add(F.sub(F.mul(F.div(q, F.mul(p, F.add(p, q))), at(n - 3, 1)), F.mul(F.div(F.add(p, q), F.mul(p, q)), at(n - 2, 1))),
                     F.mul(F.div(F.add(F.mul(q, 2), p), F.mul(q, F.add(p, q))), at(n - 1, 1)))
    return F.cat([first, inner, last], d)


@composite(samples=lambda m: [((m.t(5),), {}), ((m.t(4, 5),), {"spacing": 0.5, "dim": 1, "edge_order": 2}), ((m.t(3, 4),), {"spacing": (2.0, 0.5)}),
                              ((m.t(4),), {"spacing": (m.i(1).new_ones(4).cumsum(0).to(m.dtype),), "edge_order": 2}), ((m.t(0, 3),), {"dim": 1})])
def gradient(input, *, spacing=1, dim=None, edge_order=1):
    """Estimates of the partial derivatives along each dimension in `dim` (all if None), by central differences.

    `spacing`: a number, a number per dimension, or a 1-d tensor of coordinates per dimension. A tuple of tensors."""
    n = need_tensor(input, "gradient").ndim
    if spacing is None:
        spacing = 1
    if is_tensor(spacing):
        invalid_arguments("gradient", input, spacing)
    many = isinstance(spacing, (tuple, list))
    dims = tuple(range(n)) if dim is None else wrap_dims(dim, n)
    if edge_order not in (1, 2):
        fail(RuntimeError, "P2481", "torch.gradient only supports edge_order=1 and edge_order=2.")
    if input.dtype is dt.uint8:
        fail(RuntimeError, "P2482", "torch.gradient does not support uint8 input.")
    if many:
        if dim is not None and len(spacing) != len(dims):
            fail(RuntimeError, "P2483", "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim arguments to have "
                 f"the same length, but got a spacing argument of length {len(spacing)} and a dim argument of length {len(dims)}.")
        if dim is None and len(spacing) != n:
            fail(RuntimeError, "P2484", "torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to "
                 f"'self.dim() = {n}', since dim argument was not given, but got a list of length {len(spacing)}")
        for d, h in zip(dims, spacing):
            if is_tensor(h) and (h.ndim != 1 or h.shape[0] != input.shape[d]):
                fail(RuntimeError, "P2485", "torch.gradient expected each tensor in spacing to have the same length as the corresponding "
                     f"dimension of input ({input.shape[d]}), but got a tensor of shape {list(h.shape)}")
    for d in dims:
        if input.shape[d] < edge_order + 1:
            fail(RuntimeError, "P2486", "torch.gradient expected each dimension size to be at least edge_order+1")
    return tuple(slopes(input, d, h, edge_order) for d, h in zip(dims, spacing if many else [spacing] * len(dims)))
