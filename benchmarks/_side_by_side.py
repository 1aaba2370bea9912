"""Two or more processes that take turns: what the benchmarks that compare frameworks share.

In: a script that can serve (`--serve FRAMEWORK` runs `serve`), and the names of its cases. Out: seconds per call, round by
round. What stays true: only one side works at a time, the others sleep on a pipe; who goes first alternates, so that a
drift of the machine falls on all alike; ratios are taken within a round.
"""
from __future__ import annotations

import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
THREADS = 2


def load(framework: str) -> Any:
    """The module `torch` or `pellucid` (from this checkout), with `THREADS` threads."""
    if framework == "pellucid":
        sys.path.insert(0, str(ROOT))
    module = importlib.import_module(framework)
    module.set_num_threads(THREADS)
    return module


def timed(run: Callable[[], Any], calls: int) -> float:
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def serve(answer: Callable[[str], Any]) -> None:
    """One side: answers each line of stdin with one line that starts with @, the repr of what `answer` returns."""
    for line in sys.stdin:
        print(f"@ {answer(line.rstrip())!r}", flush=True)


class Side:
    """A process that serves one framework, or one way of using it."""

    def __init__(self, script: str, *arguments: str, threads: int = THREADS, **environment: str):
        count = str(threads)
        env = dict(os.environ, OMP_NUM_THREADS=count, OPENBLAS_NUM_THREADS=count, MKL_NUM_THREADS=count, OMP_WAIT_POLICY="PASSIVE",
                   **environment)
        self.process = subprocess.Popen([sys.executable, script, "--serve", *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1, env=env)

    def run(self, line: str) -> float:
        """The number that the side answers."""
        self.process.stdin.write(line + "\n")
        for answer in self.process.stdout:
            if answer.startswith("@ "):
                return float(answer[2:])
        raise SystemExit("a benchmark process ended")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def rounds(sides: Sequence[Side], line: str, count: int) -> list[list[float]]:
    """For each side the seconds of `count` rounds; the order turns by one place each round."""
    found: list[list[float]] = [[] for _ in sides]
    for turn in range(count):
        for k in range(len(sides)):
            i = (turn + k) % len(sides)
            found[i].append(sides[i].run(line))
    return found


def ratio(peer: Sequence[float], ours: Sequence[float]) -> float:
    """The median of the rounds' ratios peer / ours: above 1, ours is faster."""
    return statistics.median(p / o for p, o in zip(peer, ours))
