"""Vision Transformer: "An image is worth 16x16 words" (Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929).

In: images (N, 3, S, S) of the size that the model was made for. Out: scores (N, num_classes).
"""
from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import pellucid as torch
from pellucid import Tensor, nn
from pellucid.nn import functional as F

from ..ops.misc import MLP, Conv2dNormActivation, Layer
from ._api import overwrite, register_model
from ._utils import _initialise_mlp
from .weights import ViT_B_16_Weights, ViT_B_32_Weights, ViT_H_14_Weights, ViT_L_16_Weights, ViT_L_32_Weights

__all__ = ["ViT_B_16_Weights", "ViT_B_32_Weights", "ViT_H_14_Weights", "ViT_L_16_Weights", "ViT_L_32_Weights", "VisionTransformer",
           "interpolate_embeddings", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32"]

_NORM = partial(nn.LayerNorm, eps=1e-6)


class ConvStemConfig(NamedTuple):
    out_channels: int
    kernel_size: int
    stride: int
    norm_layer: Layer = nn.BatchNorm2d
    activation_layer: Layer = nn.ReLU


class MLPBlock(MLP):
    _version = 2

    def __init__(self, in_dim: int, mlp_dim: int, dropout: float) -> None:
        super().__init__(in_dim, [mlp_dim, in_dim], activation_layer=nn.GELU, inplace=None, dropout=dropout)
        _initialise_mlp(self)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest) -> None:
        if (local_metadata.get("version") or 1) < 2:                # the first layers' names: linear_1, linear_2
            for i in (0, 1):
                for kind in ("weight", "bias"):
                    old = f"{prefix}linear_{i + 1}.{kind}"
                    if old in state_dict:
                        state_dict[f"{prefix}{3 * i}.{kind}"] = state_dict.pop(old)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class EncoderBlock(nn.Module):
    def __init__(self, num_heads: int, hidden_dim: int, mlp_dim: int, dropout: float, attention_dropout: float,
                 norm_layer: Layer = _NORM) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.ln_1 = norm_layer(hidden_dim)
        self.self_attention = nn.MultiheadAttention(hidden_dim, num_heads, dropout=attention_dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = norm_layer(hidden_dim)
        self.mlp = MLPBlock(hidden_dim, mlp_dim, dropout)

    def forward(self, input: Tensor) -> Tensor:
        x = self.ln_1(input)
        x, _ = self.self_attention(x, x, x, need_weights=False)
        x = self.dropout(x) + input
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    def __init__(self, seq_length: int, num_layers: int, num_heads: int, hidden_dim: int, mlp_dim: int, dropout: float,
                 attention_dropout: float, norm_layer: Layer = _NORM) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, seq_length, hidden_dim).normal_(std=0.02))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(OrderedDict(
            (f"encoder_layer_{i}", EncoderBlock(num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer))
            for i in range(num_layers)))
        self.ln = norm_layer(hidden_dim)

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() != 3:
            raise ValueError(f"Expected (batch_size, seq_length, hidden_dim) got {input.shape}")
        return self.ln(self.layers(self.dropout(input + self.pos_embedding)))


class VisionTransformer(nn.Module):
    """`conv_stem_configs` replaces the patches by a few convolutions (https://arxiv.org/abs/2106.14881); `representation_size` puts a
    layer with tanh before the head."""

    def __init__(self, image_size: int, patch_size: int, num_layers: int, num_heads: int, hidden_dim: int, mlp_dim: int,
                 dropout: float = 0.0, attention_dropout: float = 0.0, num_classes: int = 1000, representation_size: int | None = None,
                 norm_layer: Layer = _NORM, conv_stem_configs: list[ConvStemConfig] | None = None) -> None:
        super().__init__()
        if image_size % patch_size != 0:
            raise ValueError(f"Input shape indivisible by patch size: {image_size} by {patch_size}")
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_dim = hidden_dim
        self.mlp_dim = mlp_dim
        self.attention_dropout = attention_dropout
        self.dropout = dropout
        self.num_classes = num_classes
        self.representation_size = representation_size
        self.norm_layer = norm_layer

        if conv_stem_configs is not None:
            self.conv_proj: nn.Module = nn.Sequential()
            width = 3
            for i, stem in enumerate(conv_stem_configs):
                self.conv_proj.add_module(f"conv_bn_relu_{i}", Conv2dNormActivation(
                    width, stem.out_channels, stem.kernel_size, stem.stride, norm_layer=stem.norm_layer,
                    activation_layer=stem.activation_layer))
                width = stem.out_channels
            last = nn.Conv2d(width, hidden_dim, kernel_size=1)
            self.conv_proj.add_module("conv_last", last)
        else:
            last = self.conv_proj = nn.Conv2d(3, hidden_dim, kernel_size=patch_size, stride=patch_size)
        self.seq_length = (image_size // patch_size) ** 2 + 1
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden_dim))
        self.encoder = Encoder(self.seq_length, num_layers, num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer)
        heads = OrderedDict()
        if representation_size is not None:
            heads["pre_logits"] = nn.Linear(hidden_dim, representation_size)
            heads["act"] = nn.Tanh()
        heads["head"] = nn.Linear(hidden_dim if representation_size is None else representation_size, num_classes)
        self.heads = nn.Sequential(heads)

        if last is self.conv_proj:
            nn.init.trunc_normal_(last.weight, std=math.sqrt(1 / (last.in_channels * last.kernel_size[0] * last.kernel_size[1])))
        else:
            nn.init.normal_(last.weight, mean=0.0, std=math.sqrt(2.0 / last.out_channels))
        nn.init.zeros_(last.bias)
        if representation_size is not None:
            nn.init.trunc_normal_(self.heads.pre_logits.weight, std=math.sqrt(1 / hidden_dim))
            nn.init.zeros_(self.heads.pre_logits.bias)
        nn.init.zeros_(self.heads.head.weight)
        nn.init.zeros_(self.heads.head.bias)

    def _process_input(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, patches, hidden_dim)."""
        n, _, h, w = x.shape
        for name, size in (("height", h), ("width", w)):
            if size != self.image_size:
                raise ValueError(f"Wrong image {name}! Expected {self.image_size} but got {size}!")
        return self.conv_proj(x).reshape(n, self.hidden_dim, -1).permute(0, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self._process_input(x)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        return self.heads(self.encoder(x)[:, 0])


def _prepare(kwargs: dict[str, Any], meta: dict[str, Any]) -> None:
    overwrite(kwargs, "image_size", meta["min_size"][0])


def _vit(patch_size: int, num_layers: int, num_heads: int, hidden_dim: int, mlp_dim: int, kwargs: dict[str, Any]) -> VisionTransformer:
    return VisionTransformer(kwargs.pop("image_size", 224), patch_size, num_layers, num_heads, hidden_dim, mlp_dim, **kwargs)


register = partial(register_model, prepare=_prepare)


@register(ViT_B_16_Weights)
def vit_b_16(**kwargs: Any) -> VisionTransformer:
    return _vit(16, 12, 12, 768, 3072, kwargs)


@register(ViT_B_32_Weights)
def vit_b_32(**kwargs: Any) -> VisionTransformer:
    return _vit(32, 12, 12, 768, 3072, kwargs)


@register(ViT_L_16_Weights)
def vit_l_16(**kwargs: Any) -> VisionTransformer:
    return _vit(16, 24, 16, 1024, 4096, kwargs)


@register(ViT_L_32_Weights)
def vit_l_32(**kwargs: Any) -> VisionTransformer:
    return _vit(32, 24, 16, 1024, 4096, kwargs)


@register(ViT_H_14_Weights, pretrained=None)
def vit_h_14(**kwargs: Any) -> VisionTransformer:
    return _vit(14, 32, 16, 1280, 5120, kwargs)


def interpolate_embeddings(image_size: int, patch_size: int, model_state: Mapping[str, Tensor], interpolation_mode: str = "bicubic",
                           reset_heads: bool = False) -> Mapping[str, Tensor]:
    """A state dict whose position embeddings fit images of another size; without the heads' parameters where `reset_heads`.

    The state dict itself is changed, as torchvision does, unless heads are left out of a new one."""
    embedding = model_state["encoder.pos_embedding"]                 # (1, 1 + side * side, hidden)
    n, length, hidden = embedding.shape
    if n != 1:
        raise ValueError(f"Unexpected position embedding shape: {embedding.shape}")
    side, new = math.isqrt(length - 1), image_size // patch_size
    if new * new + 1 == length:
        return model_state
    if side * side != length - 1:
        raise ValueError(f"the position embeddings of {length - 1} patches are no square")
    grid = embedding[:, 1:].permute(0, 2, 1).reshape(1, hidden, side, side)
    grid = F.interpolate(grid, size=new, mode=interpolation_mode, align_corners=True)
    model_state["encoder.pos_embedding"] = torch.cat([embedding[:, :1], grid.reshape(1, hidden, new * new).permute(0, 2, 1)], dim=1)
    if reset_heads:
        return OrderedDict((k, v) for k, v in model_state.items() if not k.startswith("heads"))
    return model_state
