"""`DistributedDataParallel`: a module whose gradients are averaged over the processes of a group: over one, they are as they are.

In: a module with parameters that require gradients, and a process group. Out: a module that calls it, with PyTorch's names. What stays
true: parameters and gradients are the module's own. Definition: torch/nn/parallel/distributed.py (behaviour, not text).
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ... import distributed
from ..modules.module import Module
from ..parameter import UninitializedParameter

__all__ = ["DistributedDataParallel"]


class DistributedDataParallel(Module):
    """Calls `module`; its gradients are the average over the group's processes.

    Raises ValueError if there is no process group or `device_ids` are given for a module on the CPU, RuntimeError if no parameter
    requires gradients or some are not initialised. Arguments about buckets and buffers are kept: with one process nothing is sent.
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0, broadcast_buffers: bool = True,
                 init_sync: bool = True, process_group: Any = None, bucket_cap_mb: float | None = None, find_unused_parameters: bool = False,
                 check_reduction: bool = False, gradient_as_bucket_view: bool = False, static_graph: bool = False) -> None:
        super().__init__()
        distributed.get_rank(process_group)
        parameters = list(module.parameters())
        if not any(p.requires_grad for p in parameters):
            raise RuntimeError("DistributedDataParallel is not needed when a module doesn't have any parameter that requires a gradient.")
        if device_ids or output_device is not None:
            raise ValueError("DistributedDataParallel device_ids and output_device arguments only work with single-device/multiple-device GPU "
                             f"modules or CPU modules, but got device_ids {device_ids}, output_device {output_device}, and module parameters "
                             f"{ {p.device for p in parameters} }.")
        if any(isinstance(p, UninitializedParameter) for p in parameters):
            raise RuntimeError("Modules with uninitialized parameters can't be used with `DistributedDataParallel`. Run a dummy forward pass "
                               "to correctly initialize the modules")
        self.module = module
        self.device_ids = None
        self.output_device = None
        self.dim = dim
        self.device = parameters[0].device
        self.process_group = distributed.group.WORLD if process_group is None else process_group
        self.broadcast_buffers = broadcast_buffers
        self.find_unused_parameters = find_unused_parameters
        self.gradient_as_bucket_view = gradient_as_bucket_view
        self.static_graph = static_graph
        self.require_backward_grad_sync = True
        self.require_forward_param_sync = True

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """module(*inputs, **kwargs)"""
        return self.module(*inputs, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients add up without being averaged until the first backward pass outside."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    @contextlib.contextmanager
    def join(self, divide_by_initial_world_size: bool = True, enable: bool = True, throw_on_early_termination: bool = False) -> Iterator[None]:
        """Processes that run out of inputs wait for the others: nobody, here."""
        yield
