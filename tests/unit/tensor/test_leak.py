"""Nothing piles up over many training steps: nodes, storages, views, hooks."""
from __future__ import annotations

import gc
import os
import sys
import weakref
from pathlib import Path

import pellucid


def growth(step, n: int, warm: int = 200) -> int:
    """How many more of Python's memory blocks are in use after `n` calls, cyclic garbage collected."""
    for _ in range(warm):
        step()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(n):
        step()
    gc.collect()
    return sys.getallocatedblocks() - before


def resident() -> int:
    """Bytes of the process in memory; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def test_ten_thousand_training_steps():
    w, b = pellucid.randn(3, 2, requires_grad=True), pellucid.zeros(2, requires_grad=True)
    x = pellucid.randn(4, 3)

    def step():
        loss = (x @ w + b).square().mean()
        loss.backward()
        with pellucid.no_grad():
            for p in (w, b):
                p -= 0.01 * p.grad
                p.grad = None
    assert growth(step, 2_000) < 500
    before = resident()
    assert growth(step, 8_000) < 500
    assert resident() - before < 1 << 20


def test_views_and_writes_in_place():
    base = pellucid.zeros(8)

    def step():
        base[2:4] = 1.0
        base.view(2, 4)[0].add_(1)
        y = pellucid.ones(4, requires_grad=True) * 1
        y[:2].mul_(2)
        y.sum().backward()
    assert growth(step, 1_000) < 500


def test_hooks_functions_and_double_backward():
    class Square(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * x
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx, g):
            return g * 2 * ctx.saved_tensors[0]

    a = pellucid.ones(4, requires_grad=True)

    def step():
        y = Square.apply(a)
        y.register_hook(lambda g: g * 2)
        y.retain_grad()
        (g,) = pellucid.autograd.grad(y.exp().sum(), a, create_graph=True)
        with pellucid.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
            (a.exp() * a).sum().backward()
        handle = a.register_hook(lambda g: g)
        g.sum().backward()
        handle.remove()
        a.grad = None
    assert growth(step, 300) < 500


def test_graphs_die_without_the_cycle_collector():
    gc.collect()
    gc.disable()
    try:
        a = pellucid.ones(4, requires_grad=True)
        nodes = []

        def watch(t):
            nodes.append(weakref.ref(t.grad_fn))
            return t
        y = watch(watch(a.exp()) * watch(a.tanh()))
        z = watch(y.sigmoid().sum())
        (g,) = pellucid.autograd.grad(z, a, create_graph=True)
        watch(g)
        g.sum().backward()
        b = watch(a * 2)
        b[:2].mul_(3)
        watch(b)
        b.sum().backward()
        with pellucid.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
            watch(a.exp()).sum().backward()
        del y, z, g, b
        assert [n() for n in nodes if n() is not None] == []
    finally:
        gc.enable()
