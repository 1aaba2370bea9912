"""Tensors that share memory: arguments with each other, with what the function holds, with results; and memory of any layout."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import pellucid
from pellucid import nn
from pellucid.nn import functional as F

randn = pellucid.randn
LAYOUTS = {
    "transposed": lambda: randn(4, 6).t(), "strided": lambda: randn(8, 12)[::2, ::2], "expanded": lambda: randn(4, 1).expand(4, 6),
    "of one number": lambda: randn(1).expand(3, 4), "further on": lambda: randn(5, 6)[1:], "overlapping": lambda: randn(10).as_strided((4, 4), (2, 1)),
    "without rows": lambda: randn(0, 4), "without columns": lambda: randn(4, 0), "a number": lambda: pellucid.tensor(2.0),
    "permuted": lambda: randn(2, 3, 4).permute(2, 0, 1), "narrow": lambda: randn(4, 10)[:, 3:7], "windows": lambda: randn(10).unfold(0, 4, 2),
    "diagonal": lambda: randn(5, 5).diagonal(), "five dimensions": lambda: randn(2, 1, 3, 1, 2),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_arguments(same_as_eager, name):
    def run(x):
        flat = x.reshape(x.shape[0], x[0].numel() if len(x) else 4) if x.dim() else x.reshape(1, 1)
        found = (x * 2 + 1, x.sum(), x.sum(-1), x.sum(0), F.softmax(x, -1), x.cumsum(0), x.unsqueeze(0).expand(2, *x.shape) + x, x.clone(),
                 x.contiguous(), x.flatten(), x.sort(-1)[0], flat @ flat.t(), x.reshape(-1) * 2, x)
        return found if x.numel() == 0 else (*found, x.argmax())
    same_as_eager(run, lambda: (LAYOUTS[name](),))


@pytest.mark.parametrize("backend", ["eager", "python"])
def test_results_lie_in_memory_as_in_eager(same_as_eager, backend):
    same_as_eager(lambda x: (x.clone(), x.contiguous(), F.softmax(x, -1), x * 2, x), lambda: (randn(4, 6).t(),), backend=backend)


def write(x):
    x[0] = 5.0
    x.mul_(2)
    return x.sum()


def write_views(x):
    y = x[1:3]
    y.zero_()
    y.add_(x[0])
    x.t()[0].mul_(3)
    return y * 1


@pytest.mark.parametrize("fn", [write, write_views])
def test_writes_through_views_reach_their_base(fn):
    compiled = pellucid.compile(fn, fullgraph=True)
    for view in (lambda b: b, lambda b: b.t(), lambda b: b[::2, 1::2], lambda b: b[2:6, 2:6]):
        base = randn(8, 8)
        other = base.clone()
        for _ in range(2):
            assert pellucid.allclose(compiled(view(base)), fn(view(other))) and pellucid.allclose(base, other)


# ---------------------------------------------------------------------------------------------------- arguments of one memory
def two(x, y):
    x.add_(1)
    y.mul_(2)
    return x + y


PAIRS = {
    "halves": lambda b: (b[:8], b[8:]), "the same tensor": lambda b: (b, b), "the same view": lambda b: (b[:], b[:]),
    "a view and its base": lambda b: (b[:12].view(3, 4), b[:12].view(3, 4)[:1]), "a base after its view": lambda b: (b[:4], b),
    "a part": lambda b: (b[:8], b[2:6].repeat(2)), "transposed": lambda b: (b.view(4, 4), b.view(4, 4).t()),
    "expanded": lambda b: (b[:4], b[:1].expand(4)), "data": lambda b: (b, b.data),
}


@pytest.mark.parametrize("reads", [True, False], ids=["read", "written"])
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_arguments(name, reads):
    pick = PAIRS[name]

    def fn(x, y):
        if reads:
            return x.sum() + (y * 2).sum()
        x.add_(1)
        if name != "expanded":
            y.mul_(2)
        return x.sum() + y.sum()

    compiled = pellucid.compile(fn, fullgraph=True)
    for _ in range(3):                          # tensors that are new, in the same relation
        ours = randn(16)
        theirs = ours.clone()
        assert pellucid.allclose(compiled(*pick(ours)), fn(*pick(theirs)), atol=1e-5) and ours.equal(theirs)
    assert compiled.compiles == 1
    ours = randn(16)
    theirs = ours.clone()
    a, b = (copy.deepcopy(t) for t in pick(ours))
    c, d = (copy.deepcopy(t) for t in pick(theirs))
    if name not in ("expanded", "overlapping"):
        assert pellucid.allclose(compiled(a, b), fn(c, d)) and a.equal(c) and b.equal(d)      # and without it


def test_arguments_that_overlap_in_part_run_as_they_are():
    compiled = pellucid.compile(two)
    ours = randn(10)
    theirs = ours.clone()
    assert pellucid.allclose(compiled(ours[:5], ours[5:]), two(theirs[:5], theirs[5:]))
    with pytest.warns(UserWarning, match=r"two runs uncompiled(.|\n)*share memory(.|\n)*clone"):
        found = compiled(ours[:6], ours[4:])
    assert pellucid.allclose(found, two(theirs[:6], theirs[4:])) and ours.equal(theirs)
    assert pellucid.allclose(compiled(ours[:5], ours[5:]), two(theirs[:5], theirs[5:])) and compiled.compiles == 1


# ---------------------------------------------------------------------------------------------------- what the function holds
HELD = {"another": lambda s: randn(6), "itself": lambda s: s, "a view": lambda s: s[:], "data": lambda s: s.data,
        "reshaped": lambda s: s.view(2, 3).view(6)}


@pytest.mark.parametrize("second", HELD)
@pytest.mark.parametrize("first", HELD)
def test_arguments_that_are_what_the_function_holds(first, second):
    for kind in ("reads", "writes the argument", "writes its own", "writes both"):
        found = []
        for compiled in (False, True):
            pellucid.manual_seed(0)
            state = randn(6)

            def fn(x):
                if kind == "writes the argument":
                    x.add_(state)
                elif kind != "reads":
                    state.add_(1)
                if kind == "writes both":
                    x.mul_(2)
                return x * state
            call = pellucid.compile(fn, fullgraph=True) if compiled else fn
            pellucid.manual_seed(1)
            found.append([t.clone() for pick in (first, second, first) for t in (call(HELD[pick](state)), state)])
        for a, b in zip(*found):
            assert pellucid.allclose(a, b), kind


def test_a_parameter_as_an_argument():
    """Its gradient is one, whether it comes by the argument or by the module."""
    def stepper(m):
        def step(w, x):
            loss = (m(x) * w.sum()).sum()
            loss.backward()
            with pellucid.no_grad():
                m.weight.sub_(0.1 * m.weight.grad)
            m.weight.grad = None
            return loss.detach()
        return step

    m, n = nn.Linear(3, 3), nn.Linear(3, 3)
    n.load_state_dict(m.state_dict())
    x = randn(2, 3)
    plain, compiled = stepper(m), pellucid.compile(stepper(n), fullgraph=True)
    other = randn(3, 3)
    for _ in range(3):
        for w, v in ((m.weight, n.weight), (other, other)):
            assert pellucid.allclose(plain(w, x), compiled(v, x), 1e-4) and pellucid.allclose(m.weight, n.weight, 1e-4)
    assert compiled.compiles == 3               # the bias has no gradient at first


def test_the_gradient_of_an_argument():
    def step(x):
        y = (x * x).sum()
        y.backward()
        return y

    compiled = pellucid.compile(step, fullgraph=True)
    for _ in range(2):
        ours = randn(3).requires_grad_()
        theirs = ours.detach().clone().requires_grad_()
        for _ in range(3):                      # the first stores a gradient, the others add to it
            step(theirs)
            compiled(ours)
            assert pellucid.allclose(ours.grad, theirs.grad)
    assert compiled.compiles == 2


def test_a_history_outside_is_not_cut():
    def step(x):
        (x * 2).sum().backward()

    w = pellucid.ones(3, requires_grad=True)
    compiled = pellucid.compile(step)
    compiled(w * 3)
    assert w.grad.tolist() == [6, 6, 6] and [b.number for b in compiled.breaks] == ["PX009"]


# ---------------------------------------------------------------------------------------------------- results
def relations(args, outs):
    tensors = [*args, *outs]
    return [(a is b, np.shares_memory(a.detach().numpy(), b.detach().numpy())) for i, a in enumerate(tensors) for b in tensors[:i]]


def inner(x):
    y = x * 2
    return y, y[1:], y.view(-1), y.detach()


RESULTS = {
    "itself": lambda x: (x,), "a view": lambda x: (x.view(-1),), "views": lambda x: (x, x[1:], x.t()), "written": lambda x: (x.add_(1), x.view(-1)),
    "inner views": inner, "detached": lambda x: (x.detach(),), "contiguous": lambda x: (x.contiguous(),),
    "expanded": lambda x: (x[0].expand(3, 5),), "converted to what it is": lambda x: (x.clone(), x.float(), x.to(pellucid.float32)),
    "a row": lambda x: (x[0], x[0]), "written after": lambda x: (x[0], x.zero_()),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_share_memory_as_in_eager(name):
    compiled = pellucid.compile(RESULTS[name], fullgraph=True)
    for _ in range(2):
        ours = randn(5, 5)
        theirs = ours.clone()
        found, expected = compiled(ours), RESULTS[name](theirs)
        assert relations((ours,), found) == relations((theirs,), expected)
        assert all(a.equal(b) and a.requires_grad == b.requires_grad and a.is_leaf == b.is_leaf for a, b in zip(found, expected))


# ---------------------------------------------------------------------------------------------------- what lives on
def test_warnings_are_none():
    """Arguments in other memory, not in other relations, make no new version and no word."""
    compiled = pellucid.compile(two, fullgraph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in range(4):
            base = randn(20 + k)
            compiled(base[:4], base[4 + k:8 + k])
    assert compiled.compiles == 1


# ---------------------------------------------------------------------------------------------------- large tensors
@pytest.mark.alone
@pytest.mark.timeout(400)
def test_more_elements_than_32_bits_count():
    """Places beyond 2**31 are read and written by whole-tensor kernels, reductions, gathers and scatters."""
    n = 2**31 + 1000
    x = pellucid.zeros(n, dtype=pellucid.uint8)
    x[-3:] = pellucid.tensor([7, 200, 9], dtype=pellucid.uint8)

    def fn(x, i):
        y = x ^ 1
        return y[-4:].clone(), y.max(), (x > 6).sum(), x.argmax(), x[i], x.index_fill(0, i, 3)[-5:].clone()

    i = pellucid.tensor([n - 2, 5, n - 1])
    found = pellucid.compile(fn, fullgraph=True)(x, i)
    assert found[0].tolist() == [1, 6, 201, 8] and found[1].item() == 201 and found[2].item() == 3 and found[3].item() == n - 2
    assert found[4].tolist() == [200, 0, 9] and found[5].tolist() == [0, 0, 7, 3, 3]

    def write(x):
        x.add_(1)
        x[2**31:].mul_(2)
        return x[2**31 - 2:2**31 + 2] * 1

    assert pellucid.compile(write, fullgraph=True)(x).tolist() == [1, 1, 2, 2] and x[-2].item() == 402 % 256 and x[1].item() == 1
