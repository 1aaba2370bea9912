"""The events of profiles, under the name by which PyTorch's users know the module: see `profiler/events.py`."""
from ..profiler.events import EventList, FormattedTimesMixin, FunctionEvent, FunctionEventAvg, Interval, Kernel

__all__ = ["EventList", "FormattedTimesMixin", "FunctionEvent", "FunctionEventAvg", "Interval", "Kernel"]
