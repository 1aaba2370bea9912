"""The benchmarks' models run, and train as PyTorch's do: the same losses from the same seed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import pellucid

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
from models import Function, Training, lstm, mlp, resnet, rows, transformer  # noqa: E402

needs_text = pytest.mark.skipif(not transformer.DATA.exists(), reason="the text is not in this checkout")
TRAININGS = {
    "mlp": mlp.training,
    "block": lambda torch: transformer.block(torch, d=64, length=32, batch=4),
    "gpt": lambda torch: transformer.gpt(torch, layers=2, d=48, length=32),
    "gpt with dropout": lambda torch: transformer.gpt(torch, layers=1, d=48, length=32, dropout=0.2),
    "resnet18": lambda torch: double(resnet.training(torch, batch=4, size=64, width=8)),
    "lstm": lambda torch: lstm.training(torch, hidden=64, length=16, batch=8),
}
FUNCTIONS = {
    "gelu": rows.gelu,
    "softmax": lambda torch: rows.softmax(torch, True),
    "layer_norm": lambda torch: rows.layer_norm(torch, True),
    "resnet18 inference": lambda torch: resnet.inference(torch, size=64, width=8),
}


def double(work: Training) -> Training:
    """In float64: batch norm over few numbers magnifies rounding."""
    work.model.double()
    work.batches = [(x.double(), y) for x, y in work.batches]
    return work


def named(table: dict) -> list:
    return [pytest.param(name, marks=needs_text if "gpt" in name else ()) for name in table]


def losses(work: Training, steps: int = 3) -> list[float]:
    return [work.step(*work.batches[i % len(work.batches)]).item() for i in range(steps)]


@pytest.mark.parametrize("name", named(TRAININGS))
def test_training_lowers_the_loss(name):
    work = TRAININGS[name](pellucid)
    work.batches = work.batches[:1]
    first, *_, last = losses(work)
    assert last < first


@pytest.mark.parametrize("name", named(TRAININGS))
def test_compiled_training_is_eager_training(name):
    """One native function per step, nothing of it in Python, the same losses."""
    eager, work = TRAININGS[name](pellucid), TRAININGS[name](pellucid)
    pellucid.manual_seed(1)
    expected = losses(eager)
    work.step = pellucid.compile(work.step, fullgraph=True)
    pellucid.manual_seed(1)
    assert losses(work) == pytest.approx(expected, abs=1e-4)
    assert work.step.compiles == 1
    if "dropout" not in name and name != "resnet18":          # draws, and convolutions in float64, run from Python
        assert not work.step.report().host_calls


@pytest.mark.parametrize("name", named(FUNCTIONS))
def test_compiled_functions_are_eager_functions(name, monkeypatch):
    monkeypatch.setattr(rows, "ROWS", 8)
    work = FUNCTIONS[name](pellucid)
    expected = [t.clone() for t in results(work)]
    work.fn = pellucid.compile(work.fn, fullgraph=True)
    for a, b in zip(results(work), expected, strict=True):
        assert pellucid.allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", named(TRAININGS))
def test_losses_are_those_of_torch(name):
    torch = pytest.importorskip("torch")
    assert losses(TRAININGS[name](pellucid)) == pytest.approx(losses(TRAININGS[name](torch)), abs=1e-4)


@pytest.mark.parametrize("name", named(FUNCTIONS))
def test_functions_are_those_of_torch(name, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(rows, "ROWS", 8)
    ours, theirs = (results(FUNCTIONS[name](module)) for module in (pellucid, torch))
    for a, b in zip(ours, theirs, strict=True):
        assert pellucid.allclose(a, pellucid.from_numpy(b.numpy()), rtol=1e-4, atol=1e-5)


def results(work: Function) -> list:
    y = work()
    return [y] if y is not None else [leaf.grad for leaf in work.leaves]
