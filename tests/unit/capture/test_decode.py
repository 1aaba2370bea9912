"""Bytecode as programs: the standard library decodes, on each Python that the machine has; lines, positions, refusals."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.capture import decode, tables

_spec = importlib.util.spec_from_file_location("library", Path(__file__).with_name("library.py"))
library = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(library)

FULL = os.environ.get("PELLUCID_TEST_FULL") == "1"
SEED = int(os.environ.get("PELLUCID_TEST_SEED", "0"))
VERSIONS = ("3.11", "3.12", "3.13")


def other_python(version: str) -> str | None:
    """An interpreter of that version that runs, if there is one."""
    places = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for place in [*map(str, places), shutil.which(f"python{version}")]:
        if place is not None and subprocess.run([place, "-c", ""], capture_output=True).returncode == 0:
            return place
    return None


@pytest.mark.timeout(900 if FULL else 120)
def test_the_standard_library_decodes():
    figures, wrong = library.check(1 if FULL else 80, SEED)
    assert not wrong, "\n".join(wrong[:20])
    assert figures["files"] > (1000 if FULL else 10) and figures["instructions"] > 10_000


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", [v for v in VERSIONS if v != f"{sys.version_info[0]}.{sys.version_info[1]}"])
def test_the_standard_library_of_another_python_decodes(version):
    python = other_python(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    done = subprocess.run([python, "-B", library.__file__, "4", str(SEED)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_the_closed_set():
    assert len(tables.OPS) == 93
    assert tables.JUMPS <= set(tables.OPS) and tables.ENDS <= set(tables.OPS)


def test_a_program_is_made_once_for_each_code_object():
    def f(a):
        return a + 1

    def twin(code):
        return code.replace()

    other = twin(f.__code__)
    assert other == f.__code__
    program = decode.decode(f.__code__)
    assert decode.decode(f.__code__) is program
    assert decode.decode(other) is not program and decode.decode(other).code is other


def test_positions_name_the_source():
    def f(table, key):
        return table[key] + len(
            table)

    ins = decode.decode(f.__code__).ins
    first = f.__code__.co_firstlineno
    item, = (i for i in ins if i.op == "BINARY_SUBSCR")
    assert item.line == first + 1
    assert item.position == (first + 1, first + 1, 15, 25) and item.position.column == 15
    length, = (i for i in ins if i.op == "CALL")
    assert (length.position.line, length.position.end_line) == (first + 1, first + 2)


def test_slots_and_liveness():
    def f(a, b):
        c = a + 1
        while b:
            b -= c
        return lambda: c

    program = decode.decode(f.__code__)
    assert program.slotnames == ["a", "b", "c"] and program.nslots == 3
    start = program.ins.index(next(i for i in program.ins if i.op == "STORE_DEREF"))
    mask = decode.live(program)[start + 1]
    assert not mask & 1 and mask & 2 and mask & 4        # a is not needed any more; a cell always is


def test_handlers():
    def f(x):
        y = x
        try:
            return y.a
        except AttributeError:
            return None

    program = decode.decode(f.__code__)
    at = next(k for k, i in enumerate(program.ins) if i.op == "LOAD_ATTR")
    target, depth, place = program.handler[at]
    assert program.ins[target].op == "PUSH_EXC_INFO" and (depth, place) == (0, False)
    assert program.handler[0] is None


def test_an_unknown_python_is_refused_with_a_reason():
    script = f"""
import sys
sys.version_info = (3, 99, 0, "final", 0)
sys.path.insert(0, {str(Path(library.__file__).parent)!r})
import library
decode, tables = library.alone()
assert not decode.SUPPORTED
try:
    decode.decode((lambda: 1).__code__)
except decode.UnknownPython as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "the bytecode of Python 3.99 is not known: capture needs 3.11, 3.12 or 3.13", done.stderr


def test_the_sentinels_say_what_they_are():
    assert repr(tables.NULL) == "NULL" and repr(tables.UNBOUND) == "UNBOUND" and tables.NULL is not tables.UNBOUND
