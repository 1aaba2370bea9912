"""A profile as a file that chrome://tracing and Perfetto open: the Trace Event Format, with the fields of PyTorch's own.

In: an `EventList`. Out: JSON, through gzip if the name ends in ".gz". What stays true: what ran within something lies within its bar;
an arrow leads from each call to its derivative.
"""
from __future__ import annotations

import gzip
import json
import os
import threading
from typing import Any

from .events import EventList, FunctionEvent
from .recorder import BACKWARD, KERNEL, MEMORY

__all__: list[str] = []


def write(events: EventList, path: str, metadata: dict[str, Any]) -> None:
    """Write the trace. Raises OSError where the file cannot be made."""
    base = int(min([e.time_range.start for e in events], default=0.0))
    content = {"schemaVersion": 1, "deviceProperties": [], "displayTimeUnit": "ms", "baseTimeNanoseconds": base * 1000, **metadata,
               "traceEvents": trace_events(events, base), "traceName": os.fspath(path)}
    text = json.dumps(content, separators=(",", ":"), default=str)
    if os.fspath(path).endswith(".gz"):
        with gzip.open(path, "wt", encoding="utf-8") as f:
            f.write(text)
    else:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


def trace_events(events: EventList, base: float) -> list[dict]:
    """The records of the format, times counted from `base`."""
    pid = os.getpid()
    names = {t.native_id: t.name for t in threading.enumerate()}
    out: list[dict] = [{"name": "process_name", "ph": "M", "ts": 0, "pid": pid, "tid": 0, "args": {"name": "python"}}]
    for tid in sorted({e.thread for e in events}):
        name = f"thread {tid} ({names.get(tid, 'ended')})"
        out.append({"name": "thread_name", "ph": "M", "ts": 0, "pid": pid, "tid": tid, "args": {"name": name}})
    called: dict[int, FunctionEvent] = {}
    flows = 0
    total = 0
    for e in events:
        start = round(e.time_range.start - base, 3)
        if e.kind == MEMORY:
            total += e.cpu_memory_usage
            out.append({"ph": "i", "s": "t", "cat": "cpu_instant_event", "name": "[memory]", "pid": pid, "tid": e.thread, "ts": start,
                        "args": {"Bytes": e.cpu_memory_usage, "Total Allocated": total, "Device Type": 0}})
            continue
        total += e.self_cpu_memory_usage
        out.append({"ph": "X", "cat": category(e), "name": e.trace_name, "pid": pid, "tid": e.thread, "ts": start,
                    "dur": round(e.time_range.elapsed_us(), 3), "args": arguments(e)})
        if e.scope == 0 and e.sequence_nr >= 0:
            called.setdefault(e.sequence_nr, e)
        elif e.scope and e.sequence_nr in called:
            flows += 1
            begin = called.pop(e.sequence_nr)
            link = {"cat": "fwdbwd", "name": "fwdbwd", "id": flows, "pid": pid}
            out.append({"ph": "s", **link, "tid": begin.thread, "ts": round(begin.time_range.start - base, 3)})
            out.append({"ph": "f", "bp": "e", **link, "tid": e.thread, "ts": start})
    return out


def category(e: FunctionEvent) -> str:
    return "cpu_op" if e.kind in (BACKWARD, "function") else e.kind


def arguments(e: FunctionEvent) -> dict[str, Any]:
    """What a viewer shows of an event."""
    found: dict[str, Any] = {"External id": e.id + 1}
    if e.sequence_nr >= 0:
        found["Sequence number"] = e.sequence_nr
    if e.fwd_thread is not None:
        found["Fwd thread id"] = e.fwd_thread
    if e.structured_input_shapes:
        found |= {"Input Dims": e.structured_input_shapes, "Input Strides": e.structured_input_strides, "Input type": e.input_dtypes,
                  "Concrete Inputs": e.concrete_inputs}
    if e.stack and e.kind != KERNEL:
        found["Call stack"] = ";".join(reversed(e.stack))
    if e.source:
        found["Source"] = "; ".join(e.source)
    if e.module_hierarchy:
        found["Module Hierarchy"] = e.module_hierarchy
    if e.flops:
        found["flops"] = e.flops
    if e.nbytes:
        found["bytes moved"] = e.nbytes
    if e.cpu_memory_usage:
        found["Bytes"] = e.cpu_memory_usage
    return found
