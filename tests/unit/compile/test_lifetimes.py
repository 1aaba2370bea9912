"""What compiled functions keep, and what they notice: memory, processes and threads, state that changes between calls, the same bits again."""

from __future__ import annotations

import copy
import gc
import hashlib
import linecache
import multiprocessing
import os
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pytest

import pellucid
from pellucid import nn
from pellucid.core.config import config
from pellucid.nn import functional as F
from pellucid.utils.data import DataLoader

randn = pellucid.randn


def mix(x):
    return (F.softmax(x, -1) * x).sum(0), x.mean()


# ---------------------------------------------------------------------------------------------------- memory
def test_nothing_of_a_call_is_kept():
    compiled = pellucid.compile(lambda x: (x * 2).relu() + 1, fullgraph=True)
    for make in (lambda: randn(100, 100), lambda: randn(200, 100)[::2], lambda: randn(100, 100) + 1):
        x = make()
        y = compiled(x)
        kept = [weakref.ref(t) for t in (x, x._a, y, y._a)]
        del x, y
        assert not [r() for r in kept if r() is not None]


def test_gradients_and_what_they_need_are_let_go():
    m = nn.Linear(50, 50)
    compiled = pellucid.compile(m, fullgraph=True)
    x = randn(8, 50)
    y = compiled(x).tanh().sum()
    saved = weakref.ref(x._a)
    y.backward()
    m.zero_grad()
    del x
    assert saved() is None
    held = weakref.ref(y)
    del y
    assert held() is None


def test_functions_that_are_dropped_are_gone():
    made, files = [], len(linecache.cache)
    for k in range(12):
        weight = randn(4, 4)

        def fn(x, weight=weight, k=k):
            return x @ weight * (k + 0.5)
        compiled = pellucid.compile(fn, fullgraph=True, options={"cache": False})
        compiled(randn(3, 4))
        made += [weakref.ref(compiled), weakref.ref(weight), weakref.ref(compiled.versions[0].execute)]
    del compiled, fn, weight
    gc.collect()
    assert not [r() for r in made if r() is not None]
    assert len(linecache.cache) <= files + 1


@pytest.mark.alone
def test_memory_does_not_grow():
    def resident() -> float:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def fifty(start):
        for k in range(50):
            compiled = pellucid.compile(lambda x, k=k: mix(x * (start + k + 0.5)), fullgraph=True, options={"cache": False})
            compiled(randn(300, 1000))
        gc.collect()
    fifty(0)
    before = resident()
    fifty(1000)
    assert resident() < before + 30


# ---------------------------------------------------------------------------------------------------- threads and processes
def test_the_number_of_threads_may_change():
    compiled = pellucid.compile(mix, fullgraph=True)
    x = randn(500, 200)
    expected = mix(x)
    before = config.threads
    try:
        for n in (1, 2, 3, 1, 2):
            pellucid.set_num_threads(n)
            for a, b in zip(compiled(x), expected):
                assert pellucid.allclose(a, b, atol=1e-5)
    finally:
        pellucid.set_num_threads(before)
    assert compiled.compiles == 1


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_calls_and_compiles():
    compiled = pellucid.compile(mix, fullgraph=True)
    x = randn(400, 300)
    expected = compiled(x)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        right = all(pellucid.allclose(a, b, atol=1e-5) for a, b in zip(compiled(x), expected))
        fresh = pellucid.compile(lambda x: mix(x + 1), fullgraph=True)
        right = right and all(pellucid.allclose(a, b, atol=1e-5) for a, b in zip(fresh(x), mix(x + 1)))
        os.write(writer, b"fine" if right else b"wrong")
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 10) == b"fine"
    os.close(reader)
    assert os.waitpid(pid, 0)[1] == 0
    assert all(pellucid.allclose(a, b, atol=1e-5) for a, b in zip(compiled(x), expected))


class Doubled:
    """A dataset whose items come out of a compiled function."""

    def __init__(self):
        self.fn = pellucid.compile(lambda x: x * 2 + 1, fullgraph=True)
        self.fn(pellucid.ones(2000))

    def __len__(self):
        return 6

    def __getitem__(self, i):
        return self.fn(pellucid.full((2000,), float(i)))


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_data_workers_may_call_compiled_functions():
    context = multiprocessing.get_context("fork")
    batches = list(DataLoader(Doubled(), batch_size=2, num_workers=2, multiprocessing_context=context))
    assert [b[:, 0].tolist() for b in batches] == [[1, 3], [5, 7], [9, 11]]


# ---------------------------------------------------------------------------------------------------- state that changes
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.register_buffer("scale", pellucid.ones(3))

    def forward(self, x):
        return self.last(F.dropout(self.norm(self.first(x)).relu(), 0.5, self.training)) * self.scale


def replace_weight(m):
    pellucid.manual_seed(5)
    m.first.weight = nn.Parameter(randn(8, 6))


def replace_data(m):
    pellucid.manual_seed(6)
    m.last.weight.data = randn(3, 8)


def load(m):
    m.load_state_dict({k: v * 1.5 if v.is_floating_point() else v for k, v in m.state_dict().items()})


def write_in_place(m):
    with pellucid.no_grad():
        m.first.weight.mul_(1.1)
        m.scale.add_(0.5)


def freeze(m):
    m.first.weight.requires_grad_(False)


def replace_module(m):
    pellucid.manual_seed(7)
    m.last = nn.Linear(8, 3)


CHANGES = [lambda m: None, lambda m: m.eval(), lambda m: m.double(), lambda m: m.float(), lambda m: m.train(), replace_weight, replace_data, load,
           write_in_place, freeze, lambda m: m.bfloat16(), lambda m: m.float(), lambda m: m.norm.eval(),
           lambda m: m.register_buffer("scale", pellucid.full((3,), 2.0)), replace_module, lambda m: m.requires_grad_(True),
           lambda m: setattr(m.norm, "momentum", 0.5), lambda m: setattr(m.last, "bias", None)]


@pytest.mark.parametrize("step", [False, True], ids=["forward", "step"])
def test_changes_between_calls(step):
    """Whatever happens to a module between two calls, the next is eager's."""
    models = [Model(), None]
    models[1] = copy.deepcopy(models[0])

    def runner(m):
        def run(x):
            y = m(x).square().sum()
            if step:
                m.zero_grad()
                y.backward()
                return y.detach()
            return y
        return run

    runs = runner(models[0]), pellucid.compile(runner(models[1]), fullgraph=True)
    x = randn(5, 6)
    for k, change in enumerate(CHANGES):
        found = []
        for m, run in zip(models, runs):
            change(m)
            for _ in range(2):
                pellucid.manual_seed(k)
                y = run(x.to(m.first.weight.dtype))
            if not step:
                m.zero_grad()
                y.backward()
            found.append([y, *[p.grad for p in m.parameters()], *m.buffers()])
        low = 0.05 if models[0].first.weight.dtype is pellucid.bfloat16 else 0
        for a, b in zip(*found, strict=True):
            assert (a is None) == (b is None), k
            if a is not None:
                assert a.dtype is b.dtype and pellucid.allclose(a.float(), b.float(), rtol=low or 1e-3, atol=low or 1e-4), k
        if k % 5 == 4:
            runs[1].reset()                     # there is a limit to the number of versions


def test_modes_of_autograd(same_as_eager):
    m = nn.Linear(4, 3)
    compiled = pellucid.compile(m, fullgraph=True)
    x = randn(2, 4)
    for context in (pellucid.no_grad(), pellucid.enable_grad(), pellucid.inference_mode(), pellucid.no_grad(), pellucid.enable_grad(),
                    pellucid.autocast("cpu", dtype=pellucid.bfloat16)):
        with context:
            found, expected = compiled(x), m(x)
        assert found.dtype is expected.dtype and found.requires_grad == expected.requires_grad and found.is_inference() == expected.is_inference()
        assert pellucid.allclose(found.float(), expected.float(), atol=1e-5 if found.dtype is pellucid.float32 else 0.05)
    assert compiled.compiles == 4


# ---------------------------------------------------------------------------------------------------- the same bits
TRAINING = """
    import hashlib
    import pellucid
    from pellucid import nn
    from pellucid.nn import functional as F

    pellucid.set_num_threads(2)
    pellucid.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
            self.attention, self.last = nn.Linear(16, 48), nn.Linear(16, 10)

        def forward(self, x):
            x = F.relu(self.norm(self.conv(x))).flatten(2).transpose(1, 2)
            q, k, v = (t.unflatten(2, (2, 8)).transpose(1, 2) for t in self.attention(x).split(16, 2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
            return self.last(F.layer_norm(F.dropout(x + y, 0.1, self.training), (16,)).mean(1))

    model = Net()
    optimizer = pellucid.optim.AdamW(model.parameters())

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    compiled = pellucid.compile(step, fullgraph=True)
    for _ in range(3):
        compiled(pellucid.randn(8, 3, 12, 12), pellucid.randint(0, 10, (8,)))
    digest = hashlib.sha256()
    for t in model.state_dict().values():
        digest.update(t.numpy().tobytes())
    print(digest.hexdigest())
"""


def test_two_processes_give_the_same_bits(tmp_path):
    def run():
        env = {**os.environ, "PELLUCID_CACHE_DIR": str(tmp_path)}
        r = subprocess.run([sys.executable, "-c", textwrap.dedent(TRAINING)], env=env, capture_output=True, text=True, timeout=100)
        assert r.returncode == 0, r.stderr
        return r.stdout
    assert run() == run()                       # compiled anew, and from the cache


def test_twenty_calls_give_the_same_bits():
    m = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 50))
    weight = randn(300, 400)

    def run(x, z, y):
        loss = F.cross_entropy(m(x), y) + F.softmax(z @ weight, -1).std() + z.sum(0).square().mean() + pellucid.index_select(z, 0, y).exp().mean()
        return loss, *pellucid.autograd.grad(loss, [*m.parameters(), z])

    compiled = pellucid.compile(run, fullgraph=True)
    x, z, y = randn(8, 3, 16, 16), randn(500, 300).requires_grad_(), pellucid.randint(0, 50, (8,))
    before = config.threads
    try:
        for threads in (1, 2):
            pellucid.set_num_threads(threads)
            digests = set()
            for _ in range(20):
                digest = hashlib.sha256()
                for t in compiled(x, z, y):
                    digest.update(np.ascontiguousarray(t.detach().numpy()).tobytes())
                digests.add(digest.hexdigest())
            assert len(digests) == 1
    finally:
        pellucid.set_num_threads(before)
