"""Operators that have both a reference and a body in operators: the two compute the same."""
from __future__ import annotations

import warnings

import numpy as np
import pytest

import pellucid
from pellucid.ops import REGISTRY
from pellucid.ops.canonical import evaluate
from pellucid.testing.samples import samples_of

DTYPES = [pellucid.float32, pellucid.float64]


def t(*shape, seed=0, low=-2.0, high=2.0):
    return np.random.default_rng(seed + sum(shape)).uniform(low, high, shape)


def labels(*shape, classes=4):
    return np.random.default_rng(len(shape)).integers(0, classes, shape)


def norm_cases():
    yield "native_layer_norm", (t(4, 6), t(6), t(6)), dict(dims=1, eps=1e-5)
    yield "native_layer_norm", (t(2, 3, 4), t(3, 4), None), dict(dims=2, eps=1e-3)
    yield "native_layer_norm", (t(0, 4), None, None), dict(dims=1, eps=1e-5)
    yield "native_layer_norm", (t(3, 0), None, None), dict(dims=1, eps=1e-5)
    stats = (t(4, 1), t(4, 1, low=0.5))
    for needs in ((True, True, True), (True, False, False), (False, True, True)):
        yield "layer_norm_backward", (t(4, 6, seed=1), t(4, 6), t(6), *stats), dict(dims=1, eps=1e-5, needs=needs)
        yield "layer_norm_backward", (t(4, 6, seed=1), t(4, 6), None, *stats), dict(dims=1, eps=1e-5, needs=(needs[0], False, not needs[0]))
    yield "layer_norm_backward", (t(2, 3, 4, seed=1), t(2, 3, 4), t(3, 4), t(2, 1, 1), t(2, 1, 1, low=0.5)), dict(dims=2, eps=1e-5, needs=(True,) * 3)
    yield "layer_norm_backward", (t(6, seed=1), t(6), t(6), t(1), t(1, low=0.5)), dict(dims=1, eps=1e-5, needs=(True,) * 3)
    yield "layer_norm_backward", (t(0, 4), t(0, 4), t(4), t(0, 1), t(0, 1)), dict(dims=1, eps=1e-5, needs=(True,) * 3)
    yield "fused_rms_norm", (t(4, 6), t(6)), dict(dims=1, eps=1e-5)
    yield "fused_rms_norm", (t(2, 3, 4), None), dict(dims=2, eps=1e-3)
    yield "fused_rms_norm", (t(0, 4), None), dict(dims=1, eps=1e-3)
    yield "rms_norm_backward", (t(4, 6, seed=1), t(4, 6), t(6), t(4, 1, low=0.5)), dict(dims=1, eps=1e-5, needs=(True, True))
    yield "rms_norm_backward", (t(4, 6, seed=1), t(4, 6), None, t(4, 1, low=0.5)), dict(dims=1, eps=1e-5, needs=(True, False))
    for shape, groups in (((2, 6, 4), 3), ((3, 4), 2), ((2, 4, 3, 2), 1), ((0, 4, 2), 2), ((2, 4, 0), 2)):
        c = shape[1]
        yield "native_group_norm", (t(*shape), t(c), t(c)), dict(groups=groups, eps=1e-5)
        yield "native_group_norm", (t(*shape), None, None), dict(groups=groups, eps=1e-2)
        s = (shape[0], groups)
        args = (t(*shape, seed=1), t(*s, seed=2), t(*s, seed=3), t(*shape), t(c), t(*s), t(*s, low=0.5))
        yield "group_norm_backward", args, dict(groups=groups, eps=1e-5, needs=(True,) * 3)
        yield "group_norm_backward", (*args[:4], None, *args[5:]), dict(groups=groups, eps=1e-5, needs=(True, False, False))
    for shape in ((4, 3), (4, 3, 5), (2, 3, 4, 5), (0, 3, 2), (2, 0, 2)):
        c = shape[1]
        x = t(*shape) + 5
        for w, b in ((t(c), t(c)), (None, None), (t(c), None)):
            yield "batch_norm_train", (x, w, b), dict(eps=1e-5)
            yield "batch_norm_eval", (x, w, b, t(c), t(c, low=0.5)), dict(eps=1e-5)
            needs = (True, w is not None, b is not None)
            yield "batch_norm_backward", (t(*shape, seed=1), x, w, t(c), t(c, low=0.5)), dict(eps=1e-5, needs=needs)


def loss_cases():
    shapes = [((3, 4), (3,)), ((2, 4, 3), (2, 3)), ((4,), ()), ((0, 4), (0,)), ((2, 4, 3, 2), (2, 3, 2))]
    for reduction in ("none", "mean", "sum"):
        for xs, ts in shapes:
            if 0 in xs and reduction == "mean":
                continue
            for weight in (None, t(4, low=0.2)):
                for ignore, smoothing in ((-100, 0.0), (1, 0.0), (2, 0.1)):
                    x, y = t(*xs), labels(*ts)
                    if ignore >= 0 and np.all(y == ignore):
                        y = (y + 1) % 4
                    g = t(*ts, seed=5) if reduction == "none" else t(seed=5)
                    attrs = dict(ignore_index=ignore, reduction=reduction)
                    yield "cross_entropy_index", (x, y, weight), attrs | {"label_smoothing": smoothing}
                    yield "cross_entropy_index_backward", (g, x, y, weight), attrs | {"label_smoothing": smoothing}
                    if not smoothing:
                        yield "nll_index", (x, y, weight), attrs
                        yield "nll_index_backward", (g, y, weight), attrs | {"shape": xs}


def attention_cases():
    for lead, lq, lk in (((2,), 3, 5), ((1, 2), 4, 4), ((0,), 2, 3), ((2, 3), 1, 2)):
        q, k, v = t(*lead, lq, 4), t(*lead, lk, 4, seed=1), t(*lead, lk, 2, seed=2)
        bools = t(lq, lk, seed=3) > 0
        bools[0] = False
        for mask, causal in ((None, False), (None, True), (t(lq, lk, seed=3), False), (bools, False)):
            yield "attention", (q, k, v, mask), dict(is_causal=causal, scale=0.5)
            lse = evaluate(REGISTRY["attention"], (q, k, v, mask), dict(is_causal=causal, scale=0.5))[1]
            needs = (True, True, True, mask is not None and mask.dtype.kind == "f")
            yield "attention_backward", (t(*lead, lq, 2, seed=4), q, k, v, mask, lse), dict(is_causal=causal, scale=0.5, needs=needs)


def cell_cases():
    for mode, states, gates in (("lstm", 2, 4), ("gru", 1, 3), ("rnn_tanh", 1, 1), ("rnn_relu", 1, 1)):
        for n, biases in ((3, True), (1, False), (0, True)):
            h = [t(n, 4, seed=i) for i in range(states)]
            w = [t(4 * gates, 2), t(4 * gates, 4), *[t(4 * gates, seed=i) if biases else None for i in range(2)]]
            yield f"{mode}_step", (t(n, 2), *h, *w), {}
            made = evaluate(REGISTRY[f"{mode}_step"], (t(n, 2), *h, *w), {})
            for needs in ((True,) * (states + 3), (False, True, *[False] * (states - 1), True, False)):
                attrs = dict(needs=(*needs, biases, biases))
                yield f"{mode}_step_backward", (*[t(n, 4, seed=5 + i) for i in range(states)], t(n, 2), *h, *w, *(made[states:] or made)), attrs


CASES = [*norm_cases(), *loss_cases(), *attention_cases(), *cell_cases()]


def compare(op, operands, attrs, d):
    cast = lambda a: a.astype(d.np) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a       # noqa: E731
    operands = tuple(cast(np.asarray(a)) if a is not None and not isinstance(a, (int, float, bool)) else a for a in operands)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        want = evaluate(op, operands, attrs)
    tensors = [pellucid.from_numpy(a) if isinstance(a, np.ndarray) else a for a in operands]
    with pellucid.no_grad():
        got = op.body(*tensors, **attrs)
    got = got if type(got) is tuple else (got,)
    assert len(got) == len(want)
    tol = 2e-5 if d is pellucid.float32 else 1e-11
    for a, b in zip(want, got):
        b = b.numpy()
        assert a.shape == b.shape and a.dtype == b.dtype, (op.name, a.shape, b.shape, a.dtype, b.dtype)
        np.testing.assert_allclose(b, a, rtol=tol, atol=tol, err_msg=op.name)


@pytest.mark.parametrize("d", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("name", sorted({c[0] for c in CASES}))
def test_body_agrees_with_reference(name, d):
    for case, operands, attrs in CASES:
        if case == name:
            compare(REGISTRY[name], operands, attrs, d)


def test_every_operator_with_reference_and_body_is_compared():
    """Those not listed above: by their own samples."""
    seen = {c[0] for c in CASES}
    left = []
    for op in list(REGISTRY.values()):
        if op.body is None or op.ref is None or op.name in seen or op.module.startswith("test"):
            continue
        n = 0
        for args, kwargs in samples_of(op) if op.samples else ():
            canon = op.front(*args, **kwargs)
            if len(canon) == 3:
                continue
            flat, attrs = canon
            operands = tuple(a.detach().numpy() if isinstance(a, pellucid.Tensor) else a for a in flat)
            kinds = {a.dtype for a in operands if isinstance(a, np.ndarray) and a.dtype.kind in "fc"}
            if kinds and all(k.kind == "f" for k in kinds):
                for d in DTYPES:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        compare(op, operands, attrs, d)
                n += 1
        if not n:
            left.append(op.name)
    assert not [name for name in left if "_layer" not in name], left        # recurrent layers have tests of their own


def test_an_invalid_target_is_an_index_error():
    """As in the reference; compiled code checks through the same operator."""
    x, y = pellucid.from_numpy(t(3, 4)), pellucid.tensor([0, 4, 1])
    for name in ("cross_entropy_index", "nll_index"):
        with pytest.raises(IndexError, match="Target 4 is out of bounds"):
            REGISTRY[name].body(x, y, None, reduction="mean")
        REGISTRY[name].body(x, y, None, reduction="mean", ignore_index=4)
