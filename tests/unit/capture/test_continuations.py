"""Continuations: the rest of a frame as a function does what the frame would have done, from every instruction on.

The interpreter brings a frame to an instruction, the continuation takes it from there; result, order of effects, exceptions with their
chain and the user's lines must be those of a plain call.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import time
import traceback
import types
from pathlib import Path

import pytest

from pellucid.capture import blocks
from pellucid.capture.concrete import Concrete
from pellucid.capture.decode import decode
from pellucid.capture.frame import Raised, frame_of
from pellucid.capture.interpreter import Interpreter, Stopped, enter_generator
from pellucid.capture.tables import NULL, UNBOUND

_spec = importlib.util.spec_from_file_location("continuation_cases", Path(__file__).with_name("continuation_cases.py"))
cases = sys.modules["continuation_cases"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)

EACH = [pytest.param(fn, args, id=f"{fn.__name__}-{k}") for k, (fn, args) in enumerate(cases.CASES)]


def described(error: BaseException | None, lines: bool = True) -> tuple | None:
    """An exception, its chain, and the lines of the user's frames in its traceback."""
    if error is None:
        return None
    here = [(f.name, f.lineno) for f in traceback.extract_tb(error.__traceback__) if f.filename == cases.__file__] if lines else None
    return (type(error), str(error), getattr(error, "__notes__", None), error.__suppress_context__, here,
            described(error.__cause__, lines), described(error.__context__, lines))


def plain(value):
    """A result that can be compared."""
    return repr(value) if isinstance(value, types.FunctionType | types.MethodType) else value


def outcome(action, log, lines=True) -> tuple:
    try:
        return "value", plain(action()), log
    except BaseException as error:
        return "raised", described(error, lines), log


def called(fn, args) -> tuple:
    log: list = []
    return outcome(lambda: fn(log, *copy.deepcopy(args)), log)


def continued(frame, log, lines=True) -> tuple:
    go = blocks.continuation(frame.program, frame.index, frame.space)
    return outcome(lambda: go(frame.slots, frame.stack, frame.exc), log, lines)


@pytest.mark.parametrize(("fn", "args"), EACH)
def test_from_the_start(fn, args):
    log: list = []
    assert continued(frame_of(fn, (log, *copy.deepcopy(args)), {}), log) == called(fn, args)


def stopped_after(fn, args, steps):
    """The frame of a call after that many instructions, and the log; None if it has ended."""
    log: list = []
    frame = frame_of(fn, (log, *copy.deepcopy(args)), {})
    run = Interpreter(Concrete(), [frame], steps)
    try:
        run.run()
    except Stopped:
        return frame, log
    except (Raised, NotImplementedError):               # the last: a class is defined, which is not interpreted
        return None
    return None


@pytest.mark.parametrize(("fn", "args"), [each for each in EACH if each.values[0] is not cases.handled_elsewhere])
def test_from_every_instruction(fn, args):
    """Lines in tracebacks are not compared: an exception that the interpreter has raised has none. Nor what sys.exc_info() says: the
    interpreter's own handling is no real one."""
    log: list = []
    expected = without_lines(outcome(lambda: fn(log, *copy.deepcopy(args)), log, False))
    steps = 0
    while (there := stopped_after(fn, args, steps)) is not None:
        frame, log = there
        instruction = frame.program.ins[frame.index]
        got = without_lines(continued(frame, log, False))
        assert got == expected, f"from instruction {frame.index}, {instruction}, line {instruction.line}"
        steps += 1
    assert steps > 0


def without_lines(result: tuple) -> tuple:
    """The same without the line that a context manager saw."""
    kind, value, log = result
    return kind, value, [entry[:4] if isinstance(entry, tuple) and entry[0] == "exit" else entry for entry in log]


@pytest.mark.parametrize(("fn", "n", "values"), cases.GENERATORS, ids=lambda v: getattr(v, "__name__", None))
def test_generators_from_the_start(fn, n, values):
    want: list = []
    cases.drive(want, fn(want, n), *values)
    got: list = []
    frame = frame_of(fn, (got, n), {})
    generator = blocks.continuation(frame.program, 0, frame.space)(frame.slots, [], None)
    assert isinstance(generator, types.GeneratorType) and generator.__name__ == fn.__name__
    cases.drive(got, generator, *values)
    del generator
    assert got == want


def sent(generator, value):
    """What an interpreted generator yields for a value that is sent."""
    taker = frame_of(lambda: None, (), {})
    taker.index = len(taker.program.ins) - 1            # its RETURN_VALUE
    run = Interpreter(Concrete(), [taker])
    enter_generator(run, generator, ("call", NULL), value)
    return run.run()


def only_sent(values) -> bool:
    return values[0] is None and not any(isinstance(v, BaseException) or v == "close" for v in values)


@pytest.mark.parametrize(("fn", "n", "values", "at"), [
    pytest.param(*generator, at, id=f"{generator[0].__name__}-{k}-{at}") for k, generator in enumerate(cases.GENERATORS)
    for at in range(1, len(generator[2])) if only_sent(generator[2][:at])])
def test_generators_from_every_yield(fn, n, values, at):
    """The interpreter drives the generator for `at` steps, the continuation from there."""
    want: list = []
    cases.drive(want, fn(want, n), *values)
    got: list = []
    frame = frame_of(fn, (got, n), {})
    generator = Interpreter(Concrete(), [frame]).run()
    for value in values[:at]:
        try:
            got.append(("got", sent(generator, value)))
        except Raised:                                  # it has ended
            assert at == len(values) - 1
            return
    frame = generator.frame
    go = blocks.generator_continuation(frame.program, frame.index, frame.space)
    resumed = go(frame.slots, frame.stack, frame.exc)
    assert isinstance(resumed, types.GeneratorType)
    cases.drive(got, resumed, *values[at:])
    del resumed, generator
    assert got == want


def test_methods_and_super():
    log: list = []
    for fn, args in ((cases.Derived.__init__, ()), (cases.Derived.greet, ("n",)), (cases.Derived.caught_self, ("n",))):
        owner, same = cases.Derived(log), cases.Derived(log)
        args = args or (log,)
        frame = frame_of(fn, (same, *args), {})
        got = blocks.continuation(frame.program, 0, frame.space)(frame.slots, [], None)
        assert str(got)[:15] == str(fn(owner, *args))[:15] and vars(owner).keys() == vars(same).keys()


def test_inside_a_handled_exception():
    """An exception of the caller is seen by a bare raise, and is the context of others."""
    def f(n):
        if n:
            raise
        return {}["missing"]

    program = decode(f.__code__)
    go = blocks.continuation(program, 0, globals())
    for n, kind in ((1, ValueError), (0, KeyError)):
        with pytest.raises(kind) as caught:
            try:
                raise ValueError("outer")
            except ValueError:
                go([n], [])
        if n == 0:
            assert repr(caught.value.__context__) == "ValueError('outer')"


def test_the_traceback_is_the_users():
    def f(table, key):
        total = 0
        for k in (1, key):
            total += len(
                table[k])
        return total

    program = decode(f.__code__)
    go = blocks.continuation(program, 0, globals())
    with pytest.raises(KeyError) as caught:
        go([{1: "a"}, 2, *[UNBOUND] * (program.nslots - 2)], [])
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert last.filename == __file__ and last.name == "f" and last.lineno == f.__code__.co_firstlineno + 4
    assert (last.colno, last.end_colno) == (16, 24)
    assert last.line == "table[k])"


def test_nothing_is_kept_alive():
    """A value that the function has let go of is gone, also one that went over the stack."""
    import gc
    import weakref

    class Thing:
        pass

    def f(make, check):
        x = make() or None
        y = (x if check else None)
        del x, y
        for _ in [0]:
            make()
        return check()

    refs = []

    def make():
        thing = Thing()
        refs.append(weakref.ref(thing))
        return thing

    program = decode(f.__code__)
    go = blocks.continuation(program, 0, globals())
    gc.disable()
    try:
        assert go([make, lambda: [r() for r in refs], *[UNBOUND] * (program.nslots - 2)], []) == [None, None]
    finally:
        gc.enable()


def test_exceptions_make_no_cycles():
    import gc
    import weakref

    class Mine(Exception):
        pass

    def f():
        try:
            try:
                raise Mine
            finally:
                len("x")
        except KeyError:
            pass

    go = blocks.continuation(decode(f.__code__), 0, {**globals(), "Mine": Mine} | {"__builtins__": __builtins__})
    cell = types.CellType(Mine)
    program = decode(f.__code__)
    slots = [cell if name == "Mine" else UNBOUND for name in program.slotnames]
    gc.disable()
    try:
        try:
            go(slots, [])
        except Mine as error:
            ref = weakref.ref(error)
        assert ref() is None
    finally:
        gc.enable()


def test_what_is_not_supported_says_so():
    async def f(x):
        return await x

    with pytest.raises(blocks.Unsupported):
        blocks.continuation(decode(f.__code__), 0, globals())

    body = compile("class C:\n x = 1", "<body>", "exec").co_consts[0]
    with pytest.raises(blocks.Unsupported):
        blocks.continuation(decode(body), 0, globals())


@pytest.mark.alone
@pytest.mark.parametrize(("fn", "n"), cases.SPEED, ids=lambda v: getattr(v, "__name__", None))
def test_speed(fn, n):
    assert ratio(fn, n) < 5


def ratio(fn, n) -> float:
    """How much longer the continuation takes than the function."""
    program = decode(fn.__code__)
    go = blocks.continuation(program, 0, fn.__globals__)
    slots = [n, *[UNBOUND] * (program.nslots - 1)]
    assert go(slots, []) == fn(n)

    def best(action):
        times = []
        for _ in range(7):
            began = time.perf_counter()
            action()
            times.append(time.perf_counter() - began)
        return min(times)

    return best(lambda: go(slots, [])) / best(lambda: fn(n))
