"""Pools: the workers of one loader iterator, as processes or as threads, behind one interface.

In: `put(worker, epoch, task, index)`. Out: `get(timeout)` gives `(worker, epoch, task, result)` as results come in;
it raises `WorkerDied` when a worker process has ended, and TimeoutError.
True always: a pool's workers end when it is closed, collected, or its process ends; closing waits for them, no longer
than their grace. A pool that a fork has copied does nothing in the child.
"""
from __future__ import annotations

import mmap
import multiprocessing.connection  # noqa: F401  (Process.join imports it, too late when a finaliser joins)
import os
import pickle
import queue
import select
import signal
import threading
import time
import warnings
import weakref
from collections import deque

from . import fetch
from .channel import Channel, pair
from .shared import Mapped, anonymous_file
from .worker import GRACE, Setup, process_main, thread_main

_TICK = 1.0             # seconds between looks at the workers while nothing arrives: a second net under end-of-stream


class WorkerDied(Exception):
    """A worker process has ended by itself."""

    def __init__(self, worker: int, pid: int, exitcode: int | None, task: int, position: int):
        super().__init__(worker, pid, exitcode)
        self.worker, self.pid, self.exitcode, self.task, self.position = worker, pid, exitcode, task, position

    def headline(self) -> str:
        if self.exitcode is not None and self.exitcode < 0:
            number = -self.exitcode
            name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
            return f"DataLoader worker (pid {self.pid}) is killed by signal: {signal.strsignal(number)} ({name})."
        code = "an unknown exit code" if self.exitcode is None else f"exit code {self.exitcode}"
        return f"DataLoader worker (pid {self.pid}) exited unexpectedly with {code}."

    def advice(self) -> str:
        if self.exitcode == -signal.SIGKILL:
            return ("if nobody killed it, the system was out of memory: use fewer workers, smaller batches or a "
                    "smaller prefetch_factor")
        return "rerun with num_workers=0 to see the error where it happens"


class ProcessPool:
    """Worker processes, each at the end of a channel."""

    def __init__(self, setup: Setup, context, prefetch: int):
        self.processes: list = []
        self.channels: list[Channel] = []
        self.notes: list[memoryview] = []
        self.mapped: list[Mapped] = []
        self.epoch = 0
        self._ready: deque = deque()
        self._torn = False                               # between the head of a message and its end
        self._poll = select.poll()
        self._at: dict[int, int] = {}                    # descriptor -> worker
        self._close = weakref.finalize(self, _end_processes, self.processes, self.channels, os.getpid())
        try:
            for worker in range(setup.num_workers):
                self._start(worker, setup, context, prefetch)
        except BaseException:
            self.close()
            raise

    def _start(self, worker: int, setup: Setup, context, prefetch: int) -> None:
        ours, theirs = pair()
        channel = Channel(ours)
        forked = context.get_start_method() == "fork"
        process = context.Process(target=process_main, args=(theirs, worker, setup, forked), daemon=True,
                                  name=f"pellucid-worker-{worker}")
        try:
            with warnings.catch_warnings():
                # Python 3.12 warns of forks beside threads, NumPy's BLAS threads included. A worker computes with one
                # thread of its own and takes no lock that another thread of the parent may have held.
                warnings.filterwarnings("ignore", ".*multi-threaded, use of fork.*", DeprecationWarning)
                process.start()
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            channel.close()
            error.add_note(f"The {context.get_start_method()} start method sends the dataset, collate_fn and "
                           "worker_init_fn to the workers by pickle: define them at the top of a module, or use "
                           "multiprocessing_context='fork'.")
            raise
        except BaseException:
            channel.close()
            raise
        finally:
            theirs.close()
        self.processes.append(process)
        self.channels.append(channel)
        fd = anonymous_file(fetch.SLOTS * 8)
        note = memoryview(mmap.mmap(fd, fetch.SLOTS * 8)).cast("q")
        note[fetch.TASK], note[fetch.POSITION] = -1, fetch.IDLE
        self.notes.append(note)
        self.mapped.append(Mapped(limit=prefetch + 16))
        try:
            channel.send(b"\0", [fd])
        except (BrokenPipeError, ConnectionResetError):
            pass                                         # it died at once: `get` will say so
        finally:
            os.close(fd)
        self._at[channel.fileno()] = worker
        self._poll.register(channel.fileno(), select.POLLIN)

    def set_epoch(self, epoch: int) -> None:
        """Tasks of other epochs are no longer wanted: workers skip them, `get` drops what is under way."""
        self.epoch = epoch
        self._ready.clear()
        for note in self.notes:
            note[fetch.EPOCH] = epoch

    def put(self, worker: int, task: int, index) -> None:
        returned = self.mapped[worker].take_returned()
        if not self.channels[worker].post(pickle.dumps((self.epoch, task, index, returned))):
            self._poll.modify(self.channels[worker].fileno(), select.POLLIN | select.POLLOUT)

    def get(self, timeout: float | None):
        """The next result: (worker, task, result)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ready:
            wait = _TICK if deadline is None else min(_TICK, deadline - time.monotonic())
            events = self._poll.poll(max(wait, 0) * 1000)
            for fd, event in events:
                self._attend(self._at[fd], event)
            if not events:
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError
                self._look()
        return self._ready.popleft()

    def _attend(self, worker: int, event: int) -> None:
        channel = self.channels[worker]
        if event & select.POLLOUT and channel.flush():
            self._poll.modify(channel.fileno(), select.POLLIN)
        if not event & ~select.POLLOUT:
            return
        if self._torn:
            raise RuntimeError("an interrupt cut short the reading of a batch from a DataLoader worker: this iterator "
                               "cannot go on. Start a new one with iter(loader)")
        self._torn = True
        try:
            payload, fds = channel.receive()
        except EOFError:
            raise self._died(worker) from None
        epoch, task, message = pickle.loads(payload)
        if epoch == self.epoch:
            self._ready.append((worker, task, self.mapped[worker].decode(message, fds)))
        else:
            self.mapped[worker].drop(message, fds)
        self._torn = False

    def _look(self) -> None:
        """Nothing came: is anyone dead whose end of the channel lives on (in a process it has forked)?"""
        for worker in self._at.values():
            if not self.processes[worker].is_alive():
                # What it sent before is read first.
                if not self._poll.poll(0):
                    raise self._died(worker)

    def _died(self, worker: int) -> WorkerDied:
        process, note = self.processes[worker], self.notes[worker]
        process.join(2.0)
        died = WorkerDied(worker, process.pid, process.exitcode, note[fetch.TASK], note[fetch.POSITION])
        self.retire(worker)
        return died

    def retire(self, worker: int) -> None:
        """Let one worker go."""
        fd = self.channels[worker].fileno()
        if self._at.pop(fd, None) is not None:
            self._poll.unregister(fd)
            self.channels[worker].close()

    def close(self) -> None:
        """Let all workers go and wait for their end."""
        self._close()


def _end_processes(processes: list, channels: list[Channel], owner: int) -> None:
    if os.getpid() != owner:
        return
    for channel in channels:
        channel.close()                                  # an idle worker ends at once, a busy one after its grace
    deadline = time.monotonic() + GRACE + 0.5
    for end in (None, "terminate", "kill"):
        for process in processes:
            if end is not None and process.is_alive():
                getattr(process, end)()
        for process in processes:
            process.join(max(deadline - time.monotonic(), 0.01))
        if not any(process.is_alive() for process in processes):
            return
        deadline = time.monotonic() + 1.0


class ThreadPool:
    """Worker threads. They share the dataset, which must allow it, and the global random generators."""

    def __init__(self, setup: Setup):
        self.epoch = 0
        self.results: queue.SimpleQueue = queue.SimpleQueue()
        self.tasks = [queue.SimpleQueue() for _ in range(setup.num_workers)]
        self.notes = [fetch.new_note() for _ in range(setup.num_workers)]
        self.processes = [
            threading.Thread(target=thread_main, args=(self.tasks[worker], self.results, worker, setup,
                                                       self.notes[worker]),
                             name=f"pellucid-worker-{worker}", daemon=True)
            for worker in range(setup.num_workers)]
        for thread in self.processes:
            thread.start()
        self._close = weakref.finalize(self, _end_threads, self.processes, self.tasks, self.notes)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        for note in self.notes:
            note[fetch.EPOCH] = epoch

    def put(self, worker: int, task: int, index) -> None:
        self.tasks[worker].put((self.epoch, task, index))

    def get(self, timeout: float | None):
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                worker, epoch, task, result = self.results.get(
                    timeout=None if deadline is None else max(deadline - time.monotonic(), 0))
            except queue.Empty:
                raise TimeoutError from None
            if epoch == self.epoch:
                return worker, task, result

    def retire(self, worker: int) -> None:
        self.tasks[worker].put(None)

    def close(self) -> None:
        self._close()


def _end_threads(threads: list[threading.Thread], tasks: list, notes: list) -> None:
    for note, todo in zip(notes, tasks):
        note[fetch.EPOCH] = -1                           # what is still queued is not wanted
        todo.put(None)
    deadline = time.monotonic() + GRACE
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(deadline - time.monotonic(), 0))
