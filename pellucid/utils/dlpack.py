"""DLPack both ways, as PyTorch's ``torch.utils.dlpack``: a tensor as a capsule, a capsule (or what gives one) as a tensor."""
from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from ..tensor.functions import from_dlpack

__all__ = ["from_dlpack", "to_dlpack"]


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule over the tensor's memory; it can be read once. Raises BufferError for a tensor that requires grad."""
    return tensor.__dlpack__()
