"""Discrete Fourier transforms: three primitives over NumPy's pocketfft, and PyTorch's `torch.fft` made of them.

In: a tensor, sizes and dimensions. Out: sums of the elements times `exp(-2 pi i j k / n)` (`forward`) or `exp(+2 pi i j k / n)`
(backward), times a scale. True always: sizes are 1 or more; a half spectrum lies along the last of `dims`; the primitives take
inputs already cut or padded with zeros to size. Single precision stays single.
"""
from __future__ import annotations

import math

from ._common import as_int, as_ints, as_size, dt, fail, need_tensor, np, wrap_dim
from .creation import check, dtype_or_default, finish
from .op import EXTERN, F, composite, primitive


# ---------------------------------------------------------------------------------------------------- primitives
def scaled(r, scale: float):
    return r if scale == 1.0 else r * scale


def transformed(a, dims, forward: bool):
    """The unscaled transform of complex or real `a` along all of `dims`, none of them allowed."""
    if not dims:
        return a
    return np.fft.fftn(a, axes=dims, norm="backward") if forward else np.fft.ifftn(a, axes=dims, norm="forward")


def r2c_ref(a, *, dims, forward, scale):
    half = np.fft.rfft(a, axis=dims[-1], norm="backward") if forward else np.fft.ihfft(a, axis=dims[-1], norm="forward")
    return scaled(transformed(half, dims[:-1], forward), scale)


def c2r_ref(a, *, dims, last, forward, scale):
    a = transformed(a, dims[:-1], forward)
    r = np.fft.hfft(a, last, dims[-1], norm="backward") if forward else np.fft.irfft(a, last, dims[-1], norm="forward")
    return scaled(r, scale)


def sized(shape, dim: int, n: int) -> tuple:
    return tuple(shape[:dim]) + (n,) + tuple(shape[dim + 1:])


def inside_times(x, dim: int, n: int, factor: float):
    """The half spectrum `x` of `n` points, times `factor` where an element stands for itself and its mirror image."""
    pairs, d = (n - 1) // 2, x.dtype.to_real()
    weights = [F.full((count,), value, dtype=d) for count, value in ((1, 1.0), (pairs, factor), (n // 2 - pairs, 1.0)) if count]
    return F.mul(x, F.reshape(F.cat(weights, 0), sized((1,) * x.ndim, dim, n // 2 + 1)))


def r2c_vjp(g, input_shape, dims, forward, scale):
    n = input_shape[dims[-1]]
    return F.fft_c2r(inside_times(g, dims[-1], n, 0.5), dims, n, not forward, scale)


def c2r_vjp(g, dims, last, forward, scale):
    return inside_times(F.fft_r2c(g, dims, not forward, scale), dims[-1], last, 2.0)


@primitive(EXTERN, jvp="input", args="input", forms="", ns=(), low=False, infer=lambda s, *, dims, forward, scale: s.like(),
           ref=lambda a, *, dims, forward, scale: scaled(transformed(a, dims, forward), scale),
           vjp={"input": lambda g, dims, forward, scale: F.fft_c2c(g, dims, not forward, scale)},
           samples=lambda m: [((m.c(3, 4), (1,), True, 1.0), {}), ((m.c(3, 4), (0, 1), False, 0.5), {}), ((m.c(0, 3), (1,), True, 1.0), {})])
def fft_c2c(input, dims, forward, scale):
    """The transform of a complex tensor along `dims`."""
    return (input,), {"dims": dims, "forward": forward, "scale": scale}


@primitive(EXTERN, jvp="input", args="input", forms="", ns=(), low=False, ref=r2c_ref, vjp={"input": r2c_vjp},
           infer=lambda s, *, dims, forward, scale: s.like(sized(s.shape, dims[-1], s.shape[dims[-1]] // 2 + 1), s.dtype.to_complex()),
           samples=lambda m: [((m.t(3, 4), (1,), True, 1.0), {}), ((m.t(3, 4), (1, 0), False, 0.5), {}), ((m.t(0, 3), (1,), True, 1.0), {})])
def fft_r2c(input, dims, forward, scale):
    """The transform of a real tensor along `dims`: the first `n // 2 + 1` elements along the last of them."""
    return (input,), {"dims": dims, "forward": forward, "scale": scale}


@primitive(EXTERN, jvp="input", args="input", forms="", ns=(), low=False, ref=c2r_ref, vjp={"input": c2r_vjp},
           infer=lambda s, *, dims, last, forward, scale: s.like(sized(s.shape, dims[-1], last), s.dtype.to_real()),
           samples=lambda m: [((m.c(3, 4), (1,), 6, False, 1.0), {}), ((m.c(3, 4), (1, 0), 5, True, 0.5), {}), ((m.c(0, 3), (1,), 4, True, 1.0), {})])
def fft_c2r(input, dims, last, forward, scale):
    """The transform of a half spectrum along `dims`: `last` real numbers along the last of them."""
    return (input,), {"dims": dims, "last": last, "forward": forward, "scale": scale}


# ---------------------------------------------------------------------------------------------------- arguments
def scale_of(norm, n: int, forward: bool) -> float:
    if norm == "ortho":
        return 1 / math.sqrt(n)
    if norm in (None, "backward"):
        return 1.0 if forward else 1 / n
    if norm == "forward":
        return 1 / n if forward else 1.0
    fail(RuntimeError, "P950", f'Invalid normalization mode: "{norm}"', fix="norm is 'forward', 'backward' or 'ortho'")


def in_dtype(x, want_complex: bool):
    """Integers in the default dtype; complex if wanted. Half precision is refused."""
    d = x.dtype if x.dtype.category >= dt.FLOAT else dt.get_default_dtype()
    if d.to_real() not in (dt.float32, dt.float64):
        fail(RuntimeError, "P951", f"Unsupported dtype {d.type_name}", fix="the dtype must be of single or double precision: call .float() first")
    if want_complex:
        d = d.to_complex()
    return x if x.dtype is d else F.convert(x, d)


def real_only(x, message: str) -> None:
    if x.dtype.is_complex:
        fail(RuntimeError, "P952", message + x.dtype.type_name, fix="take .real or .imag, or use the transform of complex tensors")


def axis_of(dim: int, x) -> int:
    if not x.ndim:
        fail(IndexError, "P953", f"Dimension specified as {dim} but tensor has no dimensions")
    return wrap_dim(dim, x.ndim)


def sizes_and_dims(fn: str, x, s, dim) -> tuple:
    """(size or None for the input's, per dimension; the dimensions): `s` alone means the last dimensions."""
    s = None if s is None else as_ints(s, fn, "s")
    if dim is not None:
        dims = tuple(axis_of(d, x) for d in as_ints(dim, fn, "dim"))
        if len(set(dims)) != len(dims):
            fail(RuntimeError, "P954", "FFT dims must be unique", got=f"dim={dim}")
        if s is not None and len(s) != len(dims):
            fail(RuntimeError, "P955", "When given, dim and shape arguments must have the same length", got=f"s={s}, dim={dims}")
    elif s is not None:
        if len(s) > x.ndim:
            fail(RuntimeError, "P956", f"Got shape with {len(s)} values but input tensor only has {x.ndim} dimensions.")
        dims = tuple(range(x.ndim - len(s), x.ndim))
    else:
        dims = tuple(range(x.ndim))
    return [None] * len(dims) if s is None else [None if n == -1 else n for n in s], dims


def points(n: int) -> int:
    if n < 1:
        fail(RuntimeError, "P957", f"Invalid number of data points ({n}) specified", fix="a transform needs at least one point along each dimension")
    return n


def resized(x, dims, sizes):
    """`x` cut, or padded with zeros at the end, to `sizes` along `dims`."""
    more = [0] * x.ndim
    for d, n in zip(dims, sizes):
        more[d] = n - x.shape[d]
    return F.pad(x, [v for n in reversed(more) for v in (0, n)]) if any(more) else x


# ---------------------------------------------------------------------------------------------------- transforms
def run_c2c(x, sizes, dims, norm, forward):
    sizes = [points(x.shape[d] if n is None else n) for n, d in zip(sizes, dims)]
    scale, y = scale_of(norm, math.prod(sizes), forward), resized(in_dtype(x, True), dims, sizes)
    if dims:
        return F.fft_c2c(y, dims, forward, scale)
    return F.clone(y) if y is x else y


def run_r2c(x, sizes, dims, norm, forward):
    sizes = [points(x.shape[d] if n is None else n) for n, d in zip(sizes, dims)]
    return F.fft_r2c(resized(in_dtype(x, False), dims, sizes), dims, forward, scale_of(norm, math.prod(sizes), forward))


def run_c2r(x, sizes, dims, norm, forward):
    last = points(2 * (x.shape[dims[-1]] - 1) if sizes[-1] is None else sizes[-1])
    sizes = [points(x.shape[d] if n is None else n) for n, d in zip(sizes[:-1], dims)]
    scale = scale_of(norm, math.prod(sizes) * last, forward)
    return F.fft_c2r(resized(in_dtype(x, True), dims, [*sizes, last // 2 + 1]), dims, last, forward, scale)


_HALF = {
    "": "", "r": " of a real tensor: the half of the spectrum that is not the mirror image of the other, `n // 2 + 1` elements along the last dimension",
    "ir": " of a half spectrum, which gives real numbers, by default `2 * (size - 1)` along the last dimension", "i": ""}
_HALF["h"], _HALF["ih"] = _HALF["ir"], _HALF["r"]
_NORM = ('`norm`: "backward" divides by the number of points when going back, "forward" when going forward, "ortho" by its root '
         'both times.')


def family(prefix: str, run, forward: bool) -> None:
    """The operators `<prefix>fft`, `<prefix>fft2` and `<prefix>fftn`."""
    name = prefix + "fft"
    title = f"The {'' if forward else 'inverse '}discrete Fourier transform{_HALF[prefix]}"
    refusal = "Only supports floating-point dtypes, but found: " if prefix == "ih" else f"{name}n expects a real-valued input tensor, but got "

    def one(input, n=None, dim=-1, norm=None):
        if run is run_r2c:
            real_only(need_tensor(input, name), f"{name} expects a real input tensor, but got ")
        d = axis_of(as_int(dim, name, "dim"), need_tensor(input, name))
        return run(input, [None if n is None else points(as_int(n, name, "n"))], (d,), norm, forward)

    def many(input, s=None, dim=None, norm=None):
        if run is run_r2c:
            real_only(need_tensor(input, name + "n"), refusal)
        sizes, dims = sizes_and_dims(name + "n", need_tensor(input, name + "n"), s, dim)
        if run is not run_c2c and not dims:
            fail(RuntimeError, "P958", f"{name}n must transform at least one axis")
        return run(input, sizes, dims, norm, forward)

    def two(input, s=None, dim=(-2, -1), norm=None):
        return many(input, s, dim, norm)

    of = (lambda m: m.t) if run is run_r2c else (lambda m: m.c)
    composite(one, name=f"fft_{name}", forms="function out", doc=f"{title}, along `dim`, of `n` points: the input is cut or padded with zeros.\n\n{_NORM}",
              samples=lambda m: [((of(m)(3, 4),), {}), ((of(m)(4, 2), 5, 0, "ortho"), {}), ((of(m)(2, 5),), {"n": 4, "norm": "forward"}),
                                 ((of(m)(3),), {"norm": "backward"}), ((m.t(2, 3),), {"n": 3})])
    composite(two, name=f"fft_{name}2", forms="function out", doc=f"{title}, along two dimensions, `s` points each.\n\n{_NORM}",
              samples=lambda m: [((of(m)(2, 3, 4),), {}), ((of(m)(4, 3), (3, 5), (1, 0), "ortho"), {}), ((of(m)(2, 4),), {"norm": "forward"}),
                                 ((m.t(3, 2),), {"s": (2, -1), "norm": "backward"})])
    composite(many, name=f"fft_{name}n", forms="function out", doc=f"{title}, along `dim` (all, or the last `len(s)`), `s` points each.\n\n{_NORM}",
              samples=lambda m: [((of(m)(2, 3, 2),), {}), ((of(m)(2, 3, 4), (5, 2), (2, 0), "ortho"), {}), ((of(m)(3, 4),), {"dim": 0, "norm": "forward"}),
                                 ((m.t(3, 4),), {"s": (3,), "norm": "backward"})])


family("", run_c2c, True)
family("i", run_c2c, False)
family("r", run_r2c, True)
family("ir", run_c2r, False)
family("h", run_c2r, True)
family("ih", run_r2c, False)


# ---------------------------------------------------------------------------------------------------- order of frequencies
def rolled(fn: str, x, dim, extra: int):
    dims = tuple(range(need_tensor(x, fn).ndim)) if dim is None else tuple(axis_of(d, x) for d in as_ints(dim, fn, "dim"))
    return F.roll(x, tuple((x.shape[d] + extra) // 2 for d in dims), dims)


_SHIFT = lambda m: [((m.t(3, 4),), {}), ((m.c(5),), {}), ((m.t(2, 3, 5), (0, 2)), {}), ((m.t(3, 0), 0), {})]     # noqa: E731


@composite(samples=_SHIFT)
def fft_fftshift(input, dim=None):
    """The order of frequencies made ascending along `dim` (all if None): 0 comes to lie in the middle."""
    return rolled("fftshift", input, dim, 0)


@composite(samples=_SHIFT)
def fft_ifftshift(input, dim=None):
    """What undoes `fftshift`."""
    return rolled("ifftshift", input, dim, 1)


def frequencies(fn: str, n, d, dtype, spans):
    n, want = as_int(n, fn, "n"), dtype_or_default(dtype)
    if want.category < dt.FLOAT:
        fail(RuntimeError, "P959", f"{fn} requires a floating point or complex dtype", got=f"dtype={want}")
    as_size(n, fn, "n")
    parts = [F.arange(a, b, dtype=want) for a, b in spans(n)]
    step = 1 / (n * d) if n * d else math.inf
    return F.mul(F.cat(parts, 0) if len(parts) > 1 else parts[0], step)


_FREQ = dict(forms="function out", samples=lambda m: [((5,), {}), ((4, 0.5), {}), ((1,), {"dtype": dt.float64})])


@composite(**_FREQ)
def fft_fftfreq(n, d=1.0, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """The frequencies of the elements of `fft`'s result for `n` points `d` apart, in cycles per unit."""
    check(device)
    return finish(frequencies("fftfreq", n, d, dtype, lambda n: ((0, (n + 1) // 2), (-(n // 2), 0))), requires_grad)


@composite(**_FREQ)
def fft_rfftfreq(n, d=1.0, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """The frequencies of the elements of `rfft`'s result for `n` points `d` apart, in cycles per unit."""
    check(device)
    return finish(frequencies("rfftfreq", n, d, dtype, lambda n: ((0, n // 2 + 1),)), requires_grad)
