"""ChannelShuffle: interleave the channels of groups (ShuffleNet, Zhang et al., 2018)."""
from __future__ import annotations

from ...tensor import Tensor
from .. import functional as F
from .module import Module

__all__ = ['ChannelShuffle']


class ChannelShuffle(Module):
    """View (N, C, *) as (N, groups, C / groups, *), swap the two, flatten back."""

    __constants__ = ['groups']

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f'groups={self.groups}'
