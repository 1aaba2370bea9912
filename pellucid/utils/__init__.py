"""Utilities (PyTorch's ``torch.utils``): hooks, checkpointing, data loading, trees of containers."""

from ..core.lazy import lazily
from . import hooks
from .swap import swap_tensors

__all__ = ["benchmark", "checkpoint", "data", "deterministic", "dlpack", "hooks", "swap_tensors"]

__getattr__ = lazily(__name__, ("benchmark", "checkpoint", "data", "deterministic", "dlpack", "tensorboard"))
