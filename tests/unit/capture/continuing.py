"""Functions whose rest is run as Python from every point inside them, and compared with the plain call.

Runs in any Python, without pellucid's dependencies: `python3.13 continuing.py` prints what it found and exits with 1 if something is
wrong. The tests call `check` in their own process, and this file with the other Pythons of the machine.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "pellucid"


def made_up(name: str) -> type:
    """An exception of this name; but inspect looks at the __file__ of every module."""
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (Exception,), {})


class Outside:
    """Finds every module of pellucid outside `capture`: each name of such a module is an exception that nobody raises."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.startswith("continuing_alone") and not name.startswith("continuing_alone.capture."):
            return importlib.machinery.ModuleSpec(name, Outside, is_package=True)
        return None

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        if module.__name__ == "continuing_alone.capture":
            module.__path__ = [str(PACKAGE / "capture")]
        elif module.__name__ != "continuing_alone":
            module.__getattr__ = made_up


sys.meta_path.insert(0, Outside)


def alone(name: str):
    """A module of `capture`, in a package that has nothing else of pellucid."""
    return importlib.import_module(f"continuing_alone.capture.{name}")


blocks, concrete, decode, frame, interpreter, tables = (
    alone(name) for name in ("blocks", "concrete", "decode", "frame", "interpreter", "tables"))
LOG: list = []
COUNTER = 0


# ---------------------------------------------------------------------------------------------------- helpers of the functions
class Manager:
    def __init__(self, name, swallow=False, broken=False):
        self.name, self.swallow, self.broken = name, swallow, broken

    def __enter__(self):
        LOG.append(("enter", self.name))
        return self

    def __exit__(self, kind, value, traceback):
        LOG.append(("exit", self.name, kind and kind.__name__, repr(value)))
        if self.broken:
            raise OSError("broken")
        return self.swallow


class Point:
    __match_args__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y

    def size(self, scale=1):
        return (self.x + self.y) * scale


class Base:
    def describe(self, word="base"):
        return f"{word} {type(self).__name__}"

    @property
    def title(self):
        return "Base"


class Derived(Base):
    def describe(self, word="derived"):
        before = super().describe(word)
        return before + super().title + super(Derived, self).describe()

    def hidden(self):
        def inner():
            return self.value
        self.value = 3
        return super().describe(str(inner()))


def fails(n):
    LOG.append(("fails", n))
    if n % 2:
        raise ValueError(n)
    raise KeyError(n)


def reraised():
    raise               # noqa: PLE0704  what the caller is handling


def several(*args, **kwargs):
    return args, kwargs


def numbers(n):
    for i in range(n):
        yield i


# ---------------------------------------------------------------------------------------------------- the functions
def arithmetic(a, b):
    c = a + b * 2 - -a
    c **= 2
    c //= 3
    d = not c
    return c, d, ~a, +b, a % b, a / b, a << 2 | b & 7 ^ 3, a < b <= 5 != c, a is b, a is not None, b in (1, 2, 3), a not in [b]


def loops(n):
    total, seen = 0, []
    for i in range(n):
        if i == 2:
            continue
        for j in range(i):
            if j > 2:
                break
            total += i * j
        else:
            seen.append(i)
    while n > 0:
        n -= 2
        total += 1 if n % 2 else -1
    return total, seen, i


def logic(a, b, c):
    d = a and b or c
    e = (a or b) and not c
    return d, e, a if b else c, None if a is None else b, a == b == c, [x for x in (a, b, c) if x is not None]


def containers(n):
    a = [1, 2, *range(n), n]
    b = {1, *a}
    c = {"x": 1, **{"y": n}, n: a}
    d = (*a, *b)
    first, *middle, last = a
    (p, q), [r, *s] = (1, 2), a
    a[1:2] = "ab"
    del a[0], c[n]
    c["z"] = a[1:3], a[::2]
    c["x"] += 5
    c["y"] <<= 2
    return a, sorted(b), c, d, first, middle, last, p, q, r, s, {}, set(), [], ()


def comprehensions(n):
    x = "kept"
    a = [x * y for x in range(n) for y in range(x) if y % 2]
    b = {x: x + 1 for x in range(n)}
    c = {x % 3 for x in range(n)}
    d = sum(x for x in range(n))
    e = [[y + x for y in range(x)] for x in range(n)]
    f = [lambda: x for x in range(2)]
    return a, b, c, d, e, x, [g() for g in f], [x for x in a if (last := x)], a and last


def failing_comprehension(x):
    try:
        return [10 // x for x in (2, 1, x)]
    except ZeroDivisionError:
        return x


def text(a, b):
    return f"{a}", f"<{a!r:>10}|{b:{a}}>{{}}" f"{b!s}{b!a}", "%s-%s" % (a, b), f"{a:04}{b=}"


def calls(a, b):
    args, kwargs = [a, b], {"k": 1}
    r = [several(), several(a, *args, b, k=2), several(*args), several(*args, **kwargs), several(**kwargs, **{"m": 2}, n=a)]
    r += [several(a, *(b, a), x=1, **kwargs), "x".join(str(i) for i in args), max(a, b, key=lambda v: -v), Point(a, b).size(scale=2)]
    r.append(several(*args if a else (), **(kwargs if b else {})))
    r.append(several(**kwargs, **({"p": 3} if a else {})))
    return r


def doubled_keyword(a):
    return several(**{"k": a}, **{"k": 2})


def attributes(p):
    p.x, p.y = p.y, p.x
    p.x += 10
    p.z = p.size() + p.size(2)
    del p.y
    return p.x, p.z, hasattr(p, "y")


def closures(n):
    count = n
    held = []

    def add(k, *, twice: int = 2, **more) -> int:
        nonlocal count
        count += k * twice
        held.append(count)
        return lambda: (count, n)
    count += 1
    later = add(1)
    add(2, twice=3)
    return count, held, later(), add.__annotations__, add.__kwdefaults__, add.__name__, add.__qualname__


def recursive(n):
    def fact(k):
        return 1 if k < 2 else k * fact(k - 1)
    return fact(n)


def empty_cell(n):
    def inner():
        return value
    if n:
        value = 1
    try:
        inner()
    except NameError as error:
        LOG.append(str(error))
    return value


def deleted_cell(n):
    value = n

    def inner():
        return value
    a = inner()
    del value
    try:
        inner()
    except NameError as error:
        a = a, str(error)
    try:
        del value
    except NameError as error:
        return a, str(error)


def worldly(n):
    global COUNTER, MADE
    COUNTER += n
    MADE = [COUNTER]
    r = MADE, COUNTER
    del MADE
    try:
        MADE
    except NameError as error:
        return r, str(error)


def unbound(n):
    if n > 5:
        x = 1
    LOG.append(n)
    return x


def deleted(n):
    x = n
    del x
    try:
        x
    except UnboundLocalError as error:
        message = str(error)
    try:
        del x
    except UnboundLocalError as error:
        return message, str(error)


def caught(n):
    r = []
    for i in range(n):
        try:
            fails(i)
        except KeyError as error:
            r.append(("key", error.args))
        except (ValueError, TypeError):
            r.append(sys.exc_info()[0].__name__)
        else:
            r.append("else")
        finally:
            r.append("finally")
    try:
        error
    except UnboundLocalError:
        r.append("error is gone")
    return r, sys.exc_info()[0]


def uncaught(n):
    try:
        if n:
            fails(n)
    except KeyError:
        LOG.append("not this")
    finally:
        LOG.append("finally")
    return n


def chained(n):
    try:
        fails(n)
    except KeyError as error:
        raise RuntimeError("from") from error
    except ValueError:
        raise TypeError("during")


def chained_deep(n):
    try:
        try:
            fails(n)
        except KeyError:
            try:
                fails(n + 1)
            except ValueError as second:
                LOG.append(repr(second.__context__))
                raise
            finally:
                LOG.append(repr(sys.exc_info()[1]))
    except ValueError as error:
        LOG.append((repr(error), repr(error.__context__), repr(sys.exc_info()[1])))
        try:
            raise
        except ValueError:
            pass
        try:
            reraised()
        except ValueError as again:
            LOG.append(again is error)
        raise OSError("last") from None


def nothing_to_raise(n):
    LOG.append(n)
    raise


def bad_raise(n):
    try:
        raise n
    except TypeError as error:
        return str(error)


def bad_except(n):
    try:
        fails(1)
    except n:
        return 1


def returning(n):
    for i in range(5):
        try:
            if i == n:
                return i
            if i == 3:
                fails(i)
        except ValueError:
            return "caught"
        finally:
            LOG.append(i)
            if n == 1:
                return "finally"
            if n == 9:
                continue


def broken_finally(n):
    while True:
        try:
            fails(n)
        finally:
            break
    return "swallowed"


def managed(n):
    with Manager("a") as a, Manager("b", swallow=True):
        LOG.append(a.name)
        if n:
            fails(n)
        LOG.append("not failed")
    LOG.append("between")
    for i in range(3):
        with Manager(i, swallow=i < 2):
            if i == n:
                return i
            if i == 1:
                continue
            fails(i)
    return "end"


def managed_badly(n):
    with Manager("a"):
        with Manager("b", broken=True):
            if n:
                fails(n)
    return 1


def no_manager(n):
    with n:
        pass


def half_manager(n):
    with HalfManager():
        pass


class HalfManager:
    def __enter__(self):
        raise AssertionError("not called")


def matching(subject):
    match subject:
        case 1 | 2:
            return "small"
        case [x, y, *rest] if x != y:
            return x, y, rest
        case {"kind": "point", "at": [a, b], **more}:
            return a, b, more
        case {"kind": str(kind)}:
            return kind
        case Point(0, y=y):
            return "on the axis", y
        case Point(x, y):
            return x, y
        case str() | bytes():
            return "text"
        case int(value):
            return -value
        case None:
            return None
    return "nothing"


def bad_match(p):
    match p:
        case Point(1, 2, 3):
            return 1


def asserting(n):
    assert n, f"no {n}"
    assert n < 5
    return n


def importing(n):
    import os.path as path
    import collections.abc
    from collections import OrderedDict, abc
    return path.join("a", str(n)), OrderedDict, abc.Sized, collections.abc.Sized is abc.Sized


def importing_nothing(n):
    try:
        from collections import nothing_like_that
        return nothing_like_that
    except ImportError as error:
        LOG.append(str(error))
    import nothing_like_this_module


def looking(n):
    a, b = n, 2
    c = sorted(locals().items()), eval("a + b"), sorted(vars()), dir()
    return c, (lambda: a)(), eval("COUNTER * 0")


def class_inside(n):
    class Inner(Base):
        size = n

        def get(self):
            return self.size, super().describe()
    return Inner().get(), Inner.__qualname__


def describe(word):
    return Derived.describe(Derived(), word)


def deep_names(pc, s0, k0, error, again):
    pc, s0 = s0, pc
    make = rest = keep = [pc, s0, k0, error, again]
    return [make, rest, keep, [pc for pc in (1, 2)], next(iter(make))]


def error_inside(table, key):
    value = (
        table
        [key]
        + 1
    )
    return value


def too_few(values):
    a, b, c = values
    return a


def too_few_for_star(values):
    a, b, *c = values
    return a


def swapped(a, b, c):
    a, b = b, a
    a, b, c = c, a, b
    d = {a: b, c: (c := a)}
    return a, b, c, d, [a, (a := 5), a]


def decorated(n):
    @staticmethod
    @lambda f: LOG.append(f.__name__) or f
    def inner(a, b=n, *c, d=n + 1, **e):
        return a, b, c, d, e
    return inner(1), inner.__func__.__defaults__


def iterators(n):
    it = iter([1, 2, 3, 4])
    r = [x for x, y in zip(it, it)]
    for a, (b, *c) in enumerate([(1, 2), (3,)]):
        r.append((a, b, c))
    return r, list(numbers(n)), dict(a=1), [*numbers(n)], next(it, None)


def nested_five(n):
    try:
        fails(n)
    except Exception as a:
        try:
            fails(n + 1)
        except Exception as b:
            try:
                fails(n + 2)
            except Exception as c:
                try:
                    raise
                except Exception as d:
                    return [repr(e) for e in (a, b, c, d, d.__context__, d.__context__.__context__)]


def everything(n):
    """A longer one, with several features in each other."""
    found, failed = {}, 0
    for i, word in enumerate(["a", "bb", "ccc", "", None][:n]):
        try:
            with Manager(word, swallow=i == 1):
                match len(word):
                    case 0:
                        raise LookupError(word)
                    case size if size == 2:
                        fails(size)
                    case size:
                        found[word] = [size * k for k in range(size) if k]
        except LookupError as error:
            failed += 1
            found[f"{error!r}"] = (lambda: i)()
        except TypeError:
            return found, failed, i
        else:
            found.setdefault("good", []).append(i)
    return found, failed


CASES = [
    (arithmetic, 7, 3), (arithmetic, 0, 5), (arithmetic, 1, 0), (loops, 7), (loops, 0), (logic, 1, 0, None), (logic, None, [], 3),
    (containers, 4), (comprehensions, 5), (failing_comprehension, 0), (failing_comprehension, 5), (text, 8, "b"), (text, 3, 2),
    (calls, 1, 2), (calls, 0, 0), (doubled_keyword, 1), (attributes, lambda: Point(1, 2)), (closures, 5), (recursive, 5),
    (empty_cell, 0), (empty_cell, 1),
    (deleted_cell, 3), (worldly, 1), (unbound, 1), (unbound, 9), (deleted, 1), (caught, 4), (uncaught, 0), (uncaught, 1), (uncaught, 2),
    (chained, 0), (chained, 1), (chained_deep, 0), (chained_deep, 2), (nothing_to_raise, 1), (bad_raise, 1), (bad_raise, ValueError),
    (bad_except, int), (bad_except, 3), (returning, 0), (returning, 1), (returning, 9), (returning, 4), (broken_finally, 1), (managed, 0),
    (managed, 1), (managed_badly, 0), (managed_badly, 1), (no_manager, 1), (half_manager, 1), *[(matching, s) for s in (
        1, [1, 2, 3], (1, 1), {"kind": "point", "at": [1, 2], "z": 3}, {"kind": "line"}, {"kind": 3}, Point(0, 2), Point(1, 2), "s", b"", 7,
        None, 2.5)],
    (bad_match, lambda: Point(1, 2)), (asserting, 0), (asserting, 3), (asserting, 7), (importing, 1), (importing_nothing, 1), (looking, 3),
    (class_inside, 4), (describe, "w"), (Derived.describe, lambda: Derived()), (Derived.hidden, lambda: Derived()),
    (deep_names, 1, 2, 3, 4, 5), (error_inside, {"a": 1}, "a"), (error_inside, {}, "a"), (error_inside, {"a": None}, "a"),
    (too_few, [1, 2]),
    (too_few, [1, 2, 3, 4]),
    (too_few, 3), (too_few_for_star, [1]), (swapped, 1, 2, 3), (decorated, 3), (iterators, 3), (nested_five, 1), (everything, 5),
]


# ---------------------------------------------------------------------------------------------------- generators
def plain_generator(n):
    for i in range(n):
        got = yield i
        if got:
            LOG.append(got)
    return "done"


def guarded(n):
    try:
        x = yield 1
        y = yield x
        LOG.append((x, y))
        fails(n)
    except ValueError as error:
        z = yield "caught", error.args
        LOG.append((z, repr(sys.exc_info()[1])))
        yield sys.exc_info()[0].__name__
        raise
    finally:
        LOG.append("finally")
        if not isinstance(sys.exc_info()[1], GeneratorExit):
            yield "last"
        LOG.append(repr(sys.exc_info()[1]))


def delegating(n):
    a = yield from plain_generator(n)
    b = yield from [10, 20]
    try:
        c = yield from guarded(1)
    except ValueError:
        c = "failed"
        yield c
    return a, b, c


def managed_generator(n):
    with Manager("g", swallow=True):
        for i in range(n):
            yield [i, (yield "inner"), i]
    with Manager("h"):
        yield 5
    return 7


def closing(n):
    held = [n]
    while True:
        try:
            yield lambda: held
        except GeneratorExit:
            LOG.append("closed")
            raise
        except KeyError:
            yield "key"
            held.append(1)
            if len(held) > 4:
                return


def stopping(n):
    yield 1
    raise StopIteration(n)


GENERATORS = [(plain_generator, 3), (guarded, 1), (guarded, 2), (delegating, 2), (managed_generator, 2), (closing, 1), (stopping, 1)]


def drain(g):
    got = []
    while True:
        try:
            got.append(next(g))
        except StopIteration as stop:
            return got, stop.value


def consume(fn, n, log):
    for x in fn(n):
        log.append(x)
    return log


# ---------------------------------------------------------------------------------------------------- comparing
def places(error):
    """The lines of a traceback that are in this file's functions."""
    found, tb = [], error.__traceback__
    while tb is not None:
        code = tb.tb_frame.f_code
        if code.co_name not in ("outcome", "describe_error"):
            found.append((code.co_name, code.co_filename, tb.tb_lineno))
        tb = tb.tb_next
    return found


def described(error, lines=True, depth=0):
    if error is None or depth > 6:
        return None
    return (type(error), str(error), places(error) if lines else None, described(error.__cause__, lines, depth + 1),
            described(error.__context__, lines, depth + 1), error.__suppress_context__)


def plain(value):
    """What can be compared."""
    if isinstance(value, types.FunctionType):
        return "function", value.__qualname__
    if isinstance(value, (Point, Manager)):
        return type(value), vars(value)
    if isinstance(value, (list, tuple)):
        return [type(value), *map(plain, value)]
    return value


def outcome(fn, lines=True):
    try:
        return "value", plain(fn()), list(LOG)
    except BaseException as error:
        return "error", described(error, lines), list(LOG)


def fresh(args):
    global COUNTER
    LOG.clear()
    COUNTER = 3
    return [a() if isinstance(a, types.FunctionType) and a.__name__ == "<lambda>" else a for a in args]


class Domain(concrete.Concrete):
    """Plain Python, but for what depends on the frame of the interpreted function."""

    def call(self, fn, args, kwargs):
        error = interpreter.handled(self.interpreter)
        if fn is sys.exc_info:
            return (None, None, None) if error is None else (type(error), error, error.__traceback__)
        if fn is reraised:
            raise frame.Raised(error)
        if fn in (locals, vars, dir, eval):
            top = self.interpreter.frames[-1]
            found = {name: value.cell_contents if type(value) is types.CellType else value
                     for name, value in zip(top.program.slotnames, top.slots) if value is not tables.UNBOUND}
            return eval(args[0], top.space, found) if fn is eval else sorted(found) if fn is dir else found
        return super().call(fn, args, kwargs)


def interrupted(fn, args, n, inline=False):
    """The frames after `n` instructions; None when the function has come to its end."""
    frames = [frame.frame_of(fn, args, {})]
    run = interpreter.Interpreter(Domain(inline), frames, n)
    try:
        run.run()
    except interpreter.Stopped:
        return run
    except (frame.Raised, NotImplementedError):         # a class is defined: the interpreter does not do that
        pass
    return None


def check_function(fn, *args):
    """(how many points, what is wrong)."""
    wrong = []
    given = fresh(args)
    want, want_bare = outcome(lambda: fn(*given)), None
    want = (*want[:1], want[1] if want[0] == "value" else trimmed(want[1]), want[2])
    given = fresh(args)
    want_bare = outcome(lambda: fn(*given), False)
    n = 0
    while True:
        run = interrupted(fn, fresh(args), n)
        if run is None:
            break
        top = run.frames[-1]
        raised = hasattr(run, "trail")
        try:
            rest = blocks.continuation(top.program, top.index, top.space)
        except Exception as error:
            wrong.append(f"{fn.__name__}{args} at {top.index} {top.program.ins[top.index]}: {error!r}")
            n += 1
            if type(error) is not blocks.Unsupported:
                import traceback
                traceback.print_exc()
            continue
        got = outcome(lambda: rest(top.slots, top.stack, top.exc), not raised)
        if not raised and got[0] == "error":
            got = "error", trimmed(got[1]), got[2]
        if got != (want_bare if raised else want):
            wrong.append(f"{fn.__name__}{args} at {top.index} {top.program.ins[top.index]}:\n   {got}\n   {want_bare if raised else want}")
        n += 1
    return n, wrong


def trimmed(error):
    """A described error without the frame that called the function."""
    if error is None:
        return None
    kind, text, lines, cause, context, suppress = error
    return kind, text, [x for x in lines if x[0] != "<lambda>" or x[1] != __file__], trimmed(cause), trimmed(context), suppress


ACTIONS = {
    "next": next, "send": lambda g: g.send("sent"), "throw": lambda g: g.throw(ValueError("thrown")),
    "throw key": lambda g: g.throw(KeyError("k")), "close": lambda g: g.close(),
}


def real(value):
    """A generator of the interpreter as a real one."""
    if type(value) is not frame.Generator or value.frame is None:
        return value
    inner = value.frame
    return continued(blocks.generator_continuation, inner)


def continued(make, top):
    return make(top.program, top.index, top.space)([real(v) for v in top.slots], [real(v) for v in top.stack], top.exc)


def act(g, action, lines):
    first = outcome(lambda: ACTIONS[action](g), lines)
    first = first if first[0] == "value" or not lines else ("error", trimmed(first[1]), first[2])
    return first, outcome(lambda: drain_some(g), False)


def drain_some(g):
    return [plain(next(g, "end")) for _ in range(6)]


def check_generator(fn, *args):
    """From every suspension, each action; from every instruction, the rest."""
    wrong, n, points = [], 0, 0
    program = decode.decode(fn.__code__)
    for steps in range(8):                                      # suspended after so many values
        for action in ACTIONS:
            suspended, raised = suspend(fn, args, steps)
            if suspended is None:
                continue
            log = LOG[:]
            fresh(())
            plain_one = fn(*args)
            outcome(lambda: [next(plain_one) for _ in range(steps)])
            want = act(plain_one, action, not raised)
            points += 1
            LOG[:] = log
            made = continued(blocks.generator_continuation, suspended)
            got = act(made, action, not raised)
            if made.__name__ != fn.__name__ or got != want:
                wrong.append(f"{fn.__name__}{args} {action} after {steps}:\n   {got}\n   {want}")
    while fn is not closing:                                    # running; that one does not end
        fresh(())
        want = outcome(lambda: consume(fn, *args, []), False)
        fresh(())
        run = interrupted(consume, [fn, *args, []], n, inline=True)
        if run is None:
            break
        inner = next((f for f in run.frames if f.program is program and f.owner is not None), None)
        n += 1
        if inner is None or run.frames[-1] is not inner or "STOPITERATION_ERROR" in (
                program.ins[inner.index].arg, program.ins[inner.index - 1].arg):         # it has ended
            continue
        points += 1
        got_before = list(run.frames[0].slots[2])
        try:
            made = continued(blocks.generator_continuation, inner)
        except blocks.Unsupported as error:
            wrong.append(f"{fn.__name__}{args} at {inner.index} {program.ins[inner.index]}: {error}")
            continue

        def whole(made=made, got=got_before):
            for x in made:
                got.append(x)
            return got
        got = outcome(whole, False)
        if got != want:
            wrong.append(f"{fn.__name__}{args} running at {inner.index} {program.ins[inner.index]}:\n   {got}\n   {want}")
    return points, wrong


def suspend(fn, args, steps):
    """The frame of the generator, suspended after `steps` values (None if it has ended by then), and whether anything was raised."""
    for n in range(3000):
        fresh(())
        run = interrupted(consume, [fn, *args, []], n, inline=True)
        if run is None:
            return None, False
        outer = run.frames[0]
        if len(run.frames) == 1 and len(outer.slots[2]) == steps and outer.stack and type(outer.stack[0]) is frame.Generator:
            return outer.stack[0].frame, hasattr(run, "trail")
    raise AssertionError("not suspended")


def check():
    figures, wrong = {"functions": len(CASES), "points": 0, "generators": len(GENERATORS), "suspended": 0}, []
    for case in CASES:
        n, bad = check_function(*case)
        figures["points"] += n
        wrong += bad
    for case in GENERATORS:
        n, bad = check_generator(*case)
        figures["suspended"] += n
        wrong += bad
    return figures, wrong


if __name__ == "__main__":
    found, errors = check()
    print(sys.version.split()[0], found, *errors[:20], len(errors), sep="\n")
    sys.exit(bool(errors))
