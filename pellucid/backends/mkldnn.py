"""`torch.backends.mkldnn`: PyTorch's tensors in oneDNN's layouts, which are not part of this build. (Compiled code and large operators use
oneDNN by themselves; `native.threads.notes()` tells where it is missing.)"""
from __future__ import annotations

from contextlib import AbstractContextManager

from ._switches import switched

enabled = False
deterministic = False
allow_tf32 = False
fp32_precision = "none"


def is_available() -> bool:
    """False: not part of this build."""
    return False


def flags(enabled: bool = False, deterministic: bool = False, allow_tf32: bool = True, fp32_precision: str = "none") -> AbstractContextManager[None]:
    """The switches set inside a `with` block, or a decorated function, and put back after it."""
    return switched(globals(), enabled=enabled, deterministic=deterministic, allow_tf32=allow_tf32, fp32_precision=fp32_precision)
