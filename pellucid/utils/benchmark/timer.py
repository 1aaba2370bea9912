"""`Timer`: how long a statement takes, with a number of threads that is said, often enough to be sure.

In: a statement, its setup and its names. Out: `Measurement`s. True always: the number of threads is put back afterwards; a first round of
executions, in which kernels are compiled and caches filled, is not measured.
"""
from __future__ import annotations

import statistics
import sys
import textwrap
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter as timer
from typing import Any

from ...tensor.functions import get_num_threads, set_num_threads
from .measurement import Measurement, TaskSpec

__all__ = ["Timer", "set_torch_threads", "timer"]


@contextmanager
def set_torch_threads(n: int) -> Iterator[None]:
    """Run the block with `n` threads."""
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


def _dedented(text: str) -> str:
    return textwrap.dedent(text).removeprefix("\n").rstrip()


class Timer:
    """Measure a statement, given as text.

    Args:
        stmt, setup: what is measured, and what runs once before. pellucid is there as `torch`.
        timer: what tells the time, in seconds.
        globals: the names that `stmt` uses.
        label, sub_label, description, env: what `Compare` makes tables, rows, columns and groups of rows by.
        num_threads: how many threads operators may use meanwhile.
    """

    def __init__(self, stmt: str = "pass", setup: str = "pass", global_setup: str = "", timer: Callable[[], float] = timer,
                 globals: dict[str, Any] | None = None, label: str | None = None, sub_label: str | None = None,
                 description: str | None = None, env: str | None = None, num_threads: int = 1, language: str = "python"):
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        if language not in ("py", "python"):
            raise ValueError(f"Invalid language `{language}`: statements are in Python.")
        if global_setup:
            raise ValueError(f"global_setup is C++ only, got `{global_setup}`. Most likely this code can simply be moved to `setup`.")
        stmt, setup = _dedented(stmt), _dedented(setup)
        names = {"torch": sys.modules[__name__.partition(".")[0]], **(globals or {})}
        self._timer = timeit.Timer(stmt, setup, timer, names)
        self._task_spec = TaskSpec(stmt, setup, global_setup, label, sub_label, description, env, num_threads)

    def _timeit(self, number: int) -> float:
        return max(self._timer.timeit(number), 1e-9)

    def _measured(self, number: int, times: list[float]) -> Measurement:
        return Measurement(number, times, self._task_spec)

    def timeit(self, number: int = 1000000) -> Measurement:
        """Execute `number` times, after a hundredth of that to warm up."""
        with set_torch_threads(self._task_spec.num_threads):
            self._timeit(max(int(number // 100), 2))
            return self._measured(number, [self._timeit(number)])

    def _block(self, min_run_time: float) -> int:
        """How many executions take long enough for looking at the clock not to count."""
        overhead = statistics.median([self._timeit(0) for _ in range(5)])
        number = 1
        while True:
            taken = self._timeit(number)
            enough = overhead / taken <= 1e-4 and taken >= min_run_time / 1000
            if enough or taken > min_run_time or number * 10 > 2147483647:
                return number
            number *= 10

    def _repeated(self, min_run_time: float, max_run_time: float | None, done: Callable[[Measurement], bool],
                  callback: Callable[[int, float], Any] | None) -> Measurement:
        with set_torch_threads(self._task_spec.num_threads):
            number = self._block(min_run_time)
            times: list[float] = []
            total = 0.0
            while total < min_run_time or not done(self._measured(number, times)):
                times.append(self._timeit(number))
                total += times[-1]
                if callback is not None:
                    callback(number, times[-1])
                if max_run_time and total > max_run_time:
                    break
        return self._measured(number, times)

    def blocked_autorange(self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2) -> Measurement:
        """Execute in blocks, as many as take `min_run_time` seconds, each so long that looking at the clock does not count.
        `callback(number, seconds)` is called after each."""
        return self._repeated(min_run_time, None, lambda _: True, callback)

    def adaptive_autorange(self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0,
                           callback: Callable[[int, float], Any] | None = None) -> Measurement:
        """Execute in blocks until the interquartile range is below `threshold` of the median, or for `max_run_time` seconds."""
        return self._repeated(min_run_time, max_run_time, lambda m: len(m.raw_times) > 3 and m.meets_confidence(threshold), callback)
