"""Sums and norms of float32 values have PyTorch's roundings: the values recorded here are PyTorch 2.13's, on any x86-64 processor."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid
from pellucid.native import in_order
from pellucid.ops.reduce import SHORT

pytestmark = pytest.mark.skipif(in_order.functions() is None, reason="no llvmlite")
NORMS = ((1, "0x1.0p-1"), (7, "0x1.a36c64p-1"), (8, "0x1.acc15p-1"), (13, "0x1.0c951cp+0"), (15, "0x1.286b7cp+0"), (100, "0x1.7366ep+1"),
         (1003, "0x1.24a97p+3"), (40000, "0x1.cde2b4p+5"), (3000007, "0x1.f3fb8ep+8"))
SUMS = ((1, "-0x1.0p-2"), (3, "0x1.aa66cep-4"), (5, "0x1.dc5580p-1"), (7, "0x1.3a8cfap+0"), (8, "0x1.4e1150p+0"), (13, "0x1.7a738ap+1"),
        (31, "0x1.e8b106p+2"), (100, "0x1.844ab2p+4"), (511, "0x1.fcacb6p+6"), (513, "0x1.ffab72p+6"), (1003, "0x1.f45d6ap+7"),
        (4096, "0x1.00072ep+10"), (8191, "0x1.fff65cp+10"))


def values(n: int, start: float) -> np.ndarray:
    """Numbers in [start, start + 1) that every library makes alike."""
    return ((np.arange(n, dtype=np.uint64) * 2654435761 % 2**32).astype(np.float64) / 2**32 + start).astype(np.float32)


@pytest.mark.parametrize(("n", "norm"), NORMS)
def test_norms_are_pytorchs_to_the_bit(n, norm):
    assert in_order.functions().norm(values(n, -0.5), n) == float.fromhex(norm)
    if n <= SHORT:
        assert pellucid.from_numpy(values(n, -0.5)).norm().item() == float.fromhex(norm)


def test_total_norms_of_gradients_are_pytorchs_to_the_bit():
    total = pellucid.nn.utils.get_total_norm
    several = total([pellucid.from_numpy(values(n, -0.5)) for n in (13, 100, 40000)])
    turned = (pellucid.from_numpy(values(600, -0.5).reshape(12, 50)).t(),
              pellucid.from_numpy(values(120, -0.5).reshape(2, 12, 5)).permute(1, 2, 0))
    assert several.dtype is pellucid.float32 and several.item() == float.fromhex("0x1.ce8b6ep+5")
    assert [total(t).item() for t in turned] == [float.fromhex("0x1.c4e7dep+2"), float.fromhex("0x1.95e216p+1")]


@pytest.mark.parametrize(("n", "total"), SUMS)
def test_sums_are_pytorchs_to_the_bit(n, total):
    x, want = pellucid.from_numpy(values(n, -0.25)), float.fromhex(total)
    assert x.sum().item() == want and x.mean().item() == np.float32(want) / np.float32(n)
    assert x.reshape(1, n, 1).sum((0, 1, 2), keepdim=True).tolist() == [[[want]]]


def test_sums_are_right_at_every_length():
    for n in (*range(1, 130), 1023, 1024, 1025, 8191, 8192):
        a = values(n, -0.25)
        assert pellucid.from_numpy(a).sum().item() == pytest.approx(float(a.sum(dtype=np.float64)), rel=1e-6, abs=1e-6)


def test_special_values_go_through_sums():
    inf, nan = float("inf"), float("nan")
    for n in (3, 9, 40):
        a = pellucid.ones(n)
        a[n // 2] = inf
        assert a.sum().item() == inf
        a[0] = -inf
        assert np.isnan(a.sum().item())
        a[0] = nan
        assert np.isnan(a.sum().item())
    assert pellucid.zeros(0).sum().item() == 0.0 and pellucid.tensor(2.5).sum().item() == 2.5
