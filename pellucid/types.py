"""`pellucid.types`: names for what annotations say of arguments: a number, a device, a file."""
from __future__ import annotations

import os
from builtins import (bool as _bool, bytes as _bytes, complex as _complex, float as _float, int as _int,  # noqa: F401
                      str as _str)
from collections.abc import Sequence
from typing import IO, TypeAlias, Union

from .core.device import device as _device
from .core.dtype import dtype as _dtype  # noqa: F401
from .core.layout import layout as _layout  # noqa: F401
from .tensor import Size, Tensor
from .tensor.storages import UntypedStorage

__all__ = ["Device", "FileLike", "Number", "Storage"]

_TensorOrTensors: TypeAlias = Union[Tensor, Sequence[Tensor]]
_size: TypeAlias = Union[Size, list[int], tuple[int, ...]]

Number: TypeAlias = Union[int, float, bool]
Device: TypeAlias = Union[_device, str, int, None]
FileLike: TypeAlias = Union[str, os.PathLike[str], IO[bytes]]
Storage: TypeAlias = UntypedStorage
