"""`profile`: what runs inside a block or over the steps of a training loop, as a table, a trace, and data.

In: what to look at, and a schedule that says for each step whether to record it. Out: `events()`, `key_averages()`, a Chrome trace, stacks
for flame graphs; a handler is called whenever a trace is ready. What stays true: outside of the recorded steps nothing is paid; recording
changes no result; after the block, also after an exception, nobody observes any more.
"""
from __future__ import annotations

import json
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from ..core.errors import fail
from . import trace
from .annotate import record_function
from .events import DeviceType, EventList, events_of
from .recorder import BASE_NS, Session

__all__ = ["DeviceType", "ProfilerAction", "ProfilerActivity", "profile", "record_function", "schedule", "supported_activities",
           "tensorboard_trace_handler"]


class ProfilerActivity(Enum):
    """What kind of device to look at. Here there are processors only."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


class ProfilerAction(Enum):
    """What a profile does in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


NONE, WARMUP, RECORD, SAVE = ProfilerAction


def supported_activities() -> set[ProfilerActivity]:
    """The activities that can be recorded on this machine."""
    return {ProfilerActivity.CPU}


def schedule(*, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
             ) -> Callable[[int], ProfilerAction]:
    """A schedule for `profile`: leave out `skip_first` steps; then, `repeat` times (0: until the end), wait, warm up, and record for so
    many steps each. With `skip_first_wait` the first round does not wait.

    Raises AssertionError for negative numbers, or if no step would be recorded.
    """
    if wait < 0 or warmup < 0 or active <= 0 or repeat < 0 or skip_first < 0:
        raise AssertionError(f"Invalid profiler schedule arguments. Got wait={wait} (need >= 0), warmup={warmup} (need >= 0), "
                             f"active={active} (need > 0), repeat={repeat} (need >= 0), skip_first={skip_first} (need >= 0).")
    if warmup == 0:
        warnings.warn("Profiler won't be using warmup, this can skew profiler results", stacklevel=2)
    length = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        if step < 0:
            raise AssertionError(f"Step must be non-negative. Got {step}.")
        if step < skip_first:
            return NONE
        step += (wait if skip_first_wait else 0) - skip_first
        if repeat > 0 and step / length >= repeat:
            return NONE
        at = step % length
        if at < wait:
            return NONE
        if at < wait + warmup:
            return WARMUP
        return RECORD if at < length - 1 else SAVE

    return action


def always(step: int) -> ProfilerAction:
    """The schedule of a profile that got none: record everything."""
    return RECORD


def tensorboard_trace_handler(dir_name: str, worker_name: str | None = None, use_gzip: bool = False) -> Callable[[profile], None]:
    """A handler for `on_trace_ready` that writes each trace into a folder, one file each. `worker_name` is part of the file's name: the
    host and process if none is given."""
    def handler(prof: profile) -> None:
        os.makedirs(dir_name, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        prof.export_chrome_trace(os.path.join(dir_name, f"{worker}.{time.time_ns()}.pt.trace.json{'.gz' if use_gzip else ''}"))
    return handler


class profile:
    """Record what runs: `with profile() as prof: ...`, then `print(prof.key_averages().table(sort_by="self_cpu_time_total"))`.

    Every operator of every thread is an event, forward and backward, and so are optimiser steps, batches of a DataLoader,
    `record_function` blocks, compiled functions and each native kernel in them, with the user's lines that it computes.

    Args:
        activities: what to look at; processors are all there is.
        schedule: `schedule(...)`, or a function from the number of a step to a `ProfilerAction`; call `step()` after each step.
        on_trace_ready: called with the profile at the end of each recorded cycle (of the block, without a schedule).
        record_shapes: keep the shapes, strides, dtypes and values of operators' arguments.
        profile_memory: follow the memory of operators' results, from the call that makes it to where it is freed.
        with_stack: keep the user's lines on the way to each operator; a derivative has those of the operator it belongs to.
        with_flops: count operations, as the compiler counts those of a graph.
        with_modules: keep the modules around each operator.
        acc_events: keep the events of all cycles, not of the last one only.

    While a profile records, a compiled function runs one kernel at a time.
    """

    def __init__(self, *, activities: Iterable[ProfilerActivity] | None = None, schedule: Callable[[int], ProfilerAction] | None = None,
                 on_trace_ready: Callable[[profile], Any] | None = None, record_shapes: bool = False, profile_memory: bool = False,
                 with_stack: bool = False, with_flops: bool = False, with_modules: bool = False, acc_events: bool = False,
                 use_cuda: bool | None = None):
        self.activities = set(activities) if activities is not None else supported_activities()
        if use_cuda is not None:
            warnings.warn("`use_cuda` is deprecated, use `activities` argument instead", FutureWarning, stacklevel=2)
            if use_cuda:
                self.activities.add(ProfilerActivity.CUDA)
        for activity in sorted(self.activities - supported_activities(), key=lambda a: a.value):
            warnings.warn(f"{activity.name} is not available, disabling {activity.name} profiling", stacklevel=2)
        if len(self.activities) > 1:                # one alone that is not available records nothing
            self.activities &= supported_activities()
        if not self.activities:
            raise AssertionError("No valid profiler activities found")
        self.record_shapes, self.profile_memory, self.with_stack = record_shapes, profile_memory, with_stack
        self.with_flops, self.with_modules, self.acc_events = with_flops, with_modules, acc_events
        self.schedule = schedule or always
        self.record_steps = schedule is not None
        self.on_trace_ready = on_trace_ready
        self.metadata: dict[str, Any] = {}
        self.step_num = 0
        self.current_action = self.schedule(0)
        self._session: Session | None = None        # the one that records, or the last that did
        self._kept: list = []                       # records of earlier cycles
        self._events: EventList | None = None
        self._step: record_function | None = None

    # ------------------------------------------------------------------------------------------------ running
    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop()

    def start(self) -> None:
        """Begin with the first step."""
        if self._recording:
            fail(RuntimeError, "P4601", "this profile records already", fix="stop() it first, or make another profile")
        if self.current_action in (RECORD, SAVE):
            self._record()
        self._mark()

    def stop(self) -> None:
        """End. A cycle that is being recorded is ready."""
        self._unmark()
        recorded = self._recording
        self._finish()
        if recorded:
            self._ready()

    def step(self) -> None:
        """A step has ended: the next one begins."""
        self._unmark()
        before = self.current_action
        self.step_num += 1
        self.current_action = now = self.schedule(self.step_num)
        if before is SAVE or before is RECORD and now in (NONE, WARMUP):
            if before is RECORD:
                warnings.warn(f"Incorrect schedule: RECORD followed by {now.name}", stacklevel=2)
            self._finish()
            if before is SAVE:
                self._ready()
        elif before is WARMUP and now is NONE:
            warnings.warn("Incorrect schedule: WARMUP followed by NONE", stacklevel=2)
        if now in (RECORD, SAVE) and not self._recording:
            self._record()
        self._mark()

    @property
    def _recording(self) -> bool:
        return self._session is not None and self._session.open

    def _record(self) -> None:
        if ProfilerActivity.CPU not in self.activities:
            return
        if self.acc_events and self._session is not None:
            self._kept = self._session.records
        self._events = None
        self._session = Session(self.record_shapes, self.profile_memory, self.with_stack, self.with_flops, self.with_modules)
        self._session.records.extend(self._kept)
        self._session.start()

    def _finish(self) -> None:
        if self._recording:
            self._session.stop()

    def _ready(self) -> None:
        if self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def _mark(self) -> None:
        if self.record_steps and self._recording:
            self._step = record_function(f"ProfilerStep#{self.step_num}")
            self._step.__enter__()

    def _unmark(self) -> None:
        if self._step is not None:
            self._step.__exit__()
            self._step = None

    # ------------------------------------------------------------------------------------------------ looking
    def events(self) -> EventList:
        """What was recorded: a list of `FunctionEvent`, oldest first. Raises RuntimeError if nothing has been, or still is."""
        if self._session is None or self._session.open:
            fail(RuntimeError, "P4602", "Profiler didn't finish running",
                 fix="look at events after the block (or stop()); with a schedule, in on_trace_ready or after a recorded step")
        if self._events is None:
            self._events = events_of(self._session, BASE_NS)
        return self._events

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0,
                     group_by_overload_name: bool = False) -> EventList:
        """Events of one name added up; of one name and list of input shapes (needs `record_shapes`), or of one name and the same
        innermost lines (needs `with_stack`)."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n, group_by_overload_name)

    def export_chrome_trace(self, path: str) -> None:
        """Write a trace for chrome://tracing or https://ui.perfetto.dev; compressed if `path` ends in ".gz"."""
        trace.write(self.events(), path, self.metadata)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Write stacks for flame graph tools; needs `with_stack`."""
        self.events().export_stacks(path, metric)

    def add_metadata(self, key: str, value: str) -> None:
        """Put a string into the trace."""
        self.metadata[key] = str(value)

    def add_metadata_json(self, key: str, value: str) -> None:
        """Put a value, given as JSON, into the trace."""
        self.metadata[key] = json.loads(value)

    preset_metadata_json = add_metadata_json
