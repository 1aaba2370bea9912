"""What compiling cost, what a call costs, and after how many calls the one has paid for the other; what each guard takes.

In: one call of a compiled function, followed through its parts. Out: `Cost`. What stays true: nothing is run twice that does anything
but return a value; where a function writes, breaks or draws random numbers, plain Python is not timed.
"""
from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from ..tensor.random import get_rng_state
from .guards import MISS

__all__: list[str] = []

PATIENCE = 0.2                      # seconds that each of two sides is timed at most
ROUNDS, LOOPS = 5, 20               # of one guard


class Cost:
    """`guards`: by the id of a version, (seconds of all guards, seconds of each); `eager` and `compiled`: seconds of a call, or None, then
    `left_out` says why."""

    def __init__(self) -> None:
        self.guards: dict[int, tuple[float, list[float | None]]] = {}
        self.eager: float | None = None
        self.compiled: float | None = None
        self.left_out: str | None = "it was not called"
        self.path: list[Any] = []

    def follow(self, compiled: Any, args: tuple, kwargs: dict) -> Any:
        """Call the function, and measure."""
        before = get_rng_state()
        result = compiled.followed(args, kwargs, self.meet)
        drew = not before.equal(get_rng_state())
        self.left_out = self.why_not(drew)
        if self.left_out is None:
            try:
                self.compare(lambda: compiled.plainly(args, kwargs), lambda: compiled.segment(args, kwargs))
            except Exception as error:
                self.eager = self.compiled = None
                self.left_out = f"a second call raises {type(error).__name__}"
        return result

    def meet(self, entry: Any, args: tuple, kwargs: dict) -> None:
        """A version that runs, or has just been made and run; None where no version ran."""
        self.path.append(entry)
        if entry is not None and id(entry) not in self.guards:
            found = timed_guards(entry, args, kwargs)
            if found is not None:
                self.guards[id(entry)] = found

    def why_not(self, drew: bool) -> str | None:
        if not self.path or any(e is None for e in self.path):
            return "it runs as plain Python"
        if len(self.path) > 1:
            return "it breaks"
        if not self.path[0].pure:
            return "it has side effects"
        return "it draws random numbers" if drew else None

    def compare(self, eager: Callable[[], Any], compiled: Callable[[], Any]) -> None:
        """Both in turns: the fastest of each."""
        for run in (eager, compiled):               # the first call of an operator may make its kernel
            run()
        best, spent = [math.inf, math.inf], [0.0, 0.0]
        for k in range(50):
            for side, run in enumerate((eager, compiled)):
                start = time.perf_counter()
                run()
                took = time.perf_counter() - start
                best[side] = min(best[side], took)
                spent[side] += took
            if max(spent) > PATIENCE:
                break
        self.eager, self.compiled = best

    def pays_after(self, compiling: float) -> int | None:
        """The number of calls after which compiling has paid off; None if never, or if that is not known."""
        if self.eager is None or self.compiled is None or self.eager <= self.compiled:
            return None
        return math.ceil(compiling / (self.eager - self.compiled))

    @property
    def guard_seconds(self) -> float | None:
        """All guards of the versions that ran."""
        return sum(total for total, _ in self.guards.values()) if self.guards else None


def timed_guards(entry: Any, args: tuple, kwargs: dict) -> tuple[float, list[float | None]] | None:
    """(seconds of the whole guard, of each check alone); None if it does not fit the arguments (any more)."""
    guard = entry.guard()
    if guard(args, kwargs) is not True:
        return None
    values = entry.checker(entry.guard_lines, "dict(locals())")(args, kwargs)
    if values is MISS:
        return None
    space = {**entry.writer.space, **values}
    empty = fastest(lambda: None)
    return fastest(guard, args, kwargs), [alone(g.condition, space, empty) for g in entry.writer.guards]


def alone(condition: str, space: dict[str, Any], empty: float) -> float | None:
    """Seconds of one check; None if it cannot be looked at by itself."""
    try:
        return max(fastest(eval(f"lambda: {condition}", space)) - empty, 0.0)
    except Exception:
        return None


def fastest(run: Callable, *args: Any) -> float:
    best = math.inf
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(LOOPS):
            run(*args)
        best = min(best, time.perf_counter() - start)
    return best / LOOPS
