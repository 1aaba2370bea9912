"""Samplers: the order in which a `DataLoader` visits a dataset.

In: the size of a dataset (or a list of indices, or weights) and a random generator.
Out: an iterator of indices, or of lists of indices (`BatchSampler`).
True always: the same seed gives the same order as PyTorch's samplers on the CPU. Random samplers draw nothing before
the first index is asked for, so that the loader's own draw (the base seed) comes first.
"""
from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Generic, TypeVar

from ...core.errors import fail
from ...core.dtype import float64, int64
from ...tensor import Tensor
from ...tensor import functions as T
from ...tensor.random import Generator

__all__ = ["BatchSampler", "RandomSampler", "Sampler", "SequentialSampler", "SubsetRandomSampler",
           "WeightedRandomSampler"]

_T_co = TypeVar("_T_co", covariant=True)


def draw_seed(generator: Generator | None = None) -> int:
    """A random int64 from `generator` (the default one if None): two words of its stream, as `Tensor.random_` takes."""
    return int(T.empty((), dtype=int64).random_(generator=generator).item())


class Sampler(Generic[_T_co]):
    """Base of all samplers. Subclasses write `__iter__`, and `__len__` where the number of indices is known."""

    def __iter__(self) -> Iterator[_T_co]:
        fail(NotImplementedError, "P435", "Subclasses of Sampler should implement __iter__.",
             fix="yield the indices of the samples in their order")


class SequentialSampler(Sampler[int]):
    """0, 1, ..., len(data_source) - 1."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(length(self.data_source)))

    def __len__(self) -> int:
        return length(self.data_source)


def length(data: Sized) -> int:
    """len(data), or the TypeError that says what is missing."""
    if not hasattr(type(data), "__len__"):
        fail(TypeError, "P436", f"object of type '{type(data).__name__}' has no len()",
             fix="define __len__(self) in the dataset; one without a length derives from IterableDataset")
    return len(data)


class RandomSampler(Sampler[int]):
    """Indices in random order.

    Without replacement: `num_samples` of them (default `len(data_source)`) from one permutation after the other.
    With replacement: `num_samples` independent draws. Without a `generator` each pass seeds one of its own with a
    draw from the default generator.
    """

    def __init__(self, data_source: Sized, replacement: bool = False, num_samples: int | None = None,
                 generator: Generator | None = None) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            fail(ValueError, "P430", "num_samples should be a positive integer value, "
                 f"but got num_samples={self.num_samples}",
                 fix="the dataset is empty: check the paths and filters it was made from")

    @property
    def num_samples(self) -> int:
        # Asked for each time: a dataset may grow.
        return length(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n = len(self.data_source)
        generator = self.generator
        if generator is None:
            generator = Generator()
            generator.manual_seed(draw_seed())
        if self.replacement:
            for _ in range(self.num_samples // 32):
                yield from T.randint(high=n, size=(32,), dtype=int64, generator=generator).tolist()
            rest = self.num_samples % 32
            yield from T.randint(high=n, size=(rest,), dtype=int64, generator=generator).tolist()
        else:
            for _ in range(self.num_samples // n):
                yield from T.randperm(n, generator=generator).tolist()
            # The last permutation is drawn even if none of it is used: the generator's state is PyTorch's too.
            yield from T.randperm(n, generator=generator).tolist()[:self.num_samples % n]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in T.randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """`num_samples` indices from 0..len(weights)-1, drawn with probabilities proportional to `weights`."""

    weights: Tensor

    def __init__(self, weights: Sequence[float], num_samples: int, replacement: bool = True,
                 generator: Generator | None = None) -> None:
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            fail(ValueError, "P431", f"num_samples should be a positive integer value, but got num_samples={num_samples}",
                 fix="draw at least one sample")
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.weights = T.as_tensor(weights, dtype=float64)
        if self.weights.dim() != 1:
            fail(ValueError, "P433", "weights should be a 1d sequence but given weights have shape "
                 f"{tuple(self.weights.shape)}", fix="give one weight per sample")
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        yield from T.multinomial(self.weights, self.num_samples, self.replacement, generator=self.generator).tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of `batch_size` indices of another sampler; the last may be shorter unless `drop_last`."""

    def __init__(self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            fail(ValueError, "P432", f"batch_size should be a positive integer value, but got batch_size={batch_size}",
                 fix="batch_size=None loads samples one by one, without a batch dimension")
        if not isinstance(drop_last, bool):
            fail(ValueError, "P434", f"drop_last should be a boolean value, but got drop_last={drop_last}",
                 fix="pass True or False")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def __len__(self) -> int:
        if self.drop_last:
            return len(self.sampler) // self.batch_size
        return (len(self.sampler) + self.batch_size - 1) // self.batch_size
