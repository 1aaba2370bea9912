"""Batch normalisation (Ioffe and Szegedy, 2015), 1 to 3 spatial dimensions, lazy forms, and the form for several processes.

In: (N, C) or (N, C, *spatial). Out: the same shape, each channel normalised over all other dimensions.
What stays true: training uses the batch's statistics and updates `running_mean`, `running_var`
(unbiased variance, factor `momentum`) and `num_batches_tracked`; evaluation uses the running ones.
"""
from __future__ import annotations

from typing import Any

from ...core.errors import describe, fail
from ...ops.dispatch import values_known
from ...tensor import Tensor
from ...tensor import functions as T
from .. import functional as F
from .. import init
from ..parameter import Parameter, UninitializedBuffer, UninitializedParameter
from .lazy import LazyModuleMixin
from .module import Module

__all__ = ['BatchNorm1d', 'LazyBatchNorm1d', 'BatchNorm2d', 'LazyBatchNorm2d', 'BatchNorm3d', 'LazyBatchNorm3d', 'SyncBatchNorm']


class _NormBase(Module):
    """Parameters, buffers and checkpoint handling of batch and instance normalisation."""

    _version = 2  # since 2, state dicts hold num_batches_tracked
    __constants__ = ['track_running_stats', 'momentum', 'eps', 'num_features', 'affine']
    _input_dims: tuple[int, ...]

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: Any = None, *,
                 bias: bool = True) -> None:
        super().__init__()
        factory = {'device': device, 'dtype': dtype}
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        shape = (num_features,)
        self.register_parameter('weight', Parameter(T.empty(shape, **factory)) if affine else None)
        self.register_parameter('bias', Parameter(T.empty(shape, **factory)) if affine and bias else None)
        tracked = track_running_stats
        self.register_buffer('running_mean', T.zeros(shape, **factory) if tracked else None)
        self.register_buffer('running_var', T.ones(shape, **factory) if tracked else None)
        self.register_buffer('num_batches_tracked', T.tensor(0, device=device) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the running statistics: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Reset the running statistics, weight to 1 and bias to 0."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in self._input_dims:
            expected = ' or '.join(f'{d}D' for d in self._input_dims)
            fail(ValueError, "P629", f'expected {expected} input (got {input.dim()}D input)',
                 got=describe(input), fix="dimension 1 is the channels; add a missing dimension with unsqueeze")

    def extra_repr(self) -> str:
        return (f'{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, '
                f'bias={self.bias is not None}, track_running_stats={self.track_running_stats}')

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, strict: bool,
                              missing_keys: list, unexpected_keys: list, error_msgs: list) -> None:
        version = local_metadata.get('version')
        if (version is None or version < 2) and self.track_running_stats:
            tracked = self.num_batches_tracked
            state_dict.setdefault(prefix + 'num_batches_tracked', T.tensor(0) if tracked is None else tracked)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys,
                                      unexpected_keys, error_msgs)


class _BatchNorm(_NormBase):
    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # cumulative average
                count = self.num_batches_tracked
                factor = 1.0 / (float(count) if values_known() else count.double())
        use_batch_stats = self.training or (self.running_mean is None and self.running_var is None)
        # Running statistics are passed when they are to be updated, or used.
        pass_running = self.track_running_stats or not self.training
        return F.batch_norm(input, self.running_mean if pass_running else None,
                            self.running_var if pass_running else None,
                            self.weight, self.bias, use_batch_stats, factor, self.eps)


class _LazyNormBase(LazyModuleMixin, _NormBase):
    """What the lazy batch and instance norms share: `num_features` is dimension 1 of the first input."""

    def __init__(self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: Any = None, *,
                 bias: bool = True) -> None:
        factory = {'device': device, 'dtype': dtype}
        super().__init__(0, eps, momentum, False, False, **factory, bias=False)
        self.affine = affine
        self.track_running_stats = track_running_stats
        if affine:
            self.weight = UninitializedParameter(**factory)
            if bias:
                self.bias = UninitializedParameter(**factory)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(**factory)
            self.running_var = UninitializedBuffer(**factory)
            self.num_batches_tracked = T.tensor(0, device=device)

    def reset_parameters(self) -> None:
        """As the plain layer, once the shapes are known; nothing before."""
        if not self.has_uninitialized_params() and self.num_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """Materialise parameters and running statistics for the channels of `input`."""
        uninitialized = self.has_uninitialized_params()
        self.num_features = input.shape[1]
        if not uninitialized:   # the values came from a state_dict
            return
        lazy = [self.weight, self.bias] if self.affine else []
        lazy += [self.running_mean, self.running_var] if self.track_running_stats else []
        for value in lazy:
            if value is not None:
                value.materialize((self.num_features,))
        self.reset_parameters()


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L). ValueError for other ranks."""

    _input_dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W). ValueError for other ranks."""

    _input_dims = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W). ValueError for other ranks."""

    _input_dims = (5,)


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation of (N, C, *) with the statistics of all processes of `process_group`.

    A world has one process here (`pellucid.distributed`), whose statistics they are: programs for several run as they are, and
    state dicts are those of `BatchNorm*d`. ValueError for fewer than two dimensions, or no channels.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, process_group: Any = None, device: Any = None, dtype: Any = None, *,
                 bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            fail(ValueError, "P5701", f'expected at least 2D input (got {input.dim()}D input)', got=describe(input),
                 fix="dimension 1 is the channels; add a missing dimension with unsqueeze")
        if input.size(1) == 0:
            fail(ValueError, "P5702", 'SyncBatchNorm number of input channels should be non-zero', got=describe(input),
                 fix="dimension 1 is the channels")

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """`module` with a SyncBatchNorm in the place of every `BatchNorm*d`, which has its parameters and buffers; a new layer if
        `module` is one itself."""
        converted = module
        if isinstance(module, _BatchNorm):
            converted = SyncBatchNorm(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats,
                                      process_group, bias=module.bias is not None)
            for name in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'):
                setattr(converted, name, getattr(module, name))
            converted.training = module.training
        for name, child in module.named_children():
            converted.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return converted


class LazyBatchNorm1d(_LazyNormBase, BatchNorm1d):
    """A `BatchNorm1d` whose `num_features` is read off the first input."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNormBase, BatchNorm2d):
    """A `BatchNorm2d` whose `num_features` is read off the first input."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNormBase, BatchNorm3d):
    """A `BatchNorm3d` whose `num_features` is read off the first input."""

    cls_to_become = BatchNorm3d
