"""The index algebra keeps affine forms affine, and what it simplifies to has the same value everywhere."""
from __future__ import annotations

import random

import numpy as np
import pytest

from pellucid.kernel.index import (ZERO, Poly, axis, below, clamp, common_factors, divide, divmod_, evaluate, flatten, ix, positive, row_major,
                                   unflatten, value)
from pellucid.kernel.build import Builder
from pellucid.core import dtype as dt
from pellucid.kernel.ir import Index, Var


def factors(rng, n):
    out = []
    while n > 1:
        f = rng.choice([d for d in range(2, n + 1) if n % d == 0])
        out.append(f)
        n //= f
    return tuple(out)


def grids(shape):
    return {f"i{d}": g.reshape(-1) for d, g in enumerate(np.indices(shape))}


def axes(shape):
    return tuple(axis(f"i{d}", n) for d, n in enumerate(shape))


def test_affine_forms_stay_affine():
    i, j = axes((6, 4))
    assert repr(i * 4 + j + 3 - i) == "3*i0 + i1 + 3"
    assert (i * 4 + j) // 4 == i and (i * 4 + j) % 4 == j
    assert (4 * (5 - i) + 3 - j) // 4 == 5 - i and (4 * (5 - i) + 3 - j) % 4 == 3 - j
    assert (i * 4 + j) // 8 == i // 2 and (i * 4 + j) % 8 == (i % 2) * 4 + j
    assert i // 6 == ZERO and i % 7 == i and i - i == ZERO
    assert (i // 2) // 3 == ZERO and (i % 6) // 2 == i // 2


def test_a_quotient_and_a_remainder_are_one_again():
    i = axis("i", 24)
    assert (i // 6) * 6 + i % 6 == i
    assert (i // 12) * 12 + (i // 4 % 3) * 4 + i % 4 == i
    assert (i // 4 % 3) * 4 + i % 4 == i % 12


def test_reshape_of_a_contiguous_array_costs_nothing():
    rng = random.Random(0)
    for _ in range(300):
        n = rng.choice([12, 24, 36, 16, 30, 72, 210])
        a, b = factors(rng, n), factors(rng, n)
        flat = flatten(axes(a), a)
        assert flatten(unflatten(flat, b), b) == flat


def test_a_loop_over_common_factors_needs_no_division():
    rng = random.Random(1)
    found = 0
    for _ in range(300):
        n = rng.choice([12, 24, 36, 16, 72])
        a, b = factors(rng, n), factors(rng, n)
        common = common_factors(a, b)
        if common is None:
            continue
        found += 1
        shape, first, second = common
        flat = flatten(axes(shape), shape)
        for target, groups in ((a, first), (b, second)):
            idx = unflatten(flat, target)
            assert all(x.affine() for x in idx)
            for x, group in zip(idx, groups):
                assert x.axes() <= {f"i{d}" for d in group}
    assert found > 100


def test_chains_of_views_have_the_right_values():
    rng = random.Random(2)
    for _ in range(400):
        n = rng.choice([12, 24, 36, 16, 30])
        a, b, c = factors(rng, n), factors(rng, n), factors(rng, n)
        env = grids(a)
        flat = flatten(axes(a), a)
        order = list(range(len(b)))
        rng.shuffle(order)
        middle = [unflatten(flat, b)[k] for k in order]
        shape = [b[k] for k in order]
        last = unflatten(flatten(middle, shape), c)
        want = np.empty(n, int)                                  # from the new offset to the old
        want[:] = np.arange(n).reshape(b).transpose(order).reshape(-1)
        new = sum((np.asarray(evaluate(x, env)) * s for x, s in zip(last, row_major(c))), np.zeros(n, int))
        assert np.array_equal(want[new], evaluate(flat, env))
        for x, m in zip(last, c):
            lo, hi = x.bounds()
            v = np.asarray(evaluate(x, env))
            assert lo is not None and lo <= v.min() and v.max() <= hi < m


@pytest.mark.parametrize("seed", range(4))
def test_quotients_of_random_forms(seed):
    rng = random.Random(seed)
    for _ in range(300):
        shape = tuple(rng.randint(1, 5) for _ in range(3))
        x = sum((a * rng.randint(-6, 6) for a in axes(shape)), ix(rng.randint(-20, 20)))
        for _ in range(2):
            n = rng.randint(1, 9)
            q, r = divmod_(x, n)
            env = grids(shape)
            v = np.asarray(evaluate(x, env)) + np.zeros(int(np.prod(shape)), int)
            assert np.array_equal(np.asarray(evaluate(q, env)) + 0 * v, v // n)
            assert np.array_equal(np.asarray(evaluate(r, env)) + 0 * v, v % n)
            x = rng.choice([q, r, q * 3 + r, q * n + r])
            for y in (q, r):
                lo, hi = y.bounds()
                e = np.asarray(evaluate(y, env))
                assert (lo is None or (lo <= e).all()) and (hi is None or (e <= hi).all())


def test_run_time_sizes():
    n, m = Poly({("n",): 1}), Poly({("m",): 1})
    i, j, k = axis("i", "n"), axis("j", "m"), axis("k", 4)
    assert unflatten(flatten((i, j), ("n", "m")), ("n", "m")) == (i, j)
    assert unflatten(flatten((i, j, k), ("n", "m", 4)), (n * m, 4)) == (flatten((i, j), ("n", "m")), k)
    assert n * m - m == m * (n - 1) and (n * m - n * m) == 0
    assert divide(n * m * 6, m * 2) == n * 3 and divide(n + m, n) is None
    assert positive(n * m - n) and not positive(n - m)
    assert below(i, n) is True and below(i, n - 1) is None
    assert (n * m).value({"n": 3, "m": 5}) == 15


def test_ranges_decide_comparisons_and_clamps():
    i = axis("i", 5)
    assert below(i, 5) is True and below(i, 0) is False and below(i, 3) is None
    assert clamp(i, 0, 4) is i and clamp(i - 1, 0, 4).bounds() == (0, 4)
    assert value(Var("v", dt.int64), 0, 6) // 7 == ZERO


def test_the_builder_names_what_is_not_affine():
    b = Builder()
    i, j = axis("i", 6), axis("j", 4)
    assert b.index(i * 4 + j) == Index(0, (("i", 4), ("j", 1))) and not b.lets
    x = b.index((i * 2 + j) // 3 * 2)
    assert x == Index(0, (("t0", 2),)) and [let.var for let in b.lets] == ["t0"]
    assert b.index((i * 2 + j) // 3 + 1) == Index(1, (("t0", 1),)) and len(b.take_lets()) == 1
    assert b.index(axis("k", "n") * Poly({("n", "m"): 1})) == Index(0, (("k", "tz0"),)) and b.derived["tz0"].value({"n": 2, "m": 3}) == 6
