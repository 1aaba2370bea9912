"""Workers: what runs in each worker process or thread of a `DataLoader`.

In: tasks `(epoch, task, index)` from the loader. Out: for each, `(epoch, task, batch | WorkerError | Exhausted)`.
True always: a worker's random seeds are `base_seed + worker_id`; a worker process computes with one thread, ignores
Ctrl-C (the parent decides), and is gone within `GRACE` seconds once its parent is, or lets go of it.
"""
from __future__ import annotations

import ctypes
import gc
import mmap
import os
import pickle
import random
import select
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....core.config import config
from ....tensor.random import Generator, manual_seed
from . import fetch
from .channel import Channel
from .shared import Arena

GRACE = 1.0             # seconds a worker has to finish what it is doing after its loader has let go of it


@dataclass(frozen=True, slots=True)
class _RNG:
    """The generators of one worker thread: threads share the global ones, so these are a thread's own."""

    random_generator: random.Random
    torch_generator: Generator
    numpy_generator: np.random.Generator | None = None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What `get_worker_info` tells in a worker.

    `id` is 0..num_workers-1, `seed` this worker's seed, `dataset` its copy of the dataset (with threads: the dataset).
    `rng` holds a worker thread's generators; worker processes have the global ones to themselves and get None.
    `worker_method` is "multiprocessing" or "thread".
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any
    rng: _RNG | None = None
    worker_method: str | None = "multiprocessing"


_worker_info: WorkerInfo | None = None      # of this process
_thread = threading.local()                 # .info: of this thread


def get_worker_info() -> WorkerInfo | None:
    """In a `DataLoader` worker: who it is (see `WorkerInfo`). Elsewhere None."""
    return getattr(_thread, "info", None) or _worker_info


def _generate_state(base_seed: int, worker_id: int) -> tuple[int, ...]:
    """NumPy's seed in a worker: mixed, so that `numpy.random` and `random` do not run in step.

    NumPy's own SeedSequence over the words worker id, seed (low, high), 0: what PyTorch does.
    """
    words = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
    return tuple(int(word) for word in np.random.SeedSequence(words).generate_state(4))


@dataclass(slots=True)
class Setup:
    """What all workers of a loader need to know. Pickled to workers that are not forked."""

    dataset_kind: int
    dataset: Any
    auto_collation: bool
    collate_fn: Callable
    drop_last: bool
    base_seed: int
    init_fn: Callable[[int], None] | None
    num_workers: int


@dataclass(frozen=True, slots=True)
class Exhausted:
    """In place of a batch: this worker's stream has ended."""


class _KeyErrorMessage(str):
    """KeyError shows the repr of its argument; this one reads as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(slots=True)
class WorkerError:
    """In place of a batch: the exception that ended it."""

    kind: type[BaseException]
    text: str

    @classmethod
    def of(cls, error: BaseException, who: str, doing: str) -> WorkerError:
        trace = error.__traceback__
        here = os.path.dirname(__file__)
        last = trace
        while last is not None and last.tb_frame.f_code.co_filename.startswith(here):
            last = last.tb_next
        lines = traceback.format_exception(type(error), error, last or trace)
        text = f"Caught {type(error).__name__} in DataLoader {who}.\nWhile loading {doing}.\nOriginal {''.join(lines)}"
        if not text.partition("Original ")[2].startswith("Traceback"):
            text = text.replace("Original ", "Original error: ", 1)
        return cls(type(error), text)

    def reraise(self) -> None:
        """Raise the original type with the worker's account; RuntimeError if the type wants other arguments."""
        text = _KeyErrorMessage(self.text) if issubclass(self.kind, KeyError) else self.text
        try:
            error = self.kind(text)
        except Exception:
            error = RuntimeError(text)
        raise error


class Server:
    """The part that processes and threads share: turns tasks into results."""

    def __init__(self, setup: Setup, worker_id: int, who: str, note):
        self.setup = setup
        self.who = who
        self.note = note
        self.epoch = 0
        self.ended = False
        self.fetcher = None
        self.init_error = None
        try:
            if setup.init_fn is not None:
                setup.init_fn(worker_id)
            self._start_epoch()
        except Exception as error:
            self.init_error = WorkerError.of(error, who, "its first batch (the worker's start-up)")

    def _start_epoch(self) -> None:
        s = self.setup
        info = get_worker_info()
        dataset = s.dataset if info is None else info.dataset
        self.ended = False
        self.fetcher = fetch._DatasetKind.create_fetcher(s.dataset_kind, dataset, s.auto_collation, s.collate_fn,
                                                         s.drop_last, self.note)

    def run(self, epoch: int, task: int, index):
        """The result of a task, or None if nobody wants it any more."""
        note = self.note
        if epoch != note[fetch.EPOCH] or (self.ended and epoch == self.epoch):
            return None
        if self.init_error is not None:
            return self.init_error
        note[fetch.TASK], note[fetch.POSITION] = task, fetch.WHOLE
        try:
            if epoch != self.epoch:
                self.epoch = epoch
                self._start_epoch()
            result = self.fetcher.fetch(index)
        except StopIteration as error:
            self.ended = self.setup.dataset_kind == fetch._DatasetKind.Iterable
            result = Exhausted() if self.ended else self.error(error, task, index)
        except Exception as error:
            result = self.error(error, task, index)
        # Not in a `finally`: if SystemExit ends this worker, the note still says where.
        note[fetch.POSITION] = fetch.IDLE
        return result

    def error(self, error: BaseException, task: int, index) -> WorkerError:
        doing = fetch.describe(task, index, self.note[fetch.POSITION], self.setup.dataset_kind)
        return WorkerError.of(error, self.who, doing)


# ---------------------------------------------------------------- a worker process

def process_main(end: socket.socket, worker_id: int, setup: Setup, forked: bool) -> None:
    """The life of a worker process. `end` is its end of the channel."""
    global _worker_info
    # Ctrl-C reaches the whole group; a handler (not SIG_IGN, which programs started from here would inherit) drops it.
    signal.signal(signal.SIGINT, _ignore)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _compute_with_one_thread()
    if forked:
        gc.freeze()     # what came from the parent is not ours to collect: neither its pages nor its finalisers
    channel = Channel(end)
    threading.Thread(target=_end_with_loader, args=(end.fileno(),), name="pellucid-watch", daemon=True).start()
    try:
        _, (fd,) = channel.receive()
        note = memoryview(mmap.mmap(fd, fetch.SLOTS * 8)).cast("q")
        os.close(fd)
        seed = setup.base_seed + worker_id
        random.seed(seed)
        manual_seed(seed)
        np.random.seed(_generate_state(setup.base_seed, worker_id))
        _worker_info = WorkerInfo(worker_id, setup.num_workers, seed, setup.dataset)
        _serve(channel, Server(setup, worker_id, f"worker process {worker_id}", note))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass            # the loader is done with us
    finally:
        channel.close()


def _ignore(signum, frame) -> None:
    pass


def _compute_with_one_thread() -> None:
    """The CPUs are shared out between the workers: neither pellucid nor NumPy's OpenBLAS uses more than one here."""
    config.threads = 1
    try:
        with open("/proc/self/maps") as maps:
            libraries = {line.split(maxsplit=5)[-1].strip() for line in maps if "openblas" in line}
        for path in libraries:
            # The variable, not openblas_set_num_threads: after a fork that starts the pool again, to spin for 0.1 s.
            ctypes.c_int.in_dll(ctypes.CDLL(path), "blas_cpu_number").value = 1
    except (OSError, ValueError):
        pass            # another system or another BLAS: its own settings (OMP_NUM_THREADS) hold


def _serve(channel: Channel, server: Server) -> None:
    global _arena
    arena = _arena = Arena()
    while True:
        payload, _ = channel.receive()
        epoch, task, index, returned = pickle.loads(payload)
        arena.give_back(returned)
        result = server.run(epoch, task, index)
        if result is None:
            continue
        try:
            message, fds = arena.encode(result)
        except Exception as error:
            arena.discard()
            message, fds = arena.encode(_not_sent(error, result, server, task))
        del result
        try:
            channel.send(pickle.dumps((epoch, task, message)), fds)
        finally:
            for fd in fds:
                os.close(fd)


def _not_sent(error: Exception, result, server: Server, task: int) -> WorkerError:
    """The error to send when a result could not be pickled."""
    if isinstance(result, WorkerError):                  # its exception class, which the parent cannot import
        return WorkerError(RuntimeError, result.text)
    text = (f"Caught {type(error).__name__} in DataLoader {server.who}.\nWhile sending batch {task} to the main "
            f"process: what collate_fn returned ({type(result).__name__}) cannot be pickled.\nOriginal error: {error}")
    try:
        pickle.dumps(type(error))
    except Exception:
        return WorkerError(RuntimeError, text)
    return WorkerError(type(error), text)


_arena: Arena | None = None


def shared_empty(shape: tuple, dtype: np.dtype) -> np.ndarray:
    """An uninitialised array: in a worker process in memory shared with the parent, if it is large enough to matter."""
    a = None if _arena is None else _arena.empty(shape, dtype)
    return np.empty(shape, dtype) if a is None else a


def _end_with_loader(fd: int) -> None:
    """Wait until the other end of the channel is gone, then make sure that this process ends, whatever it is at."""
    watch = select.poll()
    watch.register(fd, 0)                                # hang-up is always reported
    while not any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in watch.poll()):
        pass
    time.sleep(GRACE)
    os._exit(1)


# ---------------------------------------------------------------- a worker thread

def thread_main(tasks, results, worker_id: int, setup: Setup, note: list) -> None:
    """The life of a worker thread: tasks from one queue, results to another, until None."""
    seed = setup.base_seed + worker_id
    rng = _RNG(random.Random(seed), Generator().manual_seed(seed),
               np.random.default_rng(_generate_state(setup.base_seed, worker_id)))
    _thread.info = WorkerInfo(worker_id, setup.num_workers, seed, setup.dataset, rng, "thread")
    server = Server(setup, worker_id, f"worker thread {worker_id}", note)
    while (message := tasks.get()) is not None:
        epoch, task, index = message
        try:
            result = server.run(epoch, task, index)
        except BaseException as error:                   # SystemExit would end the thread without a word
            result = server.error(error, task, index)
        if result is not None:
            results.put((worker_id, epoch, task, result))
        del message, result
