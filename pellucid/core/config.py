"""Settings a user may change, in one place. Each is a plain attribute of `config`; `config.describe()` prints them."""
from __future__ import annotations

import os
from dataclasses import dataclass, field, fields


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


@dataclass
class Config:
    threads: int = field(default_factory=_processors)          # what set_num_threads says
    interop_threads: int = field(default_factory=_processors)
    deterministic: bool = False                 # use_deterministic_algorithms
    deterministic_warn_only: bool = False
    fill_uninitialized: bool = True             # utils.deterministic.fill_uninitialized_memory
    warn_always: bool = False
    float32_matmul_precision: str = "highest"
    recompile_limit: int = 16                   # compiled versions of one function; past it the function runs as it is,
    fail_on_recompile_limit_hit: bool = False   # or this is an error
    suppress_errors: bool = False               # where compiling fails, the function runs as it is
    verbose: bool = False                       # warnings about functions that run as they are show the whole traceback
    kernels: bool = os.environ.get("PELLUCID_EAGER_KERNELS", "1") != "0"       # large eager operators run native kernels

    def describe(self) -> str:
        """Every setting with its value, one a line."""
        return "\n".join(f"{f.name} = {getattr(self, f.name)!r}" for f in fields(self))


config = Config()
