"""The rest of a frame as a Python function: every case of `continuing`, from every point; what is refused; what is left behind."""

from __future__ import annotations

import gc
import importlib.util
import linecache
import shutil
import subprocess
import sys
import traceback
import weakref
from pathlib import Path

import pytest

from pellucid.capture.blocks import Unsupported, continuation, generator_continuation
from pellucid.capture.decode import decode
from pellucid.capture.frame import frame_of

_spec = importlib.util.spec_from_file_location("continuing", Path(__file__).with_name("continuing.py"))
continuing = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(continuing)
VERSIONS = [v for v in ("3.11", "3.12", "3.13") if v != f"{sys.version_info[0]}.{sys.version_info[1]}"]


@pytest.mark.parametrize("case", continuing.CASES, ids=[f"{n}-{case[0].__name__}" for n, case in enumerate(continuing.CASES)])
def test_the_rest_of_a_function_from_every_point(case):
    points, wrong = continuing.check_function(*case)
    assert points > 1 and not wrong, "\n".join(wrong[:5])


@pytest.mark.parametrize("case", continuing.GENERATORS, ids=[f"{case[0].__name__}-{case[1]}" for case in continuing.GENERATORS])
def test_the_rest_of_a_generator(case):
    points, wrong = continuing.check_generator(*case)
    assert points > 5 and not wrong, "\n".join(wrong[:5])


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_with_another_python(version):
    places = [*map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))), shutil.which(f"python{version}")]
    for python in places:
        if python is not None and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            done = subprocess.run([python, "-B", continuing.__file__], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
            return
    pytest.skip(f"no Python {version} on this machine")


def whole(fn, *args):
    frame = frame_of(fn, args, {})
    return continuation(frame.program, 0, fn.__globals__)(frame.slots, frame.stack)


def test_made_once_for_each_place_and_globals():
    def f(a):
        return a, word          # noqa: F821

    program, space, other = decode(f.__code__), {"word": 1}, {"word": 2}
    first = continuation(program, 0, space)
    assert continuation(program, 0, space) is first and continuation(program, 0, other) is not first
    assert first([5], []) == (5, 1) and continuation(program, 0, other)([5], []) == (5, 2)


def test_a_traceback_is_the_user_s():
    def f(table, names):
        return {name: table[
            name] for name in names}

    def g(table):
        try:
            return f(table, ["a", "b"])
        finally:
            table.clear()

    def lines(fn):
        try:
            fn()
        except KeyError as error:
            return [(s.name, s.filename, s.lineno, s.line, s.colno, s.end_colno) for s in traceback.extract_tb(error.__traceback__)
                    if s.name in ("f", "g", "<dictcomp>")]

    linecache.checkcache()
    assert lines(lambda: whole(g, {"a": 1})) == lines(lambda: g({"a": 1}))


def test_nothing_stays_alive():
    class Thing:
        pass

    def f(made, fails):
        held = [made()]
        names = [held[0], fails]
        try:
            return len(names) // fails
        except ZeroDivisionError as error:
            raise ValueError(names) from error

    def run(fails):
        made = []

        def make():
            thing = Thing()
            made.append(weakref.ref(thing))
            return thing
        try:
            whole(f, make, fails)
        except ValueError:
            pass
        return made[0]

    gc.collect()
    gc.disable()
    try:
        assert run(1)() is None
        assert run(0)() is None
    finally:
        gc.enable()


def test_what_is_handled_is_handled():
    def f():
        try:
            raise KeyError(1)
        except KeyError:
            return inner()

    def inner():
        return repr(sys.exception())

    assert whole(f) == "KeyError(1)" and sys.exception() is None


def test_a_suspended_generator_belongs_to_its_iterator():
    """throw() and close() go to the iterator of a `yield from` that has been left in the middle."""
    log = []

    def inner():
        try:
            yield 1
            yield 2
        finally:
            log.append("closed")

    def outer(it):
        return (yield from it)

    program = decode(outer.__code__)
    it = inner()
    next(it)
    index = next(k for k, i in enumerate(program.ins) if i.op == "YIELD_VALUE") + 1
    made = generator_continuation(program, index, outer.__globals__)([it], [it])
    assert log == [] and made.gi_frame is not None
    made.close()
    assert log == ["closed"]
    assert made.__name__ == "outer" and list(made) == []


async def coroutine():
    return 1


async def async_generator():
    yield 1


@pytest.mark.parametrize("code", [
    coroutine.__code__, async_generator.__code__,
    next(c for c in compile("class A:\n x = 1", "a", "exec").co_consts if hasattr(c, "co_code")),
], ids=["coroutine", "async generator", "class body"])
def test_what_cannot_be_expressed_is_refused(code):
    with pytest.raises(Unsupported):
        continuation(decode(code), 0, {})


def test_only_generators_have_a_generator_s_rest():
    with pytest.raises(Unsupported, match="is no generator"):
        generator_continuation(decode(continuing.loops.__code__), 0, {})
