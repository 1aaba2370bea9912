"""Gradients of graphs, and joint graphs cut in two."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid
import pellucid.nn.functional as F
from pellucid.core import dtype as dt
from pellucid.graph import interp
from pellucid.graph.autodiff import joint
from pellucid.graph.decompose import decompose
from pellucid.graph.partition import Flow, min_cut, partition
from pellucid.graph.simplify import simplify
from pellucid.graph.verify import check
from pellucid.ops import REGISTRY
from pellucid.tensor import kernels
from pellucid.tensor.tracing import trace

from .build_graphs import Maker, arrays_for, same
from .test_decompose import MODELS, leaf, values

NAMES = [name for name in MODELS if name != "mlp bfloat16"]


@pytest.fixture
def references():
    """Eager computes with the references, as `interp` does: kernels add float32 numbers in another order."""
    kernels.switch(False)
    yield
    kernels.switch(True)


def eager_gradients(fn, args, tangents):
    args = [a.detach().clone().requires_grad_(a.is_floating_point()) for a in args]
    outs = fn(*args)
    outs = outs if isinstance(outs, tuple) else (outs,)
    wrt = [a for a in args if a.requires_grad]
    found = pellucid.autograd.grad(outs, wrt, [pellucid.from_numpy(t) for t in tangents], allow_unused=True)
    return [np.array(o.detach()._a) for o in outs], [np.zeros(tuple(a.shape), np.float32) if g is None else np.array(g._a) for a, g in zip(wrt, found)]


@pytest.mark.usefixtures("references")
@pytest.mark.parametrize("decomposed", [False, True], ids=["whole", "decomposed"])
@pytest.mark.parametrize("name", NAMES)
def test_joint_graph_is_what_eager_computes_and_can_be_cut(name, decomposed):
    fn, args = MODELS[name]
    t = trace(fn, args)
    g = simplify(t.graph)
    order = [next(k for k, v in enumerate(args) if v is i.tensor) for i in t.inputs]
    j = joint(g)
    check(j)
    n = len(g.outputs)
    tangents = [np.random.default_rng(k).standard_normal(v.shape).astype(np.float32) for k, v in enumerate(g.outputs)]
    outs, grads = eager_gradients(fn, args, tangents)
    grads = dict(zip([k for k, a in enumerate(args) if a.is_floating_point()], grads))
    want = outs + [grads[k] for k in order if k in grads]
    inputs = values([i.tensor for i in t.inputs])
    got = interp.run(j, inputs + tangents)
    same(want, got, exact=False, rtol=1e-4, atol=1e-5)
    j = simplify(decompose(j)) if decomposed else simplify(j)
    check(j)
    forward, backward, saved = partition(j, n)
    check(forward)
    check(backward)
    made = interp.run(forward, inputs)
    place = {v: k for k, v in enumerate(forward.inputs)}
    extra = iter(made[n:])
    kept = [inputs[place[v]] if v in place else next(extra) for v in saved]
    assert [v.shape for v in backward.inputs] == [v.shape for v in saved] + [t.shape for t in tangents]
    same(want, made[:n] + interp.run(backward, kept + tangents), exact=False, rtol=1e-4, atol=1e-5)
    twice = {n.op.name for n in backward.nodes if n.op.kind.name in ("RANDOM",)}
    assert not twice


def saved_names(fn, *args):
    t = trace(fn, args)
    g = simplify(t.graph)
    j = simplify(decompose(joint(g)))
    forward, backward, saved = partition(j, len(g.outputs))
    return [v.name for v in saved], forward, backward


def test_a_pointwise_chain_is_computed_again_from_its_input():
    names, forward, backward = saved_names(lambda x: ((x * 2).exp().sin() + 1).tanh(), leaf(4, 5))
    assert names == ["x"] and len(forward.outputs) == 1
    assert {"exp", "sin", "tanh"} <= {n.op.name for n in backward.nodes}


def test_products_are_not_computed_again_and_their_operands_are_kept():
    def fn(x, w, v):
        return F.relu(F.relu(x @ w) @ v)
    names, forward, backward = saved_names(fn, leaf(4, 5), leaf(5, 6, seed=1), leaf(6, 7, seed=2))
    assert [n.op.name for n in backward.nodes].count("gemm") == 4
    assert "relu" in names and "gemm" not in names[:3] and not any(n.op.name == "relu" for n in backward.nodes)


def test_the_smaller_side_of_a_broadcast_is_saved():
    names, _, backward = saved_names(lambda x, y: (x.sum(1, keepdim=True).exp() * y).sum(), leaf(4, 50), leaf(4, 50, seed=1))
    assert "sum_" not in names and ("sum" in names or "exp" in names) and "mul" not in names


def test_random_numbers_are_drawn_once():
    names, forward, backward = saved_names(lambda x: F.dropout(x.exp(), 0.5), leaf(4, 5))
    assert "dropout_draw" in names and not any(n.op.kind.name == "RANDOM" for n in backward.nodes)


def test_maximum_flow():
    flow = Flow()
    for a, b, room in ((0, 2, 16), (0, 3, 13), (2, 3, 10), (3, 2, 4), (2, 4, 12), (4, 3, 9), (3, 5, 14), (5, 4, 7), (4, 1, 20), (5, 1, 4)):
        flow.add(a, b, room)
    side = flow.cut(0, 1)
    assert side == {0, 2, 3, 5}                          # the textbook's: capacity 23 through 2-4, 5-4, 5-1


def test_joint_of_integer_and_unused_inputs():
    m = Maker()
    x, i, u = m.input(3), m.input(3, dtype=dt.int64, name="i"), m.input(2, name="u")
    g = m.end(m.mul(x, m.convert(i, dtype=dt.float32)), m.add(i, 1), writes=[(u, m.mul(u, 2.0))])
    j = joint(g)
    check(j)
    assert [j.roles[v] for v in j.inputs] == ["argument"] * 3 + ["tangent"] and len(j.outputs) == 4 and len(j.writebacks) == 1
    a = arrays_for(j)
    got = interp.run(j, [x.copy() for x in a])
    same(got[2:], [a[3] * a[1].astype(np.float32), np.zeros(2, np.float32)])


def test_second_derivatives():
    m = Maker()
    x = m.input(4)
    g = joint(joint(m.end(m.sum(m.pow(x, 3.0), dims=(0,), keepdim=False))), wrt=[0])
    check(g)
    a = arrays_for(g)
    x, s, s1, s2 = a[0], a[1], a[2], a[3]
    want = s1 * 3 * x ** 2 + 6 * x * s * s2
    same([want], interp.run(g, a)[2:3], exact=False)


def test_cut_is_quick():
    import time
    m = Maker()
    x, w = m.input(8, 8), m.input(8, 8, name="w")
    for _ in range(150):
        x = m.add(m.relu(m.mul(m.gemm(x, w, ta=False, tb=False), 0.5)), x)
    j = simplify(joint(m.end(x)))
    start = time.process_time()
    partition(j, 1)
    assert time.process_time() - start < 1.0
    assert REGISTRY["gemm"] and min_cut
