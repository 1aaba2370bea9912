"""Reductions, scans, order statistics, histograms, distances: what the operator matrix and the parity cases do not pin down."""
from __future__ import annotations

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

import pellucid as pl
import pellucid.nn.functional as nnf
from pellucid.autograd import grad, gradcheck, gradgradcheck
from pellucid.ops import F

NAN, INF = math.nan, math.inf


def close(a, b, **kw):
    np.testing.assert_allclose(a.detach().numpy() if hasattr(a, "detach") else a, b, **{"rtol": 1e-6, "atol": 1e-7, **kw})


def slope(fn, values):
    x = pl.tensor(values, dtype=pl.float64, requires_grad=True)
    return grad(fn(x), x)[0].tolist()


# ---------------------------------------------------------------------------------------------------- values
def test_types_of_results_are_there_before_the_first_result():
    """A result that was pickled can be read by a process that has made none."""
    code = ("import sys, pickle, pellucid as torch; assert torch.return_types.linalg_qr.__name__ == 'linalg_qr'; "
            "r = pickle.loads(bytes.fromhex(sys.argv[1])); assert isinstance(r, torch.return_types.max) and r.values == 4 and r.indices == 1")
    made = pickle.dumps(pl.return_types.max((4, 1))).hex()
    subprocess.run([sys.executable, "-c", code, made], check=True)
    assert not hasattr(pl.return_types, "maximum") and "topk" in dir(pl.return_types)


def test_named_results():
    r = pl.tensor([[1.0, 4.0], [3.0, 2.0]]).max(1)
    assert repr(r) == "torch.return_types.max(\nvalues=tensor([4., 3.]),\nindices=tensor([1, 0]))"
    assert r.values is r[0] and r.indices is r[1] and type(r) is type(pl.max(pl.ones(2, 2), dim=0))
    values, indices = pl.sort(pl.tensor([2.0, 1.0]), descending=True)
    assert values.tolist() == [2, 1] and indices.tolist() == [0, 1]
    for name in "min median nanmedian mode cummax cummin".split():
        assert type(getattr(pl, name)(pl.ones(3), 0)).__name__ == name
    for r in (pl.topk(pl.ones(3), 1), pl.kthvalue(pl.ones(3), 1), pl.aminmax(pl.ones(3)), pl.histogram(pl.ones(3), 2)):
        assert isinstance(r, tuple) and len(r) == 2


def test_overloads_of_max():
    x, y = pl.tensor([[1.0, 5.0]]), pl.tensor([[2.0, 3.0]])
    assert pl.max(x).item() == 5 and pl.max(x, y).tolist() == [[2, 5]] and pl.max(x, other=y).tolist() == [[2, 5]]
    assert pl.max(x, 1, True)[0].tolist() == [[5]] and x.max(dim=1, keepdim=True).indices.tolist() == [[1]]
    out = pl.empty(1), pl.empty(1, dtype=pl.int64)
    pl.max(x, 1, out=out)
    assert out[0].tolist() == [5] and out[1].tolist() == [1]
    for bad in ((x, 1.0), (x, (0, 1)), (x, "a")):
        with pytest.raises(TypeError, match=r"max\(\) received an invalid combination of arguments"):
            pl.max(*bad)


def test_first_of_equals_and_nan():
    x = pl.tensor([2.0, 3.0, 3.0, 1.0, 1.0])
    assert (x.argmax().item(), x.argmin().item(), x.max(0).indices.item(), x.min(0).indices.item()) == (1, 3, 1, 3)
    y = pl.tensor([2.0, NAN, 3.0, NAN])
    assert y.argmax().item() == y.argmin().item() == y.max(0).indices.item() == y.median(0).indices.item() == 1
    assert all(math.isnan(v) for v in (y.max(), y.amin(), y.median(), y.aminmax().max, y.quantile(0.1)))
    assert (y.nanmedian().item(), y.nansum().item(), y.nanmean().item(), y.nanquantile(1.0).item()) == (2, 5, 2.5, 3)
    assert y.cummax(0).indices.tolist() == [0, 1, 1, 3] and x.cummax(0).indices.tolist() == [0, 1, 2, 2, 2]
    assert y.sort().indices.tolist() == [0, 2, 1, 3] and y.argsort(descending=True).tolist() == [1, 3, 2, 0]


def test_dtypes():
    for d in (pl.bool, pl.uint8, pl.int32):
        x = pl.ones(300, dtype=d)
        assert x.sum().dtype is x.prod().dtype is x.cumsum(0).dtype is pl.int64 and x.sum().item() == 300
    assert pl.ones(2, dtype=pl.uint8).all().dtype is pl.uint8 and pl.ones(2).any().dtype is pl.bool
    assert pl.ones(2, dtype=pl.complex64).var().dtype is pl.float32
    assert pl.ones(3, dtype=pl.int32).logsumexp(0).dtype is pl.float32
    for d in (pl.bfloat16, pl.float16):                     # summed in float32: one by one in bfloat16 would stop at 256
        assert pl.ones(4096, dtype=d).sum().item() == 4096 and pl.ones(4096, dtype=d).mean().item() == 1
    assert pl.sum(pl.tensor([0.5, 0.5]), dtype=pl.float64).dtype is pl.float64


def test_topk_takes_the_same_elements_on_every_path():
    rng = np.random.default_rng(0)
    a = rng.permutation(4 * 1000).reshape(4, 1000).astype(np.float32)
    a[0, :5] = -np.inf
    a[1, 7] = np.nan
    for array in (a, a[:, :50], a[1:2], np.full((2, 100), -np.inf, np.float32)):
        for k in (1, 3, 8, 20):
            for largest in (True, False):
                values, indices = pl.topk(pl.tensor(array), k, 1, largest)
                want = pl.sort(pl.tensor(array), 1, largest)[0][:, :k]
                np.testing.assert_array_equal(values.numpy(), want.numpy())
                np.testing.assert_array_equal(np.take_along_axis(array, indices.numpy(), 1), values.numpy())
                assert all(len(set(row)) == k for row in indices.tolist())


def test_search_follows_order_with_nan():
    b = pl.tensor([1.0, 2.0, NAN])
    assert pl.searchsorted(b, pl.tensor([NAN, 5.0, 2.0])).tolist() == [3, 3, 1]
    rows = pl.tensor([[1, 3, 5, 7, 9], [2, 4, 6, 8, 10]])
    v = pl.tensor([[3, 6, 9], [3, 6, 9]])
    assert pl.searchsorted(rows, v).tolist() == [[1, 3, 4], [1, 2, 4]]
    assert pl.searchsorted(rows, v, side="right").tolist() == [[2, 3, 5], [1, 3, 4]]
    assert pl.bucketize(pl.tensor([3, 6, 9]), rows[0], right=True).tolist() == [2, 3, 5]


def test_unique_gives_back_the_input():
    rng = np.random.default_rng(1)
    x = pl.tensor(rng.integers(0, 3, (20, 2)))
    values, inverse, counts = pl.unique(x, return_inverse=True, return_counts=True)
    assert pl.equal(values[inverse], x) and counts.sum().item() == 40
    rows, inverse, counts = pl.unique(x, dim=0, return_inverse=True, return_counts=True)
    assert pl.equal(rows[inverse], x) and counts.sum().item() == 20
    assert rows.tolist() == [list(r) for r in sorted(set(map(tuple, x.tolist())))]
    v, i, c = pl.unique_consecutive(pl.tensor([1, 1, 2, 1]), return_inverse=True, return_counts=True)
    assert (v.tolist(), i.tolist(), c.tolist()) == ([1, 2, 1], [0, 0, 1, 2], [2, 1, 1])


def test_against_numpy():
    rng = np.random.default_rng(2)
    a, w = rng.normal(size=(5, 7)), rng.random(35)
    t = pl.tensor(a)
    close(t.quantile(pl.tensor([0.1, 0.5, 0.9], dtype=pl.float64), dim=1), np.quantile(a, [0.1, 0.5, 0.9], axis=1))
    close(t.cov(), np.cov(a))
    close(t.corrcoef(), np.corrcoef(a))
    close(pl.gradient(t, spacing=0.5, dim=1, edge_order=2)[0], np.gradient(a, 0.5, axis=1, edge_order=2))
    close(pl.trapezoid(t, dx=2.0), np.trapezoid(a, dx=2.0))
    h, e = pl.histogram(t, 6, weight=pl.tensor(w.reshape(5, 7)), density=True)
    want = np.histogram(a, 6, weights=w.reshape(5, 7), density=True)
    close(h, want[0])
    close(e, want[1])
    hd = pl.histogramdd(t, [2, 1, 2, 1, 1, 2, 1])
    close(hd.hist, np.histogramdd(a, [2, 1, 2, 1, 1, 2, 1])[0])
    close(pl.bincount(pl.tensor([1, 3, 1]), pl.tensor([0.5, 1.0, 2.0]), 6), [0, 2.5, 0, 1, 0, 0])
    big = pl.tensor(rng.normal(size=(40, 8)))               # more than 25 rows: through a matrix product
    close(pl.cdist(big, big[:30]), np.sqrt(((big.numpy()[:, None] - big.numpy()[None, :30]) ** 2).sum(-1)), atol=1e-6)
    close(pl.logcumsumexp(t, 1), np.logaddexp.accumulate(a, 1))


# ---------------------------------------------------------------------------------------------------- gradients
def test_ties_share_or_point():
    x = [1.0, 3.0, 3.0]
    assert slope(lambda t: t.max(), x) == slope(lambda t: t.amax(0), x) == [0, 0.5, 0.5]
    assert slope(lambda t: t.max(0).values, x) == [0, 1, 0]
    assert slope(lambda t: t.max(), [NAN, 1.0]) == [1, 0]
    assert slope(lambda t: t.median(), [1.0, 2.0, 2.0, 9.0]) == [0, 0.5, 0.5, 0]
    assert slope(lambda t: t.quantile(0.5), [3.0, 1.0, 4.0, 2.0]) == [0.5, 0, 0, 0.5]
    assert slope(lambda t: t.quantile(0.5), [1.0, NAN, 2.0]) == [0, 1, 0]


@pytest.mark.parametrize("values", [[2.0, 3.0, 4.0], [2.0, 0.0, 4.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
def test_products_with_zeros(values):
    x = pl.tensor(values, dtype=pl.float64, requires_grad=True)
    for fn in (lambda t: t.prod(), lambda t: t.cumprod(0), lambda t: t.reshape(1, 3).prod(1)):
        assert gradcheck(fn, (x,)) and gradgradcheck(fn, (x,))


def test_constants_and_nothing():
    assert slope(lambda t: t.std(), [1.0, 1.0]) == [0, 0]
    assert slope(lambda t: pl.cdist(t.reshape(1, 2), t.detach().reshape(1, 2)).sum(), [1.0, 2.0]) == [0, 0]
    x = pl.zeros(0, 3, requires_grad=True)
    for fn in (pl.sum, pl.mean, pl.prod, pl.nansum):
        assert grad(fn(x), x)[0].shape == (0, 3)


def test_scan_of_long_lines():
    """log2(n) doublings of the linear recurrence agree with n steps."""
    rng = np.random.default_rng(3)
    for n in (1, 2, 3, 7, 8, 9, 100):
        x, a = rng.normal(size=n), rng.normal(size=n)
        y, last = [], 0.0
        for p, q in zip(x, a):
            last = p + q * last
            y.append(last)
        close(F.linear_scan(pl.tensor(x), pl.tensor(a), 0), y, rtol=1e-9)


def test_softmax_keeps_its_head():
    x = pl.tensor([1000.0, 1001.0, -INF], dtype=pl.float64, requires_grad=True)
    close(x.softmax(0), [1 / (1 + math.e), math.e / (1 + math.e), 0])
    close(x.log_softmax(0)[:2], [-math.log(1 + math.e), 1 - math.log(1 + math.e)])
    close(grad(x.softmax(0)[0], x)[0].sum(), 0)
    close(nnf.softmin(pl.tensor([0.0, 1.0]), 0), nnf.softmax(pl.tensor([0.0, -1.0]), 0).numpy())
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax has been deprecated"):
        assert nnf.softmax(pl.zeros(2, 4)).tolist() == [[0.25] * 4] * 2
    hard = nnf.gumbel_softmax(pl.zeros(5, 4, requires_grad=True), hard=True)
    assert hard.sum(1).tolist() == [1.0] * 5 and hard.grad_fn is not None
    assert pl.special.softmax(pl.zeros(2), 0).tolist() == [0.5, 0.5]


# ---------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize("kind, text, call", [
    (RuntimeError, r"mean\(\): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: Long",
     lambda: pl.arange(3).mean()),
    (RuntimeError, r"max\(\): Expected reduction dim to be specified for input.numel\(\) == 0. Specify the reduction dim with the 'dim' argument.",
     lambda: pl.zeros(0).max()),
    (IndexError, r"max\(\): Expected reduction dim 1 to have non-zero size.", lambda: pl.zeros(2, 0).max(1)),
    (IndexError, r"argmax\(\): Expected reduction dim to be specified for input.numel\(\) == 0.", lambda: pl.zeros(0).argmax()),
    (IndexError, r"Dimension out of range \(expected to be in range of \[-2, 1\], but got 2\)", lambda: pl.zeros(2, 2).sum(2)),
    (RuntimeError, r"dim 0 appears multiple times in the list of dims", lambda: pl.zeros(2, 2).sum((0, 0))),
    (RuntimeError, r"std and var only support floating point and complex dtypes", lambda: pl.arange(3).var()),
    (RuntimeError, r"argmax\(\): does not support bool input", lambda: pl.ones(2, dtype=pl.bool).argmax()),
    (RuntimeError, r"selected index k out of range", lambda: pl.zeros(3).topk(4)),
    (RuntimeError, r"kthvalue\(\): selected number k out of range for dimension 0", lambda: pl.zeros(3).kthvalue(0)),
    (RuntimeError, r"quantile\(\) q must be in the range \[0, 1\] but got 2", lambda: pl.zeros(3).quantile(2.0)),
    (NotImplementedError, r'"softmax_lastdim_kernel_impl" not implemented for \'Long\'', lambda: pl.arange(3).softmax(0)),
    (TypeError, r"sum\(\): argument 'input' \(position 1\) must be Tensor, not list", lambda: pl.sum([1.0])),
    (RuntimeError, r"Expected out tensor to have dtype long int, but got float instead", lambda: pl.argmax(pl.ones(2), out=pl.empty(()))),
    (RuntimeError, r"X1 and X2 must have the same number of columns. X1: 2 X2: 3", lambda: pl.cdist(pl.ones(1, 2), pl.ones(1, 3))),
    (RuntimeError, r"bincount only supports 1-d non-negative integral inputs.", lambda: pl.bincount(pl.tensor([-1]))),
])
def test_errors(kind, text, call):
    with pytest.raises(kind, match=text):
        call()


def test_variance_of_one_warns():
    with pytest.warns(UserWarning, match=r"var\(\): degrees of freedom is <= 0"):
        assert math.isnan(pl.ones(1).var())
