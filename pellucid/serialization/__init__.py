"""Checkpoints: `save`, `load` and `safetensors`.

In: tensors, plain containers, modules and other objects. Out: `.pt` files that PyTorch reads and writes too, and `.safetensors` files. True
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
from .objects import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals
from .reader import get_unsafe_globals_in_checkpoint, load
from .writer import save

__all__ = [
    "CheckpointError",
    "CheckpointLimitError",
    "CorruptCheckpointError",
    "Limits",
    "TruncatedCheckpointError",
    "UnsafeCheckpointError",
    "UnsupportedCheckpointError",
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "safe_globals",
    "safetensors",
    "save",
]
