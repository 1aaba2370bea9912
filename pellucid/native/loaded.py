"""The engine's functions (engine.py), compiled or read from the disk, and loaded once.

Out: `the_engine()`, whose attributes are Python functions; those that are quick keep Python's lock.
"""
from __future__ import annotations

import ctypes

from . import engine, jit, llvm, threads
from .isa import isa_of

__all__: list[str] = []


class Engine:
    """The engine's functions."""

    def __init__(self):
        text = engine.module()
        data, self.cached = jit.compiled("engine", (text,), lambda: llvm.compile_object(text, isa_of("baseline")))
        team = threads.pool()
        self.code = jit.load([data], engine.EXPORTS, {name: team.address(name) if team else 1 for name in threads.LIBGOMP})      # 1: not called
        pointer = ctypes.c_void_p
        self.call = ctypes.CFUNCTYPE(ctypes.c_int64, pointer, pointer, pointer)(self.code["call"])
        self.call_held = ctypes.PYFUNCTYPE(ctypes.c_int64, pointer, pointer, pointer)(self.code["call"])     # keeps Python's lock
        self.load = ctypes.CFUNCTYPE(None, pointer, pointer)(self.code["load"])
        self.run = ctypes.CFUNCTYPE(None, pointer, ctypes.c_int64, ctypes.c_int64)(self.code["run"])
        self.crowd = ctypes.CFUNCTYPE(None, ctypes.c_int64)(self.code["crowd"])
        self.differ = ctypes.PYFUNCTYPE(ctypes.c_int64, pointer, pointer, ctypes.c_int64)(self.code["differ"])
        self.touch = ctypes.CFUNCTYPE(None, pointer, ctypes.c_int64, ctypes.c_int64)(self.code["touch"])
        self.read = ctypes.PYFUNCTYPE(None, pointer, pointer, ctypes.c_int64)(self.code["read"])


@threads.once
def the_engine() -> Engine:
    """The engine: one for the process, since others hold its addresses."""
    return Engine()
