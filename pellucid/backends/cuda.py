"""Availability of CUDA in this build, and its switches: settable, without effect on the CPU (`nn.attention.sdpa_kernel` has one there)."""
from __future__ import annotations

from enum import Enum as _Enum

_sdp = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True}


class _MatrixProducts:
    """`backends.cuda.matmul`: how products on a GPU may round."""

    allow_tf32 = False
    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True
    fp32_precision = "none"


matmul = _MatrixProducts()


def is_available() -> bool:
    """False: not part of this build."""
    return False


def is_built() -> bool:
    """False: not part of this build."""
    return False


def enable_flash_sdp(enabled: bool) -> None:
    """Set whether a GPU may use fused attention."""
    _sdp["flash"] = bool(enabled)


def flash_sdp_enabled() -> bool:
    """What `enable_flash_sdp` set; True before."""
    return _sdp["flash"]


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """Set whether a GPU may use memory-efficient attention."""
    _sdp["mem_efficient"] = bool(enabled)


def mem_efficient_sdp_enabled() -> bool:
    """What `enable_mem_efficient_sdp` set; True before."""
    return _sdp["mem_efficient"]


def enable_math_sdp(enabled: bool) -> None:
    """Set whether a GPU may use attention made of its parts."""
    _sdp["math"] = bool(enabled)


def math_sdp_enabled() -> bool:
    """What `enable_math_sdp` set; True before."""
    return _sdp["math"]


def enable_cudnn_sdp(enabled: bool) -> None:
    """Set whether a GPU may use cuDNN's attention."""
    _sdp["cudnn"] = bool(enabled)


def cudnn_sdp_enabled() -> bool:
    """What `enable_cudnn_sdp` set; True before."""
    return _sdp["cudnn"]


class _LinalgBackend(_Enum):
    """What `preferred_linalg_library` answers with."""

    Default = 0
    Cusolver = 1
    Magma = 2


_preferred = [_LinalgBackend.Default]


def preferred_linalg_library(backend: str | _LinalgBackend | None = None) -> _LinalgBackend:
    """The library for linear algebra on a GPU, set first if one is named ("default", "cusolver", "magma"). RuntimeError for unknown ones."""
    if isinstance(backend, str):
        found = {b.name.lower(): b for b in _LinalgBackend}.get(backend)
        if found is None:
            raise RuntimeError("Unknown input value. Choose from: default, cusolver, magma.")
        _preferred[0] = found
    elif isinstance(backend, _LinalgBackend):
        _preferred[0] = backend
    elif backend is not None:
        raise RuntimeError("Unknown input value type.")
    return _preferred[0]
