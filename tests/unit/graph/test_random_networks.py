"""Random convolutional networks, forward and backward in float64, through the whole list of passes and the cut in two."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid
import pellucid.nn.functional as F
from pellucid.graph import interp
from pellucid.graph.autodiff import joint
from pellucid.graph.decompose import decompose
from pellucid.graph.layout import layout
from pellucid.graph.partition import partition
from pellucid.graph.simplify import simplify
from pellucid.graph.verify import check
from pellucid.tensor.tracing import trace

from .build_graphs import same
from .test_decompose import leaf, values


def random_network(seed: int):
    """(function of tensors, its tensors): a handful of layers, branches that meet again, a number at the end."""
    r = np.random.default_rng(seed)
    weights = []

    def weight(*shape, scale=0.5):
        weights.append(leaf(*shape, seed=1000 * seed + len(weights), scale=scale, dtype=pellucid.float64))
        return len(weights)

    plan, c = [], 3
    for _ in range(int(r.integers(3, 8))):
        kind = r.integers(12)
        if kind <= 2:
            k, d = int(r.integers(1, 4)), int(r.integers(2, 5))
            plan.append(("conv", weight(d, c, k, k), weight(d) if r.integers(2) else None, int(r.integers(1, 3)), k // 2))
            c = d
        elif kind == 3:
            plan.append(("batch norm", weight(c), weight(c)))
        elif kind == 4:
            plan.append((("relu", "gelu", "tanh")[r.integers(3)],))
        elif kind == 5:
            plan.append((("max pool", "avg pool")[r.integers(2)], int(r.integers(1, 3)), int(r.integers(0, 2))))
        elif kind == 6:
            plan.append(("residual", weight(c, c, 3, 3)))
        elif kind == 7:
            plan.append(("join", weight(2, c, 1, 1)))
            c += 2
        elif kind == 8:
            plan.append(("pad", tuple(int(n) for n in r.integers(-1, 3, 4))))
        elif kind == 9:
            plan.append(("transposed", weight(c, 3, 2, 2)))
            c = 3
        elif kind == 10:
            plan.append((("group norm", "channel norm", "softmax")[r.integers(3)], weight(c), weight(c)))
        else:
            plan.append(("scale", weight(*((c, 1, 1), (1, c, 1, 1), (1,), ())[r.integers(4)])))
    end = r.integers(4)
    head = weight(2, c)

    def network(x, *ws):
        w = lambda i: None if i is None else ws[i - 1]      # noqa: E731
        for name, *rest in plan:
            if min(x.shape[2:]) < 3 and name in ("conv", "max pool", "avg pool", "pad"):
                continue
            if name == "conv":
                x = F.conv2d(x, w(rest[0]), w(rest[1]), rest[2], rest[3])
            elif name == "batch norm":
                x = F.batch_norm(x, None, None, w(rest[0]), w(rest[1]), True)
            elif name in ("relu", "gelu", "tanh"):
                x = getattr(F if name != "tanh" else pellucid, name)(x)
            elif name in ("max pool", "avg pool"):
                x = (F.max_pool2d if name == "max pool" else F.avg_pool2d)(x, 3, rest[0], rest[1])
            elif name == "residual":
                x = x + F.conv2d(x, w(rest[0]), padding=1)
            elif name == "join":
                x = pellucid.cat([x, F.conv2d(x, w(rest[0]))], 1)
            elif name == "pad":
                x = F.pad(x, rest[0])
            elif name == "transposed":
                x = F.conv_transpose2d(x, w(rest[0]), stride=2)
            elif name == "group norm":
                x = F.group_norm(x, 1, w(rest[0]), w(rest[1]))
            elif name == "channel norm":
                x = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), w(rest[0]), w(rest[1])).permute(0, 3, 1, 2)
            elif name == "softmax":
                x = x.softmax(1) * w(rest[0]).reshape(-1, 1, 1) + w(rest[1]).reshape(1, -1, 1, 1)
            else:
                x = x * w(rest[0])
        if end == 0:
            return F.linear(F.adaptive_avg_pool2d(x, 1).flatten(1), w(head))
        if end == 1:
            return F.linear(x.mean((2, 3)), w(head)).exp()
        return x.sum(1) if end == 2 else x * x
    return network, [leaf(2, 3, 9, 10, seed=seed, dtype=pellucid.float64), *weights]


def always(node) -> bool:
    return True


@pytest.mark.parametrize("block", range(6))
def test_random_networks(block):
    for seed in range(block * 10, block * 10 + 10):
        fn, tensors = random_network(seed)
        t = trace(fn, tuple(tensors))
        g = simplify(t.graph)
        inputs = values([i.tensor for i in t.inputs])
        j = joint(g)
        tangent = [np.random.default_rng(seed).standard_normal(v.shape) for v in g.outputs]
        want = interp.run(j, inputs + tangent)
        scale = [max(float(np.abs(w).max(initial=0)), 1e-3) for w in want]
        j = simplify(decompose(simplify(j)))
        h = simplify(layout(j, always))
        forward, backward, saved = partition(h, len(g.outputs))
        for graph in (j, h, forward, backward):
            check(graph)
        got = interp.run(h, inputs + tangent)
        made = interp.run(forward, inputs)
        place = {v: k for k, v in enumerate(forward.inputs)}
        extra = iter(made[len(g.outputs):])
        parts = made[:len(g.outputs)] + interp.run(backward, [inputs[place[v]] if v in place else next(extra) for v in saved] + tangent)
        for one in (got, parts):
            same([w / s for w, s in zip(want, scale)], [a / s for a, s in zip(one, scale)], exact=False, rtol=1e-7, atol=1e-9)
        assert len(simplify(layout(h, always)).nodes) == len(h.nodes), seed
