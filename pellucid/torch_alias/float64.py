"""Float64 for a whole script: every spot of it that says float32 says float64.

In: the module `torch`, before the script runs: ours, or PyTorch itself, which `benchmarks/scripts.py` gives for comparison. Out: it is
changed for the rest of the process: the default dtype is float64; `torch.float32`, `torch.float` and `torch.FloatTensor` are names of float64
(`complex64` of complex128); `x.float()` and `module.float()` give float64; what comes from NumPy or Python as float32 is converted.
What stays true: half precision, integers and bits read as another dtype are untouched. Memory is not shared with a float32 array.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

MAKERS = ("tensor", "as_tensor", "asarray", "from_numpy")


def float64(torch: Any) -> None:
    """Make it so. Calling it again changes nothing."""
    single, double = torch.float32, torch.float64
    if single is double:
        return
    torch.set_default_dtype(double)

    def widened(make: Callable) -> Callable:
        @wraps(make)
        def made(*args: Any, **kwargs: Any) -> Any:
            t = make(*args, **kwargs)
            return t.detach().double().requires_grad_(t.requires_grad) if t.dtype is single else t
        return made

    for name in MAKERS:
        setattr(torch, name, widened(getattr(torch, name)))
    torch.float32 = torch.float = double
    torch.complex64 = torch.cfloat = torch.complex128
    torch.FloatTensor = torch.DoubleTensor
    torch.Tensor.float = torch.Tensor.double
    torch.nn.Module.float = torch.nn.Module.double

    def wide(collate: Callable) -> Callable:
        @wraps(collate)
        def collated(batch: Any, *, collate_fn_map: Any = None) -> Any:
            return collate([a.astype(np.float64) if a.dtype == np.float32 else a for a in batch], collate_fn_map=collate_fn_map)
        return collated

    kinds = torch.utils.data._utils.collate.default_collate_fn_map
    for kind in kinds:
        if kind is np.ndarray or isinstance(kind, tuple) and np.number in kind:
            kinds[kind] = wide(kinds[kind])
