"""`pellucid.backends`: what accelerated libraries this build has, asked as PyTorch users ask."""
from __future__ import annotations

from ..core.lazy import lazily
from . import cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]

__getattr__ = lazily(__name__, ("cpu",))        # asks the code generator
