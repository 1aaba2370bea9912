"""MaxViT (Tu et al. 2022, https://arxiv.org/abs/2204.01697).

In: images (N, 3, H, W) of the size that the model was made for (224 by 224). Out: scores (N, num_classes). Each layer is a convolution
block, then attention within windows, then attention over a grid of pixels spread over the whole image. Inside attention, features
are (N, groups, positions, C).
"""
from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

import pellucid as torch
from pellucid import Tensor, nn
from pellucid.nn import functional as F

from ..ops.misc import Conv2dNormActivation, Layer, SqueezeExcitation
from ..ops.stochastic_depth import StochasticDepth
from ._api import overwrite, register_model
from .swin_transformer import from_windows, relative_positions, to_windows
from .weights import MaxVit_T_Weights

__all__ = ["MaxVit", "MaxVit_T_Weights", "maxvit_t"]

Size = tuple[int, int]


def _halved(size: Size) -> Size:
    """The size after a convolution by 3 with stride 2 and padding 1."""
    return (size[0] - 1) // 2 + 1, (size[1] - 1) // 2 + 1


class MBConv(nn.Module):
    """Inverted bottleneck with squeeze and excitation, normalised first; the shortcut is averaged and projected where shapes differ."""

    def __init__(self, in_channels: int, out_channels: int, expansion_ratio: float, squeeze_ratio: float, stride: int,
                 activation_layer: Layer, norm_layer: Layer, p_stochastic_dropout: float = 0.0) -> None:
        super().__init__()
        self.proj: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            average = [nn.AvgPool2d(kernel_size=3, stride=stride, padding=1)] if stride == 2 else []
            self.proj = nn.Sequential(*average, nn.Conv2d(in_channels, out_channels, kernel_size=1))
        wide = int(out_channels * expansion_ratio)
        self.stochastic_depth = StochasticDepth(p_stochastic_dropout, mode="row")
        block = partial(Conv2dNormActivation, activation_layer=activation_layer, norm_layer=norm_layer, inplace=None)
        self.layers = nn.Sequential(OrderedDict(
            pre_norm=norm_layer(in_channels), conv_a=block(in_channels, wide, kernel_size=1),
            conv_b=block(wide, wide, kernel_size=3, stride=stride, groups=wide),
            squeeze_excitation=SqueezeExcitation(wide, int(out_channels * squeeze_ratio), activation=nn.SiLU),
            conv_c=nn.Conv2d(wide, out_channels, kernel_size=1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x) + self.stochastic_depth(self.layers(x))


class RelativePositionalMultiHeadAttention(nn.Module):
    """Attention among the `max_seq_len` positions of each group, a square, with a learned bias for each relative position."""

    def __init__(self, feat_dim: int, head_dim: int, max_seq_len: int) -> None:
        super().__init__()
        if feat_dim % head_dim != 0:
            raise ValueError(f"feat_dim: {feat_dim} must be divisible by head_dim: {head_dim}")
        self.n_heads = feat_dim // head_dim
        self.head_dim = head_dim
        self.size = int(max_seq_len ** 0.5)
        self.max_seq_len = max_seq_len
        self.to_qkv = nn.Linear(feat_dim, feat_dim * 3)
        self.scale_factor = feat_dim ** -0.5
        self.merge = nn.Linear(feat_dim, feat_dim)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * self.size - 1) ** 2, self.n_heads, dtype=torch.float32))
        self.register_buffer("relative_position_index", relative_positions(self.size, self.size))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        b, groups, positions, c = x.shape
        q, k, v = self.to_qkv(x).reshape(b, groups, positions, 3, self.n_heads, self.head_dim).permute(3, 0, 1, 4, 2, 5)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)         # (heads, positions, positions)
        attention = F.softmax(q @ (k * self.scale_factor).transpose(-2, -1) + bias, dim=-1)
        return self.merge((attention @ v).transpose(2, 3).reshape(b, groups, positions, c))


class PartitionAttentionLayer(nn.Module):
    """Attention and a network over features (N, C, H, W) in groups of `partition_size` squared pixels: neighbours ("window"), or pixels
    spread evenly over the image ("grid")."""

    def __init__(self, in_channels: int, head_dim: int, partition_size: int, partition_type: str, grid_size: Size, mlp_ratio: int,
                 activation_layer: Layer, norm_layer: Layer, attention_dropout: float, mlp_dropout: float,
                 p_stochastic_dropout: float) -> None:
        super().__init__()
        if partition_type not in ("grid", "window"):
            raise ValueError("partition_type must be either 'grid' or 'window'")
        self.partition_type = partition_type
        self.grid_size = grid_size
        self.window = [partition_size] * 2 if partition_type == "window" else [n // partition_size for n in grid_size]
        self.attn_layer = nn.Sequential(norm_layer(in_channels),
                                        RelativePositionalMultiHeadAttention(in_channels, head_dim, partition_size ** 2),
                                        nn.Dropout(attention_dropout))
        self.mlp_layer = nn.Sequential(nn.LayerNorm(in_channels), nn.Linear(in_channels, in_channels * mlp_ratio), activation_layer(),
                                       nn.Linear(in_channels * mlp_ratio, in_channels), nn.Dropout(mlp_dropout))
        self.stochastic_dropout = StochasticDepth(p_stochastic_dropout, mode="row")

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        if (h, w) != tuple(self.grid_size):
            raise ValueError(f"MaxVit: features are {h} by {w}, but were to be {self.grid_size[0]} by {self.grid_size[1]}; pass images of the "
                             "size it was made for, or make it for theirs (input_size=)")
        positions = self.window[0] * self.window[1]
        x = to_windows(x.permute(0, 2, 3, 1), self.window).view(b, -1, positions, c)
        if self.partition_type == "grid":               # the windows' pixels at one place are a group
            x = x.transpose(1, 2)
        x = x + self.stochastic_dropout(self.attn_layer(x))
        x = x + self.stochastic_dropout(self.mlp_layer(x))
        if self.partition_type == "grid":
            x = x.transpose(1, 2)
        return from_windows(x.reshape(-1, positions, c), self.window, b, h, w).permute(0, 3, 1, 2)


class MaxVitLayer(nn.Module):
    """Convolution block, attention within windows, attention over the grid."""

    def __init__(self, in_channels: int, out_channels: int, squeeze_ratio: float, expansion_ratio: float, stride: int, norm_layer: Layer,
                 activation_layer: Layer, head_dim: int, mlp_ratio: int, mlp_dropout: float, attention_dropout: float,
                 p_stochastic_dropout: float, partition_size: int, grid_size: Size) -> None:
        super().__init__()
        layers = OrderedDict(MBconv=MBConv(in_channels, out_channels, expansion_ratio, squeeze_ratio, stride, activation_layer, norm_layer,
                                           p_stochastic_dropout))
        for kind in ("window", "grid"):
            layers[f"{kind}_attention"] = PartitionAttentionLayer(
                out_channels, head_dim, partition_size, kind, grid_size, mlp_ratio, activation_layer, nn.LayerNorm, attention_dropout,
                mlp_dropout, p_stochastic_dropout)
        self.layers = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class MaxVitBlock(nn.Module):
    """`n_layers` layers, the first with stride 2; `p_stochastic` has the drop probability of each."""

    def __init__(self, in_channels: int, out_channels: int, squeeze_ratio: float, expansion_ratio: float, norm_layer: Layer,
                 activation_layer: Layer, head_dim: int, mlp_ratio: int, mlp_dropout: float, attention_dropout: float, partition_size: int,
                 input_grid_size: Size, n_layers: int, p_stochastic: list[float]) -> None:
        super().__init__()
        if len(p_stochastic) != n_layers:
            raise ValueError(f"p_stochastic must have length n_layers={n_layers}, got p_stochastic={p_stochastic}.")
        self.grid_size = _halved(input_grid_size)
        self.layers = nn.ModuleList(
            MaxVitLayer(out_channels if i else in_channels, out_channels, squeeze_ratio, expansion_ratio, 1 if i else 2, norm_layer,
                        activation_layer, head_dim, mlp_ratio, mlp_dropout, attention_dropout, p, partition_size, self.grid_size)
            for i, p in enumerate(p_stochastic))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class MaxVit(nn.Module):
    """`block_channels` and `block_layers` say how wide and deep each block is; the drop probability of stochastic depth grows from 0 at
    the first layer to `stochastic_depth_prob` at the last."""

    def __init__(self, input_size: Size, stem_channels: int, partition_size: int, block_channels: list[int], block_layers: list[int],
                 head_dim: int, stochastic_depth_prob: float, norm_layer: Layer | None = None, activation_layer: Layer = nn.GELU,
                 squeeze_ratio: float = 0.25, expansion_ratio: float = 4, mlp_ratio: int = 4, mlp_dropout: float = 0.0,
                 attention_dropout: float = 0.0, num_classes: int = 1000) -> None:
        super().__init__()
        norm_layer = norm_layer or partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
        size = _halved(input_size)
        sizes = [size := _halved(size) for _ in block_channels]
        for i, (h, w) in enumerate(sizes):
            if h % partition_size or w % partition_size:
                raise ValueError(f"Input size {(h, w)} of block {i} is not divisible by partition size {partition_size}. Consider changing the "
                                 f"partition size or the input size.\nCurrent configuration yields the following block input sizes: {sizes}.")
        self.stem = nn.Sequential(
            Conv2dNormActivation(3, stem_channels, 3, stride=2, norm_layer=norm_layer, activation_layer=activation_layer, inplace=None),
            Conv2dNormActivation(stem_channels, stem_channels, 3, norm_layer=None, activation_layer=None))
        self.partition_size = partition_size
        count = sum(block_layers)
        probabilities = iter([stochastic_depth_prob * i / max(count - 1, 1) for i in range(count)])
        size, width = _halved(input_size), stem_channels
        self.blocks = nn.ModuleList()
        for channels, layers in zip(block_channels, block_layers):
            self.blocks.append(MaxVitBlock(width, channels, squeeze_ratio, expansion_ratio, norm_layer, activation_layer, head_dim, mlp_ratio,
                                           mlp_dropout, attention_dropout, partition_size, size, layers,
                                           [next(probabilities) for _ in range(layers)]))
            size, width = _halved(size), channels
        self.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(width), nn.Linear(width, width), nn.Tanh(),
                                        nn.Linear(width, num_classes, bias=False))
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(m.weight, std=0.02)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(x)


def _prepare(kwargs: dict[str, Any], meta: dict[str, Any]) -> None:
    overwrite(kwargs, "input_size", meta["min_size"])


@register_model(MaxVit_T_Weights, prepare=_prepare)
def maxvit_t(**kwargs: Any) -> MaxVit:
    return MaxVit(kwargs.pop("input_size", (224, 224)), stem_channels=64, partition_size=7, block_channels=[64, 128, 256, 512],
                  block_layers=[2, 2, 5, 2], head_dim=32, stochastic_depth_prob=0.2, **kwargs)
