"""The threading policy: one pool, forks, and machines without libgomp or oneDNN. Each case is a process of its own."""
from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

HEAD = """
import os, sys, threading, time
import numpy as np
import pellucid
import pellucid.nn.functional as F
from pellucid.graph import interp
from pellucid.native import build, onednn, threads
from pellucid.tensor.tracing import trace

def made(fn, *args):
    traced = trace(fn, args)
    return build.compile_graph(traced.graph, options={"cache": False}), [t.numpy() for t in traced.tensors()], traced.graph

def f(x, w, b):
    return F.relu(x @ w + b).sum(0), (x * 2).exp().mean(), x - x.mean(0)

pellucid.manual_seed(0)
exe, arrays, graph = made(f, pellucid.randn(600, 300), pellucid.randn(300, 200), pellucid.randn(200))
expected = interp.run(graph, [a.copy() for a in arrays])

def right(outs):
    return all(np.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(outs, expected))
"""


def run(body: str, timeout: int = 60, **environment: str) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    r = subprocess.run([sys.executable, "-c", HEAD + textwrap.dedent(body)], env=env | environment, capture_output=True, text=True,
                       timeout=timeout)
    assert r.returncode == 0, r.stderr
    return r.stdout


needs_gomp = pytest.mark.skipif("ok" not in subprocess.run(
    [sys.executable, "-c", "from pellucid.native import threads; print('ok' if threads.pool() else '')"], capture_output=True, text=True).stdout,
    reason="libgomp is not installed")


@needs_gomp
def test_a_forked_child_computes_on_one_thread():
    assert run("""
        pellucid.set_num_threads(2)
        assert exe.instance.threads == threads.count() and right(exe(arrays))
        two = exe(arrays)
        pid = os.fork()
        if pid == 0:
            ok = threads.forked() and threads.count() == 1 and right(exe(arrays)) and exe.instance.threads == 1
            g, a, _ = made(f, pellucid.randn(600, 300), pellucid.randn(300, 200), pellucid.randn(200))      # compiled in the child
            g(a)
            os._exit(0 if ok else 1)
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
        assert all(np.array_equal(a, b) for a, b in zip(exe(arrays), two))
        print("fine")
    """) == "fine\n"


@needs_gomp
def test_a_fork_while_another_thread_computes():
    assert run("""
        pellucid.set_num_threads(2)
        stop = False
        def work():
            while not stop:
                exe(arrays)
        t = threading.Thread(target=work)
        t.start()
        for _ in range(5):
            time.sleep(0.02)
            pid = os.fork()
            if pid == 0:
                os._exit(0 if right(exe(arrays)) else 1)
            assert os.waitpid(pid, 0)[1] == 0
        stop = True
        t.join()
        print("fine")
    """) == "fine\n"


@needs_gomp
def test_a_fork_before_the_pool_exists_has_threads():
    body = """
        import os
        from pellucid.native import threads
        pid = os.fork()
        if pid == 0:
            os._exit(0 if threads.forks() == 1 and not threads.forked() and threads.pool() is not None else 1)
        assert os.waitpid(pid, 0)[1] == 0
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(body)], check=True)


def test_without_libgomp_everything_runs_on_one_thread_and_says_so_once():
    out = run("""
        assert threads.pool() is None and threads.count() == 1 and onednn.library() is None
        assert right(exe(arrays)) and exe.report["library_calls"] == 0 and exe.report["threads"] == 1
        print(exe.report["notes"], exe.report["library"])
    """, PELLUCID_NO_GOMP="1")
    assert out.count("libgomp is switched off") == 1 and "None" in out


def test_without_onednn_products_are_generated_code():
    out = run("""
        assert onednn.library() is None and right(exe(arrays))
        assert exe.report["library_calls"] == 0 and exe.report["extern_calls"] == 1 and exe.report["host_steps"] == 0
        print(exe.report["notes"])
        g, a, graph = made(lambda x, w: F.conv2d(x, w, padding=1).sum(1), pellucid.randn(2, 3, 8, 8), pellucid.randn(4, 3, 3, 3))
        assert np.allclose(g(a)[0], interp.run(graph, a)[0], atol=1e-4)
    """, PELLUCID_NO_ONEDNN="1")
    assert out.count("oneDNN is switched off") == 1


@needs_gomp
def test_libgomp_loaded_by_somebody_else():
    out = run("""
        print(threads.notes())
    """, LD_PRELOAD="libgomp.so.1")
    assert "loaded before" in out
    assert run("print(threads.notes(), os.environ.get('GOMP_SPINCOUNT'))") == "[] None\n"
    assert "1234" in run("print(os.environ.get('GOMP_SPINCOUNT'))", GOMP_SPINCOUNT="1234")


@needs_gomp
@pytest.mark.parametrize("isa", ("baseline", "avx2"))
def test_a_lower_instruction_set(isa):
    assert run("print(exe.report['isa'], right(exe(arrays)))", PELLUCID_ISA=isa).split() == [isa, "True"]


@needs_gomp
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_beside_a_busy_neighbour_one_thread_does_all_shares_with_the_same_bits():
    assert run("""
        from pellucid.native.loaded import the_engine
        pellucid.set_num_threads(2)

        def results():
            big, p = pellucid.arange(400_000.).reshape(400, 1000) / 7, pellucid.nn.Parameter(pellucid.ones(50_000))
            q = pellucid.arange(4 * 64 * 3 * 128.).reshape(4, 64, 3, 128).sin().transpose(1, 2)
            p.grad = pellucid.arange(50_000.) / 3
            pellucid.optim.Adam([p, pellucid.nn.Parameter(pellucid.ones(3))]).step()
            ours = big.exp2_().numpy(), F.softmax(big.sin(), -1).numpy(), p.detach().numpy(), big.sin().sum(0).numpy()
            return count(), [*ours, *exe(arrays), (q @ q.transpose(-1, -2)).numpy()]       # the library has its own way
        count = lambda: len(os.listdir("/proc/self/task"))
        assert exe.instance.threads == 2
        before = count()
        the_engine().crowd(1 << 62)
        after, alone = results()
        assert after == before, "libgomp's threads were started"
        the_engine().crowd(0)
        after, together = results()
        assert after > before
        print(all(np.array_equal(a, b, equal_nan=True) for a, b in zip(alone, together)))
    """).split() == ["True"]


@needs_gomp
@pytest.mark.alone
def test_a_busy_neighbour_is_no_catastrophe():
    """Steps of a few hundred microseconds beside one process that never rests: no more than 2.5 times as long."""
    body = """
        pellucid.set_num_threads(os.cpu_count())
        m = [pellucid.randn(64, 784), pellucid.randn(784, 128), pellucid.randn(128)]
        exe, arrays, _ = made(f, *m)
        best = []
        for _ in range(40):
            t = time.perf_counter()
            for _ in range(20):
                exe(arrays)
            best.append((time.perf_counter() - t) / 20)
        print(sorted(best)[len(best) // 2])
    """
    quiet = float(run(body))
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.5)
        contended = float(run(body))
    finally:
        busy.kill()
        busy.wait()
    assert contended <= 2.5 * quiet, (quiet, contended)


def test_threads_that_come_at_the_same_time_get_the_same():
    from pellucid.native import threads

    made, together = [], threading.Barrier(8)

    @threads.once
    def slow():
        time.sleep(0.05)
        made.append(object())
        return made[-1]

    def ask():
        together.wait()
        found.append(slow())

    found: list = []
    team = [threading.Thread(target=ask) for _ in range(8)]
    for t in team:
        t.start()
    for t in team:
        t.join()
    assert len(made) == 1 and found == made * 8
