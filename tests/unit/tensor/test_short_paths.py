"""Short paths of eager calls do what the general ones do: integers and bools, joined tensors, the order of backward."""
from __future__ import annotations

import itertools
import operator
import warnings

import pytest

import pellucid
from pellucid.ops import REGISTRY
from pellucid.tensor import eager

OPERATORS = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "floor_divide": operator.floordiv, "remainder": operator.mod,
             "pow": operator.pow, "bitwise_and": operator.and_, "bitwise_or": operator.or_, "bitwise_xor": operator.xor,
             "bitwise_left_shift": operator.lshift, "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "ge": operator.ge}
NUMBERS = (3, 0, -1, 2**62, 2**63, 2**70, -(2**63), True, 2)


def operands():
    t = pellucid.tensor
    return [t([1, -2, 3]), t(4), t([0, 1, 2]), t([True, False, True]), t(True), pellucid.empty(0, dtype=pellucid.int64)]


def outcome(call):
    try:
        r = call()
    except Exception as error:
        return type(error)
    return r.dtype, tuple(r.shape), r.tolist()


@pytest.mark.parametrize("name", OPERATORS)
def test_integers_and_bools(name):
    op, python = REGISTRY[name], OPERATORS[name]
    for i, other in itertools.product(range(6), range(6 + len(NUMBERS))):
        x = operands()[i]
        y = operands()[other] if other < 6 else NUMBERS[other - 6]
        assert outcome(lambda: python(x, y)) == outcome(lambda: eager.general(op, (x, y), {})), (x, y)
        if other < 6 or name not in ("eq", "ne", "lt", "ge"):          # a number asks the tensor the other way round
            assert outcome(lambda: python(y, x)) == outcome(lambda: eager.general(op, (y, x), {})), (y, x)


def test_stack_is_one_node_whose_gradients_are_its_slices():
    parts = [pellucid.arange(6.0).reshape(2, 3).requires_grad_(), pellucid.ones(2, 3, requires_grad=True), pellucid.zeros(2, 3)]
    for dim in (0, 1, 2, -1):
        r = pellucid.stack(parts, dim)
        assert r.grad_fn.name() == "StackBackward0" and r.is_contiguous()
        assert r.tolist() == pellucid.cat([p.unsqueeze(dim) for p in parts], dim).tolist()
        weights = pellucid.arange(18.0).reshape(r.shape)
        gradients = pellucid.autograd.grad((r * weights).sum(), parts[:2])
        assert [g.tolist() for g in gradients] == [weights.select(dim, i).tolist() for i in (0, 1)]
    scalars = [pellucid.tensor(float(i), requires_grad=True) for i in range(4)]
    pellucid.stack(scalars).pow(2).sum().backward()
    assert [s.grad.item() for s in scalars] == [0, 2, 4, 6]
    assert pellucid.stack([pellucid.tensor(1), pellucid.tensor(2.5)]).dtype is pellucid.float32
    with pytest.raises(RuntimeError, match=r"stack expects each tensor to be equal size, but got \[2, 3\] at entry 0 and \[3\] at entry 1"):
        pellucid.stack([parts[0], pellucid.zeros(3)])


def test_the_node_made_last_runs_first():
    leaves = [pellucid.ones(2, requires_grad=True) for _ in range(3)]
    branches = [x * 2 for x in leaves]
    branches = [(b + branches[0]).exp() for b in branches]
    total = sum(branches[i] * branches[(i + 1) % 3] for i in range(3)).sum()
    ran, nodes, waiting = [], set(), [total.grad_fn]
    while waiting:
        n = waiting.pop()
        if n in nodes or "AccumulateGrad" in n.name():
            continue
        nodes.add(n)
        n.register_prehook(lambda grads, n=n: ran.append(n._sequence_nr()))
        waiting += [m for m, _ in n.next_functions if m is not None]
    total.backward()
    assert len(ran) == len(nodes) and ran == sorted(ran, reverse=True)


def test_numbers_that_do_not_fit_become_infinite_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pellucid.tensor([1e300]).tolist() == [float("inf")]
        assert pellucid.tensor([float("nan"), 1.0], dtype=pellucid.bfloat16)[1] == 1
        assert pellucid.tensor([1 + 2j]).to(pellucid.complex128).dtype is pellucid.complex128
