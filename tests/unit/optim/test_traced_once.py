"""Under a tracer an update is traced once for each kind of parameter, and its nodes are copied for the others: the same graph."""
from __future__ import annotations

import importlib

import pytest

import pellucid
from pellucid import nn, optim

repeated = importlib.import_module("pellucid.tensor.repeated")

SHAPES = (3, 4), (5,), (2, 2, 2), (), (7, 1), (0,), (4, 4)
OPTIONS = {"SGD": {"momentum": 0.9, "nesterov": True}, "Adam": {"amsgrad": True}, "RMSprop": {"centered": True, "momentum": 0.9},
           "AdamW": {}, "Adagrad": {}, "NAdam": {}, "RAdam": {}, "Adamax": {}, "Adadelta": {}, "ASGD": {}, "Rprop": {}}


def trained(name: str, parameters: list) -> list:
    """The parameters after four compiled steps."""
    optimizer = getattr(optim, name)(parameters, lr=0.01, **OPTIONS[name])

    @pellucid.compile(fullgraph=True, backend="eager")
    def step():
        optimizer.zero_grad()
        loss = sum((p * p).sum() for p in parameters)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(4):
        step()
    return [p.detach().clone() for p in parameters]


def fresh(shapes=SHAPES, **options) -> list:
    pellucid.manual_seed(0)
    return [nn.Parameter(pellucid.randn(*s, **options)) for s in shapes]


@pytest.mark.parametrize("name", OPTIONS)
def test_copied_nodes_compute_what_called_ones_do(name, monkeypatch):
    calls = []
    original = getattr(optim, name)._update_tensors

    def update(self, p, *rest):
        calls.append(tuple(p.shape))
        return original(self, p, *rest)
    monkeypatch.setattr(getattr(optim, name), "_update_tensors", update)
    copied = trained(name, fresh())
    assert calls == [(3, 4), ()]                        # the first with dimensions, the first without
    monkeypatch.setattr(repeated.Repeated, "run", lambda self, fn, *_: fn())
    called = trained(name, fresh())
    assert len(calls) == 2 + len(SHAPES)
    for a, b in zip(copied, called):
        assert pellucid.equal(a, b)


def test_what_is_laid_out_otherwise_is_called(monkeypatch):
    calls = []
    original = optim.SGD._update_tensors
    monkeypatch.setattr(optim.SGD, "_update_tensors", lambda self, p, *rest: calls.append(tuple(p.shape)) or original(self, p, *rest))
    parameters = [*fresh(((2, 3), (3, 2))), nn.Parameter(pellucid.randn(4, 5).t()), nn.Parameter(pellucid.randn(6, dtype=pellucid.float64))]
    before = [p.detach().clone() for p in parameters]
    after = trained("SGD", parameters)
    assert calls == [(2, 3), (5, 4), (6,)]              # one transposed, one of another dtype
    assert not any(pellucid.equal(a, b) for a, b in zip(before, after))


def test_an_update_that_makes_state_is_called_for_each():
    calls = []

    class Counted(optim.SGD):
        def _update_tensors(self, p, g, state, group):
            state["seen"] = True
            calls.append(tuple(p.shape))
            super()._update_tensors(p, g, state, group)

    parameters = fresh(((2, 3), (4,), (5, 1)))
    optimizer = Counted(parameters, lr=0.1)
    sum((p * p).sum() for p in parameters).backward()
    pellucid.trace(optimizer.step)
    assert calls == [(2, 3), (4,), (5, 1)]
