"""What goes wrong in workers and around them: exceptions, death, Ctrl-C, killed parents; nothing hangs, nothing is left."""
import functools
import gc
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import pellucid as torch
from pellucid.utils import data as D

HERE = os.path.dirname(__file__)
sys.path.insert(0, HERE)                                  # spawned workers inherit it
import loader_samples as S  # noqa: E402


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pids, seconds):
    """All of the processes end within so many seconds."""
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(alive(pid) for pid in pids)


def shared_memory():
    return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()


# ---------------------------------------------------------------- exceptions

WAYS = {"fork": dict(num_workers=2, multiprocessing_context="fork"),
        "spawn": dict(num_workers=2, multiprocessing_context="spawn"),
        "thread": dict(num_workers=2, worker_type="thread")}


@pytest.mark.parametrize("way", WAYS)
def test_exception(way):
    """The original type, the worker's traceback, and which worker, batch and sample; the other batches still come."""
    it = iter(D.DataLoader(S.Failing("value"), batch_size=5, **WAYS[way]))
    assert next(it).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError) as caught:
        next(it)
    text = str(caught.value)
    who = "thread" if way == "thread" else "process"
    assert text.startswith(f"Caught ValueError in DataLoader worker {who} 1.\n")
    assert "While loading batch 1, sample 2 of 5 (dataset index 7).\nOriginal Traceback (most recent call last):" in text
    assert "in deep\n    raise ValueError(\"bad pixel\")" in text and text.rstrip().endswith("ValueError: bad pixel")
    assert [b.tolist() for b in it] == [[10, 11, 12, 13, 14], [15, 16, 17, 18, 19]]


def test_exception_here():
    """Without workers the exception comes as it is, with a note."""
    it = iter(D.DataLoader(S.Failing("value"), batch_size=5))
    next(it)
    with pytest.raises(ValueError) as caught:
        next(it)
    assert str(caught.value) == "bad pixel"
    assert caught.value.__notes__ == ["DataLoader: while loading batch 1, sample 2 of 5 (dataset index 7)"]
    assert next(it).tolist() == [10, 11, 12, 13, 14]


@pytest.mark.parametrize("how, kind, text", [
    ("key", KeyError, "KeyError: 'label'"),
    ("two", RuntimeError, "Caught TwoArguments in DataLoader"),
    ("local", RuntimeError, "Caught Local in DataLoader"),
    ("stop", StopIteration, "by mistake"),
])
def test_odd_exceptions(how, kind, text):
    it = iter(D.DataLoader(S.Failing(how, at=0), num_workers=1))
    with pytest.raises(kind) as caught:
        it._next_data()                                   # `next` would take a StopIteration for the end
    assert text in str(caught.value) and "\nWhile loading batch 0, sample 0 of 1" in str(caught.value)


def test_error_at_start():
    loader = D.DataLoader(range(9), num_workers=2, worker_init_fn=S.fail_at_start)
    it = iter(loader)
    for worker in (0, 1, 0):
        with pytest.raises(RuntimeError, match=f"worker process {worker}.(?s:.*)start-up(?s:.*)no start for {worker}"):
            next(it)

    class NoStream(D.IterableDataset):
        def __iter__(self):
            raise RuntimeError("Error in __iter__")
    for workers in (0, 2):
        with pytest.raises(RuntimeError, match="Error in __iter__"):
            list(D.DataLoader(NoStream(), num_workers=workers))


def test_error_in_collate():
    def collate(batch):
        raise IndexError("cannot collate")
    loader = D.DataLoader(range(9), 3, collate_fn=collate, num_workers=1)
    with pytest.raises(IndexError, match="While loading batch 0, in collate_fn, with dataset indices \\[0, 1, 2\\]"):
        next(iter(loader))


def test_batch_that_cannot_be_pickled():
    loader = D.DataLoader(S.Unpicklable(), batch_size=None, num_workers=1)
    with pytest.raises(Exception, match="While sending batch 0 to the main process: what collate_fn returned"):
        next(iter(loader))
    leaf = torch.ones(3, requires_grad=True)
    loader = D.DataLoader([1], batch_size=None, num_workers=1, collate_fn=lambda _: leaf * 2)
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor which requires_grad"):
        next(iter(loader))
    loader = D.DataLoader([1], batch_size=None, num_workers=1, collate_fn=lambda _: leaf)
    assert next(iter(loader)).requires_grad


def test_dataset_that_cannot_be_pickled():
    loader = D.DataLoader([lambda: 1], num_workers=2, multiprocessing_context="spawn")
    with pytest.raises(Exception, match="(?i)pickle|local") as caught:
        iter(loader)
    assert "multiprocessing_context='fork'" in caught.value.__notes__[0]


def test_timeout():
    loader = D.DataLoader(S.Failing("sleep", at=3), batch_size=2, num_workers=2, timeout=0.3)
    it = iter(loader)
    next(it)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0.3 seconds, waiting for worker 1 to load batch 1, "
                                           r"dataset indices \[2, 3\]"):
        next(it)
    assert time.monotonic() - start < 2
    workers = it._workers
    del it
    assert gone([w.pid for w in workers], 4)


# ---------------------------------------------------------------- death

@pytest.mark.parametrize("how, text", [
    ("kill", r"DataLoader worker \(pid {pid}\) is killed by signal: Killed \(SIGKILL\)"),
    ("exit", r"DataLoader worker \(pid {pid}\) exited unexpectedly with exit code 3"),
    ("exit0", r"DataLoader worker \(pid {pid}\) exited unexpectedly with exit code 0"),
    ("sysexit", r"DataLoader worker \(pid {pid}\) exited unexpectedly with exit code 5"),
    ("segv", r"DataLoader worker \(pid {pid}\) is killed by signal: Segmentation fault \(SIGSEGV\)"),
])
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_death(how, text, context):
    if context == "spawn" and how not in ("kill", "exit"):
        pytest.skip("start methods differ in how they learn the exit code; two ways are enough")
    before = shared_memory()
    loader = D.DataLoader(S.Failing(how), batch_size=2, num_workers=2, multiprocessing_context=context,
                          persistent_workers=True)
    it = iter(loader)
    workers = list(it._workers)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=text.format(pid=workers[1].pid)) as caught:
        list(it)
    assert time.monotonic() - start < 10                  # starting a worker anew takes seconds on a busy machine
    message = str(caught.value)
    assert "worker 1 of 2" in message and "it was loading batch 3, sample 1 of 2 (dataset index 7)" in message
    assert "fix: " in message and ("out of memory" in message) == (how == "kill")
    assert gone([w.pid for w in workers], 1)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        next(it)
    assert iter(loader) is not it                         # persistent workers start afresh
    assert shared_memory() <= before


def test_death_names_what_was_waiting():
    loader = D.DataLoader(S.Failing("kill", n=100, at=0), batch_size=20, num_workers=1, prefetch_factor=3)
    with pytest.raises(RuntimeError) as caught:
        next(iter(loader))
    text = str(caught.value)
    assert "it was loading batch 0, sample 0 of 20 (dataset index 0)" in text
    assert "waiting for it: batch 1, dataset indices [20, 21, 22, 23, 24, 25, 26, 27, ..., 38, 39] (20 of them)" in text
    assert "waiting for it: batch 2, dataset indices [40," in text


def test_death_of_a_stream_and_at_start():
    class Stream(D.IterableDataset):
        def __iter__(self):
            yield from range(3)
            os._exit(9)
    with pytest.raises(RuntimeError, match="exit code 9(?s:.*)it was loading batch 1, sample 1 of 2 of its stream"):
        list(D.DataLoader(Stream(), batch_size=2, num_workers=1))
    with pytest.raises(RuntimeError, match="exit code 4(?s:.*)it had not begun to load"):
        next(iter(D.DataLoader([1], num_workers=1, worker_init_fn=lambda _: os._exit(4))))


def test_killed_from_outside_while_idle():
    it = iter(D.DataLoader(S.Images(200), batch_size=2, num_workers=2))
    workers = it._workers
    next(it)
    os.kill(workers[0].pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"pid {workers[0].pid}\) is killed by signal: Killed"):
        list(it)
    assert time.monotonic() - start < 5 and gone([w.pid for w in workers], 1)


def test_death_with_a_child_holding_the_channel():
    """A process that the worker has forked does not hide the worker's death."""
    class Forks(D.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            if i == 2:
                pid = os.fork()
                if pid == 0:
                    time.sleep(8)
                    os._exit(0)
                os.kill(os.getpid(), signal.SIGKILL)
            return i
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="SIGKILL"):
        list(D.DataLoader(Forks(), num_workers=1, multiprocessing_context="fork"))
    assert time.monotonic() - start < 10                  # starting a worker anew takes seconds on a busy machine


# ---------------------------------------------------------------- nothing is left

@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_early_exit_ends_workers(context):
    gc.collect()
    before, fds = shared_memory(), len(os.listdir("/proc/self/fd"))
    workers = []
    for _ in range(2):
        it = iter(D.DataLoader(S.Images(400), batch_size=4, num_workers=2, multiprocessing_context=context))
        for i, (x, _) in enumerate(it):
            if i == 3:
                break
        workers += it._workers
        del it
    pids = [w.pid for w in workers]
    assert gone(pids, 3) and [w.exitcode for w in workers] == [0] * 4
    assert (x[:, 0, 0, 0].tolist()) == [12.0, 13.0, 14.0, 15.0]   # a batch outlives its workers
    del x, _, workers
    gc.collect()
    assert shared_memory() <= before
    assert len(os.listdir("/proc/self/fd")) <= fds + 1    # spawn keeps one for its resource tracker


def test_busy_workers_end_within_their_grace():
    it = iter(D.DataLoader(S.Failing("sleep", at=1), batch_size=1, num_workers=2))
    next(it)
    pids = [w.pid for w in it._workers]
    start = time.monotonic()
    del it
    assert time.monotonic() - start < 3 and gone(pids, 0.5)


def test_threads_end():
    import threading
    before = threading.active_count()
    it = iter(D.DataLoader(range(100), num_workers=2, worker_type="thread"))
    next(it)
    assert threading.active_count() == before + 2
    del it
    assert threading.active_count() == before
    list(D.DataLoader(range(10), num_workers=2, worker_type="thread"))
    assert threading.active_count() == before


SCRIPT = """
    import os, signal, sys, threading, time
    sys.path.insert(0, {here!r})
    import numpy as np
    import pellucid as torch
    from pellucid.utils import data as D
    import loader_samples as S

    class Endless(S.Images):
        def __getitem__(self, i):
            if i >= {slow_from}:
                time.sleep({slow})
            return super().__getitem__(i)

    if __name__ == "__main__":
        loader = D.DataLoader(Endless(10_000), batch_size=4, num_workers=2, multiprocessing_context={context!r})
        it = iter(loader)
        print(*[w.pid for w in it._workers], flush=True)
        for i, (x, y) in enumerate(it):
            if i == 2:
                print("going", flush=True)
            {body}
"""


def start_script(context="fork", slow_from=10**9, slow=0.0, body="time.sleep(0.01)"):
    # Whoever started the tests in the background has told them to ignore Ctrl-C, which a process inherits.
    heeds_ctrl_c = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    source = textwrap.dedent(SCRIPT).format(here=HERE, context=context, slow_from=slow_from, slow=slow, body=body)
    path = os.path.join(HERE, "..", "..", "..")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), path]))}
    # A file, not -c: spawned workers import the main module again.
    import tempfile
    with tempfile.NamedTemporaryFile("w", suffix=".py", delete=False) as f:
        f.write(source)
    child = subprocess.Popen([sys.executable, f.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
                             start_new_session=True, preexec_fn=heeds_ctrl_c)
    pids = [int(p) for p in child.stdout.readline().split()]
    assert child.stdout.readline() == "going\n", child.stderr.read()
    os.unlink(f.name)
    return child, pids


@pytest.mark.parametrize("context, busy", [("fork", False), ("fork", True), ("spawn", True)])
def test_killed_parent_leaves_nothing(context, busy):
    before = shared_memory()
    child, pids = start_script(context, slow_from=24 if busy else 10**9, slow=60)
    child.kill()
    child.wait()
    assert len(pids) == 2 and gone(pids, 5)
    child.communicate()
    assert shared_memory() <= before


@pytest.mark.parametrize("to_group", [True, False])
def test_ctrl_c(to_group):
    """Ctrl-C in a terminal goes to the whole group; `kill -INT` to the parent alone. Busy workers do not delay it."""
    child, pids = start_script("fork", slow_from=24, slow=60)
    time.sleep(0.2)
    start = time.monotonic()
    os.killpg(child.pid, signal.SIGINT) if to_group else os.kill(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=10)
    assert time.monotonic() - start < 4
    assert child.returncode in (-signal.SIGINT, 130, 1) and gone(pids, 1)
    assert errors.count("KeyboardInterrupt") == 1, errors  # the parent's, and none from the workers


def test_ctrl_c_can_be_survived():
    """A KeyboardInterrupt while waiting for a batch leaves the iterator in order."""
    it = iter(D.DataLoader(S.Failing("value", at=-1), batch_size=None, num_workers=1,
                           collate_fn=lambda i: (time.sleep(0.4), i)[1] if i == 1 else i))
    assert next(it) == 0

    def interrupt(signum, frame):
        raise KeyboardInterrupt
    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            next(it)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert [next(it), next(it)] == [1, 2]


def test_fork_of_the_user():
    """A process forked while a loader is at work neither disturbs nor ends its workers."""
    it = iter(D.DataLoader(S.Images(40), batch_size=4, num_workers=2))
    next(it)
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)       # fork beside threads
        pid = os.fork()
    if pid == 0:
        try:
            del it
            gc.collect()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert [y[0].item() for _, y in it] == list(range(4, 40, 4))


def test_after_heavy_use_of_threads():
    """Workers forked from a process whose BLAS threads and locks are in use compute and do not hang."""
    a = np.ones((400, 400), np.float32)
    a @ a

    class Compute(D.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, i):
            return float((torch.ones(64, 64) @ torch.ones(64, 64)).sum()) + float((a @ a)[0, 0])
    for _ in range(2):
        got = list(D.DataLoader(Compute(), batch_size=4, num_workers=2, multiprocessing_context="fork"))
        assert [b.tolist() for b in got] == [[64.0**3 + 400.0] * 4] * 2


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs /proc")
def test_workers_compute_with_one_thread():
    def busy_threads(_):
        from pellucid.core.config import config
        b = np.ones((700, 700), np.float32)
        for _ in range(5):
            b @ b
        ticks = []
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            ticks.append(int(fields[11]) + int(fields[12]))
        return config.threads, sum(t > 0 for t in ticks)
    loader = D.DataLoader([0], batch_size=None, num_workers=1, collate_fn=busy_threads, multiprocessing_context="fork")
    (threads, busy), = loader
    assert threads == 1 and busy <= 1


def test_nested_loaders():
    """Two loaders at a time, their workers apart."""
    outer = D.DataLoader(range(4), num_workers=1)
    assert [(int(a), int(b)) for a in outer for b in D.DataLoader(range(2), num_workers=1)] == \
        [(a, b) for a in range(4) for b in range(2)]
