"""Whether `torch.fx` is tracing."""
from __future__ import annotations


def is_fx_tracing() -> bool:
    """False: there is no symbolic tracer."""
    return False
