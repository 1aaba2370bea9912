"""From the third size on a function costs no machine code: what varied is an argument; results stay those of plain Python."""

from __future__ import annotations

import json

import pytest

import pellucid
from pellucid import nn
from pellucid.native import build, jit

ANY = (64, 60, 9, 33, 8, 52, 47, 16, 11, 63)
# Where the schedule or the tiling is another one below a bound (16 rows for two threads, products of 192 rows), sizes above it.
LARGER = (64, 60, 52, 36, 28, 40, 33, 56)


@pytest.fixture(autouse=True)
def afresh(tmp_path, monkeypatch):
    """Nothing was compiled before."""
    monkeypatch.setenv("PELLUCID_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("PELLUCID_CACHE", raising=False)
    monkeypatch.setattr(jit, "_kept", {})
    build._memory.clear()


def mlp():
    model = nn.Sequential(nn.Linear(70, 40), nn.ReLU(), nn.Linear(40, 10))
    return model, nn.CrossEntropyLoss(), lambda n: (pellucid.randn(n, 70), pellucid.randint(0, 10, (n,)))


def column():
    model = nn.Sequential(nn.Linear(33, 48), nn.Tanh(), nn.Linear(48, 1))
    return model, nn.MSELoss(), lambda n: (pellucid.randn(n, 33), pellucid.randn(n, 1))


def cnn():
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 25, 10))
    return model, nn.CrossEntropyLoss(), lambda n: (pellucid.randn(n, 1, 12, 12), pellucid.randint(0, 10, (n,)))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.head = nn.Embedding(20, 32), nn.Linear(32, 20)
        self.layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True)

    def forward(self, x):
        return self.head(self.layer(self.tokens(x))).flatten(0, 1)


def encoder():
    return Encoder(), nn.CrossEntropyLoss(), lambda n: (pellucid.randint(0, 20, (n, 12)), pellucid.randint(0, 20, (n * 12,)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(12, 32, batch_first=True), nn.Linear(32, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def lstm():
    return Recurrent(), nn.CrossEntropyLoss(), lambda n: (pellucid.randn(n, 7, 12), pellucid.randint(0, 3, (n,)))


def lengths():
    return Recurrent(), nn.CrossEntropyLoss(), lambda n: (pellucid.randn(16, n, 12), pellucid.randint(0, 3, (16,)))


def steps(make, wrap):
    pellucid.manual_seed(0)
    model, criterion, data = make()
    optimizer = pellucid.optim.SGD(model.parameters(), lr=0.01)

    def step(x, y):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss
    return wrap(step), model, data


@pytest.mark.parametrize(("make", "batches"), [(mlp, ANY), (column, ANY), (cnn, LARGER), (encoder, LARGER), (lstm, ANY), (lengths, LARGER)],
                         ids=lambda x: getattr(x, "__name__", ""))
@pytest.mark.parametrize("disk", [True, False], ids=["disk", "memory"])
def test_objects_by_size(make, batches, disk, monkeypatch):
    if not disk:
        if make is not mlp:
            pytest.skip("once is enough")
        monkeypatch.setenv("PELLUCID_CACHE", "0")
    compiled, ours, data = steps(make, lambda step: pellucid.compile(step, dynamic=False, fullgraph=True))
    step, theirs, _ = steps(make, lambda step: step)
    fresh = []
    for n in batches:
        x, y = data(n)
        a, b = compiled(x, y), step(x, y)
        assert pellucid.allclose(a, b, rtol=1e-4, atol=1e-5), (n, a, b)
        report = compiled.versions[0].execute.report
        fresh.append(report["objects"] - report["cached_objects"])
    assert len(compiled.versions) == len(batches)
    assert fresh[0] > 0 and fresh[1] > 0 and fresh[2:] == [0] * (len(batches) - 2), fresh
    for p, q in zip(ours.parameters(), theirs.parameters()):
        assert pellucid.allclose(p, q, rtol=1e-3, atol=1e-4)


def test_the_bits_do_not_depend_on_which_size_came_first():
    """A size has the same results compiled first, with its numbers in the code, and later, with arguments."""
    found = []
    for order in ((24, 40), (40, 24)):
        pellucid.manual_seed(0)
        model, criterion, data = mlp()
        compiled = pellucid.compile(lambda x, y: criterion(model(x), y), dynamic=False)
        batches = {n: data(n) for n in (24, 40)}
        build._memory.clear()
        found.append({n: compiled(*batches[n]).item() for n in order})
    assert found[0] == found[1]


def test_versions_share_memory():
    compiled, _, data = steps(mlp, lambda step: pellucid.compile(step, dynamic=False, fullgraph=True))
    for n in (300, 2000, 700, 1999):
        compiled(*data(n))
    arenas = {v.execute.program.arena: v.execute.instance.arena for v in compiled.versions}
    places = {a.ctypes.data for a in arenas.values()}
    assert len(arenas) == 4 and len(places) == 2              # what the first size needed, and twice that or what the largest does


def test_explain_says_what_is_shared():
    compiled = pellucid.compile(lambda x: (x.exp() / 3).sum(1), dynamic=False)
    for n in (20, 30, 40):
        compiled(pellucid.ones(n, 50))
    found = pellucid.explain(compiled)(pellucid.ones(20, 50))
    rows = json.loads(found.json())["sizes"]
    assert [row["status"] for row in rows] == ["compiled"] * 3
    assert {row["sizes"]["argument[0][0]"]: row["new_objects"] > 0 for row in rows}[40] is False
    assert "argument[0][0] = 20 (1 objects of machine code)" in str(found)
