"""Signals in time and frequency: window functions (`hann_window`, ...), the short-time Fourier transform and its inverse.

In: window lengths; signals (batch?, time) or spectra (batch?, frequency, frame). Out: windows; the other of the two.
True always: a periodic window is the symmetric one of one more point without its last; windows of 0 and 1 points are empty and 1.
Frame t starts at `t * hop_length`; `istft` is the least-squares inverse (D. W. Griffin and J. S. Lim, "Signal estimation from
modified short-time Fourier transform", IEEE Trans. ASSP 32, 1984).
"""
from __future__ import annotations

import math
import warnings

from ..core.layout import strided
from ._common import as_int, describe, dt, fail, need_tensor
from .creation import check, dtype_or_default, finish
from .dispatch import values_known
from .op import F, composite


# ---------------------------------------------------------------------------------------------------- windows
def window(fn: str, length, periodic: bool, dtype, layout, device, requires_grad, make):
    """A window of `length` points, from `make(n, dtype)`, which gives the symmetric one of n >= 2 points."""
    check(device)
    d, n = dtype_or_default(dtype), as_int(length, fn, "window_length")
    if layout not in (None, strided):
        fail(RuntimeError, "P2810", f"{fn} is not implemented for sparse types, got: layout={layout!r}", fix="use layout=strided")
    if d.category != dt.FLOAT:
        fail(RuntimeError if d.category < dt.FLOAT else NotImplementedError, "P2811", f"{fn} expects floating point dtypes, got: dtype={d}",
             fix="leave dtype out, or give a floating-point one")
    if n < 0:
        fail(RuntimeError, "P2812", f"{fn} requires non-negative window_length, got window_length={n}", fix="the length is 0 or more")
    if n < 2:
        return finish(F.ones((n,), dtype=d), requires_grad)
    r = make(n + 1, d)[:n] if periodic else make(n, d)
    return finish(r, requires_grad)


_WINDOW = dict(forms="function out", samples=lambda m: [((6,), {}), ((5, False), {"dtype": dt.float64}), ((1,), {}), ((0,), {})])


def ramp(n: int, d, step: float):
    """0, 1, ..., n - 1 times `step`."""
    return F.mul(F.arange(0, n, dtype=d), step)


@composite(**_WINDOW)
def bartlett_window(window_length, periodic=True, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """Bartlett's (triangular) window: 1 - |2 n / (N - 1) - 1|, N = window_length + 1 if `periodic`, else window_length."""
    def make(n, d):
        up, half = ramp(n, d, 2 / (n - 1)), (n - 1) // 2 + 1
        return F.cat([up[:half], F.rsub(up[half:], 2)], 0)
    return window("bartlett_window", window_length, periodic, dtype, layout, device, requires_grad, make)


@composite(**_WINDOW)
def blackman_window(window_length, periodic=True, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """Blackman's window: 0.42 - 0.5 cos(2 pi n / (N - 1)) + 0.08 cos(4 pi n / (N - 1)), N = window_length + 1 if `periodic`."""
    def make(n, d):
        x = ramp(n, d, math.pi / (n - 1))
        return F.add(F.sub(F.mul(F.cos(F.mul(x, 4)), 0.08), F.mul(F.cos(F.mul(x, 2)), 0.5)), 0.42)
    return window("blackman_window", window_length, periodic, dtype, layout, device, requires_grad, make)


def raised_cosine(alpha: float, beta: float):
    return lambda n, d: F.add(F.mul(F.cos(ramp(n, d, 2 * math.pi / (n - 1))), -beta), alpha)


@composite(forms="function out",
           samples=lambda m: [((6,), {}), ((5, False, 0.6), {}), ((4, True, 0.5, 0.4), {"dtype": dt.float64}), ((0,), {})])
def hamming_window(window_length, periodic=True, alpha=0.54, beta=0.46, *, dtype=None, layout=None, device=None, pin_memory=False,
                   requires_grad=False):
    """Hamming's window: alpha - beta cos(2 pi n / (N - 1)), N = window_length + 1 if `periodic`, else window_length."""
    return window("hamming_window", window_length, periodic, dtype, layout, device, requires_grad, raised_cosine(alpha, beta))


@composite(**_WINDOW)
def hann_window(window_length, periodic=True, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """Hann's window: (1 - cos(2 pi n / (N - 1))) / 2, N = window_length + 1 if `periodic`, else window_length."""
    return window("hann_window", window_length, periodic, dtype, layout, device, requires_grad, raised_cosine(0.5, 0.5))


@composite(forms="function out",
           samples=lambda m: [((6,), {}), ((5, False, 8.0), {"dtype": dt.float64}), ((4,), {"beta": 3.0}), ((0,), {})])
def kaiser_window(window_length, periodic=True, beta=12.0, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """Kaiser's window: I0(beta sqrt(1 - (2 n / (N - 1) - 1)^2)) / I0(beta), N = window_length + 1 if `periodic`.

    I0 is the modified Bessel function of order 0."""
    def make(n, d):
        wide = d if d is dt.float64 else dt.float32                     # one rounding at the end, as in one kernel
        x = F.sub(ramp(n, wide, 2 / (n - 1)), 1)
        y = F.sqrt(F.clamp_min(F.rsub(F.mul(x, x), 1), 0))
        return F.to(F.div(F.i0(F.mul(y, beta)), F.i0(F.full((), beta, dtype=wide))), d)
    return window("kaiser_window", window_length, periodic, dtype, layout, device, requires_grad, make)


# ---------------------------------------------------------------------------------------------------- short-time transforms
def frame_sizes(fn: str, n_fft, hop_length, win_length, window, got: str) -> tuple[int, int, int]:
    """(n_fft, hop length, window length) with their defaults, after the checks that both directions share."""
    n = as_int(n_fft, fn, "n_fft")
    hop = n // 4 if hop_length is None else as_int(hop_length, fn, "hop_length")
    length = n if win_length is None else as_int(win_length, fn, "win_length")
    if not 0 < length <= n:
        fail(RuntimeError, "P2813", f"{fn}: expected 0 < win_length <= n_fft, but got win_length={length}", got=got,
             fix=f"a window has at most n_fft={n} points")
    if window is not None and tuple(need_tensor(window, fn, "window").shape) != (length,):
        fail(RuntimeError, "P2814", f"{fn}: expected a 1D window tensor of size equal to win_length={length}, but got window with size "
             f"{list(window.shape)}", got=got, fix="give win_length= the window's length, or a window of that length")
    return n, hop, length


def centred(window, n: int, length: int, d):
    """The window (ones without one) with zeros around it, `n` points in all."""
    if length == n:
        return window
    left = (n - length) // 2
    return F.pad(F.ones((length,), dtype=d) if window is None else window, (left, n - length - left))


_SIGNAL = lambda m: [      # noqa: E731
    ((m.t(20), 8), {"return_complex": True, "window": m.t(8)}),
    ((m.t(2, 16), 6, 2, 4), {"return_complex": False, "window": m.t(4), "normalized": True}),
    ((m.t(2, 12), 5), {"center": False, "onesided": False, "return_complex": True}), ((m.c(14), 4, 3), {"pad_mode": "constant"}),
    ((m.t(14), 6, 2, 4), {"center": False, "align_to_window": True, "return_complex": True})]


@composite(forms="function method", samples=_SIGNAL)
def stft(input, n_fft, hop_length=None, win_length=None, window=None, center=True, pad_mode="reflect", normalized=False, onesided=None,
         return_complex=None, align_to_window=None):
    """The short-time Fourier transform of a signal (L) or of signals (B, L), floating point or complex.

    Frames of `n_fft` points start `hop_length` (n_fft // 4) apart; each is multiplied by `window` (`win_length` or n_fft points, in
    the middle; ones without it) and transformed. `center`: the signal is padded by n_fft // 2 on both sides by `pad_mode`, so that
    frame t is centred at t * hop_length. `normalized`: divided by sqrt(n_fft). `onesided`: only the n_fft // 2 + 1 frequencies that
    are no mirror image (the default for real signals and windows). `align_to_window`, without `center`: pads so that frames start
    where the window does.
    Gives (B?, frequencies, frames), complex, or with `return_complex=False` real with a last dimension of size 2. A real
    signal needs that argument. RuntimeError for sizes that do not fit."""
    fn, got = "stft", describe(need_tensor(input, "stft"))
    if center and align_to_window is not None:
        fail(RuntimeError, "P2815", "stft align_to_window should only be set when center = false", got=f"align_to_window={align_to_window}",
             fix="pass center=False, or leave align_to_window out")
    if return_complex is None:
        return_complex = input.is_complex() or window is not None and window.is_complex()
        if not return_complex:
            fail(RuntimeError, "P2816",
                 "stft requires the return_complex parameter be given for real inputs, and will further require that "
                 "return_complex=True in a future PyTorch release.", got=got, fix="pass return_complex=True")
    if input.dtype.category < dt.FLOAT:
        fail(RuntimeError, "P2817", "stft: expected a tensor of floating point or complex values", got=got, fix="convert with .float()")
    if not 1 <= input.ndim <= 2:
        fail(RuntimeError, "P2818", "stft: expected a 1D or 2D tensor", got=got,
             fix="signals are (time) or (batch, time): reshape the rest into the batch")
    x = F.unsqueeze(input, 0) if input.ndim == 1 else input
    if center:
        half = as_int(n_fft, fn, "n_fft") // 2
        x = F.squeeze(F.pad(F.unsqueeze(x, 0), (half, half), pad_mode), 0)
    time = x.shape[1]
    if not 0 < as_int(n_fft, fn, "n_fft") <= time:
        fail(RuntimeError, "P2819", f"stft: expected 0 < n_fft <= {time}, but got n_fft={n_fft}", got=got,
             fix="a frame has at most as many points as the signal")
    n, hop, length = frame_sizes(fn, n_fft, hop_length, win_length, window, got)
    if hop <= 0:
        fail(RuntimeError, "P2820", f"stft: expected hop_length > 0, but got hop_length={hop}", got=got, fix="give hop_length=1 or more")
    window = centred(window, n, length, input.dtype)
    if align_to_window:
        x = F.pad(x, ((n - length) // 2,) * 2)
    frames = F.unfold_view(x, 1, n, hop)
    if window is not None:
        frames = F.mul(frames, window)
    norm = "ortho" if normalized else None
    if not frames.is_complex() if onesided is None else onesided:
        one_side_is_enough(frames.is_complex(), got)
        r = F.fft_rfft(frames, None, -1, norm)
    else:
        r = F.fft_fft(frames, None, -1, norm)
    r = F.transpose(r, 1, 2)
    r = F.squeeze(r, 0) if input.ndim == 1 else r
    return r if return_complex else F.view_as_real(r)


def one_side_is_enough(is_complex: bool, got: str) -> None:
    if is_complex:
        fail(RuntimeError, "P2821", "Cannot have onesided output if window or input is complex", got=got, fix="pass onesided=False")


_SPECTRUM = lambda m: [    # noqa: E731
    ((m.c(5, 6), 8), {"window": m.t(8, low=0.5)}), ((m.c(2, 4, 5), 6, 2, 4), {"window": m.t(4, low=0.5), "normalized": True, "length": 7}),
    ((m.c(2, 5, 3), 5, 2), {"center": False, "window": m.t(5, low=0.5)}),
    ((m.c(4, 5), 4, 2), {"return_complex": True, "window": m.t(4, low=0.5)})]


@composite(forms="function method", samples=_SPECTRUM)
def istft(input, n_fft, hop_length=None, win_length=None, window=None, center=True, normalized=False, onesided=None, length=None,
          return_complex=False):
    """The inverse of `stft`: the signal whose transform is nearest to the complex `input` (B?, frequencies, frames).

    The arguments are those given to `stft`; `length` is the length of the signal (zeros follow where the frames end earlier);
    `onesided` is by default what the number of frequencies says; `return_complex`: the signal was complex.
    RuntimeError for sizes that do not fit, and if the windows leave a point of the signal uncovered (their overlapping squares
    must nowhere be 0)."""
    fn, got = "istft", describe(need_tensor(input, "istft"))
    if not input.is_complex():
        fail(RuntimeError, "P2822",
             "istft requires a complex-valued input tensor matching the output from stft with return_complex=True.", got=got,
             fix="use view_as_complex on a real tensor whose last dimension is (real, imaginary)")
    if input.ndim < 2:
        fail(IndexError, "P2823", "istft: expected (frequencies, frames) or (batch, frequencies, frames)", got=got,
             fix="give the result of stft")
    if not input.numel():
        fail(RuntimeError, "P2824", "istft: input tensor cannot be empty.", got=got)
    if input.ndim > 3:
        fail(RuntimeError, "P2825", f"istft: expected a tensor with 2 or 3 dimensions, but got {input.ndim}", got=got,
             fix="reshape the leading dimensions into one batch")
    n, hop, win = frame_sizes(fn, n_fft, hop_length, win_length, window, got)
    frequencies, frames = input.shape[-2:]
    onesided = frequencies != n if onesided is None else onesided
    if frequencies != (n // 2 + 1 if onesided else n):
        fail(RuntimeError, "P2826", "istft: expected the frequency dimension (3rd to the last) of the input tensor to match "
             f"{'n_fft / 2 + 1' if onesided else 'n_fft'} when onesided={bool(onesided)}, but got {frequencies}", got=got,
             fix="give the n_fft and onesided that stft had")
    if not 0 < hop <= win:
        fail(RuntimeError, "P2827", "istft: expected 0 < hop_length <= win_length", got=f"hop_length={hop}, win_length={win}",
             fix="frames further apart than the window is long leave gaps")
    if window is None:
        window = F.ones((win,), dtype=input.dtype.to_real())
    if not return_complex and window.is_complex():
        fail(RuntimeError, "P2828", "Complex windows are incompatible with return_complex=False", got=describe(window),
             fix="pass return_complex=True")
    window = centred(window, n, win, window.dtype)
    x = F.transpose(F.unsqueeze(input, 0) if input.ndim == 2 else input, 1, 2)
    norm = "ortho" if normalized else None
    if return_complex:
        one_side_is_enough(onesided, got)
        x = F.fft_ifft(x, None, -1, norm)
    else:
        x = F.fft_irfft(x if onesided else x[..., :n // 2 + 1], n, -1, norm)
    whole = n + hop * (frames - 1)

    def overlapped(rows):
        """Rows (batch, frames, n), each `hop` after the one before, summed into (batch, whole)."""
        return F.col2im(F.transpose(rows, 1, 2), (1, whole), (1, n), (1, hop), (0, 0), (1, 1))[:, 0, 0]
    y = overlapped(F.mul(x, window))
    weight = overlapped(F.expand(F.mul(window, window), (1, frames, n)))
    start = n // 2 if center else 0
    end = start + as_int(length, fn, "length") if length is not None else whole - start
    y, weight = y[:, start:end], weight[:, start:end]
    if values_known() and not bool(F.all(F.gt(F.abs(weight), 1e-11))):
        fail(RuntimeError, "P2829", "istft: the windows leave points of the signal uncovered (window overlap add min: 0)",
             got=f"{got}, window {describe(window)}, hop_length={hop}",
             fix="choose window and hop_length so that the overlapping squared windows are nowhere 0")
    y = F.div(y, weight)
    y = F.squeeze(y, 0) if input.ndim == 2 else y
    if end <= whole:
        return y
    warnings.warn("The length of signal is shorter than the length parameter. Result is being padded with zeros in the tail. Please check "
                  "your center and hop_length settings.", UserWarning, stacklevel=3)
    return F.pad(y, (0, end - whole))
