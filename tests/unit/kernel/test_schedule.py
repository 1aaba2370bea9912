"""Schedules: how many kernels, what they read and write, and that printed kernels compute what the graph does."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid as pl
import pellucid.nn.functional as F
from pellucid.graph import interp
from pellucid.graph.decompose import decompose
from pellucid.graph.ir import Graph
from pellucid.graph.simplify import simplify
from pellucid.kernel import plan as plans
from pellucid.kernel import printer, verify
from pellucid.kernel.ir import Loop
from pellucid.kernel.plan import HostCall, KernelCall, LibCall
from pellucid.kernel.schedule import Options, plan
from pellucid.tensor.tracing import trace


def arrays_of(traced) -> list[np.ndarray]:
    return [np.array(i.tensor._a) if i.tensor is not None else np.array(0.25) for i in traced.inputs]


def wide(a):
    a = np.asarray(a)
    return a.astype(np.float64) if a.dtype.kind in "fV" else a


def scheduled(fn, *args, tol=2e-5, options=None) -> plans.Plan:
    """The plan of a function of tensors, after its printed kernels gave what the graph's references give."""
    traced = trace(fn, args)
    graph = simplify(decompose(simplify(traced.graph)))
    return checked(graph, arrays_of(traced), tol, options)


def checked(graph: Graph, arrays, tol=2e-5, options=None) -> plans.Plan:
    p = plan(graph, options)
    for k in p.kernels:
        verify.check(k)
    disjoint(p)
    theirs, ours = [np.array(a) for a in arrays], [np.array(a) for a in arrays]
    want = interp.run(graph, theirs)
    got = plans.run_python(p, ours, printer.run)
    for w, g in zip([*want, *theirs], [*got, *ours]):
        w = np.asarray(w)
        assert g.shape == w.shape and g.dtype == w.dtype
        np.testing.assert_allclose(wide(g), wide(w), rtol=tol, atol=tol)
    return p


def disjoint(p: plans.Plan) -> None:
    """Arena buffers that live at the same step do not overlap, but for pairs that a kernel allows."""
    from pellucid.kernel.memory import lifetimes
    life = lifetimes(p)
    allowed = {frozenset(pair) for s in p.steps if isinstance(s, KernelCall) for pair in s.in_place}
    for a, (a0, a1) in life.items():
        for b, (b0, b1) in life.items():
            if a < b and max(a0, b0) <= min(a1, b1) and frozenset((a, b)) not in allowed:
                x, y = p.buffers[a], p.buffers[b]
                assert x.offset + x.nbytes <= y.offset or y.offset + y.nbytes <= x.offset, (x.name, y.name)


def kinds(p) -> str:
    return "".join({KernelCall: "k", LibCall: "L", HostCall: "H"}[type(s)] for s in p.steps)


def leaf(*shape):
    return pl.randn(*shape, requires_grad=True)


# ---------------------------------------------------------------------------------------------------- one kernel
def test_pointwise_chain_is_one_kernel():
    p = scheduled(lambda x, w, b: F.gelu(x * w + b), pl.randn(6, 40), pl.randn(40), pl.randn(40))
    assert kinds(p) == "k" and p.arena == 0


def test_contiguous_pointwise_takes_its_length_at_run_time():
    p = scheduled(lambda x, y: (x * 2 + 1, y * 2 + 1), pl.randn(6, 4), pl.randn(10))
    assert kinds(p) == "kk" and len(p.kernels) == 1 and p.kernels[0].sizes == ("n",)
    assert sorted(s.sizes for s in p.steps) == [(10,), (24,)]


@pytest.mark.parametrize("dim", (-1, 0, 1))
def test_softmax(dim):
    p = scheduled(lambda x: F.softmax(x, dim), pl.randn(3, 5, 12))
    assert kinds(p) == ("k" if dim == -1 else "kkk")


def test_softmax_forward_and_backward():
    def step(x, g):
        y = F.softmax(x, -1)
        y.backward(g)
        return y
    p = scheduled(step, leaf(6, 40), pl.randn(6, 40))
    assert kinds(p) == "k"


def test_layer_norm():
    p = scheduled(lambda x, w, b: F.layer_norm(x, (40,), w, b), pl.randn(2, 6, 40), pl.randn(40), pl.randn(40))
    assert kinds(p) == "k"


def test_layer_norm_forward_and_backward():
    def step(x, w, b, g):
        y = F.layer_norm(x, (40,), w, b)
        y.backward(g)
        return y
    p = scheduled(step, leaf(2, 6, 40), leaf(40), leaf(40), pl.randn(2, 6, 40))
    assert kinds(p) in ("k", "kk")


def test_cross_entropy_forward_and_backward_reads_the_scores_once():
    def step(x, t):
        loss = F.cross_entropy(x, t)
        loss.backward()
        return loss
    p = scheduled(step, leaf(32, 40), pl.randint(0, 40, (32,)))
    assert len(p.steps) <= 3
    scores = next(b.id for b in p.buffers if b.role == "input" and b.shape == (32, 40))
    assert sum(scores in set(plans.reads(s)) for s in p.steps) == 1


def mlp_step(batch=16):
    model = pl.nn.Sequential(pl.nn.Linear(20, 30), pl.nn.ReLU(), pl.nn.Linear(30, 10))
    optimizer = pl.optim.Adam(model.parameters(), lr=1e-3)

    def step(x, t):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        optimizer.step()
        return loss
    return step, (pl.randn(batch, 20), pl.randint(0, 10, (batch,)))


def test_adam_is_one_kernel_for_all_parameters():
    step, args = mlp_step(100)
    p = scheduled(step, *args)
    assert kinds(p).count("L") == 5 and kinds(p).count("k") <= 9
    adam = [s for s in p.steps if isinstance(s, KernelCall) and "sqrt" in s.kernel.ops]
    assert len(adam) == 4 and len({s.kernel for s in adam}) == 1


def test_bias_and_relu_are_steps_of_the_product():
    p = scheduled(lambda x, w, b: F.relu(F.linear(x, w, b)), pl.randn(2, 8, 20), pl.randn(30, 20), pl.randn(30))
    assert kinds(p) == "L" and [s.kind for s in p.steps[0].post] == ["bias", "relu"]


# ---------------------------------------------------------------------------------------------------- reductions
@pytest.mark.parametrize("dims", ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)))
@pytest.mark.parametrize("shape", ((3, 5, 8), (40, 3, 24), (2, 70, 5)))
def test_reductions_over_any_dimensions(shape, dims):
    def f(x):
        return x.sum(dims), x.mean(dims, keepdim=True), x.amax(dims), (x * x).sum(dims)
    scheduled(f, pl.randn(*shape), tol=2e-4)


@pytest.mark.parametrize("shape", ((7,), (20000,), (20011,), (100, 100), (1, 1), (0, 3), (3, 0)))
def test_whole_reductions(shape):
    scheduled(lambda x: (x.sum(), (x * 2).mean() if x.numel() else x.sum()), pl.randn(*shape), tol=1e-3)


def test_indices_of_extremes():
    x = pl.randn(6, 9)
    x[2, 3] = x[2, 5] = 9.0
    x[4, 4] = float("nan")
    scheduled(lambda x: (x.argmax(1), x.argmin(0), x.argmax(), x.max(1)[0]), x)


def test_statistics_per_channel():
    p = scheduled(lambda x: (x - x.mean((0, 1, 2))) * (x.var((0, 1, 2), unbiased=False) + 1e-5).rsqrt(), pl.randn(4, 6, 6, 20), tol=1e-4)
    assert kinds(p).count("k") <= 4


# ---------------------------------------------------------------------------------------------------- shapes and views
def test_views_feed_products_without_copies():
    def attention_scores(q, k):
        q = q.view(2, 5, 3, 4).transpose(1, 2)
        k = k.view(2, 5, 3, 4).transpose(1, 2)
        return q @ k.transpose(-1, -2)
    p = scheduled(attention_scores, pl.randn(2, 5, 12), pl.randn(2, 5, 12))
    assert kinds(p) == "L"


def test_reshapes_cost_nothing():
    p = scheduled(lambda x, y: (x.reshape(6, 20) + y).reshape(2, 3, 20).relu(), pl.randn(2, 3, 20), pl.randn(6, 20))
    assert kinds(p) == "k" and p.kernels[0].sizes == ("n",)


@pytest.mark.parametrize("shape", ((), (1,), (0,), (3, 0, 2), (1, 1, 5)))
def test_odd_shapes(shape):
    scheduled(lambda x: (x * 2 + 1, x.exp().reshape(-1)), pl.randn(*shape))


def test_strided_inputs():
    scheduled(lambda x, y: (x + 1, x * y, x.sum(0)), pl.randn(8, 6).t(), pl.randn(6, 16)[:, ::2])


def test_results_in_other_layouts():
    scheduled(lambda x: (x + 1).permute(1, 0), pl.randn(4, 6))


def test_joined_and_cut():
    scheduled(lambda x, y: pl.cat([x, y * 2, x[:, :3]], 1) + 1, pl.randn(4, 6), pl.randn(4, 5))


def test_inputs_and_constants_as_results():
    scheduled(lambda x: (x, x, pl.arange(5), x.t()), pl.randn(4, 6))


# ---------------------------------------------------------------------------------------------------- writing to inputs
def test_elementwise_update_in_place():
    def f(x, y):
        x.mul_(0.9).add_(y)
        return x * 2
    p = scheduled(f, pl.randn(5, 8), pl.randn(5, 8))
    assert kinds(p) == "k" and p.written


def test_exchange_of_two_inputs():
    def f(x, y):
        t = x * 1.5
        x.copy_(y)
        y.copy_(t)
    scheduled(f, pl.randn(5, 8), pl.randn(5, 8))


def test_update_that_reads_elsewhere():
    def f(x):
        x.copy_(x.flip(0) + 1)
        return x.sum(0)
    scheduled(f, pl.randn(5, 8))


def test_update_with_a_product_of_itself():
    def f(x):
        x.copy_(x @ x)
    scheduled(f, pl.randn(6, 6))


# ---------------------------------------------------------------------------------------------------- others
def test_scatters():
    def f(x, i, g):
        return pl.zeros(10, 64).index_add(0, i, g), x.scatter_add(0, i[:, None].expand(7, 4).contiguous(), g[:, :4].contiguous())
    scheduled(f, pl.randn(10, 4), pl.randint(0, 10, (7,)), pl.randn(7, 64))
    scheduled(lambda x, i, g: x.bfloat16().index_add(0, i, g.bfloat16()), pl.randn(10, 64), pl.randint(0, 2, (7,)), pl.randn(7, 64), tol=0)


def test_low_precision_rounds_at_every_operator():
    def f(x, w):
        x = x.bfloat16()
        return F.softmax(x * w.bfloat16() + 1, -1), x.sum(1), (x * x).sum(0)
    scheduled(f, pl.randn(6, 24), pl.randn(24), tol=0)


def test_random_numbers_come_first():
    p = scheduled_kinds(lambda x: F.dropout(x * 2, 0.5), pl.randn(6, 24))
    assert p[0] == "H"


def scheduled_kinds(fn, *args) -> str:
    traced = trace(fn, args)
    return kinds(plan(simplify(decompose(simplify(traced.graph)))))


def test_without_fusion_every_root_has_a_kernel():
    p = scheduled(lambda x: F.softmax(x, -1), pl.randn(3, 12), options=Options(fuse=False))
    assert len(p.steps) > 1


def test_refusals_say_why():
    p = scheduled(lambda x, y: (x.exp().sum(0), y @ x, x.exp().sum(1)), pl.randn(30, 40), pl.randn(4, 30))
    assert all(w.reason for w in p.whynot)
    assert "kernel" in p.report() and "arena" in p.report()


def test_scatters_into_their_own_input():
    def f(x, i, g):
        x.index_add_(0, i, g)
        return x * 2
    scheduled(f, pl.randn(10, 64), pl.randint(0, 10, (7,)), pl.randn(7, 64))

    def rows_of_itself(x, i):
        x.copy_(x.index_add(0, i, x[:7]))
        return x + 1, x
    scheduled(rows_of_itself, pl.randn(10, 64), pl.randint(0, 10, (7,)))


def test_joined_and_padded_tensors_are_stored_box_by_box():
    p = scheduled(lambda x, y: (pl.cat([x, y * 2, x[:, :13]], 1), F.pad(x, (1, 2, 3, 4))), pl.randn(40, 60), pl.randn(40, 50))
    assert kinds(p) == "k" * 8
    p = scheduled(lambda x: pl.cat([x[5:], x[:5]], 0), pl.randn(40, 60))
    assert kinds(p) == "kk"


def test_rotation_in_place():
    def f(x):
        x.copy_(pl.cat([x[5:], x[:5]], 0))
    scheduled(f, pl.randn(40, 60))


def test_sums_into_memory_that_is_still_read():
    def f(x, y):
        y.copy_((x + y).sum(0))
        return x * y
    scheduled(f, pl.randn(40, 24), pl.randn(24))

    def and_beside(x, y):
        z = x * y
        y.copy_(x.sum(0))
        return z
    scheduled(and_beside, pl.randn(40, 24), pl.randn(24))


def test_values_kept_by_a_view_of_what_is_inlined():
    def f(x, y):
        x.copy_(y * 2)
        return x.mean(), x.t() @ x
    scheduled(f, pl.randn(2, 3), pl.randn(1, 3))


def test_complex_results():
    scheduled(lambda x: (pl.fft.fft(x), pl.fft.fft(x).real + 1), pl.randn(4, 8))


def test_indices_out_of_range_raise_a_flag():
    p = scheduled(lambda x, i: x[i] * 2, pl.randn(10, 40), pl.randint(0, 10, (7,)))
    assert p.flag >= 0 and len(p.checks) == p.buffers[p.flag].size


def test_transpositions_run_in_tiles():
    p = scheduled(lambda x, y: x.t() + y, pl.randn(384, 32), pl.randn(32, 384))
    loop = p.kernels[0].body[-1]
    while isinstance(loop, Loop):
        extent, loop = loop.axis.extent, loop.body[-1]
    assert extent == 192


def test_loops_follow_the_memory_of_the_result():
    p = scheduled(lambda x: x.permute(0, 2, 3, 1) + 1, pl.randn(2, 8, 5, 96))
    assert p.kernels[0].sizes == ("n",)


def test_few_long_rows_feed_all_threads():
    p = scheduled(lambda x, y: x + y, pl.randn(3, 8192), pl.randn(3, 1), options=Options(threads=4))
    assert p.kernels[0].body[-1].axis.extent >= 24


@pytest.mark.parametrize("dims", ((0, 1, 2), (0, 1), (1, 2)))
def test_indices_are_checked_inside_inner_loops(dims):
    scheduled(lambda x, i: x[:, i].amin(dims), pl.randn(2, 2, 2), pl.randint(0, 2, (2,)))


def test_long_chains():
    def f(x):
        for _ in range(400):
            x = x * 1.001 + 0.5
        return x
    assert kinds(scheduled(f, pl.randn(40), tol=1e-3)) == "k"


def test_library_results_go_where_they_are_wanted():
    def f(q, k, v):
        q, k, v = (t.view(2, 8, 3, 4).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(16, 12) @ pl.ones(12, 5)
    p = scheduled(f, *[pl.randn(2, 8, 12) for _ in range(3)])
    assert kinds(p).replace("k", "") == "LL" and not any(s.kernel.ops[0] in ("permute", "view_shape") for s in p.steps
                                                        if isinstance(s, KernelCall))


def test_scale_shift_and_residual_are_steps_of_the_convolution():
    conv, norm = pl.nn.Conv2d(4, 8, 3, padding=1, bias=False), pl.nn.BatchNorm2d(8).eval()

    def f(x, y):
        return F.relu(norm(conv(x)) + y)
    with pl.no_grad():
        traced = trace(f, (pl.randn(2, 4, 6, 6), pl.randn(2, 8, 6, 6)))
    from pellucid.native.build import PASSES
    from pellucid.graph.passes import run_passes
    p = checked(run_passes(traced.graph, PASSES), arrays_of(traced))
    call = next(s for s in p.steps if isinstance(s, LibCall))
    assert [s.kind for s in call.post][:2] == ["scale", "bias"]
