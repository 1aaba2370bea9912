"""`pellucid.utils.benchmark`: measuring statements, and comparing what was measured."""
from .compare import Colorize, Compare
from .measurement import Measurement, TaskSpec, ordered_unique, select_unit, trim_sigfig, unit_to_english
from .timer import Timer, set_torch_threads, timer

__all__ = ["Colorize", "Compare", "Measurement", "TaskSpec", "Timer", "ordered_unique", "select_unit", "set_torch_threads", "timer",
           "trim_sigfig", "unit_to_english"]
