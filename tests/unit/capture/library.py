"""Decodes the standard library of the Python that runs it, and checks every program.

Runs in any Python, without pellucid's dependencies: `python3.13 library.py [every n-th file] [offset]` prints what it found and exits
with 1 if something is wrong. The tests call `check` in their own process, and this file with the other Pythons of the machine.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import types
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

CAPTURE = Path(__file__).parents[3] / "pellucid" / "capture"


def alone() -> tuple:
    """The modules `decode` and `tables`, in a package of their own that imports nothing else of pellucid."""
    name = "capture_alone"
    if name not in sys.modules:
        package = types.ModuleType(name)
        package.__path__ = [str(CAPTURE)]
        sys.modules[name] = package
    return importlib.import_module(f"{name}.decode"), importlib.import_module(f"{name}.tables")


def files() -> list[Path]:
    root = Path(os.__file__).parent
    return sorted(path for path in root.rglob("*.py") if not {"site-packages", "data"} & set(path.parts) and "bad" not in path.parent.name)


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and all that are inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def problems(program, decode, tables) -> Iterator[str]:
    """What is wrong with a program: an edge where the depth of the stack is another one than before, or not what the instruction or
    its handler needs; a stack deeper than the code object says; a place in the source that the code object does not have."""
    ins, code = program.ins, program.code
    depth = {0: 0}
    work = [0]
    name = f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname}"
    while work:
        k = work.pop()
        instruction, before = ins[k], depth[k]
        takes, puts = decode.effect(instruction)
        after, edges = before - takes + puts, []
        if before < takes or instruction.op in ("COPY", "SWAP") and not 1 <= instruction.arg <= before:
            yield f"{name}: {k} {instruction} at depth {before}"
        if max(before, after) > code.co_stacksize + 1:          # one expansion may hold a value more than its instruction
            yield f"{name}: {k} {instruction} makes a stack of {after}, not of {code.co_stacksize}"
        if program.handler[k] is not None:
            target, kept, place = program.handler[k]
            if before < kept:
                yield f"{name}: {k} {instruction} at depth {before}, its handler keeps {kept}"
            edges.append((target, kept + place + 1))
        if instruction.op in tables.JUMPS:
            edges.append((instruction.arg, before - 1 if instruction.op == "FOR_ITER" else after))
        if instruction.op not in tables.ENDS:
            edges.append((k + 1, after))
        for target, value in edges:
            if target not in depth:
                depth[target] = value
                work.append(target)
            elif depth[target] != value:
                yield f"{name}: {k} -> {target} {ins[target]} at depth {value}, before at {depth[target]}"
    if depth != decode.depths(program):
        yield f"{name}: depths() says otherwise"
    masks = decode.live(program)
    if len(masks) != len(ins) + 1 or any(mask >> program.nslots for mask in masks):
        yield f"{name}: live() names slots that are not there"


def check(step: int = 1, offset: int = 0) -> tuple[dict, list[str]]:
    """Decode every `step`-th file; (figures, problems)."""
    decode, tables = alone()
    operations: Counter = Counter()
    figures = {"files": 0, "code objects": 0, "instructions": 0, "seconds": 0.0}
    wrong: list[str] = []
    for path in files()[offset % step::step]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = compile(path.read_bytes(), str(path), "exec")
        except (SyntaxError, ValueError):               # a test's broken source
            continue
        figures["files"] += 1
        for code in codes(module):
            began = time.perf_counter()
            try:
                program = decode.decode(code)
            except decode.UnknownPython as error:
                wrong.append(f"{path} {code.co_qualname}: {error}")
                continue
            figures["seconds"] += time.perf_counter() - began
            figures["code objects"] += 1
            figures["instructions"] += len(program.ins)
            operations.update(instruction.op for instruction in program.ins)
            wrong += problems(program, decode, tables)
    wrong += [f"{op} is not of the closed set" for op in set(operations) - set(tables.OPS)]
    figures["operations"] = len(operations)
    return figures, wrong


if __name__ == "__main__":
    found, errors = check(*map(int, sys.argv[1:]))
    print(sys.version.split()[0], found, *errors[:20], sep="\n")
    sys.exit(bool(errors))
