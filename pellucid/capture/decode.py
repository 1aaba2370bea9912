"""CPython bytecode as programs of one closed instruction set.

In: a code object of Python 3.11, 3.12 or 3.13. Out: a Program: instructions with the user's lines, the handler that covers each, the
slots. What stays true: slots are raw (a cell is an ordinary value), every truth test is TO_BOOL, and only what a Python version
publishes is read (co_code, co_exceptiontable, co_positions).
"""
from __future__ import annotations

import importlib
import opcode
import sys
import types
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from .tables import ENDS, JUMPS, OPS, Label, Local

__all__: list[str] = []

VERSION = sys.version_info[:2]
SUPPORTED = VERSION in ((3, 11), (3, 12), (3, 13))
TABLE: dict[str, Any] = importlib.import_module(f"{__package__}.py{VERSION[0]}{VERSION[1]}").TABLE if SUPPORTED else {}
_NAMES = {number: name for name, number in opcode.opmap.items()}
_EXTENDED = opcode.opmap["EXTENDED_ARG"]


class UnknownPython(Exception):
    """Code of a Python version whose instructions are not known."""


class Position(NamedTuple):
    """The piece of the user's source that an instruction stands for; columns count bytes of UTF-8."""

    line: int | None
    end_line: int | None
    column: int | None
    end_column: int | None


class Instr:
    """One instruction: `op` and `arg` of the closed set, `off` its byte offset in `code`, `line` the user's line."""

    __slots__ = ("op", "arg", "off", "line", "code")

    def __init__(self, op: str, arg: Any, off: int, line: int | None, code: types.CodeType):
        self.op, self.arg, self.off, self.line, self.code = op, arg, off, line, code

    @property
    def position(self) -> Position:
        """Where in the source, looked up when it is asked for."""
        return Position(*next(islice(self.code.co_positions(), self.off >> 1, None)))

    def __repr__(self) -> str:
        return f"{self.op} {self.arg!r}"


class Program:
    """`ins`: the instructions; `handler`: for each (target, depth of the stack, whether the place is kept) or None; `at`: index by byte
    offset; `slotnames`: locals, cells, free variables."""

    __slots__ = ("code", "ins", "handler", "nslots", "slotnames", "at", "_live")

    def __init__(self, code: types.CodeType, ins: list[Instr], at: dict[int, int]):
        self.code, self.ins, self.at = code, ins, at
        self.handler: list[tuple[int, int, bool] | None] = [None] * len(ins)
        for start, end, target, depth, place in exception_entries(code.co_exceptiontable):
            for k in range(at[start], at[end]):
                self.handler[k] = at[target], depth, place
        cells = [name for name in code.co_cellvars if name not in code.co_varnames]
        self.slotnames = [*code.co_varnames, *cells, *code.co_freevars]
        self.nslots = len(self.slotnames)
        self._live: list[int] | None = None


class _Decoder:
    def __init__(self, code: types.CodeType):
        self.code, self.names, self.consts = code, code.co_names, code.co_consts
        self.keywords: tuple | None = None
        self.next = 0

    def forward(self, arg: int) -> Label:
        return Label(self.next + 2 * arg)

    def back(self, arg: int) -> Label:
        return Label(self.next - 2 * arg)

    def run(self) -> Program:
        raw, lines = self.code.co_code, [position[0] for position in self.code.co_positions()]
        out: list[Instr] = []
        at: dict[int, int] = {}
        extended = i = start = 0
        while i < len(raw):
            name, arg = _NAMES.get(raw[i]), raw[i + 1] | extended
            after = i + 2
            if raw[i] == _EXTENDED:
                extended = arg << 8
                at.setdefault(i, len(out))
                i = after
                continue
            while after < len(raw) and raw[after] == 0:     # caches: co_code has zeros there
                after += 2
            self.next, extended, offset = after, 0, i
            if name == "CALL_KW":                           # 3.13: the names are the constant that was just loaded
                constant = out.pop()
                self.keywords, offset = constant.arg, constant.off
            at.setdefault(start, len(out))
            at[i] = len(out)
            expand = TABLE.get(name)
            if expand is None:
                raise UnknownPython(f"Python {VERSION[0]}.{VERSION[1]} has an instruction {name or raw[i]} that is not known")
            base = len(out)
            for op, x in expand(self, arg):
                out.append(Instr(op, Local(base + x) if type(x) is Local else x, offset, lines[i >> 1], self.code))
            i = start = after
        at[len(raw)] = len(out)
        for instruction in out:
            if type(instruction.arg) is Label:
                instruction.arg = at[instruction.arg]
            elif type(instruction.arg) is Local:
                instruction.arg = int(instruction.arg)
        return Program(self.code, out, at)


def exception_entries(table: bytes) -> Iterator[tuple[int, int, int, int, bool]]:
    """(start, end, target, depth, whether the place is kept), offsets in bytes."""
    it = iter(table)

    def number(first: int | None = None) -> int:
        byte = next(it) if first is None else first
        value = byte & 63
        while byte & 64:
            byte = next(it)
            value = value << 6 | byte & 63
        return value

    for byte in it:
        start, length, target, depth = number(byte) * 2, number() * 2, number() * 2, number()
        yield start, start + length, target, depth >> 1, bool(depth & 1)


_cache: dict[int, Program] = {}


def decode(code: types.CodeType) -> Program:
    """The program of a code object. Raises UnknownPython."""
    found = _cache.get(id(code))                            # by identity: code objects compare by value
    if found is None or found.code is not code:
        if not SUPPORTED:
            raise UnknownPython(f"the bytecode of Python {VERSION[0]}.{VERSION[1]} is not known: capture needs 3.11, 3.12 or 3.13")
        if len(_cache) > 20_000:
            _cache.clear()
        found = _cache[id(code)] = _Decoder(code).run()
    return found


def live(program: Program) -> list[int]:
    """For each instruction a bit mask of the slots that are needed from there on. Cells always are."""
    found = program._live
    if found is None:
        found = program._live = _live(program)
    return found


def _live(program: Program) -> list[int]:
    ins, code = program.ins, program.code
    cells = sum(1 << k for k, name in enumerate(program.slotnames) if name in code.co_cellvars or name in code.co_freevars)
    masks = [0] * (len(ins) + 1)
    changed = True
    while changed:
        changed = False
        for k in range(len(ins) - 1, -1, -1):
            op, arg = ins[k].op, ins[k].arg
            mask = 0 if op in ENDS else masks[k + 1]
            if op in JUMPS:
                mask |= masks[arg]
            if op == "STORE_FAST":
                mask &= ~(1 << arg)
            elif op in ("LOAD_FAST", "LOAD_FAST_AND_CLEAR", "DELETE_FAST"):
                mask |= 1 << arg
            if program.handler[k] is not None:
                mask |= masks[program.handler[k][0]]
            mask |= cells
            if mask != masks[k]:
                masks[k], changed = mask, True
    return masks


def effect(instruction: Instr) -> tuple[int, int]:
    """How many values an instruction takes off the stack and puts there."""
    takes, puts = OPS[instruction.op]
    return takes(instruction.arg) if callable(takes) else takes, puts(instruction.arg) if callable(puts) else puts


def depths(program: Program) -> dict[int, int]:
    """The depth of the stack before each instruction that can be reached."""
    found, work = {0: 0}, [0]

    def reach(k: int, depth: int) -> None:
        if k not in found:
            found[k] = depth
            work.append(k)

    while work:
        k = work.pop()
        instruction = program.ins[k]
        takes, puts = effect(instruction)
        after = found[k] - takes + puts
        handler = program.handler[k]
        if handler is not None:
            reach(handler[0], handler[1] + handler[2] + 1)
        if instruction.op in JUMPS:
            reach(instruction.arg, found[k] - 1 if instruction.op == "FOR_ITER" else after)
        if instruction.op not in ENDS:
            reach(k + 1, after)
    return found
