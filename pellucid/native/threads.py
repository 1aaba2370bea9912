"""Who computes: the threading policy of native code.

One pool of threads for kernels and library calls: libgomp's, which oneDNN uses too. Its threads spin for a bounded
time between parallel regions and then sleep, because spinning without bound is ruinous when another process wants the core
(0.2 ms became 15 ms); kernels do without them then (engine.py). Nothing is bound to a core: forked processes would inherit the mask.

In: `config.threads`. Out: `count()`, and the addresses native code calls. True always: of what runs without Python's lock, one parallel
region at a time (`region()`, another lock), and one of what keeps it; after a fork the child computes on one thread, because the pool's threads are gone and waiting for them
would hang; without libgomp everything runs on one thread, and `notes()` says so.
"""
from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any

from ..core.config import config
from ..core.events import Stage, emit

MOST = 256                      # threads, whatever is asked for
SPIN = "10000"                  # iterations, about 0.7 ms: longer than Python takes between two operators. To wake a thread takes 50 us


LIBGOMP = ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "omp_set_num_threads", "omp_get_wtime")     # what is called of it


class Pool:
    """libgomp."""

    __slots__ = ("library",)

    def __init__(self, library):
        self.library = library
        for name in LIBGOMP:
            self.address(name)

    def address(self, name: str) -> int:
        """Where a function of the library is. AttributeError if it has none of this name."""
        return ctypes.cast(getattr(self.library, name), ctypes.c_void_p).value


class _State:
    """What this process has found out."""

    pool: Pool | None = None
    looked = False
    forked = False
    forks = 0
    now = ctypes.c_int64(1)         # what `count` said last, for native code to read
    process = os.getpid()
    notes: list[str] = []


_locks: weakref.WeakSet = weakref.WeakSet()
_looking = threading.Lock()


class Guard:
    """A lock that a forked child finds open, whoever held it in the parent."""

    __slots__ = ("lock", "__weakref__")

    def __init__(self):
        self.lock = threading.Lock()
        _locks.add(self)


def beside(work: Callable, *args: Any) -> threading.Thread | None:
    """Do something that takes no part in results beside what comes next; None if there are no more threads. (Python waits for it before
    it ends: native code and memory are there as long as it runs.)"""
    thread = threading.Thread(target=work, args=args, name=f"pellucid {work.__name__}", daemon=False)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


def once(make: Callable[[], Any]) -> Callable[[], Any]:
    """A function whose first caller makes what all others get. (Of two results of `functools.cache`, threads that come at the same time
    would lose one, and with it the code whose addresses they have taken.)"""
    guard, made = Guard(), []

    @wraps(make)
    def the() -> Any:
        if not made:
            with guard.lock:
                if not made:
                    made.append(make())
        return made[0]

    return the


_region = Guard()


def region():
    """The lock held while native code runs on several threads: there is one pool."""
    return _region.lock


def _after_fork() -> None:
    global _looking
    _looking = threading.Lock()
    _State.forks += 1
    _State.forked = _State.forked or _State.pool is not None
    _State.now.value = 1
    for guard in list(_locks):
        guard.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def note(text: str, missed: bool = False) -> None:
    """Say something about how this machine computes, once: to listeners and reports, and to the log if the user should act."""
    if text not in _State.notes:
        _State.notes.append(text)
        emit(Stage("native", "what this machine lacks", text))
        if missed:
            import logging          # here, because most machines lack nothing
            logging.getLogger("pellucid").warning(text)


def notes() -> list[str]:
    """What has been said so far: what is missing, and what is used instead."""
    return list(_State.notes)


def _load() -> Pool | None:
    if os.environ.get("PELLUCID_NO_GOMP", "0") not in ("", "0"):
        note("libgomp is switched off (PELLUCID_NO_GOMP): kernels run on one thread")
        return None
    name, loaded = "libgomp.so.1", False
    if hasattr(os, "RTLD_NOLOAD"):
        try:
            ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
            loaded = True
        except OSError:
            pass
    if loaded and os.getpid() != _State.process:
        _State.forked = True            # whoever loaded it may have started its threads before the fork
    own = [k for k in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY") if k in os.environ]
    if not own:
        os.environ["GOMP_SPINCOUNT"] = SPIN         # libgomp reads it once, when it is loaded
    try:
        library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        pool = Pool(library)
    except (OSError, AttributeError) as error:
        note(f"libgomp was not found ({error}): kernels run on one thread, and oneDNN is not used; install libgomp1", missed=True)
        return None
    finally:
        if not own:
            os.environ.pop("GOMP_SPINCOUNT", None)
    if loaded and not own:
        note("libgomp was loaded before pellucid's native code: its threads spin as it was told, not for a short time; "
             "set GOMP_SPINCOUNT=10000 in the environment if other programs want the cores")
    return pool


def pool() -> Pool | None:
    """libgomp, loaded on first use; None if it is missing or switched off."""
    if not _State.looked:
        with _looking:
            if not _State.looked:
                _State.pool = _load()
                _State.looked = True
    return _State.pool


def count() -> int:
    """How many threads native code runs on now."""
    n = _State.now.value = 1 if _State.forked or pool() is None else min(config.threads, MOST)
    return n


def recount() -> None:
    """`config.threads` has changed: tell native code, if there is any that asks."""
    if _State.looked:
        count()


def count_address() -> int:
    """Where native code finds what `count` said last."""
    return ctypes.addressof(_State.now)


def tell_library(n: int) -> None:
    """Let what the calling thread asks of libgomp from now on (oneDNN's new primitives) be for `n` threads."""
    team = pool()
    if team is not None:
        team.library.omp_set_num_threads(n)


def forked() -> bool:
    """Whether this process is a fork of one that may have had threads: it computes on one."""
    return _State.forked


def forks() -> int:
    """How many forks lie between this process and the first that loaded this module."""
    return _State.forks
