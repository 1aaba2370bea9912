"""Where a compiled step's time goes: every step of a program timed on its own.

In: an Executable and arrays for it. Out: `Row`s, and `text`, a table of them. The program runs as often as asked, step by
step; write-backs happen each time, so pass copies of what must not change.
"""
from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from . import threads
from .engine import Step
from .execute import Executable, library_call, place, run_host, whole_memory


class Row(NamedTuple):
    """One step: what it is, its median time, the bytes and operations it is known to move and do."""

    index: int
    kind: str
    name: str
    seconds: float
    nbytes: int
    flops: int


def profile(exe: Executable, arrays: list[np.ndarray], rounds: int = 7) -> list[Row]:
    """Time every step (the median of `rounds`)."""
    program, engine = exe.program, exe.engine
    news = exe(arrays) and [make(shape, dtype) for make, shape, dtype in exe.news]
    instance = exe.instance
    pointers = np.array([place(a) for a in (*arrays, *(news or []))], np.int64)
    engine.load(instance.address, place(pointers) if len(pointers) else 0)
    memory = whole_memory(instance, program, arrays, news or [])
    regions = instance.table[:, Step.REGION].copy()
    instance.table[:, Step.REGION] = np.arange(1, len(regions) + 1)
    times: list[list[float]] = [[] for _ in program.steps]
    try:
        for _ in range(rounds):
            for i, step in enumerate(program.steps):
                call = library_call(step) if step["kind"] == "host" else None
                with threads.region():
                    began = time.perf_counter()
                    if call is not None:
                        run_host(call, memory)
                    else:
                        engine.run(instance.address, i, i + 1)
                    times[i].append(time.perf_counter() - began)
    finally:
        instance.table[:, Step.REGION] = regions
    return [Row(i, s["kind"], s["name"], sorted(t)[len(t) // 2], s.get("bytes", 0), s.get("flops", 0))
            for i, (s, t) in enumerate(zip(program.steps, times))]


def text(rows: list[Row], least: float = 0.01) -> str:
    """A table, the longest first; what takes less than `least` of the whole together on one line."""
    total = sum(r.seconds for r in rows) or 1e-9
    out = [f"{len(rows)} steps, {total * 1e6:,.0f} us one by one"]
    rest: list[Any] = []
    for r in sorted(rows, key=lambda r: -r.seconds):
        if r.seconds < least * total:
            rest.append(r)
            continue
        out.append(f"{r.seconds * 1e6:10,.1f} us {100 * r.seconds / total:5.1f}%  {r.nbytes / r.seconds / 1e9:7.1f} GB/s "
                   f"{r.flops / r.seconds / 1e9:8.1f} GFLOP/s  {r.index:4} {r.kind:8} {r.name}")
    if rest:
        out.append(f"{sum(r.seconds for r in rest) * 1e6:10,.1f} us {100 * sum(r.seconds for r in rest) / total:5.1f}%  in {len(rest)} more")
    return "\n".join(out)
