"""A gradient becomes `.grad` without a copy only where nobody else can see its memory.

`engine.store` decides by reference counts, which differ between versions of Python: this runs on each of them.
"""
from __future__ import annotations

import gc

import numpy as np
import pytest

import pellucid
from pellucid import nn
from pellucid.ops.dispatch import state
from pellucid.tensor import engine


def leaf(*shape):
    return pellucid.randn(*shape, requires_grad=True)


def doubled(x, keep):
    """x * 2, whose backward shows `keep` the gradient that it returns."""
    class Double(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            r = g * 2
            keep(r)
            return r
    return Double.apply(x)


def memory(t):
    """The address range of a tensor's elements (asking for its storage would prevent taking it over)."""
    return np.lib.array_utils.byte_bounds(t._a)


def apart(*tensors):
    """Whether no two of the tensors share memory."""
    arrays = [t.detach().numpy() for t in tensors]
    return not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[i + 1:])


def test_a_fresh_gradient_is_taken_over():
    x = leaf(1000)
    w = pellucid.full((1000,), 2.0)
    seen = []

    class Spy(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * w

        @staticmethod
        def backward(ctx, g):
            r = g * w
            seen.append(memory(r))
            return r

    Spy.apply(x).sum().backward()
    assert memory(x.grad) == seen[0]
    assert x.grad._fn is None and not x.grad.requires_grad and x.grad.is_leaf


@pytest.mark.parametrize("make", [
    lambda a, b: (a + b).sum(),                               # the same gradient for both
    lambda a, b: (a - b + a).sum(),
    lambda a, b: (a * b).sum(),
    lambda a, b: a.sum() + b.sum(),                           # expanded gradients
    lambda a, b: pellucid.cat([a, b]).square().sum(),         # pieces of one gradient
    lambda a, b: pellucid.stack([a, b]).sum(),
    lambda a, b: (a.reshape(2, -1) @ b.reshape(-1, 2)).sum(),
    lambda a, b: a.view(2, -1).t().sum() + b.clone().sum(),
    lambda a, b: (a.detach() * b).sum() + a.sum(),
    lambda a, b: pellucid.where(a > 0, a, b).sum(),
], ids=range(10))
@pytest.mark.parametrize("create_graph", [False, True])
def test_two_leaves_never_share_a_gradient(make, create_graph):
    a, b = leaf(8), leaf(8)
    make(a, b).backward(create_graph=create_graph)
    assert apart(a, b, a.grad, b.grad)
    kept = b.grad.tolist()
    with pellucid.no_grad():
        a.grad.fill_(7)
    assert b.grad.tolist() == kept


def test_the_users_gradient_is_not_taken():
    a, g = leaf(3), pellucid.ones(3)
    a.backward(g)
    (a * 1).backward(g)
    a.grad.mul_(5)
    assert g.tolist() == [1, 1, 1] and apart(a, a.grad, g)


def test_what_hooks_and_retained_gradients_keep_is_not_taken():
    a, kept = leaf(3), []
    y = a * 2
    y.retain_grad()
    y.register_hook(kept.append)
    a.register_hook(kept.append)
    (y * 1).sum().backward()
    assert apart(a, a.grad, y.grad, *kept[1:]) and apart(a.grad, kept[0])
    before = [k.tolist() for k in kept]
    a.grad.zero_()
    assert [k.tolist() for k in kept] == before


def test_views_of_a_gradient_kept_elsewhere_prevent_taking_it():
    a, kept = leaf(3), []
    doubled(a, lambda r: kept.append(r.numpy()[1:])).sum().backward()
    a.grad.zero_()
    assert kept[0].tolist() == [2, 2]


def test_returned_gradients_are_not_taken_later():
    a = leaf(3)
    (g,) = pellucid.autograd.grad((a * 2).sum(), a, retain_graph=True)
    (a * 3).backward(g)
    a.grad.zero_()
    assert g.tolist() == [2, 2, 2]


def test_custom_function_returning_its_saved_tensor_or_its_input():
    class Same(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(y)
            return x + y

        @staticmethod
        def backward(ctx, g):
            return ctx.saved_tensors[0], g

    a, b, y = leaf(3), leaf(3), pellucid.ones(3)
    Same.apply(a, y).sum().backward()
    a.grad.mul_(9)
    assert y.tolist() == [1, 1, 1]
    Same.apply(a, b).sum().backward()
    assert apart(a, b, a.grad, b.grad)


def test_layout_and_dtype_follow_the_leaf():
    a = pellucid.randn(4, 3).t().detach().requires_grad_()
    (a * 2).sum().backward()
    assert a.grad.stride() == a.stride()
    b = leaf(3)
    b.double().sum().backward()
    assert b.grad.dtype is pellucid.float32
    c = pellucid.ones(1).expand(3).detach().requires_grad_()
    (c * 2).sum().backward()
    assert c.grad.is_contiguous() and c.grad.tolist() == [2, 2, 2]


def test_modules_gradients_are_their_own():
    pellucid.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 2, bias=True))
    net[3].weight.data.copy_(net[3].weight.detach())
    x = pellucid.randn(5, 4, requires_grad=True)
    net(x).square().sum().backward()
    tensors = [x, *net.parameters()]
    assert apart(*tensors, *(t.grad for t in tensors))


def test_accumulation_adds_in_place_to_what_was_taken():
    a = leaf(3)
    (a * 2).sum().backward()
    first = a.grad
    gc.collect()
    (a * 2).sum().backward()
    assert a.grad is first and first.tolist() == [4, 4, 4]


def test_store_copies_when_the_caller_keeps_a_second_name():
    a, g = leaf(3), pellucid.ones(3)
    other = g
    engine.store(a, g, False)
    assert a.grad is not other and apart(a.grad, other)


def sums(make, times=5):
    """The leaf's gradients after each of several uses, as its hook sees their sum, and how many sums had memory of their own."""
    added = []
    entry = engine.F.add

    def add(*operands):
        added.append(1)
        return entry(*operands)

    add.op = entry.op
    a = leaf(40)
    y = a * 0
    for k in range(times):
        y = make(y, a, k)
    vars(engine.F)["add"] = add
    try:
        y.sum().backward()
    finally:
        vars(engine.F)["add"] = entry
    return a.grad, len(added)


def test_a_weights_gradients_add_up_in_place():
    """As those of a layer that is used at every step of a sequence."""
    gc.collect()
    slow = state.slow != 0                                  # an earlier test's modes or subclasses live on
    grad, apart_ = sums(lambda y, a, k: y + (a * float(k + 1)))
    assert grad.tolist() == [15.0] * 40 and apart_ == (5 if slow else 0)
    grad, apart_ = sums(lambda y, a, k: y + a)              # one gradient for all
    assert grad.tolist() == [5.0] * 40 and apart_ == (5 if slow else 1)


def test_what_somebody_keeps_is_not_added_to():
    kept = []
    grad, _ = sums(lambda y, a, k: y + doubled(a, lambda r: kept.append(r if len(kept) % 2 else r.numpy()[3:])), 6)
    assert grad.tolist() == [12.0] * 40 and all(k.tolist() == [2.0] * len(k) for k in kept)


def test_gradients_in_the_graph_stay_what_they_are():
    a = leaf(5)
    (g,) = pellucid.autograd.grad((a ** 3 + a ** 2 + a * 2).sum(), a, create_graph=True)
    g.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), 6 * a.detach().numpy() + 2, rtol=1e-5)
