"""Deformable convolution: each weight reads where an offset says (Dai et al. 2017, https://arxiv.org/abs/1703.06211), scaled by a mask
in version 2 (https://arxiv.org/abs/1811.11168).

In: features (N, C, H, W), offsets (N, 2 * G * KH * KW, OH, OW) as (dy, dx) of each weight, for G groups of channels. Out:
(N, C', OH, OW). True always: features, offsets, weight, bias and mask all get gradients.
"""
from __future__ import annotations

import math

import pellucid as torch
from pellucid import Tensor, nn
from pellucid.nn.modules.utils import _pair

from .rois import bilinear

__all__ = ["DeformConv2d", "deform_conv2d"]

Two = int | tuple[int, int]


def deform_conv2d(input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Two = (1, 1), padding: Two = (0, 0),
                  dilation: Two = (1, 1), mask: Tensor | None = None) -> Tensor:
    """Convolution of `input` with `weight` (C', C / groups, KH, KW), read at the shifted points; `mask` (N, G * KH * KW, OH, OW)."""
    (sh, sw), (ph, pw), (dh, dw) = _pair(stride), _pair(padding), _pair(dilation)
    out_channels, per_group, kh, kw = weight.shape
    n, channels, height, width = input.shape
    out_h, out_w = (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    groups, offset_groups = channels // per_group, offset.shape[1] // (2 * kh * kw)
    if offset_groups == 0 or offset.shape[1] % (2 * kh * kw) or channels % offset_groups:
        raise RuntimeError("the shape of the offset tensor at dimension 1 is not valid. It should be a multiple of 2 * weight.size[2] * "
                           f"weight.size[3].\nGot offset.shape[1]={offset.shape[1]}, while 2 * weight.size[2] * weight.size[3]="
                           f"{2 * kh * kw}")
    if tuple(offset.shape) != (n, 2 * offset_groups * kh * kw, out_h, out_w):
        raise RuntimeError(f"offset output dims: got {tuple(offset.shape)}, expected {(n, 2 * offset_groups * kh * kw, out_h, out_w)}")
    # Where each weight reads, (N, G, KH, KW, OH, OW).
    shift = offset.reshape(n, offset_groups, kh, kw, 2, out_h, out_w)
    y = shift[:, :, :, :, 0] + (torch.arange(kh) * dh - ph)[:, None, None, None] + (torch.arange(out_h) * sh)[:, None]
    x = shift[:, :, :, :, 1] + (torch.arange(kw) * dw - pw)[:, None, None] + torch.arange(out_w) * sw
    image = torch.arange(n).reshape(n, 1, 1, 1, 1, 1, 1)
    channel = torch.arange(channels).reshape(1, offset_groups, channels // offset_groups, 1, 1, 1, 1)
    values = bilinear(input, image, channel, y[:, :, None], x[:, :, None], clamp=False)
    if mask is not None:
        values = values * mask.reshape(n, offset_groups, 1, kh, kw, out_h, out_w)
    columns = values.reshape(n, groups, per_group * kh * kw, out_h * out_w)
    out = (weight.reshape(groups, out_channels // groups, -1) @ columns).reshape(n, out_channels, out_h, out_w)
    return out if bias is None else out + bias.reshape(1, -1, 1, 1)


class DeformConv2d(nn.Module):
    """See `deform_conv2d`: `forward(input, offset, mask=None)`."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Two, stride: Two = 1, padding: Two = 0, dilation: Two = 1,
                 groups: int = 1, bias: bool = True) -> None:
        super().__init__()
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.dilation = _pair(dilation)
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        if bias:
            self.bias = nn.Parameter(torch.empty(out_channels))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        return deform_conv2d(input, offset, self.weight, self.bias, self.stride, self.padding, self.dilation, mask)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in (("padding", (0, 0)), ("dilation", (1, 1)), ("groups", 1)):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text if self.bias is not None else text + ", bias=False"
