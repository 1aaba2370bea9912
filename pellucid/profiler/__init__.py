"""`pellucid.profiler`: where the time of a program goes, operator by operator and kernel by kernel.

    recorder.py    writes down what runs: an observer (ops.dispatch) of operators, backward passes, native programs, named spans
    events.py      what was written down, as data and as a table
    trace.py       and as a file that chrome://tracing and Perfetto open
    annotate.py    `record_function`
    profiler.py    `profile` and its schedule
    itt.py         Intel's marks, of which there are none
"""
from __future__ import annotations

from . import itt
from .annotate import record_function
from .profiler import DeviceType, ProfilerAction, ProfilerActivity, profile, schedule, supported_activities, tensorboard_trace_handler

__all__ = ["DeviceType", "ProfilerAction", "ProfilerActivity", "itt", "kineto_available", "profile", "record_function", "schedule",
           "supported_activities", "tensorboard_trace_handler"]


def kineto_available() -> bool:
    """True: operators are recorded. (PyTorch asks this of the library that it records with.)"""
    return True
