"""What a compiled function does besides its result, and ordinary Python inside it: all as plain Python does, in the same order.

Each case builds its state, runs `f = run(...)` at least twice, and gives everything that can be seen. It is run with `run` doing
nothing, and with `run` compiling; both must see the same. A `@whole` case must be one graph (fullgraph), a `@cut` case may break.
"""
from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import functools
import itertools
import operator
import sys
import traceback
import types

import numpy as np
import pytest

import pellucid

pytestmark = pytest.mark.filterwarnings("ignore:.*runs uncompiled")
CASES: dict = {}
CUT: set = set()
SPACE = globals()
total = 0
log: list = []


def whole(case):
    CASES[case.__name__] = case
    return case


def cut(case):
    CUT.add(case.__name__)
    return whole(case)


def ones(n=3):
    return pellucid.ones(n)


def seen(r):
    """What can be seen of a value."""
    if isinstance(r, pellucid.Tensor):
        return str(r.dtype), r.requires_grad, r.detach().numpy().tolist()
    if isinstance(r, (list, tuple, set, collections.deque)):
        return type(r).__name__, [seen(v) for v in r]
    if isinstance(r, dict):
        return type(r).__name__, [(k, seen(v)) for k, v in r.items()]
    return r


def error_of(f, *args):
    """The error of a call: type, text, cause, context, and the lines of this file in the traceback."""
    try:
        return seen(f(*args))
    except Exception as error:
        lines = [(frame.name, frame.line) for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__ and frame.name != "error_of"]
        return type(error).__name__, str(error), repr(error.__cause__), repr(error.__context__), lines


# ---------------------------------------------------------------------------------------------------- writes
class Thing:
    shared = 1

    def __init__(self, k=3):
        self.calls, self.k, self.items, self.table, self.last = 0, k, [], {}, None

    def step(self, x):
        self.calls += 1
        self.items.append(self.k)
        self.table["n"] = len(self.items)
        self.last = x * 2
        return x * self.k + self.calls


class Base:
    def __init__(self, k):
        self.k = k

    def scaled(self, x):
        return x * self.k

    @property
    def double(self):
        return self.k * 2

    @double.setter
    def double(self, v):
        self.k = v / 2


class Derived(Base):
    def __init__(self, k):
        super().__init__(k + 1)
        self.log = []

    def scaled(self, x):
        self.log.append("derived")
        return super().scaled(x) + 1


@dataclasses.dataclass
class Data:
    k: int = 2
    names: list = dataclasses.field(default_factory=list)

    def __post_init__(self):
        self.sum = self.k + len(self.names)


@dataclasses.dataclass(frozen=True, order=True)
class Frozen:
    a: int
    b: int = 1


Point = collections.namedtuple("Point", "a b")


class Colour(enum.Enum):
    RED = 2
    BLUE = 3

    @property
    def twice(self):
        return self.value * 2


class Manager:
    def __init__(self, swallow=False):
        self.events, self.swallow = [], swallow

    def __enter__(self):
        self.events.append("enter")
        return self

    def __exit__(self, kind, error, tb):
        self.events.append(("exit", None if kind is None else kind.__name__, str(error)))
        return self.swallow


def run_five(f, *args):
    return [seen(f(*args)) for _ in range(5)]


@whole
def attributes_of_an_object(run):
    t = Thing()
    f = run(lambda x: t.step(x))
    return run_five(f, ones()), t.calls, t.items, t.table, seen(t.last)


@whole
def attributes_of_an_argument(run):
    t = Thing()
    f = run(lambda t, x: t.step(x))
    return [seen(f(t, ones())) for _ in range(3)], t.calls, t.items, t.table, seen(t.last)


@whole
def attribute_set_and_deleted(run):
    t = Thing()

    def g(x):
        t.new = x + 1
        y = t.new * 2
        del t.k
        return y
    f, found = run(g), []
    for _ in range(3):
        t.k = 1
        found += [seen(f(ones())), seen(t.new), hasattr(t, "k")]
    return found


@whole
def list_of_an_argument(run):
    def g(items, x):
        items.append(x * 2)
        items.extend([1, 2])
        items.insert(0, "first")
        items[1] = x + 1
        return items.pop() * x
    f, items = run(g), [0, 0]
    return [seen(f(items, ones())) for _ in range(3)], seen(items)


@whole
def list_in_place(run):
    items, alias = [3, 1, 2], None
    alias = items

    def g(x):
        items.sort()
        items.reverse()
        items[1:] = [7, 8]
        del items[0]
        items[0] += 1
        return x * items[0]
    f = run(g)
    found = []
    for _ in range(3):
        items[:] = [3, 1, 2]
        found += [seen(f(ones())), list(items)]
    return found, alias is items


@whole
def augmented_list(run):
    items = [1]

    def g(x):
        nonlocal items
        items += [len(items)]
        return x * len(items)
    f = run(g)
    first = items
    return [seen(f(ones())) for _ in range(3)], items, items is first


@whole
def dict_of_a_global(run):
    log[:] = [{}]

    def g(x):
        d = log[0]
        d["n"] = d.get("n", 0) + 1
        d.setdefault("x", []).append(x.sum())
        d.update(a=1, b=x)
        d.pop("a")
        return x * d["n"]
    f = run(g)
    return [seen(f(ones())) for _ in range(3)], seen(log)


@whole
def dict_order_kept(run):
    d = {"a": 1, "b": 2}

    def g(x):
        d["a"] = d.pop("a")
        return x * next(iter(d.values()))
    f = run(g)
    return [seen(f(ones())) for _ in range(3)], list(d.items())


@whole
def sets(run):
    s = {1, 2}

    def g(x):
        s.add(3)
        s.discard(1)
        s.update((5, 6))
        return x * len(s)
    f = run(g)
    return [seen(f(ones())) for _ in range(3)], sorted(s)


@whole
def deques(run):
    q = collections.deque([1], maxlen=3)

    def g(x):
        q.append(x * 2)
        q.appendleft(1)
        q.rotate(1)
        return x * len(q)
    f = run(g)
    return [seen(f(ones())) for _ in range(3)], seen(q), q.maxlen


@whole
def default_dict_and_counter(run):
    d, c = collections.defaultdict(list), collections.Counter()

    def g(x):
        d["a"].append(1)
        c["n"] += 2
        return x * c["n"]
    f = run(g)
    return [seen(f(ones())) for _ in range(3)], dict(d), dict(c)


@whole
def nested_containers(run):
    d = {"a": [{"b": (1, [2])}]}

    def g(x):
        d["a"][0]["b"][1].append(x)
        d["a"].append({})
        return x * len(d["a"])
    f = run(g)
    return [seen(f(ones())) for _ in range(3)], seen(d)


@whole
def one_object_in_two_places(run):
    a = [1]
    d = {"x": a, "y": a}

    def g(x):
        d["x"].append(2)
        d["z"] = d["y"]
        return x * len(d["y"])
    f = run(g)
    return [seen(f(ones())) for _ in range(2)], a, d["z"] is a


@whole
def new_objects_are_shared(run):
    t = Thing()

    def g(x):
        new = [x]
        t.items = new
        t.table = {"same": new}
        return new
    f = run(g)
    r = f(ones())
    return seen(r), r is t.items, t.table["same"] is r, f(ones()) is not r


@whole
def cyclic_object(run):
    def g(x):
        a = [x]
        a.append(a)
        return a
    f = run(g)
    r = f(ones())
    return r[1] is r, seen(r[0]), f(ones())[1] is not r


@whole
def global_statement(run):
    def g(x):
        global total
        total += 1
        return x * total
    SPACE["total"] = 0
    f = run(g)
    return run_five(f, ones()), total


@whole
def global_tensor_set(run):
    def g(x):
        global total
        total = x * 2
        return total + 1
    f = run(g)
    return [seen(f(ones())), seen(total), seen(f(ones() * 3)), seen(total)]


@whole
def nonlocal_counter(run):
    n = 0

    def g(x):
        nonlocal n
        n += 1
        return x * n
    f = run(g)
    return run_five(f, ones()), n


@whole
def nonlocal_tensor(run):
    state = pellucid.zeros(3)

    def g(x):
        nonlocal state
        state = state * 0.5 + x
        return state * 2
    f = run(g)
    return run_five(f, ones()), seen(state)


@whole
def tensor_written(run):
    w = pellucid.zeros(3)

    def g(x):
        w.add_(x)
        w[0] = 7
        x.mul_(2)
        return w + x
    f, x = run(g), ones()
    return [seen(f(x)) for _ in range(3)], seen(w), seen(x), w._version, x._version


@whole
def versions(run):
    """As many writes as plain Python counts: through views, in modules, by optimizers, into gradients."""
    nn, optim = pellucid.nn, pellucid.optim

    def written(x, w):
        w[0].mul_(2)
        w[1:].add_(x[1:]).mul_(x[1:])
        x.zero_()
        x.copy_(w)
        pellucid.add(x, 1, out=x)
        y = w * 2
        y[0] = 1
        y.mul_(2)
        return y, y[1:]

    def step(net, o, x, clip):
        o.zero_grad()
        net(x).pow(2).sum().backward()
        if clip:
            nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        o.step()
    found = []
    f, x, w = run(written), ones(), ones() * 3
    for _ in range(3):
        y, part = f(x, w)
        found += [seen(y), seen(part), y._version, part._version, seen(x), x._version, w._version]
    for clip, make in ((False, lambda p: optim.SGD(p, 0.1)), (True, lambda p: optim.SGD(p, 0.1, momentum=0.9)), (False, lambda p: optim.AdamW(p, 0.1)),
                       (True, lambda p: optim.RMSprop(p, 0.1))):
        pellucid.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
        o = make(net.parameters())
        g = run(step)
        for _ in range(4):
            g(net, o, pellucid.arange(12.0).reshape(4, 3), clip)
            found.append([t._version for t in (*net.parameters(), *net.buffers())])
    return found


@whole
def versions_read(run):
    def g(x, w):
        before, part = w._version, w[1:]
        w.add_(x)
        part.mul_(2)
        return w * 2, before, w._version, part._version, w.detach()._version
    f, x, w = run(g), ones(), ones()
    return [seen(f(x, w)) for _ in range(3)], seen(f(x, x)), w._version


@whole
def the_argument_itself_is_returned(run):
    f, x, items = run(lambda x, items: (x, items, x[:2])), ones(), [1]
    a, b, c = f(x, items)
    f(x, items)
    c[0] = 5
    return a is x, b is items, seen(x)


@whole
def module_buffers(run):
    class Counting(pellucid.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("n", pellucid.zeros(()))
            self.seen, self.calls = [], 0

        def forward(self, x):
            self.n += 1
            self.calls += 1
            self.last = x.sum()
            return x * self.n
    m = Counting()
    f = run(m)
    return run_five(f, ones()), seen(m.n), m.calls, seen(m.last)


@whole
def grad_accumulates(run):
    w = ones().requires_grad_()

    def g(x):
        loss = (w * x).sum()
        loss.backward()
        return loss.detach()
    f = run(g)
    return [(seen(f(ones())), seen(w.grad)) for _ in range(3)]


# ---------------------------------------------------------------------------------------------------- order
@cut
def prints_in_order(run):
    t = Thing()

    def g(x):
        print("one")
        t.k += 1
        y = x * t.k
        print("two", t.k, y.sum().item(), sep="|", end=";\n")
        t.items.append(y.shape[0])
        print(f"three {t.items} {x.tolist()}")
        return y
    f = run(g)
    return [seen(f(ones())) for _ in range(3)], t.k, t.items


@cut
def item_in_the_middle(run):
    def g(x, d):
        d["before"] = 1
        n = x.sum().item()
        d["n"] = n
        y = x * n
        return y if n > 3 else y * 2
    f, d = run(g), {}
    return [(seen(f(v, d)), dict(d)) for v in (ones(), ones() * 2, ones(), ones() * 0.5)]


@cut
def branch_on_a_value(run):
    def g(x):
        y = x * 2
        if y.sum() > 5:
            y = y + 1
        else:
            y = y - 1
        return y * 3
    f = run(g)
    return [seen(f(v)) for v in (ones(), -ones(), ones() * 4, -ones())]


@cut
def loop_over_values(run):
    def g(x):
        found = []
        for v in x.tolist():
            found.append(v * 2)
            x = x + v
        while x.sum() < 100:
            x = x * 2
        return x, found
    f = run(g)
    return [seen(f(ones() * k)) for k in (1, 2, 1)]


@cut
def print_in_a_called_function(run):
    def inner(x, n):
        x = x + n
        print("inner", n)
        return x * 2

    def g(x):
        a = [inner(x, k) for k in range(3)]
        print("outer")
        return sum(a)
    f = run(g)
    return [seen(f(ones())) for _ in range(2)]


@cut
def print_within_with_and_try(run):
    m = Manager()

    def g(x):
        with m:
            try:
                x = x + 1
                print("inside", x.sum().item())
                raise ValueError("no")
            except ValueError as e:
                print("caught", e)
                x = x * 2
            finally:
                print("finally")
                x = x * 3
        print("after")
        return x
    f = run(g)
    return [seen(f(ones())) for _ in range(2)], m.events


@cut
def item_in_a_generator(run):
    def parts(x):
        for k in range(3):
            yield (x * k).sum().item()

    def g(x):
        return x * sum(parts(x))
    f = run(g)
    return [seen(f(ones() * k)) for k in (1, 2)]


@cut
def no_grad_across_a_break(run):
    w = ones().requires_grad_()

    def g(x):
        with pellucid.no_grad():
            y = w * x
            print("here")
            z = w * y
        return y, z, w * x
    f = run(g)
    return [seen(f(ones())) for _ in range(2)], pellucid.is_grad_enabled()


@cut
def backward_through_a_break(run):
    w = ones().requires_grad_()

    def g(x):
        y = w * x
        print("here")
        return (y * y).sum()
    f, found = run(g), []
    for _ in range(2):
        r = f(ones() * 2)
        r.backward()
        found += [seen(r), seen(w.grad)]
    return found


@cut
def random_numbers_around_a_break(run):
    def g(x):
        y = x + pellucid.rand(3)
        print("here")
        return y + pellucid.rand(3)
    pellucid.manual_seed(0)
    f = run(g)
    return [seen(f(ones())) for _ in range(3)]


@cut
def called_with_a_callback(run):
    heard = []

    def g(x, tell):
        tell(x.shape[0])
        y = x * 2
        tell(y.sum().item())
        return y
    f = run(g)
    return [seen(f(ones(), heard.append)) for _ in range(2)], heard


# ---------------------------------------------------------------------------------------------------- exceptions
@cut
def raised(run):
    def g(x, k):
        y = x * 2
        if k > 1:
            raise ValueError(f"k is {k}")
        return y
    f = run(g)
    return [error_of(f, ones(), k) for k in (1, 2, 2, 3, 1)]


@cut
def raised_deep(run):
    def inner(x):
        y = x + 1
        raise KeyError("deep")

    def middle(x):
        return inner(x * 2)

    def g(x):
        return middle(x)
    f = run(g)
    return [error_of(f, ones()) for _ in range(2)]


@cut
def raised_after_side_effects(run):
    t = Thing()

    def g(x):
        t.step(x)
        x.add_(1)
        raise RuntimeError("after")
    f, x = run(g), ones()
    return [error_of(f, x) for _ in range(3)], t.calls, t.items, seen(x)


@cut
def raised_from(run):
    def g(x):
        try:
            raise KeyError("a")
        except KeyError as error:
            raise ValueError("b") from error
    f = run(g)
    return [error_of(f, ones()) for _ in range(2)]


@cut
def raised_while_handling(run):
    def g(x):
        try:
            {}["a"]
        except KeyError:
            return x * [1][3]
    f = run(g)
    return [error_of(f, ones()) for _ in range(2)]


@cut
def raised_by_an_operator(run):
    def g(x):
        y = x + 1
        return y @ pellucid.ones(5)
    f = run(g)
    return [error_of(f, ones()) for _ in range(2)]


@cut
def raised_by_python(run):
    def g(x, what):
        y = x * 2
        if what == 0:
            return y.nothing
        if what == 1:
            return y * {}["a"]
        if what == 2:
            return undefined_name  # noqa: F821
        if what == 3:
            return y + "a"
        if what == 4:
            return 1 // 0
        if what == 5:
            a, b = [1, 2, 3]
        if what == 6:
            return int("x")
        if what == 7:
            assert y.shape[0] == 4, "wrong size"
        if what == 8:
            return len(5)
        if what == 9:
            return (lambda a: a)()
        if what == 10:
            return local_name
        local_name = 1
        return y
    f = run(g)
    return [error_of(f, ones(), k) for k in (*range(12), *range(12))]


@whole
def caught(run):
    def g(x, k):
        try:
            if k == 1:
                raise ValueError("one", k)
            if k == 2:
                {}["a"]
            if k == 3:
                return x * 5
            x = x + 1
        except ValueError as error:
            x = x * error.args[1] * 10
        except (KeyError, IndexError):
            x = x * 20
        else:
            x = x * 30
        finally:
            x = x + 1
        return x
    f = run(g)
    return [seen(f(ones(), k)) for k in (0, 1, 2, 3) * 2]


@whole
def order_of_finally(run):
    events = []

    def g(x):
        for k in range(3):
            try:
                events.append(("try", k))
                if k == 1:
                    continue
                if k == 2:
                    break
            finally:
                events.append(("finally", k))
        try:
            return x * len(events)
        finally:
            events.append("last")
    f = run(g)
    return [seen(f(ones())) for _ in range(2)], events


@whole
def raised_and_caught_outside_the_frame(run):
    events = []

    def inner(x):
        try:
            raise LookupError("inner")
        finally:
            events.append("inner finally")

    def g(x):
        try:
            inner(x)
        except LookupError as error:
            events.append(str(error))
            return x * 2
    f = run(g)
    return [seen(f(ones())) for _ in range(2)], events


@whole
def reraised(run):
    def g(x):
        try:
            try:
                raise ValueError("a")
            except ValueError:
                raise
        except ValueError as error:
            return x * len(str(error))
    f = run(g)
    return [seen(f(ones())) for _ in range(2)]


@whole
def own_exception_class(run):
    class Own(Exception):
        def __init__(self, k):
            super().__init__(f"own {k}")
            self.k = k

    def g(x):
        try:
            raise Own(4)
        except Own as error:
            return x * error.k, str(error)
    f = run(g)
    return [seen(f(ones())) for _ in range(2)]


@whole
def exception_groups(run):
    def g(x):
        try:
            raise ExceptionGroup("all", [ValueError("a"), TypeError("b")])
        except* ValueError as group:
            x = x * len(group.exceptions) * 2
        except* TypeError:
            x = x * 3
        return x
    f = run(g)
    return [seen(f(ones())) for _ in range(2)]


@cut
def warnings_are_given(run):
    import warnings

    def g(x):
        y = x * 2
        warnings.warn("careful", stacklevel=1)
        return y
    f, found = run(g), []
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found += [seen(f(ones())), [(str(w.message), w.filename == __file__) for w in caught]]
    return found


@whole
def managers(run):
    m, s = Manager(), Manager(swallow=True)

    def g(x):
        with m as a, s:
            a.events.append("body")
            x = x * 2
            raise ValueError("swallowed")
        return x + 1
    f = run(g)
    return [seen(f(ones())) for _ in range(2)], m.events, s.events


@cut
def manager_sees_the_error(run):
    m = Manager()

    def g(x):
        with m:
            raise ValueError("out")
    f = run(g)
    return [error_of(f, ones()) for _ in range(2)], m.events


@whole
def context_manager_functions(run):
    events = []

    @contextlib.contextmanager
    def around(k):
        events.append(("in", k))
        try:
            yield k * 2
        finally:
            events.append(("out", k))

    def g(x):
        with around(1) as a, contextlib.nullcontext(), contextlib.suppress(KeyError):
            x = x * a
            {}["a"]
        with contextlib.ExitStack() as stack:
            b = stack.enter_context(around(2))
            stack.callback(events.append, "callback")
            x = x * b
        return x
    f = run(g)
    return [seen(f(ones())) for _ in range(2)], events


# ---------------------------------------------------------------------------------------------------- the language
def twice(make):
    """A case for a function without state: `make()` gives it; called twice with two values."""
    def case(run):
        f = run(make())
        return [seen(f(ones() * k)) for k in (2, 3, 2)]
    case.__name__ = make.__name__
    return whole(case)


@twice
def generators():
    def numbers(n):
        for k in range(n):
            got = yield k
            if got:
                yield got
        return "done"

    def chained(n):
        r = yield from numbers(n)
        yield len(r)

    def g(x):
        it = numbers(3)
        first = next(it)
        sent = it.send(9)
        it.close()
        return x * sum(chained(3)) + first + sent, [*numbers(2)], next(iter(()), "empty")
    return g


@twice
def generator_of_tensors():
    def parts(x):
        while len(x) > 0:
            yield x[0]
            x = x[1:]
    return lambda x: pellucid.stack(list(parts(x)))


@whole
def generator_is_finished(run):
    events = []

    def numbers():
        try:
            yield 1
            yield 2
        finally:
            events.append("closed")

    def g(x):
        for n in numbers():
            x = x * n
            break
        return x + 1
    f = run(g)
    return [seen(f(ones())) for _ in range(2)], len(events) == 2


@twice
def dataclasses_inside():
    def g(x):
        d, e = Data(3, ["a"]), Data()
        e.names.append("b")
        r = dataclasses.replace(d, k=5)
        return x * d.sum * r.k, e.names, Frozen(1) < Frozen(2), Frozen(1, 2) == Frozen(1, 2), d, r == Data(5, ["a"]), repr(e), dataclasses.astuple(r)
    return g


@twice
def named_tuples():
    def g(x):
        p = Point(x, b=2)
        a, b = p
        q = p._replace(b=5)
        return p, a * b, q, q.b, p._asdict(), Point._fields
    return g


@twice
def enums():
    def g(x):
        c = Colour.RED
        return x * c.value * c.twice, c, c is Colour(2), Colour["BLUE"], [m.name for m in Colour], c == Colour.BLUE, {c: 1}[Colour.RED]
    return g


@whole
def properties_and_super(run):
    d = Derived(2)

    def g(x):
        d.double = 10
        y = d.scaled(x) * d.double
        e = Derived(4)
        return y, e.scaled(x), e.log, isinstance(e, Base), type(e).__name__, issubclass(Derived, Base)
    f = run(g)
    return [seen(f(ones())) for _ in range(2)], d.k, d.log


@twice
def recursion():
    def factorial(n):
        return 1 if n <= 1 else n * factorial(n - 1)

    def fold(x, n):
        return x if n == 0 else fold(x * 2 + n, n - 1)
    return lambda x: fold(x, 5) * factorial(4)


@twice
def recursion_over_a_tree():
    def total(tree):
        return sum(map(total, tree)) if isinstance(tree, (list, tuple)) else sum(map(total, tree.values())) if isinstance(tree, dict) else tree
    return lambda x: total([x, {"a": (x * 2, [x])}, x])


@whole
def closures_returned(run):
    def g(x):
        y, n = x * 2, 1

        def inner(z, k=3):
            nonlocal n
            n += 1
            return y + z * k * n
        return inner, lambda: n
    f, found = run(g), []
    for k in (1, 2):
        inner, count = f(ones() * k)
        found += [seen(inner(ones())), count(), seen(inner(1, k=2)), count()]
    return found


@twice
def decorators():
    def times(k):
        def decorate(fn):
            @functools.wraps(fn)
            def wrapper(*args, **kwargs):
                return fn(*args, **kwargs) * k
            return wrapper
        return decorate

    @times(2)
    @times(3)
    def inner(x, *, add=1):
        return x + add
    return lambda x: (inner(x, add=4), inner.__name__)


@twice
def iterators():
    def g(x):
        it = iter([1, 2, 3, 4])
        a = next(it)
        b = list(itertools.islice(it, 2))
        return (x * a, b, list(it), [*zip("ab", range(5))], list(enumerate("xy", 3)), list(map(operator.mul, (1, 2), (3, 4))), list(reversed((1, 2))),
                list(itertools.chain([1], (2,))), list(itertools.product("ab", (1, 2))), [*itertools.accumulate((1, 2, 3))], dict(zip("ab", (x, x))),
                list(itertools.pairwise((1, 2, 3))), [(k, list(v)) for k, v in itertools.groupby("aab")], [*filter(None, (0, 1))])
    return g


@twice
def own_iterator():
    class Countdown:
        def __init__(self, n):
            self.n = n

        def __iter__(self):
            return self

        def __next__(self):
            if self.n == 0:
                raise StopIteration
            self.n -= 1
            return self.n
    return lambda x: (x * sum(Countdown(4)), [*Countdown(2)], max(Countdown(3)), 2 in Countdown(3), tuple(Countdown(2)))


@twice
def f_strings():
    def g(x):
        k, name = 3, "n"
        return x * k, f"{k} {k:03d} {name!r:>5} {k / 7:.3f} {k=} {x.shape} {x.dtype} {[k]}", "%s-%d" % (name, k), "{:>4}{a}".format(k, a=1), ",".join(map(str, range(3)))
    return g


@twice
def match_statement():
    def kind(v):
        match v:
            case 0 | 1:
                return 1
            case int(n) if n > 5:
                return n
            case [a, *rest]:
                return a + len(rest)
            case {"k": k, **others}:
                return k + len(others)
            case Point(a=a, b=2):
                return a * 2
            case Data(k=k):
                return k * 3
            case str() as s:
                return len(s)
            case None:
                return 50
            case _:
                return 100
    return lambda x: x * sum(kind(v) for v in (1, 7, [1, 2, 3], {"k": 4, "l": 1}, Point(3, 2), Data(5), "text", None, 2.5))


@twice
def walrus():
    def g(x):
        if (n := x.shape[0]) > 2:
            x = x * n
        found = [m for k in range(5) if (m := k * 2) > 3]
        return x, found, m
    return g


@twice
def star_arguments():
    def inner(a, b=2, *rest, c, d=4, **more):
        return a * b + sum(rest) + c + d + sum(more.values())

    def positional(a, /, b):
        return a - b

    def g(x):
        args, kwargs = (x, 2, 3), {"c": 5, "e": 6}
        first, *middle, last = [1, 2, 3, 4]
        return inner(*args, **kwargs), inner(x, c=1), inner(*[x], *(3, 4), **{"c": 1}, **{"z": 2}), positional(x, b=1), middle, [*middle, *"ab"], {**kwargs, "f": last}
    return g


@twice
def sorting():
    def g(x):
        items = [("b", 2), ("a", 3), ("c", 1)]
        return (x * sorted(items, key=lambda p: p[1])[0][1], sorted(items, reverse=True), max(items, key=operator.itemgetter(1)), min(3, 1, key=lambda v: -v),
                sorted([Frozen(2), Frozen(1)]), sorted("bca", key=functools.cmp_to_key(lambda a, b: ord(b) - ord(a))))
    return g


@twice
def partials():
    def inner(a, b, *, c):
        return a * b + c

    def g(x):
        p = functools.partial(inner, x, c=3)
        q = functools.partial(p, 2)
        return p(4), q(), p.keywords, functools.reduce(lambda a, b: a + b, [x, x, x])
    return g


@twice
def comprehensions():
    def g(x):
        return ([x * k for k in range(3) if k], {k: x + k for k in "ab" for k in (1, 2)}, {k % 2 for k in range(5)}, sum(x * k for k in (1, 2)),
                [[i * j for j in range(i)] for i in range(3)], any(k > 1 for k in range(3)), all([]))
    return g


@twice
def lambdas_in_a_loop():
    def g(x):
        fs = [lambda v: v * k for k in (1, 2)]
        hs = [lambda v, k=k: v * k for k in (1, 2)]
        return [h(x) for h in fs], [h(x) for h in hs]
    return g


@twice
def loops():
    def g(x):
        n = 0
        for k in range(10):
            if k % 2:
                continue
            if k > 6:
                break
            n += k
        else:
            n = 1000
        while n > 5:
            n -= 3
        else:
            n += 100
        return x * n
    return g


@twice
def operators_of_a_class():
    class Vec:
        def __init__(self, *v):
            self.v = v

        def __add__(self, o):
            return Vec(*(a + b for a, b in zip(self.v, o.v)))

        def __radd__(self, o):
            return self

        def __eq__(self, o):
            return self.v == o.v

        def __lt__(self, o):
            return self.v < o.v

        def __getitem__(self, i):
            return self.v[i]

        def __len__(self):
            return len(self.v)

        def __bool__(self):
            return bool(self.v)

        def __call__(self, k):
            return [a * k for a in self.v]

        def __neg__(self):
            return Vec(*(-a for a in self.v))

        def __contains__(self, a):
            return a in self.v

        def __repr__(self):
            return f"Vec{self.v}"

        def __hash__(self):
            return hash(self.v)

        def __iter__(self):
            return iter(self.v)

        def __enter__(self):
            return self

        def __exit__(self, *a):
            return None

    def g(x):
        a, b = Vec(1, 2), Vec(3, 4)
        c = sum([a, b])
        with a as same:
            pass
        return (x * c[0], Vec(x, x)(2), len(c), (-a).v, a == Vec(1, 2), a < b, 3 in b, bool(Vec()), f"{a} {b!r}", {a: 1}[Vec(1, 2)], [*b], max(a, b).v, same is a)
    return g


@twice
def class_methods_and_static():
    class K:
        made = 0

        @classmethod
        def make(cls, k):
            self = cls.__new__(cls)
            self.k = k
            return self

        @staticmethod
        def double(v):
            return v * 2

        @functools.cached_property
        def cached(self):
            return self.k * 10
    return lambda x: (K.double(x), K.make(3).k, K.make(4).cached, K.make(1).double(2))


@twice
def descriptors_and_getattr():
    class Typed:
        def __set_name__(self, owner, name):
            self.name = "_" + name

        def __get__(self, o, cls=None):
            return getattr(o, self.name)

        def __set__(self, o, v):
            setattr(o, self.name, v * 2)

    class K:
        a = Typed()
        __slots__ = ("_a", "b")

        def __getattr__(self, name):
            if name.startswith("x"):
                return len(name)
            raise AttributeError(name)

    def g(x):
        k = K()
        k.a, k.b = 3, 4
        return x * k.a * k.b * k.xyz, hasattr(k, "no"), getattr(k, "no", 5)
    return g


@twice
def texts_and_numbers():
    def g(x):
        return x * divmod(17, 5)[1], "a,b".split(","), "Ab".lower().title(), "abc"[::-1], int("12") + float("1.5"), round(2.567, 2), abs(-3), pow(2, 5, 7), hex(255), b"ab" + b"c", 1 < 2 < 3, complex(1, 2)
    return g


@twice
def type_checks():
    def g(x):
        return (x * 1 if isinstance(x, pellucid.Tensor) else x, type(x) is pellucid.Tensor, isinstance(3, (int, str)), callable(g), hasattr(x, "nothing"), getattr(x, "ndim"),
                type(None) is None.__class__, isinstance(Point(1, 2), tuple))
    return g


@twice
def numpy_numbers():
    def g(x):
        return x * float(np.float32(2.5)) * np.prod((2, 3)).item(), int(np.int64(3)) + 1, np.pi
    return g


@twice
def del_and_unbound():
    def g(x):
        y = x * 2
        del y
        try:
            return y
        except UnboundLocalError as e:
            return x * 3, type(e).__name__
    return g


@twice
def shadowed_names():
    def g(x):
        sum = max  # noqa: A001
        [x for x in range(3)]
        return x * sum(1, 2)
    return g


@twice
def simple_namespace():
    def g(x):
        n = types.SimpleNamespace(a=1)
        n.b = x
        return n.b * n.a, vars(n).keys() == {"a", "b"}
    return g


@twice
def methods_as_values():
    def g(x):
        t = Thing(4)
        step, append = t.step, t.items.append
        append(9)
        return step(x), t.items, [f(x) for f in (x.add, x.mul)] and list(map(x.mul, (1, 2)))
    return g


@twice
def chained_and_unpacked_assignment():
    def g(x):
        a = b = [1]
        b.append(2)
        (c, d), e = (3, 4), 5
        c, d = d, c
        a[0], k = 7, a[0]
        return x * c, a, d, e, k
    return g


@whole
def module_loops(run):
    nn = pellucid.nn
    pellucid.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))
            self.named = nn.ModuleDict({"relu": nn.ReLU(), "tanh": nn.Tanh()})

        def forward(self, x, *, act="relu"):
            for k, layer in enumerate(self.layers):
                x = self.named[act](layer(x)) if k < len(self.layers) - 1 else layer(x)
            for name, p in self.named_parameters():
                if name.endswith("bias"):
                    x = x + p.sum()
            return x * sum(p.numel() for p in self.parameters()) * len(self.state_dict())
    net = Net()
    f = run(net)
    return [seen(f(ones())), seen(f(ones(), act="tanh")), seen(f(ones()))]


# ---------------------------------------------------------------------------------------------------- the tests
COUNTED = {"nonlocal_tensor": 3, "attributes_of_an_object": 2, "global_statement": 2, "nonlocal_counter": 2, "module_buffers": 2, "augmented_list": 3}


@pytest.mark.parametrize("name", CASES)
def test_same_as_python(name, capsys):
    case = CASES[name]
    whole_graph = name not in CUT
    expected = case(lambda f: f)
    said = capsys.readouterr().out
    made = []

    def run(f):
        made.append(pellucid.compile(f, backend="eager", fullgraph=whole_graph))
        return made[-1]
    found = case(run)
    assert repr(found) == repr(expected)
    assert capsys.readouterr().out == said
    state = getattr(made[0], "_compiled", made[0])
    assert state.gave_up is None and (state.compiles or not whole_graph), state.gave_up
    if name in COUNTED:
        assert state.compiles <= COUNTED[name], f"{state.compiles} versions of a counter"


@pytest.mark.parametrize("steps", [5])
def test_self_calls_costs_two_compiles(steps):
    """A counter on a module."""
    class Net(pellucid.nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls
    net = Net()
    c = pellucid.compile(net, backend="eager", fullgraph=True)
    assert [c(ones())[0].item() for _ in range(steps)] == [1, 2, 3, 4, 5] and net.calls == steps and c.compiles <= 2


def test_the_traceback_has_the_users_line():
    def inner(x):
        raise ValueError("here")

    def g(x):
        y = x * 2
        return inner(y)
    c = pellucid.compile(g, backend="eager")
    for _ in range(2):
        with pytest.raises(ValueError, match="^here$") as caught:
            c(ones())
        lines = [(f.name, f.lineno) for f in traceback.extract_tb(caught.value.__traceback__) if f.filename == __file__][-2:]
        assert lines == [("g", g.__code__.co_firstlineno + 2), ("inner", inner.__code__.co_firstlineno + 1)]


def test_depth_of_recursion():
    """Too deep for Python: the same error."""
    def g(x):
        return g(x + 1)
    c = pellucid.compile(g, backend="eager")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        with pytest.raises(RecursionError):
            c(ones())
    finally:
        sys.setrecursionlimit(limit)
