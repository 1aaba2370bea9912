"""Channels-last layout: same results, permutes at the borders only."""
from __future__ import annotations

import pytest

import pellucid
import pellucid.nn as nn
import pellucid.nn.functional as F
from pellucid.graph import interp, printer
from pellucid.graph.decompose import decompose
from pellucid.graph.layout import layout, rows
from pellucid.graph.rules import blocks, reshaped
from pellucid.graph.simplify import simplify
from pellucid.graph.verify import check
from pellucid.tensor.tracing import trace

from .build_graphs import same
from .test_decompose import leaf, values


class Basic(nn.Module):
    """A residual block as in ResNet-18."""

    def __init__(self, c, d, stride):
        super().__init__()
        self.a, self.b = nn.Conv2d(c, d, 3, stride, 1, bias=False), nn.Conv2d(d, d, 3, 1, 1, bias=False)
        self.m, self.n = nn.BatchNorm2d(d), nn.BatchNorm2d(d)
        self.short = nn.Sequential(nn.Conv2d(c, d, 1, stride, bias=False), nn.BatchNorm2d(d)) if c != d else None

    def forward(self, x):
        y = F.relu(self.m(self.a(x)))
        y = self.n(self.b(y))
        return F.relu(y + (x if self.short is None else self.short(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 5, 2, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.body = nn.Sequential(Basic(4, 4, 1), Basic(4, 6, 2))
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        return self.head(F.adaptive_avg_pool2d(self.body(self.stem(x)), 1).flatten(1))


def training_step(net):
    params = list(net.parameters())

    def step(x, y):
        loss = F.cross_entropy(net(x), y)
        grads = pellucid.autograd.grad(loss, params)
        return (loss, *grads)
    return step


def ready(fn, *args):
    t = trace(fn, args)
    g = simplify(decompose(simplify(t.graph)))
    check(g)
    return g, [i.tensor.detach() for i in t.inputs]


def compare(g, tensors, tol=2e-4):
    h = layout(g)
    check(h)
    one, two = values(tensors), values(tensors)
    same(interp.run(g, one), interp.run(h, two), exact=False, rtol=tol, atol=tol)
    same(one, two, exact=False, rtol=tol, atol=tol)                      # write-backs
    three = values(tensors)
    same(interp.run(h, values(tensors)), printer.execute(printer.text(h), three, printer.constants(h)))
    assert len(layout(h).nodes) == len(h.nodes)
    again = simplify(h)
    assert len(again.nodes) == len(h.nodes)
    return h


def moves(g):
    """The permutes of values worth moving."""
    return [n for n in g.nodes if n.op.name == "permute" and sum(k > 1 for k in n.out.shape) > 2]


def test_a_residual_network_has_permutes_only_at_its_borders():
    pellucid.manual_seed(0)
    net = Net().train()
    x, y = leaf(4, 3, 17, 16), pellucid.tensor([0, 3, 1, 4])
    h = compare(*ready(training_step(net), x, y))
    assert len(moves(h)) == 1 and moves(h)[0].args[0] is h.inputs[[v.shape for v in h.inputs].index((4, 3, 17, 16))]
    names = {n.op.name for n in h.nodes}
    assert {"conv_nhwc", "conv_nhwc_input", "conv_nhwc_weight", "max_pool_nhwc", "max_pool_nhwc_grad"} <= names
    assert not names & {"convolution", "max_pool", "plane_scatter"}


def test_evaluation_needs_no_indices():
    pellucid.manual_seed(0)
    net = Net().eval()
    with pellucid.no_grad():
        h = compare(*ready(net, leaf(2, 3, 12, 12)))
    assert len(moves(h)) == 1


def test_a_channels_last_input_is_free():
    net = Net().eval()
    x = leaf(2, 3, 12, 12).contiguous(memory_format=pellucid.channels_last)
    with pellucid.no_grad():
        h = compare(*ready(net, x))
    assert len(moves(h)) == 1 and moves(h)[0].args[0].spec.strides is not None      # of a strided input: a view


CASES = {
    "output": lambda x, w: F.conv2d(x, w, padding=1) * 2,
    "transposed": lambda x, w: F.conv_transpose2d(x, w, leaf(3, seed=9), stride=2, output_padding=1),
    "average": lambda x, w: F.avg_pool2d(F.conv2d(x, w, padding=1), 3, 2, 1, count_include_pad=False),
    "ceil": lambda x, w: F.max_pool2d(F.conv2d(x, w), 2, 2, ceil_mode=True),
    "indices": lambda x, w: F.max_pool2d(F.conv2d(x, w), 2, return_indices=True),
    "pad and join": lambda x, w: pellucid.cat([F.pad(F.conv2d(x, w), (1, 1, 2, 0)), F.conv2d(x, w, padding=1)[:, :, :, :]], 1).sum((1, 3)),
    "broadcasts": lambda x, w: (F.conv2d(x, w) * leaf(4, 1, 1) + leaf(6, seed=2)) * leaf(2, 1, 1, 1, seed=3) + leaf(1, 1, 1) - leaf(),
    "user's permute": lambda x, w: F.conv2d(x, w).permute(0, 2, 3, 1) * leaf(4),
    "sums": lambda x, w: [F.conv2d(x, w).sum(d) for d in (0, 1, (0, 2), (2, 3), -1)] + [F.conv2d(x, w).amax((0, 2, 3), keepdim=True)],
    "slices": lambda x, w: F.conv2d(x, w)[:, 1:3, ::2],
    "groups": lambda x, w: F.conv2d(x, w[:, :1], groups=3) if False else F.conv2d(x[:, :2], leaf(4, 1, 3, 3), groups=2, dilation=(1, 2), padding=(0, 2)),
    "softmax": lambda x, w: F.conv2d(x, w).softmax(1),
    "group norm": lambda x, w: F.group_norm(F.conv2d(x, w), 2),
    "plain meets last": lambda x, w: F.conv2d(x, w, padding=1) + x.repeat(1, 2, 1, 1)[:, :4],
    "dropout": lambda x, w: F.dropout(F.conv2d(x, w), 0.3),
    "flatten": lambda x, w: F.linear(F.conv2d(x, w).flatten(1), leaf(2, 4 * 6 * 6)),
    "interpolate": lambda x, w: F.interpolate(F.conv2d(x, w), scale_factor=2, mode="bilinear"),
    "empty": lambda x, w: F.conv2d(x[:0], w).sum(),
}


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("case", CASES)
def test_layout_keeps_results(case, backward):
    fn = CASES[case]
    x, w = leaf(2, 3, 8, 8), leaf(*((3, 3, 3, 3) if case == "transposed" else (4, 3, 3, 3)), seed=1)

    def both(x, w):
        out = fn(x, w)
        out = tuple(out) if isinstance(out, (tuple, list)) else (out,)
        return out if not backward else (*out, *pellucid.autograd.grad(sum((o * o).sum() for o in out if o.is_floating_point()), [x, w], allow_unused=True))
    if backward:
        x, w = x.requires_grad_(), w.requires_grad_()
    g, tensors = ready(both, x, w)
    if case == "dropout":
        h = layout(g)
        check(h)
        pellucid.manual_seed(1)
        a = interp.run(g, values(tensors))
        pellucid.manual_seed(1)
        same(a, interp.run(h, values(tensors)), exact=False, rtol=1e-4, atol=1e-4)
        return
    compare(g, tensors)


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(rank):
    shape = (2, 3, 7, 6, 5)[:2 + rank]
    conv = {1: F.conv1d, 3: F.conv3d}[rank]
    pool = {1: F.max_pool1d, 3: F.max_pool3d}[rank]

    def step(x, w, b):
        y = F.relu(F.batch_norm(conv(x, w, b, padding=1), None, None, None, None, True))
        y = pool(y, 2)
        return (y, *pellucid.autograd.grad((y * y).sum(), [x, w, b]))
    args = (leaf(*shape).requires_grad_(), leaf(4, 3, *(3,) * rank, seed=1).requires_grad_(), leaf(4, seed=2).requires_grad_())
    h = compare(*ready(step, *args), tol=1e-3)
    assert any(n.op.name == "max_pool_nhwc_grad" for n in h.nodes)


def test_the_gradient_of_a_pooling_follows_the_pooling():
    def step(x, w, v):
        y = F.avg_pool2d(F.relu(F.conv2d(x, w, padding=1)), 2).flatten(1)
        return pellucid.autograd.grad((y @ v).sum(), [w, v])
    args = (leaf(2, 3, 8, 8), leaf(4, 3, 3, 3, seed=1).requires_grad_(), leaf(64, 5, seed=2).requires_grad_())
    h = compare(*ready(step, *args))
    assert sorted(n.out.shape for n in moves(h)) == [(2, 4, 4, 4), (2, 4, 4, 4), (2, 8, 8, 3)]
    assert any(n.op.name == "avg_pool_nhwc_grad" for n in h.nodes)


def test_group_norm_and_attention_over_pixels_stay_channels_last():
    def step(x, w, v, g, b):
        y = F.silu(F.group_norm(F.conv2d(x, w, padding=1), 2, g, b))
        y = F.conv2d(y, v, padding=1) + y
        t = y.flatten(2).transpose(1, 2)                    # (N, pixels, C)
        a = (t @ t.transpose(1, 2)).softmax(-1) @ t
        y = y + a.transpose(1, 2).reshape(y.shape)
        return pellucid.autograd.grad((y * y).sum(), [w, v, g, b])
    args = [leaf(2, 3, 6, 5), leaf(4, 3, 3, 3, seed=1), leaf(4, 4, 3, 3, seed=2), leaf(4, seed=3), leaf(4, seed=4)]
    h = compare(*ready(step, args[0], *[a.requires_grad_() for a in args[1:]]))
    assert [n.args[0].shape for n in moves(h) if n.args[0].node is None] == [(2, 3, 6, 5)]
    assert all(len(n.out.shape) == 3 for n in moves(h)[1:])  # transposed operands of products


def test_blocks_of_a_reshape():
    assert blocks((2, 6, 3, 4), (2, 2, 3, 12)) == [([0], [0]), ([1], [1, 2]), ([2, 3], [3])]
    assert blocks((2, 3), (3, 2)) == [([0, 1], [0, 1])]
    assert blocks((2, 3), (2, 3, 1)) == [([0], [0]), ([1], [1, 2])]
    assert blocks((2, 1, 3), (2, 3)) and blocks((1, 4), (4,)) and blocks((4,), (1, 4)) and blocks((3, 1), (3,))
    assert reshaped((2, 6, 3, 4), (0, 2, 3, 1), (2, 2, 3, 12)) == (0, 3, 1, 2)          # pixels joined, channels split
    assert reshaped((2, 6, 3, 4), (0, 2, 3, 1), (2, 72)) is None
    assert reshaped((2, 6, 1, 1), (0, 2, 3, 1), (2, 6)) == (0, 1)


def test_a_graph_without_convolutions_is_left_alone():
    g, _ = ready(lambda x: x.relu(), leaf(2, 3, 4, 4))
    assert layout(g) is g


def test_convolutions_read_rows():
    x, w = leaf(2, 8, 5, 6), leaf(4, 8, 3, 3)
    for given, copies in ((x, 1), (x.contiguous(memory_format=pellucid.channels_last), 0)):
        g, tensors = ready(lambda x, w: F.conv2d(x, w, padding=1), given, w)
        h = simplify(compare(g, tensors))
        r = rows(h)
        check(r)
        assert [n.op.name for n in r.nodes].count("clone") == copies
        same(interp.run(h, values(tensors)), interp.run(r, values(tensors)), exact=False, rtol=1e-5, atol=1e-5)
        assert rows(r) is r


def test_dropout_draws_in_the_order_of_memory():
    x = leaf(2, 3, 4, 5).contiguous(memory_format=pellucid.channels_last)
    t = trace(lambda x: F.dropout(x * 1.0, 0.5), (x,))
    pellucid.manual_seed(3)
    want = [F.dropout(x * 1.0, 0.5).numpy()]
    for g in (t.graph, decompose(t.graph), simplify(decompose(simplify(t.graph)))):
        check(g)
        pellucid.manual_seed(3)
        same(want, interp.run(g, values([x])))


@pytest.mark.parametrize("dtype", [pellucid.float32, pellucid.float64, pellucid.bfloat16, pellucid.float16], ids=lambda d: d.name)
def test_dropout_is_the_same_to_the_bit(dtype):
    x = leaf(300, dtype=dtype)
    g = simplify(decompose(trace(lambda x: F.dropout(x, 0.3), (x,)).graph))
    check(g)
    assert "dropout_draw" in [n.op.name for n in g.nodes]
    pellucid.manual_seed(3)
    want = values([F.dropout(x, 0.3)])
    pellucid.manual_seed(3)
    same(want, interp.run(g, values([x])))
