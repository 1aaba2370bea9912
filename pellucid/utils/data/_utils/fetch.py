"""Fetchers: from the index of a batch to the batch.

In: what the sampler yields (an index, or a list of them), a dataset and a collate function. Out: one collated batch.
True always: `note[POSITION]` says what is being done at this moment, so that an error, or whoever finds a worker dead,
can name the sample.
"""
from __future__ import annotations

from ..dataset import IterableDataset

# Slots of a worker's status. The parent writes EPOCH, the worker the others.
EPOCH, TASK, POSITION = 0, 1, 2
SLOTS = 3
# POSITION is the number of the sample in its batch, or one of these.
WHOLE, COLLATING, IDLE = -1, -2, -3


def new_note() -> list[int]:
    """A status for loading in this process or thread."""
    return [0, -1, IDLE]


class _DatasetKind:
    Map = 0
    Iterable = 1

    @staticmethod
    def of(dataset) -> int:
        return _DatasetKind.Iterable if isinstance(dataset, IterableDataset) else _DatasetKind.Map

    @staticmethod
    def create_fetcher(kind: int, dataset, auto_collation: bool, collate_fn, drop_last: bool, note=None):
        fetcher = _MapDatasetFetcher if kind == _DatasetKind.Map else _IterableDatasetFetcher
        return fetcher(dataset, auto_collation, collate_fn, drop_last, note)


class _BaseDatasetFetcher:
    def __init__(self, dataset, auto_collation: bool, collate_fn, drop_last: bool, note=None) -> None:
        self.dataset = dataset
        self.auto_collation = auto_collation
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.note = new_note() if note is None else note


class _MapDatasetFetcher(_BaseDatasetFetcher):
    def fetch(self, index):
        note, dataset = self.note, self.dataset
        note[POSITION] = WHOLE
        if not self.auto_collation:
            data = dataset[index]
        elif getattr(dataset, "__getitems__", None):
            data = dataset.__getitems__(index)
        else:
            data = []
            for position, i in enumerate(index):
                note[POSITION] = position
                data.append(dataset[i])
        note[POSITION] = COLLATING
        return self.collate_fn(data)


class _IterableDatasetFetcher(_BaseDatasetFetcher):
    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.dataset_iter = iter(self.dataset)
        self.ended = False

    def fetch(self, index):
        """The next batch of the stream, as long as `index` (whose items mean nothing); StopIteration at its end."""
        if self.ended:
            raise StopIteration
        note = self.note
        note[POSITION] = WHOLE
        if not self.auto_collation:
            data = next(self.dataset_iter)
        else:
            data = []
            for position in range(len(index)):
                note[POSITION] = position
                try:
                    data.append(next(self.dataset_iter))
                except StopIteration:
                    self.ended = True
                    break
            if not data or (self.drop_last and len(data) < len(index)):
                raise StopIteration
        note[POSITION] = COLLATING
        return self.collate_fn(data)


def describe(batch: int, index, position: int, kind: int) -> str:
    """What `note` says, in words: `batch 3, sample 17 of 64 (dataset index 8231)`."""
    if position == IDLE:
        return f"batch {batch}"
    if position == COLLATING:
        return f"batch {batch}, in collate_fn, with {samples(index, kind)} fetched"
    if position == WHOLE:
        return f"batch {batch}, {samples(index, kind)}"
    words = f"batch {batch}, sample {position} of {len(index)}"
    return f"{words} (dataset index {index[position]!r})" if kind == _DatasetKind.Map else f"{words} of its stream"


def samples(index, kind: int) -> str:
    """The samples of a batch, in words, the first and last of many."""
    if kind == _DatasetKind.Iterable:
        return f"{len(index)} samples of its stream" if index is not None else "the next sample of its stream"
    try:
        listed = list(index)
    except TypeError:
        return f"dataset index {index!r}"
    if len(listed) > 12:
        first, last = ", ".join(map(repr, listed[:8])), ", ".join(map(repr, listed[-2:]))
        return f"dataset indices [{first}, ..., {last}] ({len(listed)} of them)"
    return f"dataset indices {listed!r}"
