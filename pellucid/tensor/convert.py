"""What the Tensor class takes from its helpers: geometry in PyTorch's units, and the names of `interop`, `printing`,
`storages`, `legacy` and `copying`.

`PUBLIC` lists the functions and classes of these modules that belong to pellucid's own namespace.
"""
from __future__ import annotations

import warnings

import numpy as np

from ..core import layout as lay
from ..core.device import check
from ..core.dtype import get_default_dtype
from ..core.layout import strided  # noqa: F401  (Tensor.layout)
from ..core.spec import contiguous_strides, wrap_dim  # noqa: F401
from . import legacy, misc, storages
from .core import wrap
from .copying import deepcopy, reduce, rewrap  # noqa: F401
from .interop import array_from, as_array, as_tensor, asarray, dlpack, from_dlpack, from_numpy, frombuffer, tensor, to_list, to_numpy  # noqa: F401
from .legacy import legacy_new, set_default_tensor_type  # noqa: F401
from .printing import get_printoptions, printoptions, set_printoptions, tensor_repr  # noqa: F401
from .storages import TypedStorage, UntypedStorage, is_storage  # noqa: F401


def element_strides(a: np.ndarray) -> tuple[int, ...]:
    """Strides in elements."""
    size = a.itemsize
    if a.size == 0:
        return contiguous_strides(a.shape)
    return tuple([s // size for s in a.strides])


def offset(t) -> int:
    """The first element's place in the storage, in elements."""
    if not t._a.size:
        return 0
    return (t._a.__array_interface__["data"][0] - t._storage().data_ptr()) // t._a.itemsize


def is_contiguous(a: np.ndarray, fmt) -> bool:
    """Whether elements lie in row-major order, or in that of the memory format."""
    return a.flags.c_contiguous if fmt is None or fmt is lay.contiguous_format else lay.is_in_format(a, fmt)


def warn_non_leaf_grad() -> None:
    """PyTorch's warning for reading `.grad` of a tensor that does not keep one."""
    warnings.warn("The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
                  "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf "
                  "Tensor, use .retain_grad() on the non-leaf Tensor.", UserWarning, stacklevel=4)


def from_file(filename, shared: bool | None = None, size: int = 0, *, dtype=None, device=None, requires_grad: bool = False):
    """A 1-D tensor over the first `size` elements of a file, mapped.

    `shared`: writing to the tensor changes the file (which is made as long as is needed). Raises OSError, and
    RuntimeError where a file that is not shared is too short.
    """
    check(device)
    out = wrap(storages.map_file(filename, bool(shared), size, dtype or get_default_dtype()))
    return out.requires_grad_() if requires_grad else out


METHODS = {**storages.METHODS, **legacy.METHODS, "is_nonzero": misc.is_nonzero}      # put on Tensor by tensor.py
storage = storages                                            # pellucid.storage
globals().update(storages.STORAGE_CLASSES)
globals().update(legacy.TENSOR_CLASSES)
PUBLIC = ("tensor", "as_tensor", "asarray", "from_numpy", "frombuffer", "from_dlpack", "from_file", "storage", "set_printoptions", "get_printoptions",
          "printoptions", "set_default_tensor_type", "is_storage", "TypedStorage", "UntypedStorage",
          *storages.STORAGE_CLASSES, *legacy.TENSOR_CLASSES)
