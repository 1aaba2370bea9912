"""Functions for the tests of continuations: each uses a feature of Python, and notes in `log` what it does and when.

A case is a function with the arguments of its calls; `log`, a new list for every call, comes first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CASES: list[tuple[Callable, tuple]] = []


def case(*args: Any) -> Callable:
    def register(fn: Callable) -> Callable:
        CASES.append((fn, args))
        return fn
    return register


def note(log, value):
    log.append(value)
    return value


class Manager:
    """Notes how it is entered and left; `swallows` a class of exceptions."""

    def __init__(self, log, name, swallows=()):
        self.log, self.name, self.swallows = log, name, swallows

    def __enter__(self):
        self.log.append(("enter", self.name))
        return self

    def __exit__(self, kind, value, traceback):
        self.log.append(("exit", self.name, kind, str(value), None if traceback is None else traceback.tb_lineno))
        return isinstance(value, self.swallows)


@dataclass
class Point:
    x: int
    y: int


COUNTER = 0


# ---------------------------------------------------------------------------------------------------- expressions
@case(3, 4)
def arithmetic(log, a, b):
    c = a + b * 2 - (a // b) ** 2 % 5
    c <<= 2
    c |= 1
    d = -c, +c, ~c, not c
    return d, a < b < 10 > c, a == b or b, a and not b, a is b, a is not None, a in (b, a), b not in [a]


@case(0)
@case(5)
@case(50)
def chained_comparison(log, a):
    return note(log, 1) <= note(log, a) < note(log, 10) != note(log, 3)


@case("x", 3.14159)
def strings(log, a, b):
    width = 8
    return f"{a!r:>{width}}|{b:.2f}|{a}{b!s}{a!a}" + f"{a}" + f"{b:{width}.1f}" + f"{{}}{note(log, a)}"


@case([1, 2, 3, 4, 5])
def subscripts(log, a):
    a[0], a[-1] = a[-1], a[0]
    a[1:3] = [7, 8, 9]
    a[note(log, 1)] += note(log, 5)
    del a[0]
    del a[:1]
    b = a[::-1], a[1:], a[:2]
    return a, b


@case((1, [2, 3], {"k": 4}))
def unpacking(log, a):
    x, (y, *z), w = a
    first, *middle, last = "abcdef"
    [p, q], r = (1, 2), 3
    *front, end = range(3)
    return x, y, z, w, first, middle, last, p, q, r, front, end


@case((1, 2, 3))
@case((1,))
@case(5)
def wrong_unpacking(log, a):
    x, y = a
    return x, y


@case([1, 2], {"k": 3})
def displays(log, a, b):
    return [*a, 4, *a], {*a, 5}, (*a, 6), {**b, "z": 1, **{"k": 9}}, {"a": 1, "b": note(log, 2)}, {note(log, 1): note(log, 2)}, [], {}, ()


def collect(*args, **kwargs):
    return args, kwargs


@case((1, 2), {"k": 3})
def calls(log, a, b):
    return (collect(1, 2, x=3), collect(*a, **b), collect(0, *a, y=4, **b), collect(*a, *a), collect(**b, m=1), log.append(1),
            "x".join(map(str, a)), collect(note(log, 1), k=note(log, 2), *[note(log, 3)]))


@case({"k": 1})
def doubled_keyword(log, b):
    return collect(k=note(log, 2), **b)


@case()
def attributes(log):
    p = Point(1, 2)
    p.x += 5
    p.y, p.z = p.x, 9
    del p.z
    return p, hasattr(p, "z")


@case(4)
def walrus(log, n):
    while (m := note(log, n - len(log))) > 0:
        if m % 2 and (k := m * 2) > 3:
            log.append(k)
    return m, k


@case(True)
@case(False)
def conditional(log, a):
    return collect(note(log, 1) if a else note(log, 2), note(log, 3), a or note(log, 4), a and note(log, 5))


# ---------------------------------------------------------------------------------------------------- scopes
@case(3)
def closures(log, a):
    total = 0

    def add(n, *, times=2, also=a):
        nonlocal total
        total += n * times + also
        return total

    total += 1
    add(1)
    add(2, times=3)
    return total, [f(2) for f in (lambda v: v + a, lambda v: v + total)]


@case(3)
def global_names(log, a):
    global COUNTER
    COUNTER = a
    COUNTER += 1
    before = COUNTER
    del COUNTER
    try:
        COUNTER  # noqa: B018
    except NameError as error:
        log.append(str(error))
    COUNTER = 0
    return before


@case(True)
@case(False)
def unbound_local(log, a):
    if a:
        x = 1
    return x


@case()
def unbound_cell(log):
    def inner():
        return x

    try:
        inner()
    except NameError as error:
        log.append(str(error))
    if log:
        print(x)
    x = 1
    return x


@case()
def deleted(log):
    x = [1]
    del x
    try:
        del x
    except UnboundLocalError as error:
        log.append(str(error))
    return x


@case(range(4))
def comprehensions(log, a):
    k = 10
    x = "outer"
    r = [x * k for x in a], {x: y for x, y in zip(a, a)}, {x % 2 for x in a}, [(x, y) for x in a if x % 2 for y in a if y != x]
    return r, x, sum(x for x in a), [f() for f in [lambda: x + k for x in a]], [[y for y in range(x)] for x in a]


@case([1, 2, 0, 3])
def failing_comprehension(log, a):
    x = "kept"
    try:
        return [note(log, 6 // x) for x in a]
    except ZeroDivisionError:
        return x


class Base:
    def __init__(self, log):
        self.log = log

    def greet(self, name):
        return f"base {name}"


class Derived(Base):
    def __init__(self, log):
        super().__init__(log)
        self.ready = True

    def greet(self, name):
        before = super().greet(name)
        return f"derived {before} {super().greet}"[:20] + str(__class__.__name__)

    def caught_self(self, name):
        again = lambda: self  # noqa: E731
        return super().greet(name), again() is self


@case()
def a_class_inside(log):
    scale = 3

    class Local(Point):
        factor = scale

        def area(self):
            return self.x * self.y * self.factor + scale

    return Local(2, 3).area(), Local.__name__


@case()
def imports(log):
    import collections.abc
    import os.path as path
    from math import pi, tau as two
    try:
        from math import nothing_there  # noqa: F401
    except ImportError as error:
        log.append(str(error))
    return collections.abc.Sized.__name__, path.basename("a/b"), pi < two


@case(2)
def assertions(log, a):
    assert a, "never"
    assert note(log, a) > 5, f"a is {a}"


# ---------------------------------------------------------------------------------------------------- loops
@case(5)
def loops(log, n):
    total = 0
    for i in range(n):
        for j in range(i):
            if j == 2:
                continue
            if i + j > 6:
                break
            total += i * j
        else:
            total += 100
    else:
        total += 1000
    while True:
        total -= 7
        if total < 50:
            break
    return total


@case([3, 1, 2])
def sorting(log, a):
    for i in range(len(a)):
        for j in range(i, len(a)):
            if a[j] < a[i]:
                a[i], a[j] = a[j], a[i]
    return a


@case({"a": 1, "b": 2})
def items(log, d):
    r = []
    for key, value in d.items():
        r.append((key, value))
        if value > 1:
            return r
    return None


# ---------------------------------------------------------------------------------------------------- exceptions
@case(0)
@case(1)
@case(2)
@case(3)
def try_all(log, n):
    try:
        log.append("try")
        if n == 0:
            raise ValueError("zero")
        if n == 1:
            raise KeyError("one")
        if n == 2:
            return "two"
    except ValueError as error:
        log.append(repr(error))
        return "value"
    except (KeyError, IndexError):
        log.append("key")
    else:
        log.append("else")
    finally:
        log.append("finally")
    return "end"


@case()
def raise_from(log):
    try:
        try:
            {}["a"]
        except KeyError as error:
            raise ValueError("b") from error
    except ValueError as error:
        log.append((repr(error.__cause__), repr(error.__context__), error.__suppress_context__))
        raise RuntimeError("c") from None


@case()
def contexts(log):
    try:
        try:
            1 / 0
        except ZeroDivisionError:
            try:
                {}["a"]
            except KeyError:
                int("x")
    finally:
        log.append("finally")


@case()
def bare_raise(log):
    for attempt in range(3):
        try:
            try:
                raise OSError(attempt)
            except OSError as error:
                log.append(error.args)
                if attempt == 2:
                    raise
        except ZeroDivisionError:
            log.append("never")


@case()
def nothing_to_raise(log):
    raise


@case(0)
@case(1)
def handled_elsewhere(log, n):
    import sys

    def reraise():
        log.append(repr(sys.exc_info()[1]))
        raise

    log.append(repr(sys.exc_info()[1]))
    try:
        if n:
            raise ValueError("outer")
        raise TypeError("outer")
    except ValueError:
        try:
            raise KeyError("inner")
        except KeyError:
            log.append(repr(sys.exc_info()[1]))
        log.append(repr(sys.exc_info()[1]))
        reraise()
    except TypeError:
        log.append(repr(sys.exc_info()[1]))
    log.append(repr(sys.exc_info()[1]))


@case()
def finally_overrides(log):
    for i in range(3):
        try:
            if i == 0:
                continue
            raise ValueError(i)
        except ValueError:
            log.append(i)
            if i == 2:
                break
        finally:
            log.append(("finally", i))
    try:
        raise KeyError
    finally:
        return "swallowed"


@case()
def name_is_deleted(log):
    error = 1
    try:
        raise ValueError(error)
    except ValueError as error:
        log.append(repr(error))
    return error


@case()
def wrong_kind(log):
    try:
        raise ValueError("v")
    except "not a class":
        pass


@case()
def raises_a_class(log):
    try:
        raise ValueError
    except ValueError as error:
        error.add_note("n")
        raise TypeError from error


@case(3)
@case(-1)
def nested_finally(log, n):
    try:
        try:
            return [1, 2][n]
        finally:
            log.append("inner")
            try:
                {}[n]
            except KeyError:
                log.append("in finally")
    except IndexError as error:
        return str(error), repr(error.__context__)
    finally:
        log.append("outer")


# ---------------------------------------------------------------------------------------------------- with
@case(False)
@case(True)
def with_return(log, fails):
    with Manager(log, "a") as a, Manager(log, "b", ValueError):
        if fails:
            raise ValueError("v")
        return a.name
    log.append("after")
    return "suppressed"


@case()
def with_propagates(log):
    for i in range(3):
        with Manager(log, i, KeyError):
            if i == 1:
                raise KeyError(i)
            if i == 0:
                continue
            with contextlib.suppress(ZeroDivisionError):
                1 / 0
            with Manager(log, "inner"):
                raise IndexError(i)


@case(5)
def not_a_manager(log, a):
    with a:
        pass


@case()
def with_in_handler(log):
    try:
        raise ValueError("first")
    except ValueError:
        with Manager(log, "m", KeyError):
            raise KeyError("second")
        log.append("on")
        raise


# ---------------------------------------------------------------------------------------------------- match
@case(5)
@case([1, 2, 3])
@case([])
@case({"kind": "a", "size": 2, "rest": 0})
@case(Point(0, 3))
@case(Point(4, 3))
@case("text")
@case(("go", "north"))
@case(None)
@case(2.5)
def matching(log, value):
    match value:
        case None | True:
            return "singleton"
        case int(n) if n > 3:
            return "big", n
        case []:
            return "empty"
        case [1, *rest]:
            return "list", rest
        case {"kind": kind, "size": int() as size, **others}:
            return kind, size, others
        case Point(x=0, y=y):
            return "axis", y
        case Point(x, y):
            return x, y
        case str() as text:
            return text
        case ("go", ("north" | "south") as way):
            return way
    return "no match"


@case(Point(1, 2))
def wrong_pattern(log, value):
    match value:
        case Point(a, b, c):
            return a, b, c


# ---------------------------------------------------------------------------------------------------- generators
def drive(log, generator, *values):
    """What a generator does when these are sent to it, or thrown."""
    for value in values:
        try:
            if isinstance(value, BaseException):
                log.append(("got", generator.throw(value)))
            elif value == "close":
                log.append(("closed", generator.close()))
            else:
                log.append(("got", generator.send(value)))
        except BaseException as error:
            log.append(("raised", repr(error), repr(error.__context__), repr(error.__cause__)))
    return log


def echo(log, n):
    """A generator with all there is: sends, throws, finally, return."""
    total = 0
    with Manager(log, "generator"):
        while total < n:
            try:
                got = yield total
                log.append(("sent", got))
                total += got or 1
            except ValueError as error:
                log.append(repr(error))
                again = yield "handled"
                log.append(("again", again))
                total += 2
            finally:
                log.append(("step", total))
    return "done"


def delegating(log, n):
    yield "start"
    x = yield from echo(log, n)
    log.append(x)
    try:
        y = yield from [1, 2]
    except KeyError as error:
        y = yield repr(error)
    return x, y


def stops(log, n):
    yield n
    raise StopIteration(n)


def squares(log, n):
    yield from (i * i for i in range(n))
    for i in range(n):
        if i % 2:
            yield i, (yield -i)


GENERATORS = [
    (echo, 3, (None, 1, None, 5, None)),
    (echo, 5, (None, ValueError("v"), 1, KeyError("k"), None)),
    (echo, 5, (None, ValueError("v"), ValueError("w"), None)),
    (echo, 5, (None, 1, "close", None)),
    (echo, 5, (ValueError("early"), None)),
    (echo, 5, (3, None)),
    (delegating, 2, (None, None, 1, 1, None, None, None)),
    (delegating, 5, (None, None, ValueError("v"), 1, 4, KeyError("k"), "y", None)),
    (delegating, 3, (None, None, "close")),
    (delegating, 3, (None, None, IndexError("i"), None)),
    (stops, 1, (None, None)),
    (squares, 4, (None, None, None, None, None, 7, 8, 9, None)),
]


# ---------------------------------------------------------------------------------------------------- speed
def hot(n):
    total = 0
    for i in range(n):
        if i % 3 == 0:
            total += i * 2
        elif i % 5 == 0:
            total -= i
        else:
            total ^= i
    return total


def call_heavy(n):
    r = []
    for i in range(n):
        r.append(str(i).rjust(8).replace("0", "x").upper())
    return len(r)


def nested_loops(n):
    total = 0
    for i in range(n):
        for j in range(n):
            total += i * j
    return total


def with_try(n):
    total = 0
    for i in range(n):
        try:
            total += 10 // (i % 7)
        except ZeroDivisionError:
            total += 1
    return total


SPEED = [(hot, 100_000), (call_heavy, 20_000), (nested_loops, 300), (with_try, 30_000)]
