"""The older way to profile: `with pellucid.autograd.profiler.profile() as prof: ...`. It records what `pellucid.profiler.profile` does.

In: what to look at. Out: the profile itself prints as a table, and has the events of the block. True always: it cannot be entered twice.
"""
from __future__ import annotations

from typing import Any

from ..core.errors import fail
from ..profiler import profile as _profile
from ..profiler import kineto_available, record_function
from ..profiler.events import EventList, FunctionEvent, FunctionEventAvg

__all__ = ["EventList", "FunctionEvent", "emit_itt", "emit_nvtx", "kineto_available", "profile", "record_function"]


class profile:
    """Record the operators that run inside the block; with `enabled=False` nothing is done.

    Args as those of `pellucid.profiler.profile`; `use_kineto` and `use_cpu` choose PyTorch's way of recording: here there is one. The
    events are in `function_events`; `table`, `key_averages`, `total_average`, `export_chrome_trace` and `export_stacks` are theirs.
    """

    def __init__(self, enabled: bool = True, *, record_shapes: bool = False, with_flops: bool = False, profile_memory: bool = False,
                 with_stack: bool = False, with_modules: bool = False, use_kineto: bool = True, use_cpu: bool = True):
        self.enabled, self.entered = enabled, False
        self.inner = _profile(record_shapes=record_shapes, with_flops=with_flops, profile_memory=profile_memory, with_stack=with_stack,
                              with_modules=with_modules)

    def __enter__(self) -> profile | None:
        if not self.enabled:
            return None
        if self.entered:
            fail(RuntimeError, "P4603", "Profiler context manager is not reentrant", fix="make another profile for another block")
        self.entered = True
        self.inner.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.enabled:
            self.inner.stop()

    @property
    def function_events(self) -> EventList:
        return self.inner.events()

    @property
    def self_cpu_time_total(self) -> float:
        return self.function_events.self_cpu_time_total

    def __repr__(self) -> str:
        if not self.entered or self.inner._recording:
            return "<unfinished pellucid.autograd.profile>"
        return repr(self.function_events)

    def __str__(self) -> str:
        if not self.entered or self.inner._recording:
            return "<unfinished pellucid.autograd.profile>"
        return self.table()

    def table(self, **settings: Any) -> str:
        """The events as a table: see `EventList.table`."""
        return self.function_events.table(**settings)

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """Events of one name added up."""
        return self.inner.key_averages(group_by_input_shape, group_by_stack_n)

    def total_average(self) -> FunctionEventAvg:
        """All events added up."""
        return self.function_events.total_average()

    def export_chrome_trace(self, path: str) -> None:
        """Write a trace for chrome://tracing or Perfetto."""
        self.inner.export_chrome_trace(path)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Write stacks for flame graph tools."""
        self.inner.export_stacks(path, metric)


class emit_nvtx:
    """Ranges for NVIDIA's profiler: with `enabled=False` nothing is done; else RuntimeError on entry, for there is no CUDA."""

    _missing = "CUDA is not available: this build computes on the CPU. pellucid.profiler.profile records what runs there"

    def __init__(self, enabled: bool = True, record_shapes: bool = False):
        self.enabled, self.record_shapes = enabled, record_shapes

    def __enter__(self) -> emit_nvtx | None:
        if self.enabled:
            fail(RuntimeError, "P4604", self._missing, fix="pass enabled=False, or use pellucid.profiler.profile")
        return None

    def __exit__(self, *error: Any) -> None:
        pass


class emit_itt(emit_nvtx):
    """Ranges for Intel's VTune: with `enabled=False` nothing is done; else RuntimeError on entry, for there is no ITT."""

    _missing = "ITT is not available in this build. pellucid.profiler.profile records what runs"
