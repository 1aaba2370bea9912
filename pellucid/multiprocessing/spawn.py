"""Running one function in several processes, and hearing of it when one fails.

In: a function of the process's number, and its arguments. Out: `start_processes` waits for all (or gives a `ProcessContext`); when a
process ends with an error, the others are stopped and the error is raised here with that process's traceback. Definition: PyTorch's
`torch.multiprocessing.spawn`.
"""
from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

__all__: list[str] = []


class ProcessException(Exception):
    """A process has failed. `error_index`: its number; `pid`: its process id."""

    def __init__(self, msg: str, error_index: int, pid: int):
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid

    def __reduce__(self) -> tuple:
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """A process ended with an exception, whose traceback is in the message."""

    def __init__(self, msg: str, error_index: int, error_pid: int):
        super().__init__(msg, error_index, error_pid)


class ProcessExitedException(ProcessException):
    """A process ended by a signal or an exit code other than 0."""

    def __init__(self, msg: str, error_index: int, error_pid: int, exit_code: int, signal_name: str | None = None):
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self) -> tuple:
        return type(self), (self.msg, self.error_index, self.pid, self.exit_code, self.signal_name)


def _run(fn: Callable, i: int, args: tuple, error_file: str) -> None:
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        pass                                    # the parent has it too
    except Exception:
        with open(error_file, "wb") as file:
            pickle.dump(traceback.format_exc(), file)
        sys.exit(1)


class ProcessContext:
    """Running processes, in the order of their numbers."""

    def __init__(self, processes: list, error_files: list[str]):
        self.error_files, self.processes = error_files, processes
        self.sentinels = {process.sentinel: index for index, process in enumerate(processes)}

    def pids(self) -> list[int]:
        """The processes' ids."""
        return [int(process.pid) for process in self.processes]

    def _stop_others(self, grace_period: float | None) -> None:
        alive = [p for p in self.processes if p.is_alive()]
        for process in alive:
            process.terminate()
        end = time.monotonic() + (30 if grace_period is None else grace_period)
        for process in alive:
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until a process ends, or `timeout` seconds. True when all have ended.

        When one has failed, the others get `grace_period` seconds to end, are then stopped, and its error is raised.

        Raises:
            ProcessRaisedException: it ended with an exception.
            ProcessExitedException: it ended otherwise with a code that is not 0.
        """
        if not self.sentinels:
            return True
        ready = multiprocessing.connection.wait(self.sentinels.keys(), timeout=timeout)
        failed = None
        for sentinel in ready:
            index = self.sentinels.pop(sentinel)
            process = self.processes[index]
            process.join()
            if process.exitcode != 0:
                failed = index
                break
        if failed is None:
            return not self.sentinels
        self._stop_others(grace_period)
        self.sentinels.clear()
        raise self._error(failed)

    def _error(self, index: int) -> ProcessException:
        process, file = self.processes[index], self.error_files[index]
        if os.path.getsize(file) == 0:
            if process.exitcode < 0:
                name = signal.Signals(-process.exitcode).name
                return ProcessExitedException(f"process {index} terminated with signal {name}", index, process.pid, process.exitcode, name)
            return ProcessExitedException(f"process {index} terminated with exit code {process.exitcode}", index, process.pid, process.exitcode)
        with open(file, "rb") as written:
            text = pickle.load(written)
        return ProcessRaisedException(f"\n\n-- Process {index} terminated with the following error:\n{text}", index, process.pid)

    def __del__(self) -> None:
        for file in self.error_files:
            try:
                os.unlink(file)
            except OSError:
                pass


class SpawnContext(ProcessContext):
    """The name that `spawn` used to give."""

    def __init__(self, processes: list, error_files: list[str]):
        warnings.warn("SpawnContext is renamed to ProcessContext since 1.4 release.", FutureWarning, stacklevel=2)
        super().__init__(processes, error_files)


def start_processes(fn: Callable, args: tuple = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
                    start_method: str = "spawn") -> ProcessContext | None:
    """Call `fn(i, *args)` in `nprocs` processes, i from 0. Waits for them, or with `join=False` gives a ProcessContext.

    Raises:
        ProcessRaisedException, ProcessExitedException: a process failed; the others were stopped.
    """
    context = multiprocessing.get_context(start_method)
    processes, files = [], []
    for i in range(nprocs):
        handle, file = tempfile.mkstemp(prefix="pellucid-", suffix=".pickle")
        os.close(handle)
        process = context.Process(target=_run, args=(fn, i, args, file), daemon=daemon)
        process.start()
        processes.append(process)
        files.append(file)
    running = ProcessContext(processes, files)
    if not join:
        return running
    while not running.join():
        pass
    return None


def spawn(fn: Callable, args: tuple = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
          start_method: str = "spawn") -> ProcessContext | None:
    """`start_processes` with new Python processes: `fn` must be importable there."""
    if start_method != "spawn":
        warnings.warn(f"This method only supports start_method=spawn (got: {start_method}).\nTo use a different start_method use:\n\t\t "
                      "torch.multiprocessing.start_processes(...)", FutureWarning, stacklevel=2)
    return start_processes(fn, args, nprocs, join, daemon, start_method="spawn")
