"""Compiled functions called by several threads and processes, and while somebody traces or profiles them."""

from __future__ import annotations

import cProfile
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import pellucid
from pellucid import compiler, nn
from pellucid.utils.data import DataLoader

ROOT = Path(__file__).resolve().parents[3]


def in_threads(*works, seconds: float = 60.0) -> None:
    """Run these at once; their errors come out, and so does that they hang."""
    errors: list = []
    ready = threading.Barrier(len(works))

    def run(work):
        try:
            ready.wait()
            work()
        except BaseException as error:
            errors.append(error)
    team = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for t in team:
        t.start()
    end = time.monotonic() + seconds
    for t in team:
        t.join(max(end - time.monotonic(), 0))
    if errors:
        raise errors[0]
    assert not any(t.is_alive() for t in team), "they wait for each other"


def close(a, b):
    assert pellucid.allclose(a, b, atol=1e-5), (a, b)


class Model(nn.Module):
    def __init__(self, breaks: bool):
        super().__init__()
        self.first, self.last, self.breaks = nn.Linear(6, 9), nn.Linear(9, 4), breaks

    def forward(self, x):
        h = self.first(x).relu()
        if self.breaks and h.sum() > 1e6:
            h = -h
        return self.last(h) + x.shape[0]


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("settings", [{}, {"backend": "eager"}, {"backend": "eager", "dynamic": False}], ids=str)
def test_first_and_later_calls_with_sizes_that_vary_while_another_thread_resets(breaks, settings):
    model = Model(breaks)
    compiled = pellucid.compile(model, **settings)
    inputs = [pellucid.randn(n, 6) for n in range(1, 6)]
    expected = [model(x).detach() for x in inputs]
    left = [3]

    def calls(k):
        def work():
            try:
                for _ in range(4):
                    for x, y in zip(inputs[k:] + inputs[:k], expected[k:] + expected[:k]):
                        close(compiled(x).detach(), y)
            finally:
                left[0] -= 1
        return work

    def resets():
        while left[0]:
            time.sleep(0.02)
            compiler.reset()

    in_threads(calls(0), calls(1), calls(3), resets)
    close(compiled(inputs[0]), expected[0])


@pytest.mark.parametrize("backend", ["eager", "llvm"])
def test_training_steps_in_threads(backend):
    """Each thread trains a model of its own by one compiled function, with sizes that vary."""
    def make():
        pellucid.manual_seed(1)
        m = nn.Linear(3, 2)
        return m, pellucid.optim.SGD(m.parameters(), lr=0.1)

    def step(m, optimizer, x):
        optimizer.zero_grad()
        loss = m(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    batches = [pellucid.randn(n, 3) for n in (4, 5, 4, 6, 7, 4)]
    alone = make()
    losses = [step(*alone, x).item() for x in batches]
    compiled = pellucid.compile(step, backend=backend)

    models = [make() for _ in range(3)]

    def trains(k):
        def work():
            for x, loss in zip(batches, losses):
                assert abs(compiled(*models[k], x).item() - loss) < 1e-5
        return work

    in_threads(*[trains(k) for k in range(3)])
    for m, _ in models:
        close(m.weight, alone[0].weight)


def test_plain_calls_are_not_disturbed_by_a_trace_in_another_thread():
    """While one thread traces, the weights have no values: who runs as plain Python is waited for."""
    model = Model(False)
    compiled = pellucid.compile(model, backend="eager", dynamic=True)
    compiled(pellucid.randn(1, 6))
    inputs = [pellucid.randn(n, 6) for n in range(2, 8)]
    expected = [model(x).detach() for x in inputs]

    def plain():
        for _ in range(30):
            for x, y in zip(inputs, expected):
                close(compiled(x).detach(), y)

    def traces():
        for k in range(15):
            fresh = pellucid.compile(lambda x: model(x) * (k + 2.0), backend="eager")
            close(fresh(inputs[0]), expected[0] * (k + 2.0))

    in_threads(plain, plain, traces)


def test_threads_that_wait_for_each_other_go_on():
    """A function that runs as plain Python waits for another thread, which compiles something."""
    ready, done = threading.Event(), threading.Event()
    compiled = pellucid.compile(lambda x: x + 1, backend="eager", dynamic=True)

    @compiler.disable
    def waits():
        ready.set()
        assert done.wait(30)

    def whole(x):
        if x.shape[0] > 1:
            waits()
        return x * 2

    outer = pellucid.compile(whole, backend="eager", dynamic=True)
    outer(pellucid.ones(1))

    def first():
        assert pellucid.compile(whole, backend="eager")(pellucid.ones(3)).tolist() == [2, 2, 2]
        assert outer(pellucid.ones(3)).tolist() == [2, 2, 2]

    def second():
        assert ready.wait(30)
        assert compiled(pellucid.ones(2)).tolist() == [2, 2]
        assert pellucid.compile(lambda x: x - 1, backend="eager")(pellucid.ones(2)).tolist() == [0, 0]
        done.set()

    in_threads(first, second)


def test_run_time_numbers_of_threads_are_their_own():
    compiled = pellucid.compile(lambda x, s: x * s, dynamic=True)
    x = pellucid.ones(4)
    compiled(x, 1.5)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def scales(s):
        def work():
            assert all(compiled(x, s)[0].item() == s for _ in range(15_000))
        return work

    try:
        in_threads(*[scales(k + 0.5) for k in range(3)])
    finally:
        sys.setswitchinterval(before)
    assert compiled.compiles == 1


def test_gradients_and_modes_of_threads_are_their_own():
    model = Model(False)
    compiled = pellucid.compile(model, backend="eager")
    x = pellucid.randn(3, 6)

    def with_gradients():
        for _ in range(20):
            assert compiled(x).requires_grad

    def without():
        with pellucid.no_grad():
            for _ in range(20):
                assert not compiled(x).requires_grad

    in_threads(with_gradients, without, with_gradients)
    assert compiled.compiles == 2


# ---------------------------------------------------------------------------------------------------- processes
@pellucid.compile
def affine(x):
    return x * 2 + 1


class Items:
    """A dataset whose items come from a compiled function, in sizes that vary."""

    def __init__(self, fn):
        self.fn = fn

    def __len__(self):
        return 6

    def __getitem__(self, i):
        return self.fn(pellucid.full((i + 1,), float(i))).sum()


def plain_affine(x):
    return x * 2 + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_that_are_forked_while_another_thread_compiles():
    stop = threading.Event()

    def compiles():
        while not stop.is_set():
            pellucid.compile(lambda x: x + 1, backend="eager")(pellucid.ones(3))

    thread = threading.Thread(target=compiles, daemon=True)
    thread.start()
    try:
        context = multiprocessing.get_context("fork")
        loader = DataLoader(Items(pellucid.compile(plain_affine)), batch_size=2, num_workers=2, multiprocessing_context=context, timeout=60)
        found = [v for b in loader for v in b.tolist()]
    finally:
        stop.set()
        thread.join(30)
    assert found == [(i + 1) * (2.0 * i + 1) for i in range(6)]


def test_workers_that_are_spawned(tmp_path):
    script = tmp_path / "spawned.py"
    script.write_text(textwrap.dedent("""
        import pellucid
        from pellucid.utils.data import DataLoader

        @pellucid.compile
        def affine(x):
            return x * 2 + 1

        def plain(x):
            return x * 2 + 1

        class Items:
            def __init__(self, fn):
                self.fn = fn

            def __len__(self):
                return 4

            def __getitem__(self, i):
                return self.fn(pellucid.full((i + 1,), float(i))).sum() + affine(pellucid.zeros(1)).sum()

        if __name__ == "__main__":
            affine(pellucid.ones(2))
            for fn in (affine, pellucid.compile(plain, fullgraph=True)):
                loader = DataLoader(Items(fn), batch_size=2, num_workers=2, multiprocessing_context="spawn", timeout=100)
                print([v for b in loader for v in b.tolist()])
    """))
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=280, env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [str([(i + 1) * (2.0 * i + 1) + 1 for i in range(4)])] * 2


def test_compiled_functions_are_pickled_by_name_or_made_again():
    assert pickle.loads(pickle.dumps(affine)) is affine
    given = pellucid.compile(plain_affine, fullgraph=True, dynamic=True, backend="eager")
    given(pellucid.ones(2))
    again = pickle.loads(pickle.dumps(given))
    assert again is not given and again.fn is plain_affine and (again.fullgraph, again.backend, again.numbers.dynamic) == (True, "eager", True)
    assert again(pellucid.ones(2)).tolist() == [3, 3] and again.compiles == 1
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(pellucid.compile(lambda x: x))


# ---------------------------------------------------------------------------------------------------- tracers, profilers
def branching(x):
    y = x * 2
    if y.sum() > 0:
        y = y + 1
    return [v for v in (y, x)]


def tracing(kind):
    """(start, stop) of something that watches every line or call."""
    seen = []

    def local(frame, event, arg):
        # Python 3.13.0 by itself crashes when locals are read in a comprehension whose variable is also a cell of the function.
        seen.append((event, frame.f_lineno, None if sys.version_info[:3] == (3, 13, 0) else dict(frame.f_locals)))
        del seen[:-50]
        return local
    if kind == "settrace":
        return lambda: sys.settrace(local), lambda: sys.settrace(None)
    if kind == "setprofile":
        return lambda: sys.setprofile(lambda frame, event, arg: None), lambda: sys.setprofile(None)
    profile = cProfile.Profile()
    return profile.enable, profile.disable


@pytest.mark.parametrize("kind", ["settrace", "setprofile", "cProfile"])
@pytest.mark.parametrize("settings", [{}, {"backend": "eager"}], ids=str)
def test_under_a_tracer_or_profiler(kind, settings):
    model = Model(False)
    optimizer = pellucid.optim.Adam(model.parameters(), lr=0.01)
    twin = Model(False)
    twin.load_state_dict(model.state_dict())
    theirs = pellucid.optim.Adam(twin.parameters(), lr=0.01)

    def step(model, optimizer, x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    x = pellucid.randn(4, 6)
    before = pellucid.compile(branching, **settings)
    before(pellucid.ones(3))
    expected = [step(twin, theirs, x).item() for _ in range(4)]
    start, stop = tracing(kind)
    whatever = sys.gettrace(), sys.getprofile()
    try:
        start()
        compiled = pellucid.compile(step, **settings)
        found = [compiled(model, optimizer, x).item() for _ in range(4)]
        inside = pellucid.compile(branching, **settings)
        results = [inside(pellucid.ones(3))[0].tolist() for _ in range(3)] + [before(pellucid.ones(3))[0].tolist() for _ in range(2)]
    finally:
        stop()
        sys.settrace(whatever[0])
        sys.setprofile(whatever[1])
    assert results == [[3, 3, 3]] * 5
    for a, b in zip(found, expected):
        assert abs(a - b) < 1e-5
    assert compiled.compiles == 1 and compiled.gave_up is None
    assert abs(compiled(model, optimizer, x).item() - step(twin, theirs, x).item()) < 1e-5 and compiled.compiles == 1
