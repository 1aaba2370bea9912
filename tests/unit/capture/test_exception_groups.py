"""`except*`: splitting, wrapping and raising again as CPython does, in one graph, across breaks, and in a frame that leaves capture."""
from __future__ import annotations

import sys

import pytest

import pellucid
from pellucid.capture.blocks import continuation
from pellucid.capture.decode import decode
from pellucid.capture.tables import UNBOUND

pytestmark = pytest.mark.filterwarnings("ignore:.*runs uncompiled")
V, T, K, O = ValueError, TypeError, KeyError, OSError
PROGRAMS: dict = {}
CUT: set = set()


def program(fn):
    PROGRAMS[fn.__name__] = fn
    return fn


def cut(fn):
    """It may break."""
    CUT.add(fn.__name__)
    return program(fn)


def nested():
    return ExceptionGroup("all", [V("a"), ExceptionGroup("inner", [T("b"), V("c"), K("d")]), O("e")])


def seen(e, depth=3):
    """An exception: its tree, cause, context, notes."""
    if not isinstance(e, BaseException):
        return e.tolist() if isinstance(e, pellucid.Tensor) else [seen(v) for v in e] if isinstance(e, (list, tuple)) else e
    parts = [seen(part, depth) for part in e.exceptions] if isinstance(e, BaseExceptionGroup) else []
    chain = [seen(c, depth - 1) for c in (e.__cause__, e.__context__)] if depth else []
    return type(e).__name__, str(e), parts, chain, getattr(e, "__notes__", None), e.__suppress_context__


def outcome(fn, *args):
    try:
        return seen(fn(*args))
    except BaseException as error:
        return "raised", seen(error)


@program
def taken_in_parts(x):
    found = []
    try:
        raise nested()
    except* V as group:
        found.append(group)
        x = x * len(group.exceptions)
    except* (T, O) as group:
        found.append(group)
    except* K as group:
        found.append(group)
    return x, found


@program
def the_rest_goes_on(x):
    try:
        raise nested()
    except* V:
        x = x * 2
    return x


@program
def none_taken(x):
    try:
        raise nested()
    except* RuntimeError:
        x = x * 2
    return x


@program
def naked(x):
    try:
        raise V("a")
    except* V as group:
        found = group
    return x * 2, found


@program
def naked_not_taken(x):
    try:
        raise V("a")
    except* T:
        x = x * 2


@program
def nothing_raised(x):
    try:
        y = x + 1
    except* V:
        y = x
    else:
        y = y * 3
    finally:
        x = y + x
    return x


@program
def raised_anew(x):
    try:
        raise nested()
    except* V as group:
        raise RuntimeError("new")
    except* T:
        raise K("also") from None


@program
def raised_again(x):
    try:
        raise nested()
    except* V:
        raise
    except* K:
        x = x + 1


@program
def raised_again_by_name(x):
    try:
        raise nested()
    except* V as group:
        raise group
    except* K:
        x = x + 1


@program
def again_and_anew(x):
    try:
        try:
            raise nested()
        except* V:
            raise
        except* T:
            raise RuntimeError("t")
    except* RuntimeError as group:
        found = group
    return x * 3, found


@program
def whole_raised_by_name(x):
    try:
        raise ExceptionGroup("g", [V("a")])
    except* V as group:
        raise group


@program
def naked_raised_again(x):
    try:
        raise V("a")
    except* V:
        raise


def reraises():
    raise


@program
def raised_again_in_a_function(x):
    try:
        raise nested()
    except* V:
        reraises()


@program
def with_a_finally_inside(x):
    found = []
    try:
        raise nested()
    except* V as group:
        try:
            raise group.exceptions[0]
        finally:
            found.append(1)


@program
def nested_statements(x):
    try:
        raise nested()
    except* V:
        try:
            raise
        except* T:
            x = x * 2


@program
def noted(x):
    try:
        raise nested()
    except* V as group:
        group.add_note("seen")
        raise


@program
def what_is_handled(x):
    found = []
    try:
        raise nested()
    except* V:
        found.append(sys.exception())
    except* T:
        found.append(sys.exception())
        try:
            raise RuntimeError("r")
        except RuntimeError as error:
            found.append(error)
    except* (O, K):
        pass
    return x, found, sys.exception()


@program
def in_a_loop(x):
    for k in range(3):
        try:
            raise ExceptionGroup("g", [V(k), T(k)][:k]) if k else T("first")
        except* V:
            x = x * (k + 2)
        except* T as group:
            x = x + len(group.exceptions)
    return x


@program
def through_functions(x):
    def inner(x):
        try:
            raise nested()
        except* V:
            x = x * 2
    try:
        inner(x)
    except* (T, K) as group:
        x = x + len(group.exceptions)
    except* O:
        x = x * 7
    return x


@program
def a_base_exception(x):
    try:
        raise BaseExceptionGroup("b", [V("a"), SystemExit(3)])
    except* V:
        x = x + 1


@program
def a_group_is_named(x):
    try:
        raise nested()
    except* ExceptionGroup:
        pass


@program
def no_class_is_named(x):
    try:
        raise nested()
    except* 3:
        pass


@program
def an_operator_fails(x):
    try:
        x @ pellucid.ones(7, 7)
    except* RuntimeError as group:
        x = x * 2 * len(group.exceptions)
    return x


@program
def contexts(x):
    """Not of groups: what an exception is hung on."""
    def inner():
        try:
            raise V("inner")
        except V as error:
            return error
    first = V("first")
    try:
        raise first
    except V:
        found = [inner()]
        try:
            raise T("second")
        except T as second:
            found.append(second)
            try:
                raise first
            except V as again:
                found.append(again)
    try:
        raise K("third")
    except K:
        try:
            raise first
        except V as again:
            found.append(again)
    try:
        raise O("none") from None
    except O as error:
        found.append(error)
    return x, found


@cut
def a_break_in_a_clause(x):
    found = []
    try:
        raise nested()
    except* V as group:
        found.append(group)
        if x.sum() > 0:
            x = x * 2
        raise
    except* T:
        if x.sum() > 2:
            x = x * 3
        raise RuntimeError("t")
    except* K as group:
        found.append(x)


@cut
def breaks_on_the_way(x):
    if x.sum() > 1:
        x = x * 2
    found = []
    try:
        if x.sum() > 100:
            return x
        raise nested()
    except* V as group:
        if x.sum() > 2:
            x = x + len(group.exceptions)
        found += [group, sys.exception()]
    except* (T, O) as group:
        found.append(group.exceptions)
        if x.sum() > 3:
            x = x + 5
    except* K as group:
        found.append(group)
    if x.sum() > 3:
        x = x * 2
    return x, found


class Own(ExceptionGroup):
    def derive(self, exceptions):
        return Own("derived", exceptions)


@cut
def of_a_class_of_its_own(x):
    found = []
    try:
        raise Own("mine", [V("a"), T("b")])
    except* V as group:
        found.append((type(group).__name__, group))
        x = x * 2
    except* T as group:
        found.append((type(group).__name__, group))
    return x, found


OUTSIDE = [nested()]


@cut
def from_outside(x):
    found = []
    try:
        raise OUTSIDE[0]
    except* V as group:
        x = x * len(group.exceptions)
        found.append(group)
    except* BaseException as group:
        found.append(len(group.exceptions))
    return x, found


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_plain_python(name):
    fn = PROGRAMS[name]
    compiled = pellucid.compile(fn, backend="eager")
    for x in (pellucid.ones(3), pellucid.ones(3), -pellucid.ones(3), pellucid.ones(4)):
        OUTSIDE[0] = nested()
        expected = outcome(fn, x)
        OUTSIDE[0] = nested()
        assert outcome(compiled, x) == expected
    assert compiled.gave_up is None
    assert name in CUT or {b.number for b in compiled.breaks} <= {"PX013"}


def test_a_group_from_outside_may_change():
    compiled = pellucid.compile(from_outside, backend="eager")
    for group in (nested(), ExceptionGroup("one", [V("a")]), ExceptionGroup("two", [T("a"), V("b"), V("c")]), V("naked")):
        OUTSIDE[0] = group
        expected = outcome(from_outside, pellucid.ones(3))
        group.__context__ = group.__traceback__ = None
        assert outcome(compiled, pellucid.ones(3)) == expected


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_a_written_function(name):
    """What runs where a frame leaves capture."""
    fn = PROGRAMS[name]
    if fn.__closure__ or fn.__code__.co_cellvars:
        pytest.skip("its slots hold cells")
    OUTSIDE[0] = nested()
    expected = outcome(fn, pellucid.ones(3))
    OUTSIDE[0] = nested()
    program = decode(fn.__code__)
    slots = [pellucid.ones(3), *[UNBOUND] * (program.nslots - 1)]
    written = continuation(program, 0, fn.__globals__)
    assert outcome(written, slots, []) == expected
