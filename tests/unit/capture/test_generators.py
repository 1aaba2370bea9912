"""Generators inside compiled functions that are left, closed, or have exceptions thrown into them: ended when Python ends them."""
from __future__ import annotations

import contextlib

import pytest

import pellucid

CASES: dict = {}
CUT = {"closed_but_yields"}


def case(fn):
    CASES[fn.__name__] = fn
    return fn


def two(ev):
    def numbers():
        try:
            yield 1
            yield 2
        finally:
            ev.append("closed")
    return numbers


@case
def next_of_a_call(ev):
    numbers = two(ev)
    def g(x):
        n = next(numbers())
        ev.append("after")
        return x * n
    return g


@case
def a_local_of_another_function(ev):
    numbers = two(ev)
    def inner(x):
        it = numbers()
        n = next(it)
        return x * n
    def g(x):
        y = inner(x)
        ev.append("after")
        return y
    return g


@case
def rebound(ev):
    numbers = two(ev)
    def g(x):
        it = numbers()
        n = next(it)
        it = None
        ev.append("after")
        return x * n
    return g


@case
def zipped(ev):
    numbers = two(ev)
    def g(x):
        a, = [n for n in zip(numbers(), [1])]
        ev.append("after")
        return x * a[0]
    return g


@case
def left_by_break_and_return(ev):
    numbers = two(ev)
    def g(x):
        for n in numbers():
            for m in numbers():
                if m == 1: break
            ev.append("inner")
            if n == 1: return x * n
    return g


@case
def thrown_by_a_context_manager(ev):
    @contextlib.contextmanager
    def m():
        try:
            yield 3
        except KeyError:
            ev.append("caught")
        finally:
            ev.append("closed")
    def g(x):
        with m() as k:
            {}["a"]
        ev.append("after")
        return x * k
    return g


@case
def thrown_and_closed(ev):
    def numbers():
        try:
            yield 1
        except ValueError as e:
            ev.append(str(e))
            yield 5
        finally:
            ev.append("closed")
    def g(x):
        it = numbers()
        next(it)
        n = it.throw(ValueError("v"))
        it.close()
        it.close()
        ev.append("after")
        return x * n
    return g


@case
def closed_but_yields(ev):
    def numbers():
        try:
            yield 1
        except GeneratorExit:
            yield 2
    def g(x):
        it = numbers()
        next(it)
        try:
            it.close()
        except RuntimeError as e:
            ev.append(str(e))
        return x
    return g


@case
def thrown_where_nobody_catches(ev):
    def numbers():
        yield 1
        yield 2
    def g(x):
        it = numbers()
        next(it)
        try:
            it.throw(KeyError("k"))
        except KeyError as e:
            ev.append(repr(e))
        ev.append(list(it))
        return x
    return g


@case
def thrown_by_class_and_before_the_start(ev):
    def numbers():
        with contextlib.suppress(KeyError):
            yield 1
            yield 2
        yield 3
    def g(x):
        it = numbers()
        next(it)
        ev.append(it.throw(KeyError))
        ev.append(list(it))
        try:
            numbers().throw(ValueError)
        except ValueError as e:
            ev.append(repr(e))
        return x
    return g


@case
def held_by_what_is_returned(ev):
    numbers = two(ev)

    def g(x):
        it = numbers()
        held = [it, next(it)]
        ev.append("after")
        ev.append(next(held[0]))
        return x * held[1]
    return g


@case
def waiting_for_another(ev):
    def inner():
        try:
            yield 1
            yield 2
        finally:
            ev.append("inner")

    def outer():
        try:
            yield from inner()
        finally:
            ev.append("outer")

    def g(x):
        for n in outer():
            x = x * n
            break
        ev.append("after")
        it = outer()
        next(it)
        it.close()
        return x
    return g


@pytest.mark.parametrize("name", CASES)
def test_ended_as_in_python(name):
    seen, plainly = [], []
    compiled = pellucid.compile(CASES[name](seen), backend="eager", fullgraph=name not in CUT)
    plain = CASES[name](plainly)
    for k in (1, 2):
        assert compiled(pellucid.ones(2) * k).tolist() == plain(pellucid.ones(2) * k).tolist()
        assert seen == plainly
    assert compiled.gave_up is None


def test_the_exception_that_is_handled():
    import sys

    def handled(x):
        kind, error, _ = sys.exc_info()
        assert sys.exception() is error
        return x * 2 if kind is None else x * len(str(error))

    def g(x):
        y = handled(x)
        try:
            raise KeyError("four")
        except KeyError:
            y = y + handled(x)
        return y + handled(x)

    for settings in ({"fullgraph": True}, {}):
        f = pellucid.compile(g, backend="eager", **settings)
        assert f(pellucid.ones(2)).tolist() == g(pellucid.ones(2)).tolist()
    try:
        raise ValueError("outside")                 # the caller handles one: another version, or plain Python
    except ValueError:
        assert f(pellucid.ones(2)).tolist() == g(pellucid.ones(2)).tolist()
    assert f(pellucid.ones(2)).tolist() == g(pellucid.ones(2)).tolist()


def test_a_repr_that_comes_to_itself():
    import dataclasses
    import reprlib

    @dataclasses.dataclass
    class Node:
        name: str
        next: object = None

    class Ring:
        def __init__(self, name):
            self.name = name
            self.next = self

        @reprlib.recursive_repr("<again>")
        def __repr__(self):
            return f"{self.name} {self.next!r}"

    def g(x):
        a = Node("a")
        a.next = Node("b", a)
        return x, repr(a), str(Ring("ring")), f"{Node('c')}"

    f = pellucid.compile(g, backend="eager", fullgraph=True)
    assert f(pellucid.ones(1))[1:] == g(pellucid.ones(1))[1:]
