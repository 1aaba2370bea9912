"""`DataLoader`: iterates over a dataset in batches, in this process, in worker processes or in worker threads.

In: a dataset, and how to order, batch, collate and load it. Out: batches, in the sampler's order (`in_order`).
True always: the same seed gives the same batches in the same order whatever the workers, as in PyTorch: an iterator
draws its base seed from the generator first, then the sampler draws. No worker outlives its iterator, or this process.
"""
from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from ...core.errors import fail, message
from ...ops.dispatch import state
from ._utils.collate import default_collate, default_convert
from ._utils.fetch import POSITION, _DatasetKind, describe, samples
from ._utils.pool import ProcessPool, ThreadPool, WorkerDied
from ._utils.worker import Exhausted, Setup, WorkerError, get_worker_info
from .dataset import Dataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, draw_seed

__all__ = ["DataLoader", "get_worker_info", "default_collate", "default_convert"]

_T_co = TypeVar("_T_co", covariant=True)


class _InfiniteConstantSampler(Sampler):
    """None without end: what an IterableDataset is "sampled" with."""

    def __iter__(self):
        return itertools.repeat(None)


class DataLoader(Generic[_T_co]):
    """Iterate over `dataset` in batches; each `iter()` is one pass.

    Args:
        dataset: a `Dataset` (anything with `__getitem__` and `__len__`) or an `IterableDataset`.
        batch_size: samples a batch; None: no batching, samples go through `collate_fn` one by one.
        shuffle: a new random order each pass.
        sampler: an iterable of indices, instead of `shuffle`.
        batch_sampler: an iterable of lists of indices, instead of `batch_size`, `shuffle`, `sampler` and `drop_last`.
        num_workers: worker processes; 0 loads in this process.
        collate_fn: list of samples -> batch; `default_collate`, or `default_convert` without batching.
        pin_memory: accepted and without effect: there is no pinned memory on the CPU.
        drop_last: leave out a last batch that is not full.
        timeout: seconds to wait for a batch from the workers, 0 for ever. RuntimeError when they have passed.
        worker_init_fn: called with its id in each worker, after seeding.
        multiprocessing_context: how worker processes start: "fork", "spawn", "forkserver" or a context object; None:
            the system's default.
        generator: source of the base seed and of the shuffling; None: the default generator.
        prefetch_factor: batches each worker loads ahead (default 2 with workers).
        persistent_workers: keep the workers from one pass to the next.
        pin_memory_device: accepted and without effect, like `pin_memory`.
        in_order: False hands out batches as they are ready.
        worker_type: "process" or "thread" (pellucid's own). Threads start at once and share the dataset; they suit
            datasets that mostly wait or decode in C. They share the global random generators too and so seed none:
            use `get_worker_info().rng`.

    Errors in a worker are raised here with their own type, the worker's traceback, and the sample it was at. A worker
    process that dies (killed, out of memory, `os._exit`) gives a RuntimeError that names it and what it held.
    """

    __initialized = False

    def __init__(self, dataset: Dataset[_T_co], batch_size: int | None = 1, shuffle: bool | None = None,
                 sampler: Sampler | Iterable | None = None, batch_sampler: Sampler[list] | Iterable[list] | None = None,
                 num_workers: int = 0, collate_fn: Callable[[list], Any] | None = None, pin_memory: bool = False,
                 drop_last: bool = False, timeout: float = 0, worker_init_fn: Callable[[int], None] | None = None,
                 multiprocessing_context=None, generator=None, *, prefetch_factor: int | None = None,
                 persistent_workers: bool = False, pin_memory_device: str = "", in_order: bool = True,
                 worker_type: str = "process") -> None:
        if num_workers < 0:
            fail(ValueError, "P404", "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.",
                 fix="num_workers=0 loads in the main process")
        if timeout < 0:
            fail(ValueError, "P405", "timeout option should be non-negative", fix="timeout=0 waits without limit")
        if num_workers == 0 and prefetch_factor is not None:
            fail(ValueError, "P406", "prefetch_factor option could only be specified in multiprocessing."
                 "let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None.",
                 fix="raise num_workers, or leave prefetch_factor out")
        if num_workers > 0 and prefetch_factor is None:
            prefetch_factor = 2
        elif prefetch_factor is not None and prefetch_factor < 0:
            raise ValueError("prefetch_factor option should be non-negative")
        if persistent_workers and num_workers == 0:
            fail(ValueError, "P407", "persistent_workers option needs num_workers > 0",
                 fix="raise num_workers, or leave persistent_workers out")
        if worker_type not in ("process", "thread"):
            raise ValueError(f"worker_type option should be 'process' or 'thread', but got {worker_type!r}")

        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.worker_type = worker_type
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order

        self._dataset_kind = _DatasetKind.of(dataset)
        if self._dataset_kind == _DatasetKind.Iterable:
            # The stream sets the order; a batch sampler or sampler would have nothing to say.
            for option, value, unset in (("shuffle", shuffle, shuffle in {False, None}),
                                         ("sampler", sampler, sampler is None),
                                         ("batch_sampler", batch_sampler, batch_sampler is None)):
                if not unset:
                    fail(ValueError, "P411", f"DataLoader with IterableDataset: expected unspecified {option} option, "
                         f"but got {option}={value}",
                         fix="an iterable dataset decides its own order: shuffle inside its __iter__")
        else:
            shuffle = bool(shuffle)

        if sampler is not None and shuffle:
            fail(ValueError, "P408", "sampler option is mutually exclusive with shuffle",
                 fix="a sampler decides the order: leave shuffle out, or use RandomSampler")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                fail(ValueError, "P409", "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and "
                     "drop_last", fix="a batch_sampler decides the batches: leave the others out")
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            fail(ValueError, "P410", "batch_size=None option disables auto-batching and is mutually exclusive with drop_last",
                 fix="without batches nothing can be dropped: leave drop_last out")

        if sampler is None:
            if self._dataset_kind == _DatasetKind.Iterable:
                sampler = _InfiniteConstantSampler()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)
            else:
                sampler = SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)

        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        if collate_fn is None:
            collate_fn = default_collate if self._auto_collation else default_convert
        self.collate_fn = collate_fn
        self.persistent_workers = persistent_workers
        self.__initialized = True
        self._IterableDataset_len_called: int | None = None
        self._iterator: _MultiProcessingDataLoaderIter | None = None
        self.check_worker_number_rationality()

    @property
    def multiprocessing_context(self):
        return self.__multiprocessing_context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context) -> None:
        if context is not None:
            if self.num_workers == 0:
                raise ValueError("multiprocessing_context can only be used with multi-process loading "
                                 f"(num_workers > 0), but got num_workers={self.num_workers}")
            if isinstance(context, str):
                valid = multiprocessing.get_all_start_methods()
                if context not in valid:
                    raise ValueError("multiprocessing_context option should specify a valid start method in "
                                     f"{valid!r}, but got multiprocessing_context={context!r}")
                context = multiprocessing.get_context(context)
            if not isinstance(context, multiprocessing.context.BaseContext):
                raise TypeError("multiprocessing_context option should be a valid context object or a string "
                                f"specifying the start method, but got multiprocessing_context={context}")
        self.__multiprocessing_context = context

    def __setattr__(self, attr: str, val) -> None:
        if self.__initialized and attr in ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset",
                                           "persistent_workers"):
            fail(ValueError, "P412", f"{attr} attribute should not be set after {type(self).__name__} is initialized",
                 fix="make a new DataLoader")
        super().__setattr__(attr, val)

    def _get_iterator(self) -> _BaseDataLoaderIter:
        if self.num_workers == 0:
            return _SingleProcessDataLoaderIter(self)
        self.check_worker_number_rationality()
        return _MultiProcessingDataLoaderIter(self)

    def __iter__(self) -> _BaseDataLoaderIter:
        if not (self.persistent_workers and self.num_workers > 0):
            return self._get_iterator()
        if self._iterator is None or self._iterator._shutdown:
            self._iterator = self._get_iterator()
        else:
            self._iterator._reset(self)
        return self._iterator

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self):
        return self.batch_sampler if self._auto_collation else self.sampler

    def __len__(self) -> int:
        """Batches in a pass: the sampler's length; for an IterableDataset a guess from `len(dataset)`."""
        if self._dataset_kind != _DatasetKind.Iterable:
            return len(self._index_sampler)
        # Kept, so that an iterator can warn when the stream turns out longer.
        length = self._IterableDataset_len_called = len(self.dataset)
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else math.ceil(length / self.batch_size)

    def check_worker_number_rationality(self) -> None:
        """Warn if there are more workers than CPUs this process may use."""
        if not self.num_workers:
            return
        affinity = hasattr(os, "sched_getaffinity")
        cpus = len(os.sched_getaffinity(0)) if affinity else os.cpu_count()
        if cpus is not None and self.num_workers <= cpus:
            return
        if cpus is None:
            suggestion = "DataLoader is not able to compute a suggested max number of worker in current system."
        else:
            suggestion = (f"Our suggested max number of worker in current system is {cpus}"
                          f"{'' if affinity else ' (`cpuset` is not taken into account)'}, which is smaller than what "
                          "this DataLoader is going to create.")
        warnings.warn(
            f"This DataLoader will create {self.num_workers} worker processes in total. {suggestion} Please be aware "
            "that excessive worker creation might get DataLoader running slow or even freeze, lower the worker number "
            "to avoid potential slowness/freeze if necessary.", stacklevel=3)


class _BaseDataLoaderIter:
    """One pass over a loader."""

    def __init__(self, loader: DataLoader) -> None:
        self._dataset = loader.dataset
        self._dataset_kind = loader._dataset_kind
        self._IterableDataset_len_called = loader._IterableDataset_len_called
        self._auto_collation = loader._auto_collation
        self._drop_last = loader.drop_last
        self._index_sampler = loader._index_sampler
        self._num_workers = loader.num_workers
        self._timeout = loader.timeout
        self._collate_fn = loader.collate_fn
        # In this order, as PyTorch: a sampler whose __iter__ draws at once draws before the base seed is drawn.
        self._sampler_iter = iter(self._index_sampler)
        self._base_seed = draw_seed(loader.generator)
        self._persistent_workers = loader.persistent_workers
        self._num_yielded = 0

    def __iter__(self) -> _BaseDataLoaderIter:
        return self

    def _reset(self, loader: DataLoader, first_iter: bool = False) -> None:
        self._sampler_iter = iter(self._index_sampler)
        self._num_yielded = 0
        self._IterableDataset_len_called = loader._IterableDataset_len_called

    def _next_index(self):
        return next(self._sampler_iter)

    def _next_data(self):
        raise NotImplementedError("Subclasses of _BaseDataLoaderIter should implement _next_data.")

    def __next__(self):
        observer = state.observer
        data = self._next_data() if observer is None else observer.span(
            f"enumerate(DataLoader)#{type(self).__name__}.__next__", "user_annotation", self._next_data)
        self._num_yielded += 1
        promised = self._IterableDataset_len_called
        if promised is not None and self._num_yielded > promised and self._dataset_kind == _DatasetKind.Iterable:
            text = (f"Length of IterableDataset {self._dataset} was reported to be {promised}"
                    f"(when accessing len(dataloader)), but {self._num_yielded} samples have been fetched. ")
            if self._num_workers > 0:
                text += ("For multiprocessing data-loading, this could be caused by not properly configuring the "
                         "IterableDataset replica at each worker. Please see "
                         "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for examples.")
            warnings.warn(text, stacklevel=2)
        return data

    def __len__(self) -> int:
        return len(self._index_sampler)

    def __getstate__(self):
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled: iterate where it was made")


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    """Loads in this process."""

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        if self._timeout != 0:
            raise AssertionError("_SingleProcessDataLoaderIter requires timeout == 0")
        self._dataset_fetcher = _DatasetKind.create_fetcher(
            self._dataset_kind, self._dataset, self._auto_collation, self._collate_fn, self._drop_last)
        self._number = -1

    def _next_data(self):
        index = self._next_index()
        self._number += 1
        try:
            return self._dataset_fetcher.fetch(index)
        except StopIteration:
            raise
        except Exception as error:
            where = describe(self._number, index, self._dataset_fetcher.note[POSITION], self._dataset_kind)
            error.add_note(f"DataLoader: while loading {where}")
            raise


class _Task:
    """A batch that a worker is to load, and what came of it."""

    __slots__ = ("worker", "index", "result", "done")

    def __init__(self, worker: int, index):
        self.worker = worker
        self.index = index
        self.result = None
        self.done = False


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """Loads in worker processes or threads, `prefetch_factor` batches each ahead of what has been handed out."""

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        self._shutdown = True                            # until there is something to shut down
        self._prefetch_factor = loader.prefetch_factor
        self._in_order = loader.in_order
        if self._prefetch_factor <= 0:
            raise AssertionError("prefetch_factor must be greater than 0 for MultiProcessingDataLoaderIter")
        self._failure: str | None = None
        self._epoch = -1
        setup = Setup(self._dataset_kind, self._dataset, self._auto_collation, self._collate_fn, self._drop_last,
                      self._base_seed, loader.worker_init_fn, self._num_workers)
        if loader.worker_type == "thread":
            self._pool = ThreadPool(setup)
        else:
            context = loader.multiprocessing_context or multiprocessing.get_context()
            self._pool = ProcessPool(setup, context, self._prefetch_factor)
        self._workers = self._pool.processes
        self._shutdown = False
        self._reset(loader, first_iter=True)

    def _reset(self, loader: DataLoader, first_iter: bool = False) -> None:
        super()._reset(loader, first_iter)
        self._epoch += 1
        self._pool.set_epoch(self._epoch)                # what is left of the last pass is no longer wanted
        self._send_idx = 0                               # number of the next task to give out
        self._rcvd_idx = 0                               # number of the next batch to hand out
        self._tasks: dict[int, _Task] = {}               # given out, batch not yet handed out
        self._workers_status = [True] * self._num_workers            # False: its stream has ended
        self._workers_num_tasks = [0] * self._num_workers
        self._worker_cycle = itertools.cycle(range(self._num_workers))
        for _ in range(self._prefetch_factor * self._num_workers):
            self._try_put_index()

    def _try_put_index(self) -> None:
        """Give the next index to the next worker that has work left."""
        try:
            index = self._next_index()
        except StopIteration:
            return
        active = sum(self._workers_status)
        for worker in itertools.islice(self._worker_cycle, self._num_workers):
            if self._workers_status[worker] and (
                    self._in_order
                    or self._workers_num_tasks[worker] < self._prefetch_factor * self._num_workers // active):
                break
        else:
            return
        self._tasks[self._send_idx] = _Task(worker, index)
        self._workers_num_tasks[worker] += 1
        try:
            self._pool.put(worker, self._send_idx, index)
        finally:
            self._send_idx += 1

    def _next_data(self):
        if self._failure is not None:
            raise RuntimeError(self._failure)
        while True:
            # Tasks of a worker whose stream has ended come to nothing.
            while self._rcvd_idx < self._send_idx:
                task = self._tasks.get(self._rcvd_idx)
                if task is not None:
                    if task.done or self._workers_status[task.worker]:
                        break
                    del self._tasks[self._rcvd_idx]
                self._rcvd_idx += 1
            else:
                if not self._persistent_workers:
                    self._shutdown_workers()
                raise StopIteration
            if task.done:
                return self._hand_out(self._rcvd_idx)
            worker, number, result = self._receive()
            if type(result) is Exhausted:
                self._workers_status[worker] = False
                if not self._persistent_workers:
                    self._pool.retire(worker)
                self._try_put_index()
                continue
            task = self._tasks[number]
            task.result, task.done = result, True
            if not self._in_order or number == self._rcvd_idx:
                return self._hand_out(number)

    def _hand_out(self, number: int):
        task = self._tasks.pop(number)
        if number == self._rcvd_idx:
            self._rcvd_idx += 1
        self._workers_num_tasks[task.worker] -= 1
        self._try_put_index()
        if type(task.result) is WorkerError:
            task.result.reraise()
        return task.result

    def _receive(self):
        try:
            return self._pool.get(self._timeout or None)
        except TimeoutError:
            task = self._tasks[self._rcvd_idx]
            fail(RuntimeError, "P413", f"DataLoader timed out after {self._timeout} seconds, waiting for worker {task.worker} "
                 f"to load batch {self._rcvd_idx}, {samples(task.index, self._dataset_kind)}",
                 fix="raise timeout=, or look what this sample waits for")
        except WorkerDied as died:
            self._failure = self._obituary(died)
            self._shutdown_workers()
            raise RuntimeError(self._failure) from None

    def _obituary(self, died: WorkerDied) -> str:
        """The message for a dead worker: who, of what, with which samples in hand."""
        kind = self._dataset_kind
        held = {number: task for number, task in self._tasks.items() if task.worker == died.worker and not task.done}
        lines = [f"worker {died.worker} of {self._num_workers} (ids from 0)"]
        current = held.pop(died.task, None)
        if current is not None:
            lines.append(f"it was loading {describe(died.task, current.index, died.position, kind)}")
        else:
            lines.append("it was loading nothing" if died.task >= 0 else "it had not begun to load")
        lines += [f"waiting for it: batch {number}, {samples(task.index, kind)}" for number, task in held.items()]
        return message("P490", died.headline(), got="\n       ".join(lines), fix=died.advice())

    def _shutdown_workers(self) -> None:
        if not self._shutdown:
            self._shutdown = True
            self._pool.close()
