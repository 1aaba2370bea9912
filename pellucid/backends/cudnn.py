"""cuDNN's switches: settable, without effect on the CPU."""
from __future__ import annotations

from contextlib import AbstractContextManager

from ._switches import switched

enabled = False
benchmark = False
benchmark_limit = 10
deterministic = False
allow_tf32 = False
fp32_precision = "none"


def is_available() -> bool:
    """False: not part of this build."""
    return False


def is_acceptable(tensor) -> bool:
    """False: no tensor is computed by cuDNN."""
    return False


def version() -> int | None:
    """None: not part of this build."""
    return None


def flags(enabled: bool = False, benchmark: bool = False, benchmark_limit: int = 10, deterministic: bool = False, allow_tf32: bool = True,
          fp32_precision: str = "none") -> AbstractContextManager[None]:
    """The switches set inside a `with` block, or a decorated function, and put back after it."""
    return switched(globals(), enabled=enabled, benchmark=benchmark, benchmark_limit=benchmark_limit,
                    deterministic=deterministic, allow_tf32=allow_tf32, fp32_precision=fp32_precision)
