"""Losses against PyTorch: every reduction, weights, ignored targets, smoothing, second derivatives, errors."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

import pellucid
import pellucid.nn.functional as F

REDUCTIONS = ("none", "mean", "sum")
rng = np.random.default_rng(0)


def against_torch(name, arrays, consts=(), second=True, **kw):
    """Loss, gradients and second derivatives of `name` agree with torch's in float64."""
    torch = pytest.importorskip("torch")
    values = []
    for m, f in ((pellucid, F), (torch, torch.nn.functional)):
        leaves = [m.tensor(a, requires_grad=True) for a in arrays]
        extra = [None if c is None else m.tensor(c) for c in consts]
        keys = {k: m.tensor(v) if isinstance(v, np.ndarray) else v for k, v in kw.items()}
        loss = getattr(f, name)(*leaves, *extra, **keys)
        weight = m.tensor(np.cos(np.arange(max(loss.numel(), 1))).reshape(tuple(loss.shape)) + 2)
        grads = m.autograd.grad((loss * weight).sum(), leaves, create_graph=second)
        out = [loss.detach().numpy(), *[g.detach().numpy() for g in grads]]
        if second:
            s = sum((g * m.tensor(np.sin(np.arange(g.numel())).reshape(tuple(g.shape)) + 1.5)).sum() for g in grads)
            if s.requires_grad:
                out += [np.zeros(a.shape) if g is None else g.numpy(force=True)
                        for a, g in zip(arrays, m.autograd.grad(s, leaves, allow_unused=True))]
        values.append(out)
    ours, theirs = values
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("reduction", "weighted", "smoothing", "ignore", "shape"), [
    c for c in itertools.product(REDUCTIONS, (False, True), (0.0, 0.2), (-100, 1), ((5, 4), (2, 4, 3), (4,)))])
def test_cross_entropy_of_indices(reduction, weighted, smoothing, ignore, shape):
    target = rng.integers(0, 4, shape[:1] + shape[2:] if len(shape) > 1 else ())
    if len(shape) == 1:
        target = np.asarray(2)
    weight = np.array([0.5, 2.0, 1.0, 1.5]) if weighted else None
    kw = {"weight": weight} if weighted else {}
    against_torch("cross_entropy", [rng.normal(size=shape)], [target], reduction=reduction, label_smoothing=smoothing,
                  ignore_index=ignore, **kw)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_of_probabilities(reduction, smoothing):
    p = rng.random((3, 4, 2))
    against_torch("cross_entropy", [rng.normal(size=(3, 4, 2)), p / p.sum(1, keepdims=True)], reduction=reduction,
                  label_smoothing=smoothing,
                  weight=np.array([0.5, 2.0, 1.0, 1.5]))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll(reduction):
    against_torch("nll_loss", [rng.normal(size=(2, 4, 3))], [rng.integers(0, 4, (2, 3))], reduction=reduction, ignore_index=2,
                  weight=np.array([0.5, 2.0, 1.0, 1.5]))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "kw"), [("mse_loss", {}), ("l1_loss", {}), ("smooth_l1_loss", {"beta": 0.7}),
                                          ("smooth_l1_loss", {"beta": 0.0}),
                                          ("huber_loss", {"delta": 0.6}), ("mse_loss", {"weight": rng.random((3, 4))}),
                                          ("poisson_nll_loss", {"full": True, "log_input": True})])
def test_differences(name, kw, reduction):
    target = rng.normal(size=(3, 4)) if "poisson" not in name else rng.random((3, 4)) * 5 + 0.1
    against_torch(name, [rng.normal(size=(3, 4)), target], reduction=reduction, **kw)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("pos", [False, True])
def test_binary_cross_entropy_with_logits(reduction, pos):
    kw = {"pos_weight": rng.random(4) + 0.5, "weight": rng.random((3, 4))} if pos else {}
    against_torch("binary_cross_entropy_with_logits", [rng.normal(size=(3, 4)) * 3, rng.random((3, 4))], reduction=reduction,
                  **kw)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy(reduction):
    against_torch("binary_cross_entropy", [rng.random((3, 4)) * 0.9 + 0.05], [rng.random((3, 4))], reduction=reduction)


def test_binary_cross_entropy_of_certain_answers():
    x, t = pellucid.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True), pellucid.tensor([0.0, 1.0, 1.0, 0.0])
    loss = F.binary_cross_entropy(x, t, reduction="none")
    assert loss.tolist() == [0.0, 0.0, 100.0, 100.0]
    loss.sum().backward()
    assert pellucid.isfinite(x.grad).all()
    z = pellucid.tensor([1e4, -1e4])
    assert F.binary_cross_entropy_with_logits(z, pellucid.tensor([1.0, 0.0])).item() == 0.0


@pytest.mark.parametrize("form", ["padded", "joined"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("zero", [False, True])
def test_ctc(form, reduction, zero):
    torch = pytest.importorskip("torch")
    lp = torch.tensor(rng.normal(size=(9, 3, 5))).log_softmax(2).numpy()
    lengths, times = np.array([4, 0, 3]), np.array([9, 7, 2 if zero else 8])
    rows = rng.integers(1, 5, (3, 4))
    targets = rows if form == "padded" else np.concatenate([r[:n] for r, n in zip(rows, lengths)])
    against_torch("ctc_loss", [lp], [targets, times, lengths], second=False, reduction=reduction, zero_infinity=zero)


def test_kl_div_warns_about_mean_and_batchmean_divides_by_the_batch():
    a, b = pellucid.tensor([[0.2, 0.8], [0.5, 0.5]]).log(), pellucid.tensor([[0.3, 0.7], [0.9, 0.1]])
    with pytest.warns(UserWarning, match="divides the total loss by both"):
        F.kl_div(a, b)
    assert F.kl_div(a, b, reduction="batchmean").item() == pytest.approx(F.kl_div(a, b, reduction="sum").item() / 2)


@pytest.mark.parametrize(("call", "kind", "text"), [
    (lambda x: F.cross_entropy(x, pellucid.tensor([0, 9, 1])), IndexError, "Target 9 is out of bounds"),
    (lambda x: F.cross_entropy(x, pellucid.tensor([0, -1, 1])), IndexError, "Target -1 is out of bounds"),
    (lambda x: F.cross_entropy(x, pellucid.tensor([0, 1])), ValueError,
     r"Expected input batch_size \(3\) to match target batch_size \(2\)"),
    (lambda x: F.cross_entropy(x, pellucid.tensor([0, 1, 2], dtype=pellucid.int32)), RuntimeError,
     "expected target dtype to be Long or Byte, but got Int"),
    (lambda x: F.cross_entropy(x, pellucid.tensor([0.0, 1.0, 2.0])), RuntimeError, "expected target dtype to be Long or Byte, but got Float"),
    (lambda x: F.cross_entropy(x, pellucid.zeros(3, 4, dtype=pellucid.int64)), RuntimeError,
     "Expected floating point type for target"),
    (lambda x: F.cross_entropy(x, pellucid.tensor([0, 1, 2]), weight=pellucid.ones(3)), RuntimeError,
     "weight tensor should be defined either for all 4"),
    (lambda x: F.cross_entropy(x, pellucid.tensor([0, 1, 2]), label_smoothing=2.0), RuntimeError,
     "label_smoothing must be between 0.0 and 1.0"),
    (lambda x: F.cross_entropy(x[None].expand(2, 3, 4), pellucid.zeros(2, 3, dtype=pellucid.int64)), RuntimeError,
     r"Expected target size \[2, 4\], got \[2, 3\]"),
    (lambda x: F.mse_loss(x, x, reduction="avg"), ValueError, "avg is not a valid value for reduction"),
    (lambda x: F.binary_cross_entropy(x + 2, x), RuntimeError, "all elements of input should be between 0 and 1"),
    (lambda x: F.binary_cross_entropy(x, x[0]), ValueError, "Using a target size"),
    (lambda x: F.binary_cross_entropy_with_logits(x, x[0]), ValueError, "Target size .* must be the same as input size"),
    (lambda x: F.huber_loss(x, x, delta=0), RuntimeError, "does not support non-positive values for delta"),
    (lambda x: F.gaussian_nll_loss(x, x, -x - 1), ValueError, "var has negative"),
    (lambda x: F.ctc_loss(x[:, None], pellucid.tensor([[1]]), (9,), (1,)), RuntimeError,
     "Expected input_lengths to have value at most 3"),
])
def test_errors(call, kind, text):
    with pytest.raises(kind, match=text):
        call(pellucid.zeros(3, 4))


def test_different_sizes_warn_and_legacy_flags_still_work():
    with pytest.warns(UserWarning, match="Using a target size"):
        F.mse_loss(pellucid.ones(2, 3), pellucid.ones(3))
    with pytest.warns(UserWarning, match="size_average and reduce args will be deprecated"):
        assert F.l1_loss(pellucid.ones(2), pellucid.zeros(2), size_average=False).item() == 2


def test_all_targets_ignored_gives_nan_and_zero_gradient():
    x = pellucid.zeros(2, 3, requires_grad=True)
    assert pellucid.isnan(F.cross_entropy(x, pellucid.tensor([-100, -100])))
    F.cross_entropy(x, pellucid.tensor([-100, -100]), reduction="sum").backward()
    assert x.grad.tolist() == [[0.0] * 3] * 2


def test_cosine_similarity_of_zero_vectors():
    a, b = pellucid.zeros(2, 3, requires_grad=True), pellucid.ones(2, 3)
    s = F.cosine_similarity(a, b)
    s.sum().backward()
    assert s.tolist() == [0.0, 0.0] and pellucid.isfinite(a.grad).all()
