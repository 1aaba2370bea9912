"""Every reason to stop has an id: something that triggers it, a line in the documentation, and the result of plain Python."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pellucid
from pellucid.capture.breaks import KINDS
from pellucid.core.config import config
from pellucid.tensor.tracing import TraceError

BREAKS = Path(pellucid.__file__).parents[1] / "docs" / "reference" / "breaks.md"
outside = iter(range(1000))
members = {object()}
weight = pellucid.ones(3, requires_grad=True)
kept = weight * 2


class Config:
    rate = 1


@pellucid.compiler.disable
def kept_out(x):
    return x + 1


def value(x):
    return x * x.sum().item()


def foreign(x):
    return x * (time.time() > 0)


def output(x):
    print(end="", file=sys.stderr)
    return x * 2


def disabled(x):
    return kept_out(x) * 2


def iterator(x):
    next(outside)
    return x * 2


def unseen(x):
    return x * len(list(members))


def class_written(x):
    Config.rate = 1
    return x * Config.rate


def deep(x, n=300):
    return x if n == 0 else deep(x + 1, n - 1)


def continued_backward(x):
    weight.grad = None
    loss = (x * kept).sum()
    loss.backward(retain_graph=True)
    return weight.grad * 2


def scheduled(x):
    optimizer = pellucid.optim.SGD([weight], lr=1.0)
    scheduler = pellucid.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5 ** epoch)
    optimizer.step()
    scheduler.step()
    return x * optimizer.param_groups[0]["lr"]


def local_class(x):
    class Local:
        rate = 3

    return x * Local.rate


def asynchronous(x):
    async def later():
        return x

    coroutine = later()
    coroutine.close()
    return x * 2


def uncaptured(x):
    values = [1, 2, 3]
    return x * sum(iter(values.pop, 1))


def raises(x):
    raise ValueError(f"of {len(x)}")


def fails(x):
    return x @ pellucid.ones(7)


def drawn(x):
    return x * (random.random() < 2)


def unrepeatable(x):
    view = {"a": 1}.keys()
    scale = x.sum().item()
    return x * scale * len(view)


def identity(x):
    return x * (id(object()) > 0)


def numpy_values(x):
    return pellucid.from_numpy(np.sort(x))


def evaluated(x):
    k = 3
    return x * eval("k + 1")


def hooked(x):
    y = (x + WEIGHT) * 2
    y.register_hook(lambda g: g * 2)
    return y.sum()


WEIGHT = pellucid.ones(3, requires_grad=True)
TRIGGERS = {"PX001": value, "PX002": foreign, "PX003": output, "PX004": disabled, "PX005": iterator, "PX006": unseen, "PX007": class_written,
            "PX008": deep, "PX009": continued_backward, "PX010": local_class, "PX011": asynchronous, "PX012": uncaptured, "PX013": raises, "PX014": fails, "PX015": drawn,
            "PX016": unrepeatable, "PX017": identity, "PX018": numpy_values, "PX019": evaluated, "PX020": hooked, "PX021": scheduled}


def outcome(fn, x):
    try:
        return fn(x).tolist()
    except (ValueError, RuntimeError) as error:
        return type(error).__name__, str(error).partition("\n")[0]


@pytest.mark.filterwarnings("ignore:.* runs uncompiled")
@pytest.mark.parametrize("number", KINDS)
def test_each_break(number):
    fn = TRIGGERS[number]
    compiled = pellucid.compile(fn, backend="eager")
    for x in (pellucid.ones(3), pellucid.arange(3.0), pellucid.ones(3)):
        assert outcome(compiled, x) == outcome(fn, x)
    met = {b.number for b in compiled.breaks}
    assert number in met or compiled.gave_up and KINDS[number].title in compiled.gave_up, met
    assert f"| {number} | {KINDS[number].title} |" in BREAKS.read_text()
    for b in compiled.breaks:
        assert b.file == __file__ and b.line and b.remedy


def test_fullgraph_names_the_break():
    with pytest.raises(TraceError, match=r"(?s)PX001.*|a value is needed.*test_breaks.py"):
        pellucid.compile(value, fullgraph=True, backend="eager")(pellucid.ones(2))


table = pellucid.arange(40.0).view(10, 4)


def test_an_operator_that_refuses_behind_a_break_says_what_eager_says():
    def looked_up(x, i):
        scale = x.sum().item()
        return table[i] * scale

    compiled = pellucid.compile(looked_up)
    x, good, bad = pellucid.ones(3), pellucid.tensor([1, 2]), pellucid.tensor([1, 10])
    assert compiled(x, good).tolist() == looked_up(x, good).tolist()
    with pytest.raises(IndexError) as eager:
        looked_up(x, bad)
    with pytest.raises(IndexError, match=str(eager.value).partition("\n")[0]):
        compiled(x, bad)


@pytest.mark.filterwarnings("ignore:.* runs uncompiled")
def test_a_constructor_that_goes_on_as_python_gives_its_object(monkeypatch):
    class Holder:
        def __init__(self, x):
            self.total = x.sum().item()
            self.twice = x * 2

    def held(x):
        holder = Holder(x)
        return holder.twice * holder.total

    monkeypatch.setattr(config, "recompile_limit", 1)
    compiled = pellucid.compile(held, backend="eager")
    for n in (2, 3, 4):                             # another number behind the break: a version too many there, not at the start
        x = pellucid.arange(3.0) * n
        assert compiled(x).tolist() == held(x).tolist()
