"""What a compiled function sees of the world outside and does to it: as plain Python has it, on every call."""
from __future__ import annotations

import collections
import functools
import os
import threading
from collections.abc import Mapping, MutableMapping

import numpy as np
import pytest

import pellucid as torch
from pellucid import nn


def one(*args, **kwargs):
    return torch.ones(*args or (1,), **kwargs)


def doubled(x):
    return x * 2


class Callable:
    def __call__(self, x):
        return x + 1


class Row(list):
    """A list with attributes, which can be called."""

    def __call__(self, x):
        return x


called = Callable()


# ---------------------------------------------------------------------------------------------------- the environment
@pytest.mark.parametrize("read", [lambda: os.environ.get("PELLUCID_SEEN"), lambda: os.environ["PELLUCID_SEEN"] if "PELLUCID_SEEN" in os.environ else None,
                                  lambda: os.getenv("PELLUCID_SEEN"), lambda: os.environ.get("PELLUCID_SEEN", None)], ids=range(4))
def test_the_environment_is_relied_on(read, monkeypatch):
    @torch.compile(fullgraph=True, backend="eager")
    def fn(x):
        found = read()
        return x - 1 if found is None else x + int(found)
    for value in ("1", "5", None, "1", None):
        if value is None:
            monkeypatch.delenv("PELLUCID_SEEN", raising=False)
        else:
            monkeypatch.setenv("PELLUCID_SEEN", value)
        assert fn(one()) == (0 if value is None else 1 + int(value))


def test_the_environment_is_written_to_at_each_call(monkeypatch):
    monkeypatch.setenv("PELLUCID_SEEN", "0")

    @torch.compile(backend="eager")
    def fn(x):
        os.environ["PELLUCID_SEEN"] = str(int(os.environ["PELLUCID_SEEN"]) + 1)
        return x + 1
    for k in (1, 2, 3):
        fn(one())
        assert os.environ["PELLUCID_SEEN"] == str(k)


# ---------------------------------------------------------------------------------------------------- tensors among the arguments
def test_attributes_of_a_tensor_may_appear():
    fn = torch.compile(lambda x: x + (2 if hasattr(x, "mark") else 1), fullgraph=True, backend="eager")
    x, y = one(), one()
    y.mark = None
    assert (fn(x), fn(y), fn(x)) == (2, 3, 2)


def test_inference_tensors_are_told_apart():
    with torch.inference_mode():
        y = one()
    for ask in (lambda x: x.is_inference(), torch.is_inference):
        fn = torch.compile(lambda x: x + (2 if ask(x) else 1), fullgraph=True, backend="eager")
        assert (fn(one()), fn(y), fn(one())) == (2, 3, 2)


# ---------------------------------------------------------------------------------------------------- arrays
ARRAY_WRITES = {
    "in place": lambda a: (a.__iadd__(1), a.tobytes())[1],
    "an item": lambda a: (a.__setitem__(0, 7), a.sum())[1],
    "a view": lambda a: (a[:1].__imul__(5), a.tolist())[1],
    "a method": lambda a: (a.sort(), a.fill(3), a.tolist())[2],
    "out": lambda a: (np.add(a, 1, out=a), a.tolist())[1],
    "out by position": lambda a: (np.add(a, 1, a), a.tolist())[1],
    "a function": lambda a: (np.copyto(a, 4), a.tolist())[1],
    "shape": lambda a: (setattr(a, "shape", (2, 1)), a.shape)[1],
}


@pytest.mark.filterwarnings("ignore:.*shape.*:DeprecationWarning")
@pytest.mark.parametrize("name", ARRAY_WRITES)
def test_arrays_are_written_to_once(name):
    fn = ARRAY_WRITES[name]
    compiled = torch.compile(fn, backend="eager")
    for _ in range(2):
        a, b = np.array([5, 2]), np.array([5, 2])
        assert compiled(a) == fn(b) and np.array_equal(a, b)


def test_views_of_arrays_are_views():
    def fn(a):
        b = np.arange(6.0).reshape(2, 3)
        row, end = b[1], a[2:]
        print(end="")
        row += 1
        return b, row, end, b.T
    a = np.arange(4.0)
    b, row, end, turned = torch.compile(fn, backend="eager")(a)
    row[0], end[0] = 50, 70
    assert b[1].tolist() == [50, 5, 6] and turned[0].tolist() == [0, 50] and a[2] == 70


def test_in_place_operators_write_to_arrays_once():
    @torch.compile(backend="eager")
    def fn(a):
        a += 1
        found = a.tobytes()
        a *= 2
        return found
    a = np.array([1, 2])
    assert fn(a) == np.array([2, 3]).tobytes() and a.tolist() == [4, 6]


def test_numbers_that_change_meet_arrays():
    fn = torch.compile(lambda a, k: (a * k, np.where(a < 1, k, a), k - a, a > k), backend="eager")
    a = np.array([0.5, 2.0])
    for k in (3, 4, 2.5, 1.5):
        for found, expected in zip(fn(a, k), (a * k, np.where(a < 1, k, a), k - a, a > k)):
            assert found.dtype == expected.dtype and np.array_equal(found, expected)


# ---------------------------------------------------------------------------------------------------- containers
def test_containers_keep_what_they_are_given():
    def fn(x):
        parts, by_name, queue = [doubled], {}, collections.deque()
        parts.append(called)
        by_name.setdefault("a", called)
        queue.append(doubled)
        return parts[0] is doubled, parts[1] is called, by_name["a"] is called, queue[0] is doubled, parts.index(called), {doubled}, [p(x) for p in parts]
    found = torch.compile(fn, fullgraph=True, backend="eager")(one())
    assert found[:4] == (True,) * 4 and found[4] == 1 and found[5] == {doubled} and found[6] == [2, 2]


def test_lists_that_can_be_called_are_lists():
    def fn(a, b):
        row = Row()
        row.append(a)
        row.extend([b])
        row.append(len(row) * 10)
        return row, sum(row)
    row, total = torch.compile(fn, fullgraph=True, backend="eager")(one(), one())
    assert type(row) is Row and row == [1, 1, 20] and total == 22


def test_methods_of_arguments_that_hold_tensors():
    def fn(append, row, x):
        append(x)
        print(end="")
        row.append(len(row))
        return row
    for kind in (list, Row):
        row = kind([one()])
        row_append = row.append
        found = torch.compile(fn, backend="eager")(row_append, row, one() * 5)
        assert found is row and row == [1, 5, 2]


def test_subclasses_of_containers_as_arguments():
    class Rows(list):
        def __init__(self, name, *parts):
            super().__init__(parts)
            self.name = name

        def total(self):
            return sum(self) if self.name == "rows" else None

    @torch.compile(fullgraph=True, backend="eager")
    def fn(rows):
        rows.append(rows[0] * 2)
        return rows.total()
    for k in (1.0, 2.0):
        rows = Rows("rows", one() * k)
        assert fn(rows) == 3 * k and rows == [k, 2 * k]
    assert fn(Rows("other", one())) is None


def test_slices_are_assigned_from_iterators():
    def fn(x):
        parts = [x, x, x]
        parts[1:2] = map(lambda v: v + 1, [x, x * 2])
        parts[:0] = (v for v in (1, 2))
        return parts
    assert torch.compile(fn, fullgraph=True, backend="eager")(one()) == [1, 2, 1, 2, 3, 1]


class Table(MutableMapping):
    def __init__(self, **content):
        self.content = content

    def __getitem__(self, key):
        return self.content[key] * 2

    def __setitem__(self, key, value):
        self.content[key] = value

    def __delitem__(self, key):
        del self.content[key]

    def __iter__(self):
        return iter(self.content)

    def __len__(self):
        return len(self.content)


def test_mappings_of_the_users_own():
    table = Table(a=one(), b=one() * 3)

    def fn(x):
        found, more = dict(table), {"a": 0}
        more.update(table, c=5)
        return found["a"] + x, more, collections.OrderedDict(table)["b"], table.get("a"), table.get("z", 7), "z" in table
    compiled = torch.compile(fn, fullgraph=True, backend="eager")
    assert compiled(one()) == fn(one()) == (3, {"a": 2, "b": 6, "c": 5}, 6, 2, 7, False)
    table.content["z"] = one()
    assert compiled(one()) == fn(one()) and compiled(one())[5] is True
    assert isinstance(table, Mapping)


def test_methods_of_the_base_through_super():
    class Registry(collections.OrderedDict):
        def __getitem__(self, key):
            return super().__getitem__(key)()

        def __setitem__(self, key, value):
            super().__setitem__(key, lambda: value)

    registry = Registry()
    registry["a"] = 3

    @torch.compile(backend="eager")
    def fn(x, k):
        registry["b"] = k
        return x + registry["a"] + registry["b"]
    assert fn(one(), 4) == 8 and fn(one(), 5) == 9 and registry["b"] == 5


# ---------------------------------------------------------------------------------------------------- objects and classes
def test_attributes_set_through_super():
    class Prefixed:
        def __setattr__(self, name, value):
            super().__setattr__("p_" + name, value)

    @torch.compile(fullgraph=True, backend="eager")
    def fn(o, x):
        o.y = x * 2
    for k in (1, 2):
        o = Prefixed()
        fn(o, one() * k)
        assert vars(o) == {"p_y": 2 * k}


def test_attributes_of_a_thread():
    own = threading.local()

    def fn(x):
        own.x = x
        return x + 1
    x = one()
    assert torch.compile(fn, backend="eager")(x) == 2 and own.x is x


def test_functions_made_inside_keep_their_names():
    @torch.compile(fullgraph=True, backend="eager")
    def fn(x):
        @functools.wraps(doubled)
        def other(y: int = 1):
            return doubled(x) + y

        other.mark = 3
        return other
    found = fn(one())
    assert (found.__name__, found.__qualname__, found.__module__, found.__wrapped__, found.mark) == (
        "doubled", doubled.__qualname__, __name__, doubled, 3)
    assert found() == 3


def test_partials_live_through_a_break():
    def fn(x):
        scaled = functools.partial(torch.mul, other=3)
        print(end="")
        return scaled(x), scaled
    y, scaled = torch.compile(fn, backend="eager")(one())
    assert y == 3 and type(scaled) is functools.partial and scaled.keywords == {"other": 3}


@pytest.mark.parametrize("call", [lambda x: isinstance(x, torch.Tensor, invalid=True), lambda x: isinstance(x), lambda x: getattr(x), lambda x: len(),
                                  lambda x: hash(x, x), lambda x: next(iter([]), 1, 2), lambda x: setattr(x, "a"), lambda x: id()], ids=range(8))
def test_builtins_check_their_arguments(call):
    with pytest.raises(TypeError):
        torch.compile(call, backend="eager")(one())


def test_a_truth_must_be_a_bool():
    class Odd:
        def __bool__(self):
            return 1.5
    with pytest.raises(TypeError, match="__bool__ should return bool, returned float"):
        torch.compile(lambda x, o: x if o else -x, backend="eager")(one(), Odd())


def test_super_without_an_object():
    class K:
        @staticmethod
        def make():
            return super().__init__()
    with pytest.raises(RuntimeError, match="no arguments"):
        torch.compile(lambda x: K.make(), backend="eager")(one())


# ---------------------------------------------------------------------------------------------------- what is not compiled
@pytest.mark.filterwarnings("ignore:.*runs uncompiled")
def test_parameters_made_inside_are_parameters():
    made = torch.compile(lambda: nn.Parameter(torch.ones(2)), backend="eager")()
    assert type(made) is nn.Parameter and made.is_leaf and made.requires_grad
    leaf = torch.compile(lambda: torch.ones(2, requires_grad=True), backend="eager")()
    assert leaf.is_leaf and leaf.requires_grad and leaf.grad_fn is None
    layer, y = torch.compile(lambda x: (lambda m: (m, m(x)))(nn.Linear(2, 2)), backend="eager")(one(2))
    y.sum().backward()
    assert type(layer.weight) is nn.Parameter and layer.weight.grad is not None


@pytest.mark.filterwarnings("ignore:.*runs uncompiled")
def test_generator_functions_are_generator_functions():
    def parts(x):
        got = yield x * 2
        yield from [x, got]
    g = torch.compile(parts, backend="eager")(one())
    assert next(g) == 2 and g.send(5) == 1 and next(g) == 5


def test_lazy_modules_get_their_shapes_before_they_are_captured():
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyBatchNorm1d())
    compiled = torch.compile(model, backend="eager")
    x = torch.randn(4, 5)
    y = compiled(x)
    assert y.shape == (4, 3) and type(model[0]) is nn.Linear and model[0].weight.shape == (3, 5) and type(model[2]) is nn.BatchNorm1d
    model.eval()
    assert torch.allclose(compiled(x), model(x))


# ---------------------------------------------------------------------------------------------------- gradients
def test_gradients_turned_on_inside_where_they_are_off():
    def fn(x, cut):
        with torch.enable_grad():
            a = torch.sin(x)
            if cut:
                print(end="")
            return torch.cos(a)
    for cut in (False, True):
        x, y = one(2, requires_grad=True), one(2, requires_grad=True)
        with torch.no_grad():
            found, expected = torch.compile(fn, backend="eager")(x, cut), fn(y, cut)
        assert found.requires_grad
        found.sum().backward()
        expected.sum().backward()
        assert torch.allclose(x.grad, y.grad)


# ---------------------------------------------------------------------------------------------------- one object at several places
SHARED = [1]


@pytest.mark.parametrize("make", [lambda: [1], lambda: [one()], lambda: Row([one()]), lambda: {"a": one()}], ids=["list", "of tensors", "subclass", "dict"])
def test_a_container_that_is_two_arguments(make):
    def fn(a, b):
        if isinstance(a, dict):
            a["b"] = 3
        else:
            a.append(3)
        return len(b), a is b
    compiled = torch.compile(fn, backend="eager")
    for _ in range(2):
        a, b = make(), make()
        assert compiled(a, b) == (1, False) and len(a) == 2 and len(b) == 1
        assert compiled(a, b) == (1, False) and compiled(b, b) == (2, True)


def test_a_container_that_is_in_an_argument_twice():
    @torch.compile(backend="eager")
    def fn(d):
        d["a"].append(d["b"][0] * 2)
        return len(d["b"])
    parts = [one()]
    assert fn({"a": parts, "b": parts}) == 2 and parts == [1, 2]
    assert fn({"a": [one()], "b": [one()]}) == 1


def test_an_argument_that_is_global_too():
    @torch.compile(backend="eager")
    def fn(a):
        a.append(1)
        return len(SHARED)
    before = len(SHARED)
    assert fn([3]) == before and fn(SHARED) == before + 1 and fn([3]) == before + 1


def test_an_object_that_is_two_arguments():
    class Holder:
        pass

    @torch.compile(backend="eager")
    def fn(p, q):
        p.v = q.v + 1
        return q.v
    p, q = Holder(), Holder()
    p.v = q.v = 1
    assert (fn(p, q), fn(p, p), fn(p, q)) == (1, 3, 1)


def test_containers_that_do_not_clear():
    class Kept(list):
        def clear(self):
            """Nothing."""

    @torch.compile(backend="eager")
    def fn(kept, x):
        kept.append(5)
        print(end="")
        kept.append(6)
        return x + len(kept)
    kept = Kept([1])
    assert fn(kept, one()) == 4 and kept == [1, 5, 6]
