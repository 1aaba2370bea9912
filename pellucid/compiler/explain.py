"""`explain`: what the compiler did with a function, for people and for programs.

In: a function and the arguments of one call, or compiled functions that have run. Out: `Explanation`: text of at most 40 lines, and
`data`, which `json()` writes down (its "version" changes when a field's meaning does). What stays true: the results of what is
explained are those that it has without.
"""
from __future__ import annotations

import contextlib
import json
import linecache
from collections.abc import Callable, Iterator
from typing import Any

from ..core.errors import fail
from .cost import Cost
from .driver import Compiled, compile
from .naming import name_of, place_of

__all__: list[str] = []

VERSION = 2                         # 2: "sizes", "plain", "cost", seconds of guards
LINES = 40


class Explanation:
    """What became of one function. `data` holds everything; `str()` is a summary; `result` is what the call returned."""

    def __init__(self, compiled: Compiled, result: Any = None, cost: Cost | None = None):
        self.result = result
        self.data = describe(compiled, cost or Cost())

    def json(self, **options: Any) -> str:
        """`data` as JSON."""
        return json.dumps(self.data, **{"indent": 1, **options})

    def check(self, **limits: int) -> list[str]:
        """What exceeds the limits: max_breaks, max_recompiles, max_graphs."""
        found = []
        for name, limit in limits.items():
            key = name.removeprefix("max_")
            if name == key or key not in ("breaks", "recompiles", "graphs"):
                fail(ValueError, "P3120", f"no limit {name!r}", fix="max_breaks, max_recompiles, max_graphs")
            count = self.data["counts"][key]
            if count > limit:
                found.append(f"{self.data['function']}: {count} {key}, at most {limit} are allowed")
        return found

    def __str__(self) -> str:
        return "\n".join(text(self.data))

    __repr__ = __str__


def explain(fn: Callable, **settings: Any) -> Callable[..., Explanation]:
    """`explain(fn)(*args, **kwargs)`: compile `fn` (anew, with the settings of `compile`), call it with these arguments, and say what
    was done. An already compiled function is explained as it is, after one call more.

    Returns a function that gives an Explanation: print it, or look at `.data`, `.json()`, `.result`.
    """
    if not isinstance(fn, Compiled) and not callable(fn):
        fail(TypeError, "P3121", f"explain() takes a function or a module, not {type(fn).__name__}", fix="pass the function itself")
    compiled = fn if isinstance(fn, Compiled) else getattr(fn, "_compiled", None) or getattr(fn, "_compiled_call_impl", None)
    if compiled is None:
        made = compile(fn, **settings)
        compiled = made if isinstance(made, Compiled) else made._compiled

    def explained(*args: Any, **kwargs: Any) -> Explanation:
        cost = Cost()
        result = cost.follow(compiled, args, kwargs)
        return Explanation(compiled, result, cost)

    return explained


@contextlib.contextmanager
def explain_all() -> Iterator[Callable[[], list[Explanation]]]:
    """Inside, compiled functions are kept; afterwards what is given explains each that was called."""
    kept: list[Compiled] = []
    Compiled.made = kept.append
    try:
        yield lambda: [Explanation(c) for c in kept if c.versions or c.gave_up]
    finally:
        Compiled.made = None


# ---------------------------------------------------------------------------------------------------- data
def describe(compiled: Compiled, cost: Cost) -> dict[str, Any]:
    """Everything that is known about a compiled function, as plain data."""
    report = compiled.report()
    versions = compiled.versions
    breaks = [{"id": b.number, "file": b.file, "line": b.line, "function": b.function, "reason": b.reason, "fix": b.remedy,
               "source": source_line(b.file, b.line)} for b in compiled.breaks]
    file, line = place_of(compiled.fn)
    compiling = sum(e.seconds["all"] for e in versions)
    return {
        "version": VERSION,
        "function": name_of(compiled.fn),
        "file": file, "line": line,
        "gave_up": compiled.gave_up,
        "plain": compiled.plain,
        "counts": {"graphs": sum(bool(e.graph.nodes) for e in versions), "segments": len(versions), "breaks": len(breaks),
                   "recompiles": len(compiled.recompiles), "kernels": report.kernels, "library_calls": report.library_calls,
                   "host_calls": report.host_calls, "guards": sum(len(e.writer.guards) for e in versions)},
        "seconds": {"all": compiling, "passes": report.seconds},
        "cost": {"compiling": compiling, "eager": cost.eager, "compiled": cost.compiled, "pays_after": cost.pays_after(compiling),
                 "left_out": cost.left_out, "guards": cost.guard_seconds},
        "lines": lines_of(compiled, versions),
        "breaks": breaks,
        "guards": [row for e in versions for row in guards_of(e, cost)],
        "sizes": [row for part in (compiled, *compiled.points.values()) for row in part.sizes.told(
            [e for entries in part.entries.values() for e in reversed(entries)])],
        "recompiles": [r._asdict() for r in compiled.recompiles],
        "kernels": [kernel_of(k) for k in compiled.kernels],
        "not_fused": [str(w) for w in report.whynot],
    }


def guards_of(entry: Any, cost: Cost) -> list[dict[str, Any]]:
    """Each guard of a version, with what it takes by itself; and what is checked for all modules in one of these."""
    _, seconds = cost.guards.get(id(entry), (0.0, []))
    rows = []
    for k, g in enumerate(entry.writer.guards):
        c = g.check
        rows.append({"what": g.why or g.condition if c is None else str(c.source), "kind": "state" if c is None else c.kind,
                     "where": "" if c is None else c.where, "seconds": seconds[k] if k < len(seconds) else None})
    return rows + [{"what": str(c.source), "kind": c.kind, "where": c.where, "seconds": None, "within": "modules"} for c in entry.grouped]


def source_line(file: str, line: int) -> str:
    return linecache.getline(file, line).strip()


def lines_of(compiled: Compiled, versions: list) -> list[dict[str, Any]]:
    """Each line of the user's that was captured: "compiled", or "break"."""
    stopped = {(b.file, b.line): b.number for b in compiled.breaks}
    found = []
    for file, line in sorted(stopped.keys() | {place for e in versions for place in e.lines}):
        number = stopped.get((file, line))
        found.append({"file": file, "line": line, "source": source_line(file, line), "status": "break" if number else "compiled", "break": number})
    return found


def kernel_of(kernel: Any) -> dict[str, Any]:
    return {"name": kernel.name, "operators": kernel.ops, "lines": kernel.lines, "flops": kernel.flops, "bytes": kernel.nbytes}


# ---------------------------------------------------------------------------------------------------- text
def cost_text(cost: dict[str, Any]) -> list[str]:
    """At most one line."""
    said = []
    if cost["compiled"] is not None:
        said.append(f"a call takes {cost['compiled'] * 1e6:.1f} us, as plain Python {cost['eager'] * 1e6:.1f} us")
        said.append("compiling does not pay" if cost["pays_after"] is None else f"compiling has paid after {cost['pays_after']:,} calls")
    if cost["guards"] is not None:
        said.append(f"guards take {cost['guards'] * 1e6:.1f} us")
    if said and cost["left_out"]:
        said.append(f"not compared with plain Python: {cost['left_out']}")
    return ["  " + "; ".join(said)] if said else []


def sizes_text(rows: list[dict[str, Any]]) -> list[str]:
    """Which sizes have native code, and when the others, most often met first, get it: at most 4 lines."""
    def some(texts: list[str]) -> str:
        return ", ".join(texts[:8]) + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")

    def spelt(row: dict[str, Any]) -> str:
        return " ".join(f"{place} = {n}" for place, n in list(row["sizes"].items())[:3])

    compiled = dict.fromkeys(spelt(row) + (f" ({row['new_objects']} objects of machine code)" if row["new_objects"] else "")
                             for row in rows if row["status"] == "compiled")
    plain = sorted((row for row in rows if row["status"] == "plain"), key=lambda row: -row["plain_calls"])
    if not rows:
        return []
    out = [f"  sizes vary; compiled for {some(list(compiled))}"]
    out += [f"  plain Python for {spelt(row)} ({row['plain_calls']} calls, {row['plain_seconds'] * 1e3:.1f} ms; compiled {row['compiled_when']})"
            for row in plain[:2]]
    if len(plain) > 2:
        out.append(f"  and for {len(plain) - 2} more sizes (see .data)")
    return out


def text(data: dict[str, Any]) -> list[str]:
    """At most 40 lines."""
    counts = data["counts"]

    def many(n: int, what: str) -> str:
        return f"{n} {what}{'' if n == 1 else 's'}"

    out = [f"{data['function']}  ({data['file']}:{data['line']})",
           f"  {many(counts['graphs'], 'graph')}, {many(counts['breaks'], 'break')}, {many(counts['recompiles'], 'recompile')}; "
           f"{many(counts['kernels'], 'kernel')}, {many(counts['library_calls'], 'library call')}, {many(counts['guards'], 'guard')}; "
           f"compiling took {data['seconds']['all']:.1f} s", *cost_text(data["cost"])]
    if data["gave_up"]:
        out.append(f"  runs as plain Python: {data['gave_up']}")
    if data["plain"]:
        out.append(f"  runs as plain Python: {data['plain']}")
    for b in data["breaks"][:6]:
        out += [f"  break {b['id']}  {b['file']}:{b['line']} in {b['function']}", f"      {b['source']}", f"      {b['reason']}", f"      fix: {b['fix']}"]
    if len(data["breaks"]) > 6:
        out.append(f"  and {len(data['breaks']) - 6} more breaks (see .data)")
    for r in data["recompiles"][:3]:
        out.append(f"  recompiled: {r['what']}: {r['old']} became {r['new']}" + (f"  ({r['where']})" if r["where"] else "")
                   + (f"; {r['remedy']}" if r["remedy"] else ""))
    if len(data["recompiles"]) > 3:
        out.append(f"  and {len(data['recompiles']) - 3} more recompiles (see .data)")
    out += sizes_text(data["sizes"])
    marks = {"compiled": "|", "break": "X"}
    room = LINES - len(out) - 1
    lines = data["lines"]
    if lines and room > 3:
        out.append("  | compiled   X break")
        for k, line in enumerate(lines[:room - 1]):
            out.append(f"  {marks[line['status']]} {line['line']:5d}  {line['source'][:100]}")
        if len(lines) > room - 1:
            out[-1] = f"  ... {len(lines) - room + 2} more lines (see .data)"
    return out[:LINES]
