"""`pellucid.backends`: what accelerated libraries this build has, asked as PyTorch users ask."""
from __future__ import annotations

from . import cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]
