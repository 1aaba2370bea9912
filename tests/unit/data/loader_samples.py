"""Datasets and functions that worker processes of any start method can import (the tests put this folder on sys.path)."""
from __future__ import annotations

import ctypes
import os
import random
import signal
import time

import numpy as np

import pellucid as torch
from pellucid.utils.data import Dataset, IterableDataset, get_worker_info


class Images(Dataset):
    """Sample i: a float32 image full of i, and i."""

    def __init__(self, n=40, side=32):
        self.n, self.side = n, side

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return torch.from_numpy(np.full((3, self.side, self.side), i, np.float32)), i


class Seeds(Dataset):
    """What each worker's random generators give."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        w = get_worker_info()
        return [w.id, w.seed, torch.initial_seed(), random.getrandbits(32), int(np.random.randint(2**31)),
                int(torch.empty((), dtype=torch.int64).random_())]


class Info(Dataset):
    """Who loads."""

    def __init__(self, n=8):
        self.n = n
        self.mark = None

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        w = get_worker_info()
        return (i, os.getpid(), self.mark) + (() if w is None else (w.id, w.num_workers, w.worker_method))


def mark_dataset(worker_id):
    get_worker_info().dataset.mark = f"worker {worker_id}"


def fail_at_start(worker_id):
    raise RuntimeError(f"no start for {worker_id}")


class Stream(IterableDataset):
    """0..n-1, dealt out to the workers in turn."""

    def __init__(self, n, split=True, length=None):
        self.n, self.split, self.length = n, split, length

    def __iter__(self):
        w = get_worker_info()
        if w is None or not self.split:
            return iter(range(self.n))
        return iter(range(w.id, self.n, w.num_workers))

    def __len__(self):
        if self.length is None:
            raise TypeError("no length")
        return self.length


class TwoArguments(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


class Failing(Dataset):
    """Sample 7 fails, in the way asked for."""

    def __init__(self, how, n=20, at=7):
        self.how, self.n, self.at = how, n, at

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i == self.at:
            deep(self.how)
        return i


def deep(how):
    if how == "value":
        raise ValueError("bad pixel")
    if how == "key":
        raise KeyError("label")
    if how == "two":
        raise TwoArguments(1, 2)
    if how == "local":
        class Local(Exception):
            pass
        raise Local("of this function only")
    if how == "stop":
        raise StopIteration("by mistake")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(3)
    if how == "exit0":
        os._exit(0)
    if how == "sysexit":
        raise SystemExit(5)
    if how == "segv":
        ctypes.string_at(0)
    if how == "sleep":
        time.sleep(60)
    if how == "unpicklable":
        return
    raise AssertionError(how)


def pid_and_hang(items):
    raise AssertionError("not called")


class Unpicklable(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return lambda: i


class Structures(Dataset):
    """All that a batch may hold, large and small."""

    def __len__(self):
        return 6

    def __getitem__(self, i):
        big = np.arange(3000, dtype=np.float64).reshape(30, 100) + i
        return {"big": big, "small": np.array([i, i + 1], np.int16), "flag": i % 2 == 0, "text": f"s{i}",
                "nested": (torch.from_numpy(big.astype(np.float32)), [i, float(i)]), "empty": np.zeros((0, 3), np.float32)}


def as_it_is(batch):
    return batch


def layouts(batch):
    """A batch of arrays in odd layouts, from a collate_fn of the user's."""
    a = np.arange(2 * 3 * 40 * 50, dtype=np.float32).reshape(2, 40, 50, 3)
    t = torch.from_numpy(a).permute(0, 3, 1, 2)          # channels last
    readonly = np.arange(5000)
    readonly.flags.writeable = False
    return {"permuted": t, "strided": a[:, ::2], "sliced": torch.from_numpy(a)[1:, 5:], "readonly": readonly,
            "zero_d": np.array(3.5), "complex": np.full((40, 40), 1 + 2j), "same": [t, t],
            "half": np.arange(4000).astype(np.float16), "bytes": b"x" * 100_000, "list": list(range(30_000))}


class Caching(Dataset):
    """Keeps the batches it makes, as datasets with a cache do."""

    def __init__(self):
        self.cache = {}

    def __len__(self):
        return 12

    def __getitem__(self, i):
        from pellucid.utils.data import default_collate
        if i % 3 not in self.cache:
            self.cache[i % 3] = default_collate([np.full((100, 100), i % 3, np.float32)] * 2)
        return self.cache[i % 3], default_collate([np.full((100, 100), -1, np.float32)] * 2)
