"""Checkpoints: `save`, `load` and `safetensors`.

In: tensors and plain containers. Out: `.pt` files that PyTorch reads and writes too, and `.safetensors` files. True
always: nothing is ever unpickled, a file is either the old one or the complete new one, and whatever is wrong with a
file raises a `CheckpointError` that says what was found and how to mend it.
"""

from . import safetensors
from .errors import (
    CheckpointError,
    CheckpointLimitError,
    CorruptCheckpointError,
    TruncatedCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from .limits import Limits
from .reader import load
from .writer import save

__all__ = [
    "CheckpointError",
    "CheckpointLimitError",
    "CorruptCheckpointError",
    "Limits",
    "TruncatedCheckpointError",
    "UnsafeCheckpointError",
    "UnsupportedCheckpointError",
    "load",
    "safetensors",
    "save",
]
