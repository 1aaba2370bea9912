"""A compiled function that enumerates what modules hold sees every change of it."""
from __future__ import annotations

import pytest

import pellucid
from pellucid import nn


def sizes(m, x):
    return x + sum(p.numel() for p in m.parameters())


def wanted(m, x):
    return x + sum(p.requires_grad for p in m.parameters())


def names(m, x):
    return x + sum(len(n) * k for k, (n, _) in enumerate(m.named_parameters()))


def halves(m, x):
    total = pellucid.zeros(())
    for p in m.parameters():
        total = total * 2 + p.sum()
    return x + total


def buffers(m, x):
    return x + sum(b.sum() for b in m.buffers()) * len(list(m.named_buffers()))


def saved(m, x):
    return x + len(m.state_dict())


def given(m, x):
    return x + nn.utils.parameters_to_vector(m.parameters()).sum()


def reorder(m):
    m[0]._parameters["weight"] = m[0]._parameters.pop("weight")


def move(m):
    m[2]._parameters["bias"] = m[0]._parameters.pop("bias")


CHANGES = {
    "a new parameter": lambda m: m[0]._parameters.update(x=nn.Parameter(pellucid.ones(3))),
    "a new parameter where there was none": lambda m: m[3]._parameters.update(x=nn.Parameter(pellucid.ones(3))),
    "another parameter": lambda m: m[0]._parameters.update(weight=nn.Parameter(pellucid.ones(5, 3))),
    "a parameter that is gone": lambda m: m[0]._parameters.update(bias=None),
    "the order": reorder,
    "a parameter in another module": move,
    "requires_grad": lambda m: m[0].weight.requires_grad_(False),
    "data": lambda m: setattr(m[0].weight, "data", pellucid.ones(4, 4)),
    "a new part": lambda m: m[3]._modules.update(z=nn.Linear(1, 1)),
    "another part": lambda m: m._modules.update({"0": nn.Linear(1, 5)}),
    "a new buffer": lambda m: m[1]._buffers.update(z=pellucid.ones(2)),
    "a buffer where there was none": lambda m: m[3]._buffers.update(z=pellucid.ones(2)),
    "a buffer that is not saved": lambda m: m[1]._non_persistent_buffers_set.add("running_mean"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("fn", [sizes, wanted, names, halves, buffers, saved, given], ids=lambda fn: fn.__name__)
def test_every_change_is_seen(fn, what):
    model, x = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2, bias=False), nn.ReLU()), pellucid.ones(1, 2)
    compiled = pellucid.compile(lambda x: fn(model, x), backend="eager")
    assert compiled(x).tolist() == compiled(x).tolist() == fn(model, x).tolist()
    CHANGES[what](model)
    assert compiled(x).tolist() == fn(model, x).tolist()


def test_nothing_is_checked_that_is_only_called():
    model, x = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), pellucid.ones(1, 2)
    compiled = pellucid.compile(lambda x: model(x), backend="eager")
    compiled(x)
    assert not [g for e in compiled.versions for g in e.writer.guards if "their order" in g.why]
