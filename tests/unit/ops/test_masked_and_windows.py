"""pellucid.masked, pellucid.signal.windows, the *_window functions, stft and istft: values worked out another way, errors, laziness."""
from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import pellucid as torch
from pellucid import masked
from pellucid.signal import windows


def test_masked_reductions_are_those_of_the_elements_that_are_left():
    x = torch.tensor([[-3.0, -2.0, -1.0], [0.0, 1.0, 2.0], [4.0, 5.0, 7.0]])
    mask = torch.tensor([[True, False, True], [False, False, False], [True, True, False]])
    assert masked.sum(x, 1, mask=mask).tolist() == [-4.0, 0.0, 9.0]
    assert masked.prod(x, 1, mask=mask).tolist() == [3.0, 1.0, 20.0]
    assert masked.amax(x, 1, mask=mask).tolist() == [-1.0, -float("inf"), 5.0]
    assert masked.median(x, 1, mask=mask)[[0, 2]].tolist() == [-3.0, 4.0]
    np.testing.assert_allclose(masked.var(x, 1, mask=mask)[[0, 2]].numpy(), [2.0, 0.5])
    assert torch.isnan(masked.mean(x, 1, mask=mask)).tolist() == [False, True, False]
    y = masked.softmax(x, 1, mask=mask)
    assert torch.isnan(y).all(1).tolist() == [False, True, False]
    np.testing.assert_allclose(y[2, :2].numpy(), torch.softmax(torch.tensor([4.0, 5.0]), 0).numpy(), rtol=1e-6)


def test_masked_out_elements_get_no_gradient():
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    masked.logsumexp(x, 0, mask=torch.tensor([True, False, True])).backward()
    assert x.grad[1].item() == 0 and x.grad[0].item() > 0


def test_masked_errors():
    x = torch.ones(3, 4)
    with pytest.raises(IndexError, match="dimensionality higher"):
        masked.sum(x, mask=torch.ones(2, 3, 4, dtype=torch.bool))
    with pytest.raises(RuntimeError, match="multiple times"):
        masked.sum(x, (0, -2))
    with pytest.raises(ValueError, match="Could not infer output dtype"):
        masked.mean(torch.ones(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="fully masked out rows"):
        masked.median(torch.ones(3, dtype=torch.int64), mask=torch.zeros(3, dtype=torch.bool))
    with pytest.raises(AttributeError, match="cumsum"):
        masked.cumsun


def test_both_families_of_windows_agree():
    for name in ("bartlett", "blackman", "hamming", "hann"):
        for n in (0, 1, 2, 7, 8):
            for sym in (True, False):
                a = getattr(windows, name)(n, sym=sym, dtype=torch.float64)
                b = getattr(torch, name + "_window")(n, not sym, dtype=torch.float64)
                np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-14, err_msg=f"{name} {n} {sym}")
    np.testing.assert_allclose(windows.kaiser(9, beta=5.0, dtype=torch.float64).numpy(), np.kaiser(9, 5.0), rtol=1e-7)
    np.testing.assert_allclose(torch.kaiser_window(9, False, 5.0).numpy(), np.kaiser(9, 5.0), rtol=1e-5)
    np.testing.assert_allclose(torch.hann_window(8, False).numpy(), np.hanning(8), atol=1e-6)


@pytest.mark.parametrize("call",
                         ["windows.hann(-1)", "windows.hann(3, dtype=torch.bfloat16)", "windows.exponential(3, center=1.0)",
                          "windows.gaussian(3, std=0)",
                                  "windows.exponential(3, tau=0)", "windows.kaiser(3, beta=-1)", "windows.general_cosine(3, a=[])"])
def test_window_errors(call):
    with pytest.raises(ValueError):
        eval(call)
    for wrong in (lambda: torch.hann_window(-1), lambda: torch.hann_window(3, dtype=torch.int64)):
        with pytest.raises(RuntimeError, match="hann_window"):
            wrong()


def test_stft_is_the_transform_of_each_frame_and_istft_undoes_it():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 50))
    w = torch.hann_window(16, dtype=torch.float64)
    s = torch.stft(torch.tensor(x), 16, 4, window=w, return_complex=True)
    padded = np.pad(x, ((0, 0), (8, 8)), "reflect")
    for t in range(s.shape[-1]):
        np.testing.assert_allclose(s[:, :, t].numpy(), np.fft.rfft(padded[:, 4 * t:4 * t + 16] * w.numpy()), atol=1e-12)
    np.testing.assert_allclose(torch.istft(s, 16, 4, window=w, length=50).numpy(), x, atol=1e-12)
    assert torch.stft(torch.ones(10), 4, return_complex=False).shape == (3, 11, 2)
    f = torch.compile(lambda v: torch.stft(v, 16, 4, window=w, return_complex=True).abs().sum())
    y = torch.tensor(x)
    assert abs(f(y).item() - s.abs().sum().item()) < 1e-9


def test_stft_and_istft_errors():
    x, s = torch.ones(10), torch.ones(3, 4, dtype=torch.complex64)
    for wrong, words in ((lambda: torch.stft(x, 4), "return_complex"),
                         (lambda: torch.stft(x, 4, hop_length=0, return_complex=True), "hop_length > 0"),
                         (lambda: torch.stft(x, 4, window=torch.ones(3), return_complex=True), "1D window"),
                         (lambda: torch.istft(s, 6), "n_fft / 2"), (lambda: torch.istft(s.real, 4), "complex-valued"),
                         (lambda: torch.istft(s, 4, window=torch.zeros(4)), "window overlap add min"),
                         (lambda: torch.istft(s, 4, hop_length=5), "hop_length")):
        with pytest.raises(RuntimeError, match=words):
            wrong()
    with pytest.warns(UserWarning, match="shorter than the length"):
        assert torch.istft(s, 4, length=100).shape == (100,)


def test_masked_and_signal_load_on_first_use():
    code = ("import sys, pellucid; assert 'pellucid.masked' not in sys.modules and 'pellucid.signal' not in sys.modules; "
            "assert pellucid.masked.sum and pellucid.signal.windows.hann")
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
