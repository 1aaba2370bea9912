"""Convolution layers, 1 to 3 spatial dimensions, plain, transposed and lazy.

In: (N, C_in, *spatial) or unbatched (C_in, *spatial). Out: (N, C_out, *out_spatial) or without N.
What stays true: weight is (C_out, C_in / groups, *kernel), or (C_in, C_out / groups, *kernel) when
transposed; weight, then bias, are drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...core.errors import fail
from ...tensor import Tensor
from ...tensor import functions as T
from .. import functional as F
from .. import init
from ..parameter import Parameter, UninitializedParameter
from .lazy import LazyModuleMixin
from .module import Module
from .utils import SizeLike, _ntuple, _pair, _reverse_repeat_tuple, _single, _triple

__all__ = ['Conv1d', 'Conv2d', 'Conv3d', 'ConvTranspose1d', 'ConvTranspose2d', 'ConvTranspose3d',
           'LazyConv1d', 'LazyConv2d', 'LazyConv3d',
           'LazyConvTranspose1d', 'LazyConvTranspose2d', 'LazyConvTranspose3d']

_PADDING_MODES = ('zeros', 'reflect', 'replicate', 'circular')


def _same_padding(kernel_size: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Left and right padding of `padding='same'`, last dimension first, as `F.pad` wants it."""
    pads: list[int] = []
    for d, k in zip(reversed(dilation), reversed(kernel_size)):
        total = d * (k - 1)
        pads += [total // 2, total - total // 2]
    return pads


class _ConvNd(Module):
    __constants__ = ['stride', 'padding', 'dilation', 'groups', 'padding_mode', 'output_padding',
                     'in_channels', 'out_channels', 'kernel_size']

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, ...],
                 stride: tuple[int, ...], padding: str | tuple[int, ...], dilation: tuple[int, ...],
                 transposed: bool, output_padding: tuple[int, ...], groups: int, bias: bool,
                 padding_mode: str, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        if groups <= 0:
            fail(ValueError, "P621", f'groups must be a positive integer, got {groups}',
                 fix="groups=1 is the ordinary convolution")
        if in_channels % groups != 0:
            fail(ValueError, "P622", f'in_channels must be divisible by groups, got {in_channels} and {groups}',
                 fix="choose groups so that it divides in_channels and out_channels")
        if out_channels % groups != 0:
            fail(ValueError, "P623", f'out_channels must be divisible by groups, got {out_channels} and {groups}',
                 fix="choose groups so that it divides in_channels and out_channels")
        if isinstance(padding, str):
            if padding not in ('same', 'valid'):
                fail(ValueError, "P625", f"Invalid padding string {padding!r}, should be one of 'same', 'valid'",
                     fix="or give the padding as numbers")
            if padding == 'same' and any(s != 1 for s in stride):
                fail(ValueError, "P2714", "padding='same' is not supported for strided convolutions",
                     fix="use stride=1, or give the padding as numbers")
        if padding_mode not in _PADDING_MODES:
            fail(ValueError, "P624", f"padding_mode must be one of {_PADDING_MODES}, but got padding_mode='{padding_mode}'",
                 fix="choose one of these names")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.transposed = transposed
        self.output_padding = output_padding
        self.groups = groups
        self.padding_mode = padding_mode
        if padding == 'same':
            self._reversed_padding_repeated_twice = _same_padding(kernel_size, dilation)
        elif padding == 'valid':
            self._reversed_padding_repeated_twice = [0] * (2 * len(kernel_size))
        else:
            self._reversed_padding_repeated_twice = _reverse_repeat_tuple(padding, 2)

        factory = {'device': device, 'dtype': dtype}
        first, second = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        self.weight = Parameter(T.empty((first, second // groups, *kernel_size), **factory))
        if bias:
            self.bias = Parameter(T.empty((out_channels,), **factory))
        else:
            self.register_parameter('bias', None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight, then bias, from U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
        # kaiming_uniform with a = sqrt(5) is exactly that bound. A channels-last weight is filled
        # through a contiguous one, so that the same seed gives the same weights.
        weight = self.weight.detach()
        drawn = weight if weight.is_contiguous() else T.empty(weight.shape, dtype=weight.dtype, device=weight.device)
        init.kaiming_uniform_(drawn, a=math.sqrt(5))
        if drawn is not weight:
            weight.copy_(drawn)
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        s = '{in_channels}, {out_channels}, kernel_size={kernel_size}, stride={stride}'
        if self.padding != (0,) * len(self.padding):
            s += ', padding={padding}'
        if self.dilation != (1,) * len(self.dilation):
            s += ', dilation={dilation}'
        if self.output_padding != (0,) * len(self.output_padding):
            s += ', output_padding={output_padding}'
        if self.groups != 1:
            s += ', groups={groups}'
        if self.bias is None:
            s += ', bias=False'
        if self.padding_mode != 'zeros':
            s += ', padding_mode={padding_mode}'
        return s.format(**self.__dict__)

    def _pad_input(self, input: Tensor) -> tuple[Tensor, str | tuple[int, ...]]:
        """The input and the padding that is left for the convolution itself."""
        if self.padding_mode == 'zeros':
            return input, self.padding
        padded = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
        return padded, (0,) * len(self.kernel_size)


class Conv1d(_ConvNd):
    """Cross-correlation over (N, C_in, L): L_out = (L + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1.

    `padding` may be 'same' (stride 1 only) or 'valid'; `padding_mode`: zeros, reflect, replicate, circular.
    Raises ValueError for channels not divisible by `groups` and for unknown modes.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: SizeLike, stride: SizeLike = 1,
                 padding: str | SizeLike = 0, dilation: SizeLike = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = 'zeros', device: Any = None, dtype: Any = None) -> None:
        super().__init__(in_channels, out_channels, _single(kernel_size), _single(stride),
                         padding if isinstance(padding, str) else _single(padding), _single(dilation),
                         False, _single(0), groups, bias, padding_mode, device=device, dtype=dtype)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        input, padding = self._pad_input(input)
        return F.conv1d(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


class Conv2d(_ConvNd):
    """Cross-correlation over (N, C_in, H, W); sizes as `Conv1d`'s, per dimension.

    `kernel_size`, `stride`, `padding`, `dilation`: an int or a pair.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: SizeLike, stride: SizeLike = 1,
                 padding: str | SizeLike = 0, dilation: SizeLike = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = 'zeros', device: Any = None, dtype: Any = None) -> None:
        super().__init__(in_channels, out_channels, _pair(kernel_size), _pair(stride),
                         padding if isinstance(padding, str) else _pair(padding), _pair(dilation),
                         False, _pair(0), groups, bias, padding_mode, device=device, dtype=dtype)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        input, padding = self._pad_input(input)
        return F.conv2d(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


class Conv3d(_ConvNd):
    """Cross-correlation over (N, C_in, D, H, W); sizes as `Conv1d`'s, per dimension."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: SizeLike, stride: SizeLike = 1,
                 padding: str | SizeLike = 0, dilation: SizeLike = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = 'zeros', device: Any = None, dtype: Any = None) -> None:
        super().__init__(in_channels, out_channels, _triple(kernel_size), _triple(stride),
                         padding if isinstance(padding, str) else _triple(padding), _triple(dilation),
                         False, _triple(0), groups, bias, padding_mode, device=device, dtype=dtype)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        input, padding = self._pad_input(input)
        return F.conv3d(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


class _ConvTransposeNd(_ConvNd):
    """The gradient of a convolution with respect to its input, as a layer."""

    _spatial_dims: int

    def __init__(self, in_channels: int, out_channels: int, kernel_size: SizeLike, stride: SizeLike = 1,
                 padding: SizeLike = 0, output_padding: SizeLike = 0, groups: int = 1, bias: bool = True,
                 dilation: SizeLike = 1, padding_mode: str = 'zeros', device: Any = None,
                 dtype: Any = None) -> None:
        if padding_mode != 'zeros':
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}, '
                             f'got {padding_mode!r}')
        tuple_ = _ntuple(self._spatial_dims)
        super().__init__(in_channels, out_channels, tuple_(kernel_size), tuple_(stride), tuple_(padding),
                         tuple_(dilation), True, tuple_(output_padding), groups, bias, padding_mode,
                         device=device, dtype=dtype)

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """The output padding that gives `output_size`, which may name all dimensions or the spatial ones."""
        if output_size is None:
            return self.output_padding
        dims = self._spatial_dims
        lead = 2 if input.dim() == dims + 2 else 1
        output_size = list(output_size)
        if len(output_size) == lead + dims:
            output_size = output_size[lead:]
        if len(output_size) != dims:
            fail(ValueError, "P626", f'ConvTranspose{dims}D: for {input.dim()}D input, output_size must have '
                 f'{dims} or {lead + dims} elements (got {len(output_size)})', fix="name the spatial sizes only")
        smallest = [(input.size(lead + i) - 1) * self.stride[i] - 2 * self.padding[i]
                    + self.dilation[i] * (self.kernel_size[i] - 1) + 1 for i in range(dims)]
        largest = [size + stride - 1 for size, stride in zip(smallest, self.stride)]
        if any(not low <= size <= high for low, size, high in zip(smallest, output_size, largest)):
            fail(ValueError, "P627", f'requested an output size of {output_size}, but valid sizes range from '
                 f'{smallest} to {largest} (for an input of {tuple(input.shape[lead:])})',
                 fix="choose a size in that range, or change stride and kernel_size")
        return tuple(size - low for size, low in zip(output_size, smallest))


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed convolution over (N, C_in, L).

    L_out = (L - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1;
    `forward(input, output_size)` picks the output padding. Raises ValueError for an impossible size.
    """

    _spatial_dims = 1

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return F.conv_transpose1d(input, self.weight, self.bias, self.stride, self.padding,
                                  self._output_padding(input, output_size), self.groups, self.dilation)


class ConvTranspose2d(_ConvTransposeNd):
    """Transposed convolution over (N, C_in, H, W); sizes as `ConvTranspose1d`'s, per dimension."""

    _spatial_dims = 2

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return F.conv_transpose2d(input, self.weight, self.bias, self.stride, self.padding,
                                  self._output_padding(input, output_size), self.groups, self.dilation)


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed convolution over (N, C_in, D, H, W); sizes as `ConvTranspose1d`'s, per dimension."""

    _spatial_dims = 3

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return F.conv_transpose3d(input, self.weight, self.bias, self.stride, self.padding,
                                  self._output_padding(input, output_size), self.groups, self.dilation)


class _LazyConvMixin(LazyModuleMixin):
    """What the six lazy convolutions share: `in_channels` is read off the first input."""

    def _set_lazy(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        """Replace the placeholder parameters after the base class was built with no channels."""
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """As the plain layer, once the shapes are known; nothing before."""
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Materialise the parameters for the channels of `input`."""
        uninitialized = self.has_uninitialized_params()
        self.in_channels = self._channels_of(input)
        if not uninitialized:   # the values came from a state_dict
            return
        if self.in_channels % self.groups != 0:
            raise ValueError('in_channels must be divisible by groups, '
                             f'got {self.in_channels} and {self.groups}')
        first, second = self.out_channels, self.in_channels
        if self.transposed:
            first, second = second, first
        self.weight.materialize((first, second // self.groups, *self.kernel_size))
        if self.bias is not None:
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()

    def _channels_of(self, input: Tensor) -> int:
        unbatched = len(self.kernel_size) + 1
        if input.dim() not in (unbatched, unbatched + 1):
            raise RuntimeError(f'Expected {unbatched}D (unbatched) or {unbatched + 1}D (batched) input to '
                               f'{type(self).__name__}, but got input of size: {input.shape}')
        return input.shape[-unbatched]


class _LazyConvNd(_LazyConvMixin):
    def __init__(self, out_channels: int, kernel_size: SizeLike, stride: SizeLike = 1,
                 padding: str | SizeLike = 0, dilation: SizeLike = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = 'zeros', device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode,
                         device=device, dtype=dtype)
        self._set_lazy(out_channels, bias, device, dtype)


class _LazyConvTransposeNd(_LazyConvMixin):
    def __init__(self, out_channels: int, kernel_size: SizeLike, stride: SizeLike = 1, padding: SizeLike = 0,
                 output_padding: SizeLike = 0, groups: int = 1, bias: bool = True, dilation: SizeLike = 1,
                 padding_mode: str = 'zeros', device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation,
                         padding_mode, device=device, dtype=dtype)
        self._set_lazy(out_channels, bias, device, dtype)


class LazyConv1d(_LazyConvNd, Conv1d):
    """A `Conv1d` whose `in_channels` is read off the first input."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConvNd, Conv2d):
    """A `Conv2d` whose `in_channels` is read off the first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConvNd, Conv3d):
    """A `Conv3d` whose `in_channels` is read off the first input."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvTransposeNd, ConvTranspose1d):
    """A `ConvTranspose1d` whose `in_channels` is read off the first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTransposeNd, ConvTranspose2d):
    """A `ConvTranspose2d` whose `in_channels` is read off the first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTransposeNd, ConvTranspose3d):
    """A `ConvTranspose3d` whose `in_channels` is read off the first input."""

    cls_to_become = ConvTranspose3d
