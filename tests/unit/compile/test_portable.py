"""Compiled networks on machines that lack something: oneDNN, libgomp, newer instructions, llvmlite. Each mode is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

HEAD = """
import copy, sys, warnings
warnings.simplefilter("error")
warnings.simplefilter("ignore", RuntimeWarning)
import pellucid
from pellucid import nn
from pellucid.nn import functional as F

class Block(nn.Module):
    def __init__(self, d=32, heads=4):
        super().__init__()
        self.heads, self.d = heads, d
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj, self.fc, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (p.view(b, t, self.heads, d // self.heads).transpose(1, 2) for p in self.qkv(self.norm1(x)).split(d, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).contiguous().view(b, t, d))
        return x + self.out(F.gelu(self.fc(self.norm2(x))))

def mlp():
    return nn.Sequential(nn.Linear(50, 40), nn.ReLU(), nn.Linear(40, 10))

def conv():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, stride=2),
                         nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10))

CASES = {"mlp": (mlp, lambda: (pellucid.randn(24, 50), pellucid.randint(0, 10, (24,))), F.cross_entropy),
         "conv": (conv, lambda: (pellucid.randn(4, 3, 16, 16), pellucid.randint(0, 10, (4,))), F.cross_entropy),
         "block": (Block, lambda: (pellucid.randn(2, 40, 32), pellucid.randn(2, 40, 32)), F.mse_loss),
         "lstm": (lambda: nn.LSTM(12, 16), lambda: (pellucid.randn(9, 4, 12), pellucid.randn(9, 4, 16)), lambda y, t: F.mse_loss(y[0], t))}

def train(make, batch, loss_of, compiled):
    pellucid.manual_seed(0)
    m = make()
    optimizer = pellucid.optim.SGD(m.parameters(), lr=0.05, momentum=0.9)
    def step(x, y):
        optimizer.zero_grad()
        loss = loss_of(m(x), y)
        loss.backward()
        optimizer.step()
        return loss
    run = pellucid.compile(step, fullgraph=FULLGRAPH) if compiled else step
    losses = []
    for k in range(3):
        pellucid.manual_seed(k)
        losses.append(run(*batch()).item())
    return m, losses, run

def close(a, b, tolerance=1e-4):
    assert pellucid.allclose(a, b, rtol=tolerance, atol=tolerance), float((a - b).abs().max())

def trainings():
    reports = {}
    for name, case in CASES.items():
        m, expected, _ = train(*case, False)
        n, found, run = train(*case, True)
        assert all(abs(a - b) < 1e-4 * abs(a) for a, b in zip(expected, found)), (name, expected, found)
        for p, q in zip(m.state_dict().values(), n.state_dict().values()):
            close(p.float(), q.float())
        reports[name] = run.report()
    return reports

def rows():
    x, w, g = pellucid.randn(37, 130), pellucid.randn(130), pellucid.randn(37, 130)
    def f(x, w):
        return F.softmax(x, -1) + F.layer_norm(x, (130,), w) + F.log_softmax(x, 0)
    c = pellucid.compile(f, fullgraph=FULLGRAPH)
    found = []
    for fn in (f, c):
        a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
        y = fn(a, b)
        y.backward(g)
        found.append((y.detach(), a.grad, b.grad))
    for a, b in zip(*found):
        close(a, b, 1e-5)

def inference():
    m = conv().eval()
    c = pellucid.compile(m, fullgraph=FULLGRAPH)
    x = pellucid.randn(2, 3, 16, 16)
    with pellucid.no_grad():
        for _ in range(2):
            close(c(x), m(x))
    low = pellucid.compile(mlp().bfloat16(), fullgraph=FULLGRAPH)
    x = pellucid.randn(5, 50).bfloat16()
    with pellucid.no_grad():
        close(low(x).float(), low._orig_mod(x).float(), 0.05)
"""
NATIVE = "FULLGRAPH = True\nreports = trainings()\nrows()\ninference()\n"


def run(body: str, **environment: str) -> str:
    r = subprocess.run([sys.executable, "-c", HEAD + textwrap.dedent(body)], env={**os.environ, "OMP_NUM_THREADS": "2", **environment},
                       capture_output=True, text=True, timeout=110)
    assert r.returncode == 0, r.stderr
    return r.stdout


def test_without_onednn():
    out = run(NATIVE + """
for name, r in reports.items():
    assert r.library_calls == 0 and r.kernels > 0, name
    assert str(r).count("oneDNN is switched off") == 1, str(r)
    print(name, r.host_calls)
""", PELLUCID_NO_ONEDNN="1")
    assert {"mlp 0", "block 0", "lstm 0"} <= set(out.splitlines())      # convolutions are NumPy's


def test_without_libgomp():
    run(NATIVE + """
from pellucid.native import threads
assert threads.count() == 1
for name, r in reports.items():
    assert str(r).count("libgomp is switched off") == 1, name
""", PELLUCID_NO_GOMP="1")


@pytest.mark.parametrize("isa", ["avx2", "baseline"])
def test_older_instructions(isa):
    out = run(NATIVE + """
for r in reports.values():
    print([p[-1].get("isa") for p in r.parts])
""", PELLUCID_ISA=isa)
    assert set(out.split()) == {f"['{isa}']"}


def test_without_llvmlite():
    """Compiled functions run as they are, with one warning each that says why; nothing else is said."""
    run("""
        class Blocked:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "llvmlite":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Blocked())
        assert "llvmlite" not in sys.modules
        FULLGRAPH = False
        x = pellucid.randn(400, 500)
        F.softmax(x, -1) + F.gelu(x)                    # large, and silent
        f = lambda x: (x * 2).relu() + 1
        c = pellucid.compile(f)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                close(c(x), f(x))
        assert len(caught) == 1 and "runs uncompiled" in str(caught[0].message) and "llvmlite" in str(caught[0].message), [str(w.message) for w in caught]
        try:
            pellucid.compile(f, fullgraph=True)(x)
        except Exception as error:
            assert "llvmlite" in str(error), error
        else:
            raise AssertionError("fullgraph=True asks for the error")
        close(pellucid.compile(f, fullgraph=True, backend="eager")(x), f(x))
        close(pellucid.compile(f, fullgraph=True, backend="python")(x[:3]), f(x[:3]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            trainings()
            rows()
            inference()
        print(pellucid.trace(f, x))
    """)
