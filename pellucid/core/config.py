"""Settings a user may change, in one place. Each is a plain attribute of `config`; `config.describe()` prints them."""
from __future__ import annotations

import os


def _processors() -> int:
    """The threads to begin with: OMP_NUM_THREADS, or the processors this process may run on and is granted time for."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:        # a container's share: microseconds of each period, or "max"
            quota, period = file.read().split()[:2]
        if quota != "max":
            n = min(n, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        pass
    return max(n, 1)


class Config:
    """The settings. (Not a dataclass: making one takes half a millisecond at every start.)"""

    def __init__(self) -> None:
        self.threads = self.interop_threads = _processors()     # what set_num_threads says
        self.deterministic = False                  # use_deterministic_algorithms
        self.deterministic_warn_only = False
        self.fill_uninitialized = True              # utils.deterministic.fill_uninitialized_memory
        self.warn_always = False
        self.float32_matmul_precision = "highest"
        self.recompile_limit = 16                   # compiled versions of one function; past it the function runs as it is,
        self.fail_on_recompile_limit_hit = False    # or this is an error
        self.suppress_errors = False                # where compiling fails, the function runs as it is
        self.verbose = False                        # warnings about functions that run as they are show the whole traceback
        self.kernels = os.environ.get("PELLUCID_EAGER_KERNELS", "1") != "0"    # large eager operators run native kernels

    def describe(self) -> str:
        """Every setting with its value, one a line."""
        return "\n".join(f"{name} = {value!r}" for name, value in vars(self).items())


config = Config()
