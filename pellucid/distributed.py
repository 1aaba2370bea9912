"""`pellucid.distributed`: truthful answers on a build that runs in one process."""
from __future__ import annotations

from .core.errors import unknown as _unknown

__all__ = ["is_available", "is_gloo_available", "is_initialized", "is_mpi_available", "is_nccl_available", "is_torchelastic_launched"]


def is_available() -> bool:
    """False: this build has no process groups."""
    return False


def is_initialized() -> bool:
    """False: there is no process group."""
    return False


def is_nccl_available() -> bool:
    """False: not part of this build."""
    return False


def is_gloo_available() -> bool:
    """False: not part of this build."""
    return False


def is_mpi_available() -> bool:
    """False: not part of this build."""
    return False


def is_torchelastic_launched() -> bool:
    """False: nobody launched several processes."""
    return False


__getattr__ = _unknown(globals())
