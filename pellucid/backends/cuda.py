"""Availability of CUDA in this build, and its switches: settable, without effect on the CPU."""
from __future__ import annotations


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
