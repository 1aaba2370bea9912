"""Instance normalisation (Ulyanov et al., 2016), 1 to 3 spatial dimensions, and lazy forms.

In: (N, C, *spatial) or (C, *spatial). Out: the same shape, each channel of each sample normalised
over its spatial dimensions.
What stays true: by default there are neither parameters nor running statistics.
"""
from __future__ import annotations

import warnings
from typing import Any

from ...core.errors import describe, fail
from ...tensor import Tensor
from .. import functional as F
from .batchnorm import _LazyNormBase, _NormBase

__all__ = ['InstanceNorm1d', 'InstanceNorm2d', 'InstanceNorm3d',
           'LazyInstanceNorm1d', 'LazyInstanceNorm2d', 'LazyInstanceNorm3d']


class _InstanceNorm(_NormBase):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
                 track_running_stats: bool = False, device: Any = None, dtype: Any = None, *,
                 bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype,
                         bias=bias)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, strict: bool,
                              missing_keys: list, unexpected_keys: list, error_msgs: list) -> None:
        if local_metadata.get('version') is None and not self.track_running_stats:
            stale = [prefix + name for name in ('running_mean', 'running_var') if prefix + name in state_dict]
            if stale:
                name = type(self).__name__
                keys = ' and '.join(f'"{key}"' for key in stale)
                error_msgs.append(
                    f'Unexpected running stats buffer(s) {keys} for {name} with track_running_stats=False. '
                    f'{name} does not track running stats by default since version 0.4.0 of PyTorch, and this '
                    f'checkpoint seems older. Remove these keys from state_dict, or build {name} with '
                    f'track_running_stats=True if the running statistics are wanted.')
                for key in stale:
                    state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys,
                                      unexpected_keys, error_msgs)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        unbatched = input.dim() == self._input_dims[0]
        channel_dim = 0 if unbatched else 1
        channels = input.size(channel_dim)
        if channels != self.num_features:
            if self.affine:
                fail(ValueError, "P652", f"expected input's size at dim={channel_dim} to match num_features "
                     f'({self.num_features}), but got: {channels}.',
                     got=describe(input), fix="num_features is the number of channels")
            warnings.warn(f"input's size at dim={channel_dim} does not match num_features. You can silence this "
                          'warning by not passing in num_features, which is not used because affine=False',
                          stacklevel=2)
        if unbatched:
            return self._normalize(input.unsqueeze(0)).squeeze(0)
        return self._normalize(input)

    def _normalize(self, input: Tensor) -> Tensor:
        return F.instance_norm(input, self.running_mean, self.running_var, self.weight, self.bias,
                               self.training or not self.track_running_stats,
                               0.0 if self.momentum is None else self.momentum, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (N, C, L) or (C, L). ValueError for other ranks."""

    _input_dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of (N, C, H, W) or (C, H, W). ValueError for other ranks."""

    _input_dims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (N, C, D, H, W) or (C, D, H, W). ValueError for other ranks."""

    _input_dims = (4, 5)


class LazyInstanceNorm1d(_LazyNormBase, InstanceNorm1d):
    """An `InstanceNorm1d` whose `num_features` is read off the first input; affine and tracking by default."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNormBase, InstanceNorm2d):
    """An `InstanceNorm2d` whose `num_features` is read off the first input; affine and tracking by default."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNormBase, InstanceNorm3d):
    """An `InstanceNorm3d` whose `num_features` is read off the first input; affine and tracking by default."""

    cls_to_become = InstanceNorm3d
