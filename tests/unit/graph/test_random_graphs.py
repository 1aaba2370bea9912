"""Random graphs of views, elementwise operators and reductions: every rewrite keeps what they compute."""
from __future__ import annotations

import warnings

import numpy as np
import pytest

from pellucid.core import dtype as dt
from pellucid.core.layout import contiguous_format, preserve_format
from pellucid.graph import interp, printer
from pellucid.graph.decompose import decompose
from pellucid.graph.simplify import simplify
from pellucid.graph.verify import check

from .build_graphs import Maker, arrays_for, same

UNARY = ("neg", "abs", "relu", "exp", "square", "sign", "floor", "tanh", "detach", "alias", "sigmoid")
BINARY = ("add", "sub", "mul", "maximum", "minimum", "div")
NUMBERS = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, float("inf"), 3)


def random_graph(seed: int):
    r = np.random.default_rng(seed)
    m = Maker(f"random{seed}")
    kinds = (dt.float32, dt.float32, dt.float64, dt.bfloat16)
    base = kinds[r.integers(len(kinds))]
    shapes = [(2, 3, 4), (3, 4), (1, 4), (2, 1, 1), (4,), ()]
    pool = [m.input(*shapes[r.integers(len(shapes))], dtype=base) for _ in range(3)]
    pool.append(m.const(np.asarray(r.standard_normal((3, 1))).astype(base.np)))

    def pick():
        return pool[r.integers(len(pool))]

    for _ in range(int(r.integers(4, 25))):
        x = pick()
        n = len(x.shape)
        step = r.integers(13)
        if step == 0:
            pool.append(getattr(m, UNARY[r.integers(len(UNARY))])(x))
        elif step in (1, 2):
            y = pick()
            try:
                np.broadcast_shapes(x.shape, y.shape)
            except ValueError:
                continue
            if x.dtype is y.dtype:
                pool.append(getattr(m, BINARY[r.integers(len(BINARY))])(x, y))
        elif step == 3:
            args = (x, NUMBERS[r.integers(len(NUMBERS))])
            op = BINARY[r.integers(len(BINARY))] if r.integers(2) else "pow" if r.integers(2) else "add"
            if op in ("maximum", "minimum"):
                continue
            pool.append(getattr(m, op)(*(args if op == "pow" or r.integers(2) else args[::-1])))
        elif step == 4 and n:
            pool.append(m.permute(x, dims=tuple(int(d) for d in r.permutation(n))))
        elif step == 5:
            size = int(np.prod(x.shape))
            options = [s for s in ((2, 3, 4), (6, 4), (24,), (4, 6), (3, 4), (12,), (1, 4), (4,), (2, 1, 1), (2,), (1, 1), (), (2, 2)) if np.prod(s) == size]
            if options:
                pool.append(m.view_shape(x, shape=options[r.integers(len(options))]))
        elif step == 6:
            shape = (*(2,) * int(r.integers(0, 2) if n < 3 else 0), *(k if k != 1 or r.integers(2) else 3 for k in x.shape))
            pool.append(m.expand(x, shape=shape))
        elif step == 7:
            dims = tuple(sorted({int(d) for d in r.integers(0, n, r.integers(1, n + 1))})) if n else ()
            op = ("sum", "mean", "amax", "amin")[r.integers(4)]
            pool.append(getattr(m, op)(x, dims=dims, keepdim=bool(r.integers(2))))
        elif step == 8 and n:
            index = []
            for k in x.shape:
                if r.integers(5) == 0:
                    index.append(None)
                c = r.integers(4)
                a = int(r.integers(0, k))
                index.append(slice(None) if c == 0 else a if c == 1 else slice(a, k, int(r.integers(1, 3))) if c == 2 else slice(0, k))
            pool.append(m.basic_index(x, index=tuple(index)))
        elif step == 9:
            d = (dt.float32, dt.float64, dt.bfloat16, base)[r.integers(4)]
            pool.append(m.convert(m.convert(x, dtype=d), dtype=base))
        elif step == 10 and n:
            d = int(r.integers(n))
            same_kind = [v for v in pool if len(v.shape) == n and v.dtype is x.dtype and all(a == b or i == d for i, (a, b) in enumerate(zip(v.shape, x.shape)))]
            pool.append(m.cat(x, same_kind[r.integers(len(same_kind))], dim=d))
        elif step == 11 and n:
            d = int(r.integers(n))
            a, b = int(r.integers(0, 3)), int(r.integers(0, 3))
            left = m.constant_pad_nd(x, pads=tuple((0, a + x.shape[d] + b) if i == d else (0, 0) for i in range(n)), value=0)
            right = m.constant_pad_nd(x, pads=tuple((a + x.shape[d], b) if i == d else (0, 0) for i in range(n)), value=0)
            pool.append(m.add(left, right))
        elif step == 12:
            c = r.integers(4)
            if c == 0:
                pool.append(m.filled(shape=x.shape, value=float(r.integers(3)), dtype=x.dtype, fmt=contiguous_format))
            elif c == 1:
                pool.append(m.clone(x, fmt=preserve_format))
            elif c == 2 and n:
                pool.append(m.view_scatter(x, m.mul(m.basic_index(x, index=(0,)), 2.0), chain=(("basic_index", {"index": (0,)}),)))
            elif n:
                g = m.basic_index(x, index=(slice(0, 1),))
                pool.append(m.view_grad(g, **{"op": "basic_index", "attrs": {"index": (slice(0, 1),)}, "shape": x.shape}))
        pool[:] = [v for v in pool if np.prod(v.shape) < 300]
    outs = [pool[int(k)] for k in r.integers(0, len(pool), 3)] + [pool[-1]]
    target = m.input(*outs[0].shape, dtype=outs[0].dtype, name="state", role="state")
    return m.end(*outs, writes=[(target, outs[0])])


@pytest.mark.parametrize("block", range(8))
def test_random_graphs(block):
    for seed in range(block * 25, block * 25 + 25):
        g = random_graph(seed)
        check(g)
        a = arrays_for(g, seed)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            one = [x.copy() for x in a]
            want = interp.run(g, one) + one[-1:]
            low = any(v.dtype is dt.bfloat16 for n in g.nodes for v in n.outs)
            sums = any(n.op.name in ("sum", "mean") for n in g.nodes)
            loose = dict(rtol=0.05, atol=0.05) if low else dict(rtol=1e-4, atol=1e-5)
            h = simplify(g)
            for k in (h, simplify(h), simplify(decompose(h))):
                check(k)
                two = [x.copy() for x in a]
                same(want, interp.run(k, two) + two[-1:], exact=not sums, **loose)
            assert [repr(n) for n in simplify(h).nodes] == [repr(n) for n in h.nodes], seed
            two = [x.copy() for x in a]
            same(interp.run(h, [x.copy() for x in a]), printer.execute(printer.text(h), two, printer.constants(h)))
