"""The standard's Fourier transforms: `pellucid.fft` by the standard's signatures."""
from __future__ import annotations

from ..tensor.functions import namespace

__all__ = ["fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft", "irfft", "irfftn", "rfft",
           "rfftfreq", "rfftn"]

_OPS = namespace("fft")


def _along_one(name: str):
    op = _OPS[name]

    def transform(x, /, *, n=None, axis=-1, norm="backward"):
        return op(x, n, axis, norm)
    transform.__name__, transform.__doc__ = name, op.__doc__
    return transform


def _along_many(name: str):
    op = _OPS[name]

    def transform(x, /, *, s=None, axes=None, norm="backward"):
        return op(x, s, axes, norm)
    transform.__name__, transform.__doc__ = name, op.__doc__
    return transform


fft, ifft, rfft, irfft, hfft, ihfft = [_along_one(_n) for _n in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")]
fftn, ifftn, rfftn, irfftn = [_along_many(_n) for _n in ("fftn", "ifftn", "rfftn", "irfftn")]


def fftfreq(n, /, *, d=1.0, dtype=None, device=None):
    """The frequencies of `fft` of `n` samples, `d` apart."""
    return _OPS["fftfreq"](n, d, dtype=dtype, device=device)


def rfftfreq(n, /, *, d=1.0, dtype=None, device=None):
    """The frequencies of `rfft` of `n` samples, `d` apart."""
    return _OPS["rfftfreq"](n, d, dtype=dtype, device=device)


def fftshift(x, /, *, axes=None):
    """The zero frequency moved to the middle."""
    return _OPS["fftshift"](x, axes)


def ifftshift(x, /, *, axes=None):
    """What `fftshift` did, undone."""
    return _OPS["ifftshift"](x, axes)
