"""Swin Transformer (Liu et al. 2021, https://arxiv.org/abs/2103.14030) and version 2 (https://arxiv.org/abs/2111.09883).

In: images (N, 3, H, W). Out: scores (N, num_classes). Inside, features are (N, H, W, C), and attention looks at windows that every
second block shifts by half a window.
"""
from __future__ import annotations

import math
from functools import partial
from typing import Any

import pellucid as torch
from pellucid import Tensor, nn
from pellucid.nn import functional as F

from ..ops.misc import MLP, Layer, Permute
from ..ops.stochastic_depth import StochasticDepth
from ._api import register_model
from ._utils import _initialise_mlp
from .weights import Swin_B_Weights, Swin_S_Weights, Swin_T_Weights, Swin_V2_B_Weights, Swin_V2_S_Weights, Swin_V2_T_Weights

__all__ = ["SwinTransformer", "Swin_B_Weights", "Swin_S_Weights", "Swin_T_Weights", "Swin_V2_B_Weights", "Swin_V2_S_Weights",
           "Swin_V2_T_Weights", "swin_b", "swin_s", "swin_t", "swin_v2_b", "swin_v2_s", "swin_v2_t"]


def _quarters(x: Tensor) -> Tensor:
    """(..., H, W, C) -> (..., H/2, W/2, 4C): the four pixels of each square side by side; odd sizes are padded."""
    height, width, _ = x.shape[-3:]
    x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
    return torch.cat([x[..., i::2, j::2, :] for j in (0, 1) for i in (0, 1)], -1)


class PatchMerging(nn.Module):
    def __init__(self, dim: int, norm_layer: Layer = nn.LayerNorm) -> None:
        super().__init__()
        self.dim = dim
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(_quarters(x)))


class PatchMergingV2(nn.Module):
    """Normalises after the reduction."""

    def __init__(self, dim: int, norm_layer: Layer = nn.LayerNorm) -> None:
        super().__init__()
        self.dim = dim
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.reduction(_quarters(x)))


def to_windows(x: Tensor, window: list[int]) -> Tensor:
    """(B, H, W, C) -> (B * windows, positions in a window, C)."""
    b, h, w, c = x.shape
    x = x.view(b, h // window[0], window[0], w // window[1], window[1], c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window[0] * window[1], c)


def from_windows(x: Tensor, window: list[int], b: int, h: int, w: int) -> Tensor:
    x = x.view(b, h // window[0], w // window[1], window[0], window[1], -1)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, -1)


def relative_positions(h: int, w: int) -> Tensor:
    """(positions, positions) of a window of h by w: the number, below (2h - 1)(2w - 1), of each pair's relative position."""
    rows, columns = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")).flatten(1)
    return (rows[:, None] - rows + h - 1) * (2 * w - 1) + (columns[:, None] - columns + w - 1)


def _shift_mask(x: Tensor, h: int, w: int, window: list[int], shift: list[int]) -> Tensor:
    """(windows, positions, positions): -100 between pixels that the shift brought together from opposite borders, else 0."""
    regions = x.new_zeros((h, w))
    count = 0
    for rows in ((0, -window[0]), (-window[0], -shift[0]), (-shift[0], None)):
        for columns in ((0, -window[1]), (-window[1], -shift[1]), (-shift[1], None)):
            regions[slice(*rows), slice(*columns)] = count
            count += 1
    regions = to_windows(regions[None, :, :, None], window)[..., 0]
    different = regions.unsqueeze(1) - regions.unsqueeze(2)
    return different.masked_fill(different != 0, -100.0)


def shifted_window_attention(input: Tensor, qkv_weight: Tensor, proj_weight: Tensor, relative_position_bias: Tensor,
                             window_size: list[int], num_heads: int, shift_size: list[int], attention_dropout: float = 0.0,
                             dropout: float = 0.0, qkv_bias: Tensor | None = None, proj_bias: Tensor | None = None,
                             logit_scale: Tensor | None = None, training: bool = True) -> Tensor:
    """Attention within each window of `input` (N, H, W, C). With `logit_scale` it is the cosine attention of version 2."""
    b, height, width, c = input.shape
    x = F.pad(input, (0, 0, 0, -width % window_size[1], 0, -height % window_size[0]))
    h, w = x.shape[1:3]
    # Where one window covers everything there is nothing to shift.
    shift = [0 if window >= size else s for s, window, size in zip(shift_size, window_size, (h, w))]
    if sum(shift) > 0:
        x = torch.roll(x, shifts=(-shift[0], -shift[1]), dims=(1, 2))
    x = to_windows(x, window_size)
    n, positions, _ = x.shape
    if logit_scale is not None and qkv_bias is not None:
        length = qkv_bias.numel() // 3                          # keys have no bias
        qkv_bias = qkv_bias.clone()
        qkv_bias[length:2 * length].zero_()
    q, k, v = F.linear(x, qkv_weight, qkv_bias).reshape(n, positions, 3, num_heads, c // num_heads).permute(2, 0, 3, 1, 4)
    if logit_scale is not None:
        attention = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        attention = attention * torch.clamp(logit_scale, max=math.log(100.0)).exp()
    else:
        attention = (q * (c // num_heads) ** -0.5).matmul(k.transpose(-2, -1))
    attention = attention + relative_position_bias
    if sum(shift) > 0:
        mask = _shift_mask(x, h, w, window_size, shift)
        attention = attention.view(b, -1, num_heads, positions, positions) + mask.unsqueeze(1).unsqueeze(0)
        attention = attention.view(-1, num_heads, positions, positions)
    attention = F.dropout(F.softmax(attention, dim=-1), p=attention_dropout, training=training)
    x = attention.matmul(v).transpose(1, 2).reshape(n, positions, c)
    x = F.dropout(F.linear(x, proj_weight, proj_bias), p=dropout, training=training)
    x = from_windows(x, window_size, b, h, w)
    if sum(shift) > 0:
        x = torch.roll(x, shifts=(shift[0], shift[1]), dims=(1, 2))
    return x[:, :height, :width, :].contiguous()


class ShiftedWindowAttention(nn.Module):
    """`shifted_window_attention` with a learned bias for each relative position."""

    def __init__(self, dim: int, window_size: list[int], shift_size: list[int], num_heads: int, qkv_bias: bool = True,
                 proj_bias: bool = True, attention_dropout: float = 0.0, dropout: float = 0.0) -> None:
        super().__init__()
        if len(window_size) != 2 or len(shift_size) != 2:
            raise ValueError("window_size and shift_size must be of length 2")
        self.window_size = window_size
        self.shift_size = shift_size
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.dropout = dropout
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim, bias=proj_bias)
        self.define_relative_position_bias_table()
        self.define_relative_position_index()

    def define_relative_position_bias_table(self) -> None:
        h, w = self.window_size
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * h - 1) * (2 * w - 1), self.num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def define_relative_position_index(self) -> None:
        """Which row of the table belongs to each pair of positions."""
        self.register_buffer("relative_position_index", relative_positions(*self.window_size).flatten())

    def position_bias(self, table: Tensor) -> Tensor:
        """(1, heads, positions, positions) from a table (relative positions, heads)."""
        n = self.window_size[0] * self.window_size[1]
        return table[self.relative_position_index].view(n, n, -1).permute(2, 0, 1).contiguous().unsqueeze(0)

    def get_relative_position_bias(self) -> Tensor:
        return self.position_bias(self.relative_position_bias_table)

    def forward(self, x: Tensor) -> Tensor:
        return shifted_window_attention(
            x, self.qkv.weight, self.proj.weight, self.get_relative_position_bias(), self.window_size, self.num_heads, self.shift_size,
            self.attention_dropout, self.dropout, self.qkv.bias, self.proj.bias, getattr(self, "logit_scale", None), self.training)


class ShiftedWindowAttentionV2(ShiftedWindowAttention):
    """Cosine attention; a small network makes the bias from the logarithm of the relative position."""

    def __init__(self, dim: int, window_size: list[int], shift_size: list[int], num_heads: int, qkv_bias: bool = True,
                 proj_bias: bool = True, attention_dropout: float = 0.0, dropout: float = 0.0) -> None:
        super().__init__(dim, window_size, shift_size, num_heads, qkv_bias, proj_bias, attention_dropout, dropout)
        self.logit_scale = nn.Parameter(torch.log(10 * torch.ones((num_heads, 1, 1))))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512, bias=True), nn.ReLU(inplace=True), nn.Linear(512, num_heads, bias=False))
        if qkv_bias:
            length = self.qkv.bias.numel() // 3
            self.qkv.bias[length:2 * length].data.zero_()

    def define_relative_position_bias_table(self) -> None:
        h, w = self.window_size
        table = torch.stack(torch.meshgrid(torch.arange(-(h - 1), h, dtype=torch.float32), torch.arange(-(w - 1), w, dtype=torch.float32),
                                           indexing="ij")).permute(1, 2, 0).contiguous().unsqueeze(0)
        table[..., 0] /= h - 1
        table[..., 1] /= w - 1
        table *= 8
        self.register_buffer("relative_coords_table", torch.sign(table) * torch.log2(torch.abs(table) + 1.0) / 3.0)

    def get_relative_position_bias(self) -> Tensor:
        return 16 * torch.sigmoid(self.position_bias(self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads)))


class SwinTransformerBlock(nn.Module):
    def __init__(self, dim: int, num_heads: int, window_size: list[int], shift_size: list[int], mlp_ratio: float = 4.0,
                 dropout: float = 0.0, attention_dropout: float = 0.0, stochastic_depth_prob: float = 0.0,
                 norm_layer: Layer = nn.LayerNorm, attn_layer: Layer = ShiftedWindowAttention) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = attn_layer(dim, window_size, shift_size, num_heads, attention_dropout=attention_dropout, dropout=dropout)
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")
        self.norm2 = norm_layer(dim)
        self.mlp = MLP(dim, [int(dim * mlp_ratio), dim], activation_layer=nn.GELU, inplace=None, dropout=dropout)
        _initialise_mlp(self.mlp)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.stochastic_depth(self.attn(self.norm1(x)))
        return x + self.stochastic_depth(self.mlp(self.norm2(x)))


class SwinTransformerBlockV2(SwinTransformerBlock):
    """Normalises after attention and network."""

    def __init__(self, dim: int, num_heads: int, window_size: list[int], shift_size: list[int], mlp_ratio: float = 4.0,
                 dropout: float = 0.0, attention_dropout: float = 0.0, stochastic_depth_prob: float = 0.0,
                 norm_layer: Layer = nn.LayerNorm, attn_layer: Layer = ShiftedWindowAttentionV2) -> None:
        super().__init__(dim, num_heads, window_size, shift_size, mlp_ratio, dropout, attention_dropout, stochastic_depth_prob, norm_layer,
                         attn_layer)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.stochastic_depth(self.norm1(self.attn(x)))
        return x + self.stochastic_depth(self.norm2(self.mlp(x)))


class SwinTransformer(nn.Module):
    def __init__(self, patch_size: list[int], embed_dim: int, depths: list[int], num_heads: list[int], window_size: list[int],
                 mlp_ratio: float = 4.0, dropout: float = 0.0, attention_dropout: float = 0.0, stochastic_depth_prob: float = 0.1,
                 num_classes: int = 1000, norm_layer: Layer | None = None, block: Layer | None = None,
                 downsample_layer: Layer = PatchMerging) -> None:
        super().__init__()
        self.num_classes = num_classes
        block = block or SwinTransformerBlock
        norm_layer = norm_layer or partial(nn.LayerNorm, eps=1e-5)
        patch = (patch_size[0], patch_size[1])
        layers: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, embed_dim, kernel_size=patch, stride=patch), Permute([0, 2, 3, 1]),
                                                 norm_layer(embed_dim))]
        total, made, dim = sum(depths), 0, embed_dim
        for i, (depth, heads) in enumerate(zip(depths, num_heads)):
            dim = embed_dim * 2**i
            stage: list[nn.Module] = []
            for j in range(depth):
                stage.append(block(dim, heads, window_size=window_size, shift_size=[0 if j % 2 == 0 else w // 2 for w in window_size],
                                   mlp_ratio=mlp_ratio, dropout=dropout, attention_dropout=attention_dropout,
                                   stochastic_depth_prob=stochastic_depth_prob * float(made) / (total - 1), norm_layer=norm_layer))
                made += 1
            layers.append(nn.Sequential(*stage))
            if i < len(depths) - 1:
                layers.append(downsample_layer(dim, norm_layer))
        self.features = nn.Sequential(*layers)
        self.norm = norm_layer(dim)
        self.permute = Permute([0, 3, 1, 2])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.head = nn.Linear(dim, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.trunc_normal_(m.weight, std=0.02)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.avgpool(self.permute(self.norm(self.features(x))))))


_SMALL = {"embed_dim": 96, "num_heads": [3, 6, 12, 24]}
_BASE = {"embed_dim": 128, "num_heads": [4, 8, 16, 32]}
_V2 = {"window_size": [8, 8], "block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}


def _swin(depth: int, stochastic_depth_prob: float, kwargs: dict[str, Any], **settings: Any) -> SwinTransformer:
    settings = {"window_size": [7, 7], "stochastic_depth_prob": stochastic_depth_prob, **settings, **kwargs}
    return SwinTransformer([4, 4], depths=[2, 2, depth, 2], **settings)


@register_model(Swin_T_Weights)
def swin_t(**kwargs: Any) -> SwinTransformer:
    return _swin(6, 0.2, kwargs, **_SMALL)


@register_model(Swin_S_Weights)
def swin_s(**kwargs: Any) -> SwinTransformer:
    return _swin(18, 0.3, kwargs, **_SMALL)


@register_model(Swin_B_Weights)
def swin_b(**kwargs: Any) -> SwinTransformer:
    return _swin(18, 0.5, kwargs, **_BASE)


@register_model(Swin_V2_T_Weights)
def swin_v2_t(**kwargs: Any) -> SwinTransformer:
    return _swin(6, 0.2, kwargs, **_SMALL, **_V2)


@register_model(Swin_V2_S_Weights)
def swin_v2_s(**kwargs: Any) -> SwinTransformer:
    return _swin(18, 0.3, kwargs, **_SMALL, **_V2)


@register_model(Swin_V2_B_Weights)
def swin_v2_b(**kwargs: Any) -> SwinTransformer:
    return _swin(18, 0.5, kwargs, **_BASE, **_V2)
