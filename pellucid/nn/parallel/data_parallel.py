"""`DataParallel`: a module over the devices of a machine: on the CPU, the module itself."""
from __future__ import annotations

from typing import Any

from ...core.device import check
from ..modules.module import Module

__all__ = ["DataParallel"]


class DataParallel(Module):
    """Calls `module`, whose parameters are on the one device there is. `device_ids`: None or empty, as on a machine without GPUs."""

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        for device in device_ids or ():
            check(device)
        self.dim = dim
        self.module = module
        self.device_ids: list = []
        self.output_device = output_device

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """module(*inputs, **kwargs)"""
        return self.module(*inputs, **kwargs)
