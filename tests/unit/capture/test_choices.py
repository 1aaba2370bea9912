"""min() and max() of tensors, and tensors that are known: in the graph where the result is the same whichever is chosen, else a break."""
from __future__ import annotations

import pytest

import pellucid as torch


def sums(x):
    return x.sum(), (x * 2).sum()


ONE_GRAPH = {
    "two tensors": lambda x: max(*sums(x)),
    "a list": lambda x: min([x.sum(), x.mean(), x.amax()]),
    "an iterator": lambda x: max(map(lambda t: t.sum(), [x, -x])),
    "clamped": lambda x: x * min(max(x.sum(), 0), 1),
    "numbers first": lambda x: x + max(0.5, min(1, x.mean())),
    "arithmetic": lambda x: (max(x.sum(), 0) - min(x.sum(), 0) * 2 + 1) + x,
    "divided by": lambda x: x / max(x.abs().sum(), 2),
    "integers": lambda x: max(x.long().sum(), x.long().prod()),
}
SAMPLES = [torch.tensor([0.5, 0.25]), torch.tensor([-3.0, 2.0]), torch.tensor([3.0, 2.0]), torch.tensor([float("nan"), 1.0]), torch.zeros(2)]


def same(a, b):
    if type(a) in (tuple, list):
        return type(a) is type(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape and torch.allclose(a, b, equal_nan=True)
    return type(a) is type(b) and (a == b or a != a)


@pytest.mark.parametrize("name", ONE_GRAPH)
def test_in_one_graph(name):
    fn = ONE_GRAPH[name]
    compiled = torch.compile(fn, fullgraph=True, backend="eager")
    for x in SAMPLES:
        assert same(compiled(x), fn(x)), (x, compiled(x), fn(x))


BREAKS = {
    "the number may be the result": lambda x: max(x.sum(), 0),
    "in a list": lambda x: [min(x.sum(), 1), x * 2],
    "of inputs": lambda x: max(x[0], x[1]) is None,
    "which one": lambda x: (lambda a, b: max(a, b) is a)(*sums(x)),
    "handed on with them": lambda x: (lambda a, b: [m := max(a, b), a, b, m is a, m is b])(*sums(x))[3:],
    "written to": lambda x: (lambda a, b: [max(a, b).add_(1), a, b])(*sums(x)),
    "written to before": lambda x: (lambda a, b: [max(a, b), a.add_(5), b])(*sums(x)),
    "written to later": lambda x: (lambda a, b, c: [max(max(a, b), c), print(end=""), a.add_(5), b.sub_(1), c])(*sums(x), x.mean()),
    "its type": lambda x: isinstance(max(x.sum(), 0), int),
    "its text": lambda x: str(type(max(x.sum(), 0))),
    "its truth": lambda x: x if max(x.sum(), 0) else -x,
    "another dtype": lambda x: x.double() + max(x.sum(), 0),
    "an integer tensor": lambda x: x.long() + max(x.sum(), 0),
    "an operator": lambda x: torch.sin(x.sum() + max(x.mean(), 0)) + torch.as_tensor(max(x.sum(), 0)),
    "powers": lambda x: x ** max(x.sum(), 0),
    "keys": lambda x: max(x.sum(), x.mean(), key=lambda t: -t),
    "larger numbers": lambda x: x + max(x.sum(), 16777217),
    "as a default": lambda x, *rest: min(rest, default=x.sum()) + x,
    "through a generator": lambda x: max(v for v in (x.sum(), 0)),
    "kept": lambda x: (lambda d: (d.update(a=max(x.sum(), 0)), d)[1])({}),
}


@pytest.mark.parametrize("name", BREAKS)
def test_otherwise_as_python_has_it(name):
    fn = BREAKS[name]
    compiled = torch.compile(fn, backend="eager")
    for x in SAMPLES:
        assert same(*(list(r.items()) if isinstance(r, dict) else r for r in (compiled(x), fn(x)))), (x, compiled(x), fn(x))


def test_gradients_go_to_the_one_chosen():
    for low, high in ((1.0, 2.0), (2.0, 1.0), (1.0, 1.0)):
        w, v = torch.tensor([low], requires_grad=True), torch.tensor([high], requires_grad=True)
        torch.compile(lambda w, v: max(w.sum(), v.sum()), fullgraph=True, backend="eager")(w, v).backward()
        p, q = torch.tensor([low], requires_grad=True), torch.tensor([high], requires_grad=True)
        max(p.sum(), q.sum()).backward()
        for a, b in ((w, p), (v, q)):
            assert (a.grad if a.grad is not None else 0.0) == (b.grad if b.grad is not None else 0.0)


def test_a_number_stops_gradients_as_it_does_in_python():
    w = torch.tensor([-1.0], requires_grad=True)
    found = torch.compile(lambda w: max(w.sum(), 0) + torch.zeros(1), backend="eager")(w)
    assert not found.requires_grad


def test_the_one_chosen_is_that_one():
    def fn(x):
        a, b = sums(x)
        return max(a, b), a, b
    for x in (torch.ones(2), -torch.ones(2)):
        m, a, b = torch.compile(fn, backend="eager")(x)
        assert (m is a, m is b) == ((True, False) if x.sum() < 0 else (False, True))


def test_an_input_that_is_chosen_is_the_input():
    a, b = torch.tensor(1.0), torch.tensor(2.0)
    assert torch.compile(lambda a, b: max(a, b), backend="eager")(a, b) is b


def test_tensors_that_are_known():
    def fn(a, b):
        parts = [a, b, a + 1]
        k = torch.tensor(2)
        if torch.tensor(True):
            a = a * torch.tensor(3.0).item()
        return parts[torch.as_tensor(1)], parts[k], a, torch.tensor([1, 2]).tolist(), int(torch.tensor(7)), float(torch.tensor(0.5))
    args = torch.ones(2), torch.zeros(2)
    assert same(torch.compile(fn, fullgraph=True, backend="eager")(*args), fn(*args))


def test_tensors_that_were_known():
    def fn(x):
        k = torch.tensor(1)
        k += 1
        k.add_(x.long().sum())
        return [x, x + 1, x + 2, x + 3][k]
    for x in (torch.zeros(1), torch.ones(1)):
        assert same(torch.compile(fn, backend="eager")(x), fn(x))
