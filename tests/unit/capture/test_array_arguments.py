"""ndarrays that a compiled function is given, holds or computes before a break: read at each call once they were seen to change."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid


def same(a, b):
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, pellucid.Tensor):
        return isinstance(b, pellucid.Tensor) and a.dtype == b.dtype and a.tolist() == b.tolist()
    return type(a) is type(b) and np.array_equal(a, b) and getattr(a, "dtype", None) == getattr(b, "dtype", None)


def check(fn, calls, most=2, fullgraph=True):
    compiled = pellucid.compile(fn, backend="eager", fullgraph=fullgraph)
    for make in calls:
        assert same(compiled(*make()), fn(*make()))
    assert len(compiled.versions) <= most, compiled.recompiles
    return compiled


def several(*shape, dtype=np.float32, n=6):
    return [lambda k=k: (pellucid.ones(3), np.arange(np.prod(shape), dtype=dtype).reshape(shape) * (k + 1)) for k in range(n)]


def test_an_argument():
    check(lambda x, n: x + pellucid.from_numpy(n), several(3))
    check(lambda x, n: pellucid.from_numpy(n * 2 + 1).sum(), several(2, 3, dtype=np.float64))
    check(lambda x, n: (n, n.T, n[0] * 2, n.sum(), len(n)), several(2, 3))
    check(lambda x, n: (x, n is n, type(n) is np.ndarray, n.dtype == np.int64), several(3, dtype=np.int64))


def test_other_shapes_dtypes_and_kinds_are_seen():
    f = pellucid.compile(lambda n: (n * 2, type(n).__name__), backend="eager")
    values = [np.ones(3), np.ones(3) * 2, np.ones((3, 1)), np.ones(3, np.float32), np.float64(3), np.float32(4), np.float32(5), np.ones((4, 4))[::2, ::-1],
              np.array(["a", "b"], object), np.ones(3).view(np.matrix), np.ones(3) * 7]
    for n in values:
        assert same(f(n), (n * 2, type(n).__name__))


def test_the_same_object_comes_back():
    f = pellucid.compile(lambda n: (n, n + 1), backend="eager")
    for k in range(4):
        n = np.ones(3) * k
        assert f(n)[0] is n


def test_in_containers_and_globals():
    holder = {"n": np.zeros(3), "both": [np.zeros(3), 1]}

    def step(x):
        n = holder["n"] * 0.5 + 1
        holder["n"] = n
        return x + pellucid.from_numpy(n)

    plain = {"n": np.zeros(3)}
    f = pellucid.compile(step, backend="eager", fullgraph=True)
    for _ in range(6):
        plain["n"] = plain["n"] * 0.5 + 1
        assert f(pellucid.zeros(3)).tolist() == plain["n"].tolist() == holder["n"].tolist()
    assert f.compiles == 1
    check(lambda x, n: (x + pellucid.from_numpy(n[0]), n[1]), [lambda k=k: (pellucid.ones(3), [np.ones(3) * k, 2]) for k in range(6)])
    check(lambda x, n: x + pellucid.from_numpy(n[0]), [lambda k=k: (pellucid.ones(3), (np.ones(3) * k, 2)) for k in range(3)], most=3)


def test_what_numpy_gave_before_a_break():
    def fn(x):
        n = x.numpy() * 2
        total = n.sum()
        if x.sum() > 0:
            n = n + 1
        return n.sum(), total, pellucid.from_numpy(n)

    f = check(fn, [lambda k=k: (pellucid.ones(3) * k,) for k in range(1, 8)], most=4, fullgraph=False)
    assert [b.number for b in f.breaks] == ["PX001"]


def test_numpy_that_is_not_captured_goes_by_value():
    def fn(x, n):
        return x + float(np.median(n)) + len(np.unique(n))

    f = pellucid.compile(fn, backend="eager", fullgraph=True)
    for k in range(5):
        assert f(pellucid.ones(2), np.ones(3) * k).tolist() == fn(pellucid.ones(2), np.ones(3) * k).tolist()


@pytest.mark.parametrize("settings", [{}, {"fullgraph": True}])
@pytest.mark.parametrize("together", [True, False])
def test_memory_that_is_shared(settings, together):
    def read(t, n):
        t.add_(1)
        return pellucid.from_numpy(n * 2)

    def write(t, n):
        pellucid.from_numpy(n).add_(t)
        return n + 1

    def both(k, together):
        n = np.ones(3) * k
        return (pellucid.from_numpy(n) if together else pellucid.ones(3, dtype=pellucid.float64) * k), n

    for work in (read, write):
        f = pellucid.compile(work, backend="eager", **settings)
        for k in range(6):
            (a, b), (c, d) = both(k, together ^ (k == 4)), both(k, together ^ (k == 4))
            assert same(f(a, b), work(c, d)) and same(a, c) and same(b, d)


def test_memory_that_the_function_holds():
    held = np.ones(3)
    t = pellucid.from_numpy(held)

    def work(x):
        t.add_(x)
        return pellucid.from_numpy(held + 1)

    f = pellucid.compile(work, backend="eager")
    assert [f(pellucid.ones(3)).tolist() for _ in range(3)] == [[3] * 3, [4] * 3, [5] * 3]
