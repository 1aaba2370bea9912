"""`multiprocessing` with tensors that travel between processes without being copied through the pipe.

In: what Python's `multiprocessing` takes, which this module repeats name by name. Out: the same, with tensors in queues, pipes and
arguments of processes handed over as shared memory. A tensor in shared memory (`share_memory_()`) is the same memory on both sides;
any other is copied into shared memory once, and the copy is what the other side gets. (PyTorch moves the sender's tensor there too:
call `share_memory_()` first if later writes must be seen.)
"""
from __future__ import annotations

import multiprocessing as _python
import multiprocessing.reduction  # noqa: F401  (an attribute of multiprocessing)
from multiprocessing import *  # noqa: F403

from .reductions import get_all_sharing_strategies, get_sharing_strategy, init_reductions, set_sharing_strategy
from .spawn import ProcessContext, ProcessExitedException, ProcessRaisedException, SpawnContext, spawn, start_processes

__all__ = ["ProcessContext", "ProcessExitedException", "ProcessRaisedException", "SpawnContext", "get_all_sharing_strategies",
           "get_sharing_strategy", "set_sharing_strategy", "spawn", "start_processes", *_python.__all__]

init_reductions()
