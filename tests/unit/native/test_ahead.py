"""Rows that a kernel reads twice: the next one is fetched in time."""

from __future__ import annotations

import pytest

import pellucid
from pellucid.native import build, llvm
from pellucid.native.analysis import read_again
from pellucid.native.isa import host_isa


def kernel_of(rows, columns):
    graph = pellucid.trace(lambda x: pellucid.nn.functional.softmax(x, -1), pellucid.zeros(rows, columns))
    kernel, = build.make_plan(graph).kernels
    return kernel


@pytest.mark.parametrize("rows, columns, fetched", [(2048, 1024, True), (16, 1024, False), (65536, 64, False)],
                         ids=["large", "small enough for a cache", "short rows"])
def test_the_second_loop_over_a_row_fetches_the_next(rows, columns, fetched):
    kernel = kernel_of(rows, columns)
    outer, = kernel.body
    found = read_again(outer, {b.name: b for b in kernel.bufs})
    inner = [s.axis.var for s in outer.body if hasattr(s, "axis")]
    if not fetched:
        assert found == {}
        return
    name, = (b.name for b in kernel.bufs if b.role == "in")
    assert found == {inner[1]: {name: columns}}
    text = llvm.module([llvm.emit(kernel, host_isa(), "k", frozenset())], host_isa())
    assert "call void @llvm.prefetch.p0" in text
