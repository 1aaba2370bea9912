"""Graphs checked, run, printed and simplified."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid
from pellucid.core import dtype as dt
from pellucid.core.layout import contiguous_format, preserve_format
from pellucid.core.spec import Spec
from pellucid.graph import interp, printer
from pellucid.graph.ir import Graph, Loc
from pellucid.graph.simplify import simplify
from pellucid.graph.verify import VerifyError, check
from pellucid.ops import REGISTRY

from .build_graphs import Maker, arrays_for, same


def mixed() -> Graph:
    """A bit of everything that prints."""
    m = Maker("mixed")
    x, w = m.input(3, 4), m.input(4, 2, name="w", role="parameter")
    y = m.mm(x, w)
    m.g.nodes[-1].loc = Loc(__file__, 3, "model")
    z = m.add(y, -0.0)
    z = m.where(m.gt(z, 0.0), z, float("-inf"))
    s = m.basic_index(z, index=(slice(None), slice(0, 2, 1)))
    c = m.const(np.array([[1.5, float("nan")]], np.float32))
    big = m.const(np.arange(20, dtype=np.float32).reshape(10, 2))
    t = m.add(m.maximum(s, c), m.sum(big, dims=(0,), keepdim=True))
    u = m.convert(m.mul(m.convert(t, dtype=dt.bfloat16), 3.0), dtype=dt.float64)
    i = m.range_values(start=0, end=3, step=1, count=3, dtype=dt.int64)
    k = m.input(3, 4, name="class", role="state")
    return m.end(u, i, m.permute(x, dims=(1, 0)), writes=[(k, m.mul(x, 2.0)), (x, k)])


def test_check_accepts_and_names_the_broken_rule():
    g = mixed()
    check(g)
    node = g.nodes[0]
    node.attrs = {"bad": np.zeros}
    with pytest.raises(VerifyError, match="shape rule"):
        check(g)
    g = mixed()
    g.nodes.reverse()
    with pytest.raises(VerifyError, match="before it is made"):
        check(g)
    g = mixed()
    g.nodes[0].out.spec = Spec((3, 3), dt.float32)
    with pytest.raises(VerifyError, match="should be float32"):
        check(g)
    g = mixed()
    g.outputs.append(mixed().outputs[0])
    with pytest.raises(VerifyError, match="not computed"):
        check(g)
    g = mixed()
    g.writebacks.append((g.inputs[1], g.outputs[0]))
    with pytest.raises(VerifyError, match="shape or dtype"):
        check(g)
    g = mixed()
    g.writebacks.append(g.writebacks[0])
    with pytest.raises(VerifyError, match="two write-backs"):
        check(g)
    m = Maker()
    x, y = m.input(2), m.input(2, dtype=dt.float64)
    g = m.end(x)
    g.add(REGISTRY["add"], (x, y), {}, (Spec((2,), dt.float32),))
    with pytest.raises(VerifyError, match="not promoted"):
        check(g)
    g.nodes[0] = g.nodes[0].__class__(REGISTRY["neg"], (x,), {"d": {1, 2}})
    with pytest.raises(VerifyError, match="cannot be compared"):
        check(g)


def test_write_backs_happen_after_everything_is_read():
    m = Maker()
    x, y = m.input(3), m.input(3, name="y")
    g = m.end(m.add(x, y), m.permute(x, dims=(0,)), writes=[(x, y), (y, x)])
    a, b = np.arange(3, dtype=np.float32), np.arange(3, 6, dtype=np.float32)
    out = interp.run(g, [a, b])
    assert out[0].tolist() == [3, 5, 7] and out[1].tolist() == [0, 1, 2]
    assert a.tolist() == [3, 4, 5] and b.tolist() == [0, 1, 2]


def test_printed_text_runs_on_arrays_and_tensors():
    g = mixed()
    source = printer.text(g)
    assert "float('nan')" not in source and "test_basics.py:3 in model" in source
    consts = printer.constants(g)
    one, two = arrays_for(g), arrays_for(g)
    three = [pellucid.from_numpy(a.copy()) for a in one]
    want, got = interp.run(g, one), printer.execute(source, two, consts)
    same(want, got)
    same(one, two)
    tensors = printer.load(source)(*three, **{k: pellucid.from_numpy(v) for k, v in consts.items()})
    same(want, [t.numpy() for t in tensors])
    same(one, [t.numpy() for t in three])


def test_low_precision_rounds_at_each_operator():
    m = Maker()
    x = m.input(1000, dtype=dt.bfloat16)
    g = m.end(m.sum(m.mul(x, 1.01), dims=(0,), keepdim=False))
    a = arrays_for(g)
    t = pellucid.from_numpy(a[0].astype(np.float32)).to(pellucid.bfloat16)
    assert float((t * 1.01).sum()) == float(interp.run(g, a)[0])


def test_dtypes_numbers_and_odd_names_print():
    m = Maker("class")
    x = m.input(2, 3, dtype=dt.int64, name="lambda")
    y = m.input(2, 3, name="y.0/z", dtype=dt.float64)
    g = m.end(m.add(x, 2 ** 40), m.mul(y, float("inf")), m.clone(y, fmt=preserve_format),
              m.filled(shape=(2,), value=complex(1, float("inf")), dtype=dt.complex64, fmt=contiguous_format),
              m.filled(shape=(1,), value=True, dtype=dt.bool_, fmt=contiguous_format),
              m.basic_index(y, index=(1, None, slice(0, 3, 2))))
    a = arrays_for(g)
    same(interp.run(g, a), printer.execute(printer.text(g), a))


SIMPLE = {
    "identities": lambda m, x: m.mul(m.div(m.add(m.sub(x, 0.0), -0.0), 1.0), 1.0),
    "double negation": lambda m, x: m.neg(m.neg(x)),
    "views": lambda m, x: m.permute(m.permute(m.view_shape(m.view_shape(x, shape=(12,)), shape=(4, 3)), dims=(1, 0)), dims=(1, 0)),
    "detach": lambda m, x: m.alias(m.detach(m.clone(x, fmt=preserve_format))),
    "spread": lambda m, x: m.mul(m.spread(m.sum(x, dims=(1,), keepdim=False), shape=(3, 4), dims=(1,), keepdim=False), x),
    "sum to size": lambda m, x: m.sum_to_size(x, shape=(1, 4)),
    "sum to row": lambda m, x: m.sum_to_size(x, shape=(4,)),
    "no sum": lambda m, x: m.sum_to_size(x, shape=(3, 4)),
    "sum of ones": lambda m, x: m.sum(m.view_shape(x, shape=(3, 1, 4)), dims=(1,), keepdim=False),
    "convert": lambda m, x: m.convert(m.convert(m.convert(x, dtype=dt.float64), dtype=dt.float64), dtype=dt.float32),
    "rounding stays": lambda m, x: m.convert(m.convert(x, dtype=dt.bfloat16), dtype=dt.float32),
    "scatter whole": lambda m, x: m.view_scatter(x, m.mul(m.view_shape(x, shape=(4, 3)), 2.0), chain=(
        ("view_shape", {"shape": (4, 3)}), ("basic_index", {"index": (slice(None),)}))),
    "scatter part": lambda m, x: m.view_scatter(x, m.mul(m.basic_index(x, index=(1,)), 2.0), chain=(("basic_index", {"index": (1,)}),)),
    "scatter nothing": lambda m, x: m.view_scatter(x, m.exp(x), chain=()),
    "slice gradient": lambda m, x: m.view_grad(m.view_shape(x, shape=(3, 1, 4)), op="basic_index", attrs={"index": (slice(1, 4), None, 2)}, shape=(7, 3, 4)),
    "slice gradient with steps": lambda m, x: m.view_grad(x, op="basic_index", attrs={"index": (slice(1, 7, 2),)}, shape=(7, 4)),
    "filled": lambda m, x: m.mul(x, m.add(m.filled(shape=(3, 4), value=0.1, dtype=dt.float32, fmt=contiguous_format), 1.0)),
    "expand": lambda m, x: m.mul(x, m.expand(m.view_shape(m.sum(x, dims=(0,), keepdim=False), shape=(1, 4)), shape=(3, 4))),
    "pow": lambda m, x: m.add(m.pow(x, 2.0), m.pow(m.abs(x), 0.5)),
    "cube": lambda m, x: m.pow(x, 3.0),
    "constants": lambda m, x: m.add(x, m.exp(m.const(np.arange(4, dtype=np.float32)))),
    "gemm": lambda m, x: m.gemm(m.permute(x, dims=(1, 0)), m.permute(x, dims=(1, 0)), ta=False, tb=True),
    "bgemm": lambda m, x: m.bgemm(m.permute(m.view_shape(x, shape=(2, 2, 3)), dims=(0, 2, 1)), m.view_shape(x, shape=(2, 3, 2)), ta=True, tb=False),
    "copy": lambda m, x: m.copy(x, m.const(np.arange(4, dtype=np.float64))),
    "unit dims": lambda m, x: m.permute(m.view_shape(x, shape=(3, 1, 4)), dims=(1, 0, 2)),
    "merge": lambda m, x: m.sub(m.exp(m.mul(x, 2.0)), m.exp(m.mul(x, 2.0))),
}


@pytest.mark.parametrize("case", SIMPLE)
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=["float32", "bfloat16"])
def test_simplify_keeps_results(case, dtype):
    m = Maker()
    x = m.input(3, 4)
    if dtype is not dt.float32:
        if case in ("constants", "filled", "scatter nothing"):
            pytest.skip("float32 only")
        m = Maker()
        x = m.input(3, 4, dtype=dtype)
    y = SIMPLE[case](m, x)
    g = m.end(y)
    check(g)
    h = simplify(g)
    check(h)
    a = arrays_for(g)
    a[0].reshape(-1)[:2] = -0.0, 0.0
    exact = "sum" not in case and case not in ("gemm", "bgemm")
    same(interp.run(g, [x.copy() for x in a]), interp.run(h, a), exact)
    same(interp.run(g, a), printer.execute(printer.text(h), a), exact)
    again = simplify(h)
    assert [repr(n) for n in again.nodes] == [repr(n) for n in h.nodes]


def count(case: str) -> int:
    m = Maker()
    return len(simplify(m.end(SIMPLE[case](m, m.input(3, 4)))).nodes)


def test_simplify_removes_what_it_should():
    assert {case: count(case) for case in ("identities", "double negation", "detach", "no sum", "scatter nothing", "gemm", "merge", "rounding stays")} == \
        {"identities": 0, "double negation": 0, "detach": 0, "no sum": 0, "scatter nothing": 1, "gemm": 1, "merge": 3, "rounding stays": 2}
    assert count("views") == 1 and count("sum of ones") == 0 and count("unit dims") == 1


def test_zero_is_not_dropped_where_signs_would_change():
    m = Maker()
    x = m.input(3)
    assert len(simplify(m.end(m.add(x, 0.0))).nodes) == 1
    m = Maker()
    x = m.input(3, dtype=dt.int64)
    assert len(simplify(m.end(m.add(x, 0))).nodes) == 0


def test_random_operators_stay_apart_and_in_place():
    m = Maker()
    x = m.input(3)
    m.dropout_noise(x, p=0.5, scaled=True)
    a, b = m.dropout_noise(x, p=0.5, scaled=True), m.dropout_noise(x, p=0.5, scaled=True)
    g = m.end(m.mul(a, b))
    assert [n.op.name for n in simplify(g).nodes] == ["dropout_noise"] * 3 + ["mul"]


def test_simplify_is_quick():
    import time
    m = Maker()
    x, w = m.input(8, 8), m.input(8, 8, name="w")
    for _ in range(400):
        y = m.gemm(x, w, ta=False, tb=False)
        x = m.relu(m.add(m.mul(m.view_shape(m.permute(y, dims=(1, 0)), shape=(8, 8)), 0.5), x))
    g = m.end(x)
    best = min(timed(simplify, g, time) for _ in range(5))
    assert best < 0.15, f"{best:.3f} s for {len(g.nodes)} nodes"


def timed(fn, g, time) -> float:
    start = time.process_time()
    fn(g)
    return time.process_time() - start
