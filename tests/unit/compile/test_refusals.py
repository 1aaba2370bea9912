"""What goes wrong inside a compiled function: errors are eager's, and leave memory as eager would, or untouched."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import pellucid
from pellucid import nn
from pellucid.nn import functional as F
from pellucid.tensor.tracing import TraceError

randn, tensor = pellucid.randn, pellucid.tensor
table = pellucid.arange(40.0).view(10, 4)


# ---------------------------------------------------------------------------------------------------- what cannot be traced
def reads_a_number(x):
    return x * x.sum().item()


def branches(x):
    return x + 1 if x.sum() > 0 else x - 1


def counts(x):
    return x[x > 0]


def loops(x):
    for row in x.tolist():
        x = x + row[0]
    return x


def to_numpy(x):
    return tensor(np.sort(x.numpy()))


def formats(x):
    return x * len(f"{x}")


@pytest.mark.parametrize("fn, asked", [(reads_a_number, "item"), (branches, "bool"), (counts, r"x\[mask\]"), (loops, "tolist"), (to_numpy, "numpy"),
                                       (formats, "item")])
def test_the_line_and_the_reason_are_named(fn, asked):
    x = randn(3, 2)
    line = rf"test_refusals.py:{fn.__code__.co_firstlineno + 1}"
    with pytest.raises(TraceError, match=rf"(?s)({asked}).*{line}.*fix:"):
        pellucid.compile(fn, fullgraph=True)(x)
    compiled = pellucid.compile(fn)
    assert str(compiled(x)) == str(fn(x)) and str(compiled(-x)) == str(fn(-x))
    found = compiled.breaks[0]
    assert found.number in ("PX001", "PX018") and (found.file, found.line) == (__file__, fn.__code__.co_firstlineno + 1) and found.remedy


def test_a_step_with_a_break_counts_once():
    """What was there before the capture is there after it."""
    m = nn.Linear(3, 2)
    optimizer = pellucid.optim.SGD(m.parameters(), lr=0.1, momentum=0.9)
    reference = nn.Linear(3, 2)
    reference.load_state_dict(m.state_dict())
    other = pellucid.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    x = randn(5, 3)

    def stepper(m, optimizer):
        def step(x):
            optimizer.zero_grad()
            loss = m(x).square().mean()
            loss.backward()
            optimizer.step()
            return max(loss.item(), 0.0)
        return step

    compiled, plain = pellucid.compile(stepper(m, optimizer)), stepper(reference, other)
    for _ in range(3):
        assert compiled(x) == pytest.approx(plain(x), rel=1e-5)
    for a, b in zip(m.parameters(), reference.parameters()):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5)
    assert [b.number for b in compiled.breaks] == ["PX001"]


# ---------------------------------------------------------------------------------------------------- indices out of range
def rows_of(i):
    return table[i] * 2


INDICES = {
    "too large": (rows_of, [1, 10]), "too small": (rows_of, [1, -11]), "embedding": (lambda i: F.embedding(i, table), [1, 10]),
    "gather": (lambda i: table.gather(1, i[:, None]), [1, 4]), "select": (lambda i: table.index_select(0, i) + 1, [1, 10]),
    "take": (lambda i: table.take(i), [1, 40]), "scatter": (lambda i: pellucid.zeros(3, 5).scatter(1, i[:, None], 1.0), [1, 7]),
    "scatter_add": (lambda i: pellucid.zeros(3, 5).scatter_add(1, i[:, None], pellucid.ones(2, 1)), [1, -1]),
    "index_add": (lambda i: pellucid.zeros(3, 5).index_add(0, i, pellucid.ones(2, 5)), [1, 3]),
    "index_put": (lambda i: pellucid.zeros(3, 5).index_put((i,), pellucid.ones(2, 5)), [1, 3]),
    "a class": (lambda i: F.cross_entropy(table[:2], i), [1, 4]), "one_hot": (lambda i: F.one_hot(i, 5), [1, 5]),
}


@pytest.mark.parametrize("name", INDICES)
def test_an_index_out_of_range(same_as_eager, name):
    fn, bad = INDICES[name]
    compiled = same_as_eager(fn, lambda: (tensor(bad),), errors=True)
    good = tensor([0, 2])
    np.testing.assert_allclose(compiled(good).numpy(), fn(good).numpy())
    assert compiled.compiles == 1


@pytest.mark.parametrize("backend", ["eager", "python"])
def test_an_index_out_of_range_in_other_backends(same_as_eager, backend):
    same_as_eager(rows_of, lambda: (tensor([1, 10]),), errors=True, backend=backend)


def test_nothing_is_written_after_an_index_out_of_range(same_as_eager):
    def assigned(x, i):
        x.add_(1)                   # eager has done this
        x[i] = 0.0
        return x * 2

    def read_first(x, i):
        y = table[i]
        x.add_(y.sum())             # and not this
        return x * 2

    def read_in_between(x, i):
        x.mul_(2)
        y = x.sum() + table[i].sum()
        x.add_(y)
        return y

    for fn in (assigned, read_first, read_in_between):
        for backend in ("llvm", "python", "eager"):
            for bad in (50, 3):
                same_as_eager(fn, lambda bad=bad: (randn(5), tensor([1, bad])), errors=True, backend=backend)


def test_a_training_step_with_a_wrong_class_changes_no_weight():
    m = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    optimizer = pellucid.optim.Adam(m.parameters())

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(m(x), y)
        loss.backward()
        optimizer.step()
        return loss

    compiled = pellucid.compile(step, fullgraph=True)
    x, y = randn(6, 4), pellucid.randint(0, 3, (6,))
    compiled(x, y)
    before = [p.clone() for p in m.parameters()]
    moments = [optimizer.state[p]["exp_avg"].clone() for p in m.parameters()]
    running, batches = m[1].running_mean.clone(), m[1].num_batches_tracked.item()
    wrong = y.clone()
    wrong[2] = 3
    with pytest.raises(IndexError, match="Target 3 is out of bounds"):
        compiled(x, wrong)
    assert all(a.equal(b) for a, b in zip(m.parameters(), before))
    assert all(optimizer.state[p]["exp_avg"].equal(b) for p, b in zip(m.parameters(), moments))
    assert not m[1].running_mean.equal(running) and m[1].num_batches_tracked.item() == batches + 1      # the norm came before
    compiled(x, y)
    assert not m[0].weight.equal(before[0]) and compiled.compiles == 1


# ---------------------------------------------------------------------------------------------------- other errors
def raises(x):
    x.add_(1)
    raise ValueError("mine")


ERRORS = {
    "shapes": (lambda x, y: x + y, lambda: (randn(4), randn(3))), "product": (lambda x, y: x @ y, lambda: (randn(4, 4), randn(3, 3))),
    "in place on a leaf": (lambda x: x.add_(1), lambda: (randn(4).requires_grad_(),)),
    "backward without history": (lambda x: x.sum().backward(), lambda: (randn(4),)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_other_errors(same_as_eager, name):
    fn, make = ERRORS[name]
    same_as_eager(fn, make, errors=True)


def test_an_exception_of_the_function_itself_leaves_everything():
    x = randn(4)
    before = x.clone()
    compiled = pellucid.compile(raises, fullgraph=True)
    for _ in range(2):
        with pytest.raises(ValueError, match="mine"):
            compiled(x)
    assert x.equal(before) and x._version == 0 and compiled.gave_up is None


def test_too_little_memory_is_said_and_changes_nothing():
    x = pellucid.ones(4)

    def fn(x):
        x.mul_(2)
        return x.view(4, 1, 1) + pellucid.zeros(1 << 25, 1).expand(1 << 25, 1 << 20)

    compiled = pellucid.compile(fn, fullgraph=True)
    for _ in range(2):
        with pytest.raises(MemoryError):
            compiled(x)
        assert x.tolist() == [1, 1, 1, 1]


# ---------------------------------------------------------------------------------------------------- several threads
def in_threads(work, n: int = 4) -> None:
    errors: list = []

    def run(k):
        try:
            work(k)
        except Exception as error:
            errors.append(error)
    team = [threading.Thread(target=run, args=(k,)) for k in range(n)]
    for t in team:
        t.start()
    for t in team:
        t.join()
    if errors:
        raise errors[0]


def test_threads_that_call_one_function():
    m = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 5))
    compiled = pellucid.compile(m, fullgraph=True, dynamic=False)
    shapes = [(n, 20) for n in (1, 2, 3, 50)]
    inputs = [randn(*s) for s in shapes]
    expected = [m(x).detach() for x in inputs]

    def work(k):
        for _ in range(10):
            for x, y in zip(inputs[k:] + inputs[:k], expected[k:] + expected[:k]):
                assert pellucid.allclose(compiled(x), y, atol=1e-5)
    in_threads(work)
    assert compiled.compiles == len(shapes)


def test_threads_that_compile_and_call_with_the_same_weights():
    """While one thread traces, the weights have no values: the others wait."""
    m = nn.Linear(10, 10)
    x = randn(3, 10)
    expected = m(x).detach()
    before = [p.clone() for p in m.parameters()]
    ready = pellucid.compile(lambda x: m(x), fullgraph=True)
    ready(x)

    def work(k):
        for j in range(8):
            if k % 2:
                fresh = pellucid.compile(lambda x: m(x) * 1.5 + j, fullgraph=True, backend="eager")
                assert pellucid.allclose(fresh(x), expected * 1.5 + j, atol=1e-5)
            else:
                for _ in range(20):
                    assert pellucid.allclose(ready(x), expected, atol=1e-5)
    in_threads(work)
    assert all(type(p._a) is np.ndarray and p.equal(q) for p, q in zip(m.parameters(), before))


def test_gradients_in_threads():
    m = nn.Linear(8, 8)
    compiled = pellucid.compile(lambda x: m(x).tanh().sum(), fullgraph=True)

    def work(k):
        for _ in range(10):
            x = pellucid.full((4, 8), float(k), requires_grad=True)
            found, = pellucid.autograd.grad(compiled(x), x)
            expected, = pellucid.autograd.grad(m(x).tanh().sum(), x)
            assert pellucid.allclose(found, expected, atol=1e-5)
    in_threads(work)


def test_a_function_that_calls_itself_compiled():
    @pellucid.compile(fullgraph=True)
    def power(x, n):
        return x if n == 0 else power(x, n - 1) * x

    assert power(tensor([2.0]), 3).tolist() == [16.0]
