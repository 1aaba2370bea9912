"""`LinearCrossEntropyOptions`: how the loss of a linear layer's scores cuts its rows into blocks.

In: PyTorch's options. Out: the number of rows of a block (`rows`, which `ops/linear_cross_entropy.py` asks for). What stays true: values that
PyTorch refuses are refused.
"""
from __future__ import annotations

from dataclasses import dataclass

from ...core import dtype as dt
from ...core.errors import fail

__all__ = ["LinearCrossEntropyOptions"]


@dataclass(frozen=True, slots=True)
class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` cuts its rows into blocks.

    `batch_chunk_size`: rows per block. `chunking_method`: 'auto', 'aspect_ratio' or 'aspect_ratio:N' (blocks whose scores
    take about as much memory as the input, or an N-th of it), or None. `allow_retain_graph`, `acc_policy` and `acc_dtype` tune
    PyTorch's buffers; here backward keeps none and every block is computed in at least float32, whatever they say.
    ValueError for values PyTorch refuses."""

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: dt.dtype | None = None

    def __post_init__(self):
        if self.acc_policy not in ("auto", "accurate", "balanced", "compact"):
            fail(ValueError, "P27D0", f"invalid acc_policy: {self.acc_policy!r}", fix="use auto, accurate, balanced or compact")
        if self.chunking_method not in (None, "auto"):
            name, sep, parts = self.chunking_method.partition(":")
            if name != "aspect_ratio" or (sep and not (parts.isdigit() and int(parts) > 0)):
                fail(ValueError, "P27D1", f"invalid chunking_method: {self.chunking_method!r}",
                     fix="use 'auto', 'aspect_ratio', 'aspect_ratio:N' or None")
        if self.batch_chunk_size is not None and not (isinstance(self.batch_chunk_size, int) and self.batch_chunk_size > 0):
            fail(ValueError, "P27D2", f"batch_chunk_size must be positive int or None, got {self.batch_chunk_size!r}")
        if self.acc_dtype is not None and self.acc_dtype not in (dt.float16, dt.bfloat16, dt.float32, dt.float64):
            fail(ValueError, "P27D3", f"acc_dtype must be one of None, float16, bfloat16, float32, float64, got {self.acc_dtype!r}")

    def rows(self, n: int, in_features: int, classes: int) -> int:
        """How many of `n` rows make a block. ValueError when size and method disagree."""
        method = self.chunking_method
        if method == "auto":
            method = "aspect_ratio:2" if self.batch_chunk_size is None else None
        if method is None:
            return max(1, min(self.batch_chunk_size or n, n))
        parts = int(method.partition(":")[2] or 1)
        wanted = -(-n // max(-(-classes // max(in_features, 1)), 1))
        rows = max(1, min((1 << max(wanted - 1, 0).bit_length()) // parts, n))
        if self.batch_chunk_size is not None and self.batch_chunk_size != rows:
            fail(ValueError, "P27D4", f"batch_chunk_size (={self.batch_chunk_size}) and chunking_method ('{method}') give different chunk "
                 f"sizes ({self.batch_chunk_size} vs {rows}); pass only one.")
        return rows
