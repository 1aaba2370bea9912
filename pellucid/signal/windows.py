"""`pellucid.signal.windows`: window functions of M points, symmetric unless `sym=False`.

In: the number of points and the window's own parameters. Out: a float32 or float64 vector. The definitions and the order of
computation are those of torch.signal.windows (which follows SciPy). `sym=False` gives the periodic window: M points of the
symmetric one of M + 1. True always: a window of 0 points is empty, one of 1 point is 1 (or what the formula says).
The composites are registered when this module is first used; `hann_window` and its like are in `ops/spectral.py`.
"""
from __future__ import annotations

import math
from collections.abc import Iterable

from ..core import dtype as dt
from ..core.errors import fail
from ..core.errors import unknown as _unknown
from ..core.layout import strided
from ..ops.creation import check, dtype_or_default, finish
from ..ops.op import F, composite
from ..tensor.functions import namespace

_ARGUMENTS = ("`sym=False`: the periodic window, for spectral analysis. `dtype`: float32 or float64. ValueError for a negative M, another "
              "dtype or layout, and parameters outside their range.")


def _window(samples):
    def define(body):
        composite(body, ns="signal.windows", name="signal_windows_" + body.__name__, public=body.__name__,
                  doc=f"{body.__doc__}\n\n{_ARGUMENTS}", samples=samples)
        return body
    return define


def checked(fn: str, M, dtype, layout, device) -> dt.dtype:
    """The window's dtype, after the checks that all windows share."""
    check(device)
    d = dtype_or_default(dtype)
    if M < 0:
        fail(ValueError, "P2830", f"{fn} requires non-negative window length, got M={M}", fix="M is the number of points: 0 or more")
    if layout not in (None, strided):
        fail(ValueError, "P2831", f"{fn} is implemented for strided tensors only, got: {layout!r}", fix="use layout=strided")
    if d not in (dt.float32, dt.float64):
        fail(ValueError, "P2832", f"{fn} expects float32 or float64 dtypes, got: {d!r}",
             fix="convert the window afterwards, with .to(dtype)")
    return d


def spaced(M: int, first: float, step: float, d):
    """first, first + step, ...: M numbers."""
    return F.linspace(first, first + (M - 1) * step, M, dtype=d)


def span(M: int, sym: bool) -> int:
    """The distance between the ends of the symmetric window that this one is, or is part of."""
    return M if not sym and M > 1 else M - 1


def _plain(m) -> list:
    return [((6,), {}), ((5,), {"sym": False}), ((1,), {"dtype": dt.float64}), ((0,), {})]


@_window(lambda m: [*_plain(m), ((4,), {"tau": 3.0}), ((4,), {"center": 1.0, "sym": False})])
def exponential(M, *, center=None, tau=1.0, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """The exponential (Poisson) window: exp(-|n - center| / tau). `center` is the middle, and may be set with `sym=False` only."""
    d = checked("exponential", M, dtype, layout, device)
    if tau <= 0:
        fail(ValueError, "P2833", f"Tau must be positive, got: {tau} instead.",
             fix="tau is the distance over which the window decays by a factor e")
    if sym and center is not None:
        fail(ValueError, "P2834", "Center must be None for symmetric windows", got=f"center={center}", fix="pass sym=False")
    middle = span(M, sym) / 2.0 if center is None else center
    return finish(F.exp(F.neg(F.abs(F.linspace(-middle * (1 / tau), (-middle + (M - 1)) * (1 / tau), M, dtype=d)))), requires_grad)


@_window(_plain)
def cosine(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """The cosine (sine) window: sin(pi (n + 0.5) / N), N = M, or M + 1 with `sym=False`."""
    d = checked("cosine", M, dtype, layout, device)
    if M == 0:
        return finish(F.empty((0,), dtype=d), requires_grad)
    step = math.pi / (span(M, sym) + 1)
    return finish(F.sin(F.linspace(0.5 * step, (0.5 + (M - 1)) * step, M, dtype=d)), requires_grad)


@_window(lambda m: [*_plain(m), ((4,), {"std": 2.5})])
def gaussian(M, *, std=1.0, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """The Gaussian window: exp(-((n - middle) / std)^2 / 2)."""
    d = checked("gaussian", M, dtype, layout, device)
    if std <= 0:
        fail(ValueError, "P2835", f"Standard deviation must be positive, got: {std} instead.",
             fix="std is the width of the window in points")
    start, step = -span(M, sym) / 2.0, 1 / (std * math.sqrt(2))
    return finish(F.exp(F.neg(F.square(F.linspace(start * step, (start + (M - 1)) * step, M, dtype=d)))), requires_grad)


@_window(lambda m: [*_plain(m), ((4,), {"beta": 3.0}), ((4,), {"beta": 0.0})])
def kaiser(M, *, beta=12.0, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """Kaiser's window: I0(beta sqrt(1 - ((n - N/2) / (N/2))^2)) / I0(beta), N = M - 1, or M with `sym=False`. `beta` >= 0."""
    d = checked("kaiser", M, dtype, layout, device)
    if beta < 0:
        fail(ValueError, "P2836", f"beta must be non-negative, got: {beta} instead.", fix="beta is 0 (a rectangle) or more")
    if M < 2:
        return finish(F.ones((M,), dtype=d), requires_grad)
    exact = d.np.type(beta)                   # in the result's precision, so that the root below has no negative number
    beta = float(exact)
    k = F.linspace(-beta, min(beta, -beta + (M - 1) * (2.0 * beta / span(M, sym))), M, dtype=d)
    return finish(F.div(F.i0(F.sqrt(F.rsub(F.square(k), float(exact * exact)))), F.i0(F.full((), beta, dtype=d))), requires_grad)


@_window(_plain)
def hamming(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """Hamming's window: 0.54 - 0.46 cos(2 pi n / N), N = M - 1, or M with `sym=False`."""
    return general_hamming(M, sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


@_window(_plain)
def hann(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """Hann's window: (1 - cos(2 pi n / N)) / 2, N = M - 1, or M with `sym=False`."""
    return general_hamming(M, alpha=0.5, sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


@_window(_plain)
def blackman(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """Blackman's window: 0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N), N = M - 1, or M with `sym=False`."""
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


@_window(_plain)
def bartlett(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """Bartlett's (triangular) window: 1 - |2 n / N - 1|, N = M - 1, or M with `sym=False`."""
    d = checked("bartlett", M, dtype, layout, device)
    if M < 2:
        return finish(F.ones((M,), dtype=d), requires_grad)
    return finish(F.rsub(F.abs(spaced(M, -1, 2 / span(M, sym), d)), 1), requires_grad)


@_window(lambda m: [((6,), {"a": [0.5, 0.3, 0.2]}), ((5,), {"a": [0.46, 0.54], "sym": False}), ((1,), {"a": [1.0]}), ((0,), {"a": [1.0]})])
def general_cosine(M, *, a, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """The sum of cosines: a[0] - a[1] cos(2 pi n / N) + a[2] cos(4 pi n / N) - ..., N = M - 1, or M with `sym=False`."""
    d = checked("general_cosine", M, dtype, layout, device)
    if M < 2:
        return finish(F.ones((M,), dtype=d), requires_grad)
    if not isinstance(a, Iterable):
        fail(TypeError, "P2837", "Coefficients must be a list/tuple", got=f"a={a!r}",
             fix="give one number for each cosine, as in a=[0.5, 0.5]")
    if not a:
        fail(ValueError, "P2838", "Coefficients cannot be empty", fix="give one number for each cosine, as in a=[0.5, 0.5]")
    k = spaced(M, 0, 2 * math.pi / span(M, sym), d)
    r = None
    for i, weight in enumerate(a):
        term = F.mul(F.cos(F.mul(k, i)), (-1) ** i * weight)
        r = term if r is None else F.add(r, term)
    return finish(r, requires_grad)


@_window(lambda m: [*_plain(m), ((6,), {"alpha": 0.7})])
def general_hamming(M, *, alpha=0.54, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """The general Hamming window: alpha - (1 - alpha) cos(2 pi n / N), N = M - 1, or M with `sym=False`."""
    return general_cosine(M, a=[alpha, 1.0 - alpha], sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


@_window(_plain)
def nuttall(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """Nuttall's 4-term Blackman-Harris window (A. Nuttall, "Some windows with very good sidelobe behavior", IEEE Trans. ASSP 29, 1981)."""
    a = [0.3635819, 0.4891775, 0.1365995, 0.0106411]
    return general_cosine(M, a=a, sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


globals().update(namespace("signal.windows"))

__all__ = sorted(namespace("signal.windows"))
__getattr__ = _unknown(globals())
