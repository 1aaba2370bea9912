"""Sizes that vary: at most two are compiled as they come, the others once it pays; results are those of plain Python."""

from __future__ import annotations

import copy
import json

import pytest

import pellucid
from pellucid import compiler, nn
from pellucid.compiler import driver, sizes
from pellucid.core.config import config


@pytest.fixture
def dear(monkeypatch):
    """Compiling never pays by time."""
    monkeypatch.setattr(sizes.Met, "pays", property(lambda met: False))


@pytest.fixture
def counted():
    """Whether it pays is a matter of counts."""
    pellucid.use_deterministic_algorithms(True)
    yield
    pellucid.use_deterministic_algorithms(False)


def close(a, b):
    assert pellucid.allclose(a, b, rtol=1e-4, atol=1e-5), (a, b)


@pytest.mark.parametrize("backend", ["eager", "llvm"])
@pytest.mark.parametrize("fullgraph", [False, True])
def test_fifty_batch_sizes_of_a_training_step(dear, backend, fullgraph):
    def make(wrap):
        pellucid.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        optimizer = pellucid.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

        def step(x, y):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss
        return wrap(step), model

    compiled, ours = make(lambda step: pellucid.compile(step, backend=backend, fullgraph=fullgraph))
    step, theirs = make(lambda step: step)
    for n in range(1, 51):
        x, y = pellucid.randn(n, 8), pellucid.randint(0, 4, (n,))
        close(compiled(x, y), step(x, y))
    for p, q in zip(ours.parameters(), theirs.parameters()):
        close(p, q)
    assert compiled.compiles == 2 and compiled.gave_up is None and not compiled.breaks


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(20, 16), nn.Parameter(pellucid.randn(64, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 20)

    def forward(self, idx):
        b, t = idx.size()
        x = self.tokens(idx) + self.positions[:t]
        mask = pellucid.ones(t, t).triu(1).bool()
        return self.head(self.block(x, src_mask=mask))


@pytest.mark.parametrize("settings", [{}, {"backend": "eager", "fullgraph": True}])
def test_fifty_lengths_of_a_transformer(dear, settings):
    model = Transformer()
    compiled = pellucid.compile(model, **settings)
    for t in range(1, 51):
        idx = pellucid.randint(0, 20, (2, t))
        close(compiled(idx), model(idx))
    assert compiled.compiles == 2


def test_a_length_beside_the_tensor(dear):
    compiled = pellucid.compile(lambda x, n: x.view(n, -1) + pellucid.zeros(n, 1), backend="eager")
    for n in range(1, 51):
        x = pellucid.randn(3 * n)
        assert compiled(x, n).tolist() == x.view(n, -1).tolist()
    assert compiled.compiles == 2


def test_a_size_that_is_met_often_is_compiled(counted):
    compiled = pellucid.compile(lambda x: x * 2 + 1, backend="eager")
    for n in range(1, 31):
        compiled(pellucid.ones(n))
    assert compiled.compiles == 2
    seen = []
    for _ in range(sizes.CALLS + 1):
        assert compiled(pellucid.ones(30)).tolist() == [3] * 30
        seen.append(compiled.compiles)
    assert seen == [2] * (sizes.CALLS - 1) + [3, 3]


def test_time_decides_when_it_pays():
    met = sizes.Met(1.0)
    sizes.timed(met, lambda *args: None, (), {})
    assert met.calls == 1 and 0 < met.seconds < 1 and not met.pays
    met.seconds = 1.5
    assert met.pays
    compiled = pellucid.compile(lambda x: x * 2, backend="eager")
    for n in (1, 2, 3, 3):
        compiled(pellucid.ones(n))
    (key, found), = compiled.sizes.met.items()
    assert found.calls == 2 and found.price == min(v.price for v in compiled.versions)
    found.seconds = 2 * found.price
    assert compiled(pellucid.ones(3)).tolist() == [2] * 3 and compiled.compiles == 3 and not compiled.sizes.met


def test_dynamic(dear):
    def count(sizes, mark=None, **settings):
        compiled = pellucid.compile(lambda x: x + 1, backend="eager", **settings)
        for shape in sizes:
            x = pellucid.ones(shape)
            if mark is not None:
                mark(x)
            assert compiled(x).tolist() == (x + 1).tolist()
        return compiled.compiles

    many = [(n, 2) for n in range(1, 8)]
    wide = [(2, n) for n in range(1, 8)]
    assert [count(many, dynamic=d) for d in (None, True, False)] == [2, 1, 7]
    assert count(many, lambda x: compiler.mark_dynamic(x, 0)) == 1
    assert count(many, lambda x: compiler.mark_dynamic(x, -2), dynamic=False) == 1
    assert count(many, lambda x: compiler.mark_dynamic(x, 1), dynamic=False) == 7
    assert count(many, lambda x: compiler.mark_static(x, [0])) == 7
    assert count(wide, lambda x: compiler.mark_static(x)) == 7
    assert count(wide, lambda x: compiler.mark_static(x, 0)) == 2
    with pytest.raises(TypeError, match="P3124"):
        compiler.mark_dynamic(3, 0)
    with pytest.raises(IndexError, match="P3125"):
        compiler.mark_static(pellucid.ones(2), 1)


def test_marks_leave_a_tensor_what_it_was():
    x = pellucid.ones(3)
    compiler.mark_dynamic(x, 0)
    state = pellucid.zeros(3)

    def fn(x):
        state.add_(1)
        return x * 1

    compiled = pellucid.compile(fn, backend="eager")
    compiled(x)
    compiled(pellucid.ones(3))
    assert compiled.compiles == 1


def test_behind_a_break(dear):
    def fn(x):
        y = x * 2
        print(end="")
        if y.sum() > 0:
            y = y + x.shape[0]
        return y.sum()

    compiled = pellucid.compile(fn, backend="eager")
    for n in range(1, 51):
        assert compiled(pellucid.ones(n)).item() == fn(pellucid.ones(n)).item()
    assert all(part.compiles <= 2 for part in (compiled, *compiled.points.values())) and compiled.gave_up is None


def test_other_reasons_still_make_versions(dear):
    state = {"scale": 1.0}

    def fn(x, flag):
        return x * state["scale"] if flag else -x

    compiled = pellucid.compile(fn, backend="eager")
    for n in range(1, 10):
        compiled(pellucid.ones(n), True)
    assert compiled.compiles == 2
    assert compiled(pellucid.ones(20), False).tolist() == [-1] * 20 and compiled.compiles == 3
    assert compiled(pellucid.ones(20).double(), False).dtype is pellucid.float64 and compiled.compiles == 4
    assert compiled(pellucid.ones(20, 20).t(), False).shape == (20, 20) and compiled.compiles == 5
    state["scale"] = 5.0
    assert compiled(pellucid.ones(30), True).tolist() == [5] * 30


def test_hot_sizes_stop_at_the_limit_and_bookkeeping_is_bounded(counted, monkeypatch):
    monkeypatch.setattr(driver, "SIZES", 1)
    monkeypatch.setattr(config, "recompile_limit", 3)
    monkeypatch.setattr(sizes, "KEPT", 10)
    compiled = pellucid.compile(lambda x: x + 1, backend="eager")
    for _ in range(sizes.CALLS + 2):
        for n in range(1, 6):
            assert compiled(pellucid.ones(n)).tolist() == [2] * n
    assert compiled.compiles == 3 and compiled.gave_up is None
    for n in range(10, 60):
        compiled(pellucid.ones(n))
    assert len(compiled.sizes.met) <= 10
    compiled.reset()
    assert not compiled.sizes.met


def test_errors_of_plain_calls_are_the_functions_own(dear):
    compiled = pellucid.compile(lambda x: x.view(2, -1), backend="eager")
    for n in (2, 4, 6):
        assert compiled(pellucid.ones(n)).shape == (2, n // 2)
    with pytest.raises(RuntimeError, match="view"):
        compiled(pellucid.ones(7))
    assert compiled(pellucid.ones(8)).shape == (2, 4) and compiled.compiles == 2


def test_a_copy_of_a_compiled_module_learns_for_itself(dear):
    model = pellucid.compile(nn.Linear(3, 3), backend="eager")
    for n in range(1, 6):
        model(pellucid.ones(n, 3))
    other = copy.deepcopy(model)
    for n in range(10, 16):
        other(pellucid.ones(n, 3))
    assert model.compiles == 2 and other.compiles == 2


def test_explain_says_which_sizes_are_compiled(counted):
    compiled = pellucid.compile(lambda x: x + 1, backend="eager")
    for n in (1, 2, 3, 3, 4):
        compiled(pellucid.ones(n, 7))
    found = pellucid.explain(compiled)(pellucid.ones(4, 7))
    rows = json.loads(found.json())["sizes"]
    assert {(row["sizes"]["argument[0][0]"], row["status"], row["plain_calls"]) for row in rows} == {
        (1, "compiled", 0), (2, "compiled", 0), (3, "plain", 2), (4, "plain", 2)}
    assert rows[-1]["compiled_when"] == "after 6 more calls"
    assert "compiled for argument[0][0] = 1, argument[0][0] = 2" in str(found) and "after 6 more calls" in str(found)
