"""Compiled functions of tensors: results, guards, aliasing, what cannot be traced."""

from __future__ import annotations

import numpy as np
import pytest

import pellucid
from pellucid.core.config import config
from pellucid.tensor.tracing import TraceError


def f(x, w, scale=2.0):
    return (x * w + scale).tanh().sum(-1)


def close(a, b):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_the_result_is_the_functions(backend):
    x, w = pellucid.randn(4, 5), pellucid.randn(5)
    c = pellucid.compile(f, backend=backend)
    close(c(x, w), f(x, w))
    x = pellucid.randn(4, 5)
    close(c(x, w), f(x, w))
    assert c.compiles == 1


def test_as_a_decorator():
    @pellucid.compile(backend="eager")
    def double(x):
        """Twice x."""
        return x * 2

    assert double.__doc__ == "Twice x." and double.__name__ == "double"
    assert double(pellucid.ones(2)).tolist() == [2, 2]
    assert pellucid.compile(f, disable=True) is f


def test_what_makes_another_version():
    c = pellucid.compile(f, backend="eager")
    x, w = pellucid.randn(4, 5), pellucid.randn(5)
    seen = []
    for args, kwargs in [((x, w), {}), ((x, w, 2.0), {}), ((x, w, 3.0), {}), ((x, w), {"scale": 3.0}), ((x[:2], w), {}),
                         ((x.double(), w.double()), {}), ((x.t().contiguous().t(), w), {}), ((x.clone().requires_grad_(), w), {})]:
        close(c(*args, **kwargs), f(*args, **kwargs))
        seen.append(c.compiles)
    assert seen == [1, 2, 3, 4, 5, 6, 7, 8]
    with pellucid.no_grad():
        assert not c(x.clone().requires_grad_(), w).requires_grad
    assert c.compiles == 9
    before = c.compiles
    for args, kwargs in [((x, w), {}), ((x, w, 3.0), {}), ((x, w), {"scale": 3.0})]:
        close(c(*args, **kwargs), f(*args, **kwargs))
    assert c.compiles == before


def test_structures():
    def g(batch, *, flags):
        return {"sum": batch["a"] + batch["b"][0], "flags": flags, "parts": (batch["a"], [batch["b"][1] * 2, None])}

    c = pellucid.compile(g, backend="eager")
    batch = {"a": pellucid.ones(2), "b": [pellucid.ones(2), pellucid.ones(3)]}
    r = c(batch, flags=("x", 1))
    assert r["sum"].tolist() == [2, 2] and r["flags"] == ("x", 1)
    assert r["parts"][0] is batch["a"] and r["parts"][1][0].tolist() == [2, 2, 2] and r["parts"][1][1] is None
    c(batch, flags=("x", 2))
    c({"b": batch["b"], "a": batch["a"]}, flags=("x", 1))
    assert c.compiles == 3


def test_views_and_results_as_arguments_need_no_new_version():
    c = pellucid.compile(f, backend="eager")
    data, w = pellucid.randn(8, 5), pellucid.randn(5)
    for x in (data[:2], data[2:4], data[4:6] * 1):
        close(c(x, w), f(x, w))
    assert c.compiles == 1


def test_the_same_tensor_twice_is_another_version():
    def g(x, y):
        x.add_(1)
        return x + y

    c = pellucid.compile(g, backend="eager")
    x, y = pellucid.zeros(2), pellucid.zeros(2)
    assert c(x, y).tolist() == [1, 1] and x.tolist() == [1, 1]
    assert c(x, x).tolist() == [4, 4] and x.tolist() == [2, 2]
    assert c.compiles == 2
    whole = pellucid.zeros(3)
    with pytest.warns(UserWarning, match="share memory"):
        assert c(whole[:2], whole[1:]).tolist() == [2, 1] and whole.tolist() == [1, 1, 0]


def test_writes_reach_arguments_and_captured_tensors(backend):
    state = pellucid.zeros(3)

    def g(x):
        x.mul_(2)
        state.add_(x)
        return state

    c = pellucid.compile(g, backend=backend)
    x = pellucid.ones(3)
    version = x._version, state._version
    assert c(x) is state and x.tolist() == [2, 2, 2] and state.tolist() == [2, 2, 2]
    assert c(x) is state and state.tolist() == [6, 6, 6]
    assert x._version > version[0] and state._version > version[1] and c.compiles == 1


def test_results_that_share_memory():
    def g(x):
        y = x + 1
        return y, y[0], x.view(-1), x

    c = pellucid.compile(g, backend="eager")
    x = pellucid.zeros(2, 2)
    y, first, flat, same = c(x)
    assert same is x
    first.fill_(5)
    flat[0] = 7
    assert y.tolist() == [[5, 5], [1, 1]] and x.tolist() == [[7, 0], [0, 0]]


def test_arguments_written_where_they_overlap_captured_tensors():
    state = pellucid.zeros(4)

    def g(x):
        state.add_(1)
        return x * 1

    c = pellucid.compile(g, backend="eager")
    assert c(pellucid.zeros(4)).tolist() == [0] * 4
    assert c(state[:]).tolist() == [2] * 4 and c(state).tolist() == [3] * 4


def test_random_numbers_are_drawn_anew(backend):
    def g(x):
        return x + pellucid.rand(3), pellucid.nn.functional.dropout(x, 0.5)

    c = pellucid.compile(g, backend=backend)
    x = pellucid.ones(3)
    pellucid.manual_seed(7)
    ours = [c(x), c(x)]
    after = pellucid.rand(2)
    pellucid.manual_seed(7)
    theirs = [g(x), g(x)]
    for a, b in zip(ours, theirs):
        close(a[0], b[0])
        close(a[1], b[1])
    assert after.tolist() == pellucid.rand(2).tolist() and c.compiles == 1


def test_default_dtype_and_autocast_are_guarded():
    c = pellucid.compile(lambda x: pellucid.full((2,), 0.5) + x.mm(x).sum(), backend="eager")
    x = pellucid.ones(2, 2)
    assert c(x).dtype is pellucid.float32
    pellucid.set_default_dtype(pellucid.float64)
    try:
        assert c(x).dtype is pellucid.float64
    finally:
        pellucid.set_default_dtype(pellucid.float32)
    with pellucid.autocast("cpu"):
        c(x)
    assert c.compiles == 3


def test_a_branch_on_a_value_splits_the_function():
    def g(x):
        if x.sum() > 0:
            return x + 1
        return x - 1

    c = pellucid.compile(g, backend="eager")
    for _ in range(2):
        assert c(pellucid.ones(2)).tolist() == [2, 2]
        assert c(-pellucid.ones(2)).tolist() == [-2, -2]
    assert [b.number for b in c.breaks] == ["PX001"]
    with pytest.raises(TraceError, match="test_functions.py"):
        pellucid.compile(g, backend="eager", fullgraph=True)(pellucid.ones(2))


def test_too_many_versions():
    c = pellucid.compile(f, backend="eager", dynamic=False)
    w = pellucid.randn(5)
    with pytest.warns(UserWarning, match="compiled 16 times"):
        for k in range(18):
            c(pellucid.randn(*[1] * k, 5), w)
    assert c.compiles == 16
    c.reset()
    c(pellucid.randn(30, 5), w)
    assert c.compiles == 17


def test_too_many_sizes(monkeypatch):
    monkeypatch.setattr(config, "recompile_limit", 2)
    c = pellucid.compile(f, backend="eager", dynamic=False)
    w = pellucid.randn(5)
    with pytest.warns(UserWarning, match="compiled 8 times"):
        for k in range(10):
            c(pellucid.randn(k + 1, 5), w)
    assert c.compiles == 8


def test_a_backend_of_ones_own():
    graphs = []

    def own(graph):
        graphs.append(graph)

        def run(arrays):
            x, w = arrays
            return [np.tanh(x * w + 2).sum(-1)]
        return run

    c = pellucid.compile(f, backend=own)
    x, w = pellucid.randn(4, 5), pellucid.randn(5)
    close(c(x, w), f(x, w))
    assert [n.op.name for n in graphs[0].nodes][0] == "mul"
    with pytest.raises(ValueError, match="P3100"):
        pellucid.compile(f, backend="nonsense")
    with pytest.raises(TypeError, match="P3101"):
        pellucid.compile(f, backend=lambda graph: None)(x, w)
    with pytest.raises(TypeError, match="P3102"):
        pellucid.compile(3)


def test_empty_and_0d(backend):
    c = pellucid.compile(lambda x: (x * 2, x.sum()), backend=backend)
    for shape in ((), (0,), (3, 0), (1,)):
        a, b = c(pellucid.ones(shape))
        assert a.shape == shape and float(b) == np.prod(shape)


def test_compiled_inside_compiled_is_one_graph():
    inner = pellucid.compile(lambda x: x * 2, backend="eager")
    outer = pellucid.compile(lambda x: inner(x) + 1, backend="eager")
    assert outer(pellucid.ones(2)).tolist() == [3, 3] and (inner.compiles, outer.compiles) == (0, 1)


def test_trace_gives_the_graph():
    graph = pellucid.trace(f, pellucid.randn(4, 5), pellucid.randn(5))
    assert [n.op.name for n in graph.nodes] == ["mul", "add", "tanh", "sum"]
    assert "test_functions.py" in str(graph.nodes[0].loc)


def test_the_report_says_what_there_is():
    c = pellucid.compile(f, backend="eager")
    c(pellucid.randn(4, 5), pellucid.randn(5))
    text = str(c.report())
    assert "f: 1 compiled version" in text and "trace" in text and repr(c) == "<compiled f: 1 version>"


def test_floats_that_change_become_run_time_numbers():
    c = pellucid.compile(f, backend="eager")
    x, w = pellucid.randn(4, 5), pellucid.randn(5)
    for scale in (1.0, 2.0, 3.0, 4.5, -1.0):
        close(c(x, w, scale), f(x, w, scale))
    assert c.compiles == 2
    c = pellucid.compile(f, backend="eager", dynamic=True)
    for scale in (1.0, 2.0, 3.0):
        close(c(x, w, scale=scale), f(x, w, scale))
    assert c.compiles == 1
    c = pellucid.compile(f, backend="eager", dynamic=False)
    for scale in (1.0, 2.0, 3.0):
        close(c(x, w, scale), f(x, w, scale))
    assert c.compiles == 3


def test_numbers_whose_value_is_asked_for_stay_constants():
    def g(x, rates):
        return x * rates["a"] if rates["a"] > 1 else x * int(rates["b"])

    c = pellucid.compile(g, backend="eager")
    x = pellucid.ones(2)
    for a, b in ((0.5, 2.0), (1.5, 2.0), (2.5, 2.0), (0.25, 2.0), (0.25, 3.0)):
        assert c(x, {"a": a, "b": b}).tolist() == g(x, {"a": a, "b": b}).tolist()
    assert c.compiles == 4


def test_a_step_count_as_an_argument():
    """It changes at every call and causes no more than one further version, and one per outcome of a test on it."""
    def g(x, step):
        return x * step if step % 2 == 0 else x - step

    c = pellucid.compile(g, backend="eager")
    x = pellucid.arange(3)
    for step in range(8):
        r = c(x, step)
        assert r.tolist() == g(x, step).tolist() and r.dtype is pellucid.int64
    assert c.compiles == 3


def test_a_size_as_an_argument():
    c = pellucid.compile(lambda x, n: x.view(n, -1) * n, backend="eager")
    for n in (1, 2, 3, 2):
        assert c(pellucid.arange(6), n).shape == (n, 6 // n)
    assert c.compiles == 2                      # a third size runs as plain Python until it pays


def test_means_over_different_counts_are_different_kernels(backend):
    """Two computations alike but for the number that a mean divides by."""
    def g(x, y):
        return (x.mean((0, 2), keepdim=True) + 1e-5).rsqrt() * 2, (y.mean((0, 2), keepdim=True) + 1e-5).rsqrt() * 2

    c = pellucid.compile(g, backend=backend)
    x, y = pellucid.rand(2, 8, 16), pellucid.rand(2, 8, 4)
    for a, b in zip(c(x, y), g(x, y)):
        close(a, b)
