"""`DistributedSampler`: each of several training processes sees its own share of a dataset.

In: a dataset's length, the number of processes and this one's rank. Out: this rank's indices.
True always: all ranks yield equally many indices, and together they cover the dataset (all of it, with a few repeated,
or with `drop_last` all but fewer than `num_replicas` samples).
"""
from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

from ... import distributed
from ...tensor import functions as T
from ...tensor.random import Generator
from .dataset import Dataset
from .sampler import Sampler

__all__ = ["DistributedSampler"]

_T_co = TypeVar("_T_co", covariant=True)


class DistributedSampler(Sampler[_T_co]):
    """Rank `rank` of `num_replicas` gets indices rank, rank + num_replicas, ... of one common order.

    `shuffle` (default True): the order is a permutation seeded with `seed + epoch`; call `set_epoch` before each epoch.
    `drop_last`: leave out the tail rather than repeat samples. `num_replicas` and `rank` are those of the default process group if left
    out; ValueError without one.
    """

    def __init__(self, dataset: Dataset, num_replicas: int | None = None, rank: int | None = None,
                 shuffle: bool = True, seed: int = 0, drop_last: bool = False) -> None:
        num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
        rank = distributed.get_rank() if rank is None else rank
        if rank >= num_replicas or rank < 0:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        whole = len(dataset) // num_replicas if drop_last else math.ceil(len(dataset) / num_replicas)
        self.num_samples = whole
        self.total_size = whole * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[_T_co]:
        n = len(self.dataset)
        if self.shuffle:
            generator = Generator()
            generator.manual_seed(self.seed + self.epoch)
            indices = T.randperm(n, generator=generator).tolist()
        else:
            indices = list(range(n))
        if self.total_size > n and n:
            indices = (indices * math.ceil(self.total_size / n))
        return iter(indices[self.rank:self.total_size:self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; the same number on all ranks."""
        self.epoch = epoch
