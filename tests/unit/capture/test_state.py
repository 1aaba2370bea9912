"""State that a function keeps in containers between its calls: read at each call, whatever holds it, with one compiled version."""
from __future__ import annotations

import pytest

import pellucid

CASES: dict = {}


def case(fn):
    CASES[fn.__name__] = fn
    return fn


def zeros():
    return pellucid.zeros(3)


class Holder:
    pass


@case
def tuple_in_a_dict(run):
    state = {"hidden": (zeros(), zeros())}

    def step(x):
        h, c = state["hidden"]
        h = h * 0.5 + x
        c = c + h
        state["hidden"] = (h, c)
        return h
    return run(step), lambda: state["hidden"]


@case
def tuple_in_an_attribute(run):
    holder = Holder()
    holder.hidden = zeros(), zeros()

    def step(x):
        h, c = holder.hidden
        holder.hidden = h * 0.5 + x, c + h
        return [*holder.hidden][0]
    return run(step), lambda: holder.hidden


@case
def tuples_in_a_list(run):
    state = [(zeros(), zeros()) for _ in range(2)]

    def step(x):
        for k, (h, c) in enumerate(state):
            x = h * 0.5 + x
            state[k] = (x, c + x)
        return x
    return run(step), lambda: state


@case
def given_to_a_function(run):
    state = {"hidden": (zeros(), zeros())}

    def cell(x, h, c):
        return h * 0.5 + x, c + h

    def step(x):
        state["hidden"] = cell(x, *state["hidden"])
        first, *_ = state["hidden"]
        return first
    return run(step), lambda: state["hidden"]


@case
def list_in_a_dict(run):
    state = {"hidden": [zeros(), zeros()]}

    def step(x):
        h, c = state["hidden"]
        state["hidden"] = [h + x, c - x]
        return h
    return run(step), lambda: state["hidden"]


@case
def items_of_a_dict(run):
    state = {"a": (zeros(), zeros()), "b": (zeros(), zeros())}

    def step(x):
        for name, (h, c) in state.items():
            x = h + x
            state[name] = x, c + x
        return x
    return run(step), lambda: state


@case
def values_of_a_dict(run):
    state = {"a": zeros(), "b": zeros()}

    def step(x):
        total = sum(state.values())
        state["a"] = total + x
        return total
    return run(step), lambda: state


@case
def a_dict_made_of_another(run):
    holder = Holder()
    holder.states = {"a": zeros(), "b": zeros()}

    def step(x):
        holder.states = {name: h * 0.5 + x for name, h in holder.states.items()}
        return holder.states["a"]
    return run(step), lambda: holder.states


@case
def copies_of_a_dict(run):
    holder = Holder()
    holder.states = {"a": zeros(), "b": zeros()}

    def step(x):
        other, third = dict(holder.states), {**holder.states, "c": x}
        other["a"] = third["b"] + x
        holder.states = other
        return third["a"] + third["c"]
    return run(step), lambda: holder.states


@case
def a_later_item_written_while_iterating(run):
    state = {"a": zeros(), "b": zeros()}

    def step(x):
        seen = []
        for name, h in state.items():
            seen.append(h)
            state["b"] = h + x
        return seen[1]
    return run(step), lambda: state


def plainly(value):
    if isinstance(value, pellucid.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {k: plainly(v) for k, v in value.items()}
    return [type(value).__name__, *map(plainly, value)]


@pytest.mark.parametrize("name", CASES)
def test_one_version_and_the_values_of_python(name):
    made = []

    def compiling(fn):
        made.append(pellucid.compile(fn, backend="eager", fullgraph=True))
        return made[-1]

    (plain, plain_state), (compiled, state) = CASES[name](lambda fn: fn), CASES[name](compiling)
    for k in range(6):
        x = pellucid.ones(3) * k
        assert plainly(compiled(x)) == plainly(plain(x))
        assert plainly(state()) == plainly(plain_state())
    assert made[0].compiles == 1


def test_replaced_from_outside():
    state = {"hidden": (zeros(), zeros())}
    f = pellucid.compile(lambda x: state["hidden"][0] * x + state["hidden"][1], backend="eager", fullgraph=True)
    g = pellucid.compile(lambda x: (lambda h, c: h * x + c)(*state["hidden"]), backend="eager", fullgraph=True)
    for k in range(6):
        state["hidden"] = pellucid.ones(3) * k, pellucid.ones(3)
        assert f(pellucid.ones(3)).tolist() == g(pellucid.ones(3)).tolist() == [k + 1] * 3
    assert f.compiles <= 2 and g.compiles <= 2
    state["hidden"] = pellucid.ones(3), pellucid.ones(3), pellucid.ones(3)
    assert f(pellucid.ones(3)).tolist() == [2] * 3
    with pytest.raises(TypeError):
        g(pellucid.ones(3))
    held = pellucid.ones(3) * 5
    state["hidden"] = held, held
    assert f(pellucid.ones(3)).tolist() == g(pellucid.ones(3)).tolist() == [10] * 3


def test_who_holds_the_tuple_too_sees_the_old_one():
    state = {"hidden": (zeros(), zeros())}

    def step(x):
        before = state["hidden"]
        h, c = before
        state["hidden"] = h + x, c
        return before is state["hidden"], before

    f = pellucid.compile(step, backend="eager", fullgraph=True)
    for k in range(4):
        old = state["hidden"]
        same, before = f(pellucid.ones(3))
        assert same is False and before is old and state["hidden"][0].tolist() == [k + 1] * 3


def test_a_dict_that_changes_after_its_items_were_handed_out():
    def make(run):
        state = {"a": zeros(), "b": zeros()}

        def step(x):
            items = state.items()
            state["a"] = sum(h for _, h in items) + x
            state["c"] = x
            return len(items), [k for k, _ in items], state.pop("c")
        return run(step), state

    (plain, plain_state), (compiled, state) = make(lambda fn: fn), make(lambda fn: pellucid.compile(fn, backend="eager"))
    for k in range(6):
        assert [plainly(v) if isinstance(v, pellucid.Tensor) else v for v in compiled(pellucid.ones(3) * k)] == [
            plainly(v) if isinstance(v, pellucid.Tensor) else v for v in plain(pellucid.ones(3) * k)]
        assert plainly(state) == plainly(plain_state)


def test_the_length_of_a_list_that_grows():
    def make(run):
        items = []

        def step(x):
            items.append(1)
            if len(items) > 4:
                return x * len(items), len(items) % 3
            return x - len(items), len(items) + 1
        return run(step), items

    (plain, _), (compiled, items) = make(lambda fn: fn), make(lambda fn: pellucid.compile(fn, backend="eager", fullgraph=True))
    for k in range(20):
        (a, b), (c, d) = compiled(pellucid.ones(2)), plain(pellucid.ones(2))
        assert a.tolist() == c.tolist() and b == d and len(items) == k + 1
    items.clear()
    assert compiled(pellucid.ones(2))[0].tolist() == [0, 0]


def test_the_length_of_a_list_seen_from_outside():
    items = []
    f = pellucid.compile(lambda x: x * len(items), backend="eager", fullgraph=True)
    for k in range(10):
        assert f(pellucid.ones(2)).tolist() == [k, k]
        items.append(k)
    assert f.compiles <= 2
