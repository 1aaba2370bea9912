"""`uncollected`: Python's collector of cycles rests while thousands of objects are made that live on.

In: a function. Out: the function, during which nothing is collected. What stays true: whoever had the collector off finds it off.
"""
from __future__ import annotations

import gc
from collections.abc import Callable
from functools import wraps

__all__: list[str] = []


def uncollected(fn: Callable) -> Callable:
    """`fn`, in which no cycles are collected: a capture or a schedule would only be looked through again and again."""
    @wraps(fn)
    def run(*args, **kwargs):
        collecting = gc.isenabled()
        gc.disable()
        try:
            return fn(*args, **kwargs)
        finally:
            if collecting:
                gc.enable()
    return run
