"""Capture: ordinary Python, read as bytecode and interpreted, so that what a function does becomes a graph and what it relied on guards.

    decode.py, tables.py, py31x.py   bytecode as programs of one closed instruction set
    frame.py       one call of a function: its slots and its stack
    interpreter.py runs frames, instruction by instruction
    concrete.py    what operations do on plain values
    relying.py     the state of a capture: what was there before, where, and what is relied on about it
    world.py       what they do during a capture: every look at the world outside is noted
    calls.py       calls: interpreted, run as they are, or a break
    special.py     calls of functions that mean something of their own
    arrays.py      NumPy on values that only the run knows
    choices.py     what min() and max() choose of tensors
    forms.py       builtins that call back, in Python, to be interpreted
    policy.py      which is which
    sources.py     places in the world outside, and what is relied on about them
    journal.py     changes of what was there before
    rebuild.py     values as Python that makes them
    segment.py     where a segment ends, and how the program goes on
    attempt.py     one run
    raising.py     exceptions with the user's lines
    breaks.py      reasons to stop
    blocks.py, spelling.py, blockwork.py   the rest of a frame as a real Python function
"""
from __future__ import annotations

__all__: list[str] = []
