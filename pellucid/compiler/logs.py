"""What the compiler says while it works: through Python's `logging`, each kind of message behind a switch of its own.

In: PELLUCID_LOG (names, with commas between them) or `set_logs`, and what the driver meets. Out: messages of the loggers
"pellucid.graph_breaks", "pellucid.recompiles", ... at level INFO, each with the user's file and line; on standard error, unless the
program has set up logging itself. What stays true: nothing is said, and no text is built, where nobody asked.
"""
from __future__ import annotations

import logging
import os
import reprlib
from collections.abc import Callable
from typing import Any

from ..core.errors import fail
from .naming import name_of, place_of

__all__: list[str] = []

KINDS = {
    "graph_breaks": "where a function is cut, why, and what removes the break",
    "recompiles": "what changed from what to what where no version fitted, and what helps",
    "compiles": "each version: how many operators and kernels, and how long it took",
    "guards": "what each version checks at a call, with the line that relies on it",
    "graph_code": "the graph of each version, as Python that runs",
    "kernel_code": "the kernels of each version, as Python that runs",
    "fusion": "what was not fused, and why",
    "perf_hints": "where a function runs as plain Python, and why",
}
LOGGERS = {kind: logging.getLogger(f"pellucid.{kind}") for kind in KINDS}


class Unhandled(logging.StreamHandler):
    """Writes to standard error what no handler of the program's own would write."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


PARENT, HANDLER = logging.getLogger("pellucid"), Unhandled()
HANDLER.setFormatter(logging.Formatter("[%(name)s] %(message)s"))


def set_logs(*, all: bool = False, **kinds: bool) -> None:
    """Choose what the compiler says: the kinds that are named are said from now on, others not.

    Args:
        all: every kind.
        kinds: `graph_breaks`, `recompiles`, `compiles`, `guards`, `graph_code`, `kernel_code`, `fusion`, `perf_hints`, each True or
            False. The environment variable PELLUCID_LOG takes the same names, with commas between them.

    The messages are records of Python's `logging`, of the loggers "pellucid.graph_breaks" and so on, at level INFO. They go to standard
    error, or where the program has set up its logging to go.
    """
    for kind in kinds.keys() - KINDS.keys():
        fail(ValueError, "P3126", f"the compiler has no messages {kind!r}", fix=f"all, {', '.join(KINDS)}")
    for kind, logger in LOGGERS.items():
        logger.setLevel(logging.INFO if kinds.get(kind, all) else logging.WARNING)
    if HANDLER not in PARENT.handlers and (all or True in kinds.values()):
        PARENT.addHandler(HANDLER)


def from_environment(text: str) -> None:
    """`set_logs` by the value of PELLUCID_LOG."""
    set_logs(**{name.strip(): True for name in text.split(",") if name.strip()})


def say(kind: str, fn: Callable, text: Callable[[], str]) -> None:
    """A message about a compiled function, if somebody wants it."""
    logger = LOGGERS[kind]
    if logger.isEnabledFor(logging.INFO):
        file, line = place_of(fn)
        logger.info("%s (%s:%d): %s", name_of(fn), file, line, text())


# ---------------------------------------------------------------------------------------------------- the messages
def broke(fn: Callable, error: Any) -> None:
    """A Break was met."""
    say("graph_breaks", fn, lambda: f"break {error.number} at {error.file}:{error.line} in {error.function}: {error.reason}; "
        f"fix: {error.remedy}")


def recompiled(fn: Callable, change: Any) -> None:
    """No version fitted; `change` is a why.Recompile."""
    say("recompiles", fn, lambda: f"{change.what}" + (f": {change.old} became {change.new}" if change.old or change.new else " changed")
        + (f", which is read at {change.where}" if change.where else "") + (f"; {change.remedy}" if change.remedy else ""))


def compiled(fn: Callable, entry: Any, count: int) -> None:
    """A version was made. Its plan, which a program from the cache lacks, is made for those who asked only."""
    if not any([LOGGERS[kind].isEnabledFor(logging.INFO) for kind in ("compiles", "guards", "graph_code", "kernel_code", "fusion")]):
        return
    plans = [p for x in (entry.execute, *([entry.joint.execute] if entry.joint else ())) if (p := getattr(x, "plan", None)) is not None]
    kernels = [k for p in plans for k in p.kernels]
    say("compiles", fn, lambda: f"version {count}: {len(entry.graph.nodes)} operators, {len(kernels)} kernels, "
        f"{entry.seconds['all']:.2f} s")
    say("guards", fn, lambda: "\n".join([f"{len(entry.writer.guards)} guards", *[guard(g) for g in entry.writer.guards]]))
    for graph in (entry.graph, *([entry.joint.graph] if entry.joint else ())):
        say("graph_code", fn, lambda: f"\n{graph.text()}")
    for kernel in kernels:
        say("kernel_code", fn, lambda: f"\n{kernel.text()}")
    for whynot in [w for p in plans for w in p.whynot]:
        say("fusion", fn, lambda: str(whynot))


def guard(checked: Any) -> str:
    """One guard in a line: what is checked, and the line that relies on it."""
    check = checked.check
    if check is None:
        return f"    {checked.why or 'not: ' + checked.condition}"
    what = "" if check.what is None else f" {reprlib.repr(check.what)}"
    return f"    {check.source}: {check.kind}{what}" + (f"  # {check.where}" if check.where else "")


def plain(fn: Callable, why: str) -> None:
    """The function runs as plain Python."""
    say("perf_hints", fn, lambda: f"runs as plain Python: {why}")


from_environment(os.environ.get("PELLUCID_LOG", ""))
