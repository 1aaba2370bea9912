"""Fourier transforms against PyTorch's: values, dtypes, gradients, errors."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid

torch = pytest.importorskip("torch")

ONE = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
REAL = ("rfft", "ihfft", "rfft2", "ihfft2", "rfftn", "ihfftn")


def both(name, a, *args, **kwargs):
    p, t = pellucid.tensor(a, requires_grad=a.dtype.kind in "fc"), torch.tensor(a, requires_grad=a.dtype.kind in "fc")
    x, y = getattr(pellucid.fft, name)(p, *args, **kwargs), getattr(torch.fft, name)(t, *args, **kwargs)
    assert str(x.dtype).split(".")[-1] == str(y.dtype).split(".")[-1]
    tol = 1e-5 if y.dtype in (torch.float32, torch.complex64) else 1e-12
    np.testing.assert_allclose(x.detach().numpy(), y.detach().resolve_conj().numpy(), rtol=tol, atol=tol * 10)
    if p.requires_grad:
        (x * x.conj()).real.sum().backward()
        (y * y.conj()).real.sum().backward()
        np.testing.assert_allclose(p.grad.numpy(), t.grad.resolve_conj().numpy(), rtol=10 * tol, atol=tol * 1000)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "int64", "bool"])
@pytest.mark.parametrize("norm", [None, "forward", "ortho"])
@pytest.mark.parametrize("name", [n + k for n in ONE for k in ("", "2", "n")])
def test_against_torch(name, norm, dtype):
    if name in REAL and dtype.startswith("complex"):
        return
    rng = np.random.default_rng(0)
    a = rng.normal(size=(3, 4, 5)) * 3 + (1j * rng.normal(size=(3, 4, 5)) if dtype.startswith("complex") else 0)
    a = a.astype(dtype)
    calls = ([(), (6,), (3, 0)] if name in ONE else [(), ((3, 4), (0, 1)), ((6, 7), (2, 0))]) + ([((4,),)] if name.endswith("n") else [])
    for args in calls:
        both(name, a, *args, norm=norm)


def test_orders_and_frequencies():
    for n in (1, 4, 5):
        for name in ("fftfreq", "rfftfreq"):
            np.testing.assert_array_equal(getattr(pellucid.fft, name)(n, 0.1).numpy(), getattr(torch.fft, name)(n, 0.1).numpy())
        for name in ("fftshift", "ifftshift"):
            both(name, np.arange(n * 3.0).reshape(n, 3))
            both(name, np.arange(n * 3.0).reshape(n, 3), 0)


@pytest.mark.parametrize(("error", "text", "call"), [
    (RuntimeError, r"Invalid number of data points \(0\) specified", lambda t, x: t.fft.fft(x, n=0)),
    (RuntimeError, r"Invalid number of data points \(-1\) specified", lambda t, x: t.fft.fft(x, n=-1)),
    (RuntimeError, r"Invalid number of data points \(0\) specified", lambda t, x: t.fft.irfftn(x, s=(2, 0))),
    (RuntimeError, "Invalid normalization mode", lambda t, x: t.fft.fft(x, norm="x")),
    (RuntimeError, "rfft expects a real input tensor, but got ComplexFloat", lambda t, x: t.fft.rfft(x + 0j)),
    (RuntimeError, "rfftn expects a real-valued input tensor, but got ComplexFloat", lambda t, x: t.fft.rfft2(x + 0j)),
    (RuntimeError, "FFT dims must be unique", lambda t, x: t.fft.fftn(x, dim=(0, -2))),
    (RuntimeError, "must have the same length", lambda t, x: t.fft.fftn(x, s=(2,), dim=(0, 1))),
    (RuntimeError, "Got shape with 3 values", lambda t, x: t.fft.fftn(x, s=(2, 3, 4))),
    (RuntimeError, "must transform at least one axis", lambda t, x: t.fft.rfftn(x, dim=())),
    (RuntimeError, "Unsupported dtype Half", lambda t, x: t.fft.fft(x.half())),
    (RuntimeError, "fftfreq requires a floating point", lambda t, x: t.fft.fftfreq(4, dtype=t.int64)),
    (IndexError, "tensor has no dimensions", lambda t, x: t.fft.fft(x.sum())),
    (IndexError, "Dimension out of range", lambda t, x: t.fft.fft(x, dim=5))])
def test_errors(error, text, call):
    for lib in (pellucid, torch):
        with pytest.raises(error, match=text):
            call(lib, lib.ones(3, 4))


def test_out():
    x = pellucid.ones(3, 4)
    out = pellucid.empty(3, 3, dtype=pellucid.complex64)
    assert pellucid.fft.rfft(x, out=out) is out
    np.testing.assert_array_equal(out.numpy(), np.fft.rfft(np.ones((3, 4))))
