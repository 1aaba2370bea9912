"""The matrix catches mistakes: twenty seeded mutants, each one constant or one sign changed in a reference or a derivative."""
from __future__ import annotations

import types
import zlib

import numpy as np
import pytest

from pellucid.autograd import gradcheck
from pellucid.core import dtype as dt
from pellucid.core.late import late
from pellucid.ops import REGISTRY, F
from pellucid.ops.op import COMPOSITE, _plan
from pellucid.testing import samples_of

from .helpers import call, is_random
from .test_golden import GAUGE, GOLDEN, compare
from .test_matrix import differentiable

SEED, COUNT = 20261121, 20


def float_constants(fn) -> list[int]:
    code = getattr(fn, "__code__", None)
    return [] if code is None else [i for i, c in enumerate(code.co_consts) if type(c) is float and c not in (0.0, float("inf"), -float("inf"))]


def with_constant(fn, i: int):
    """`fn` with its i-th constant half as large again."""
    consts = list(fn.__code__.co_consts)
    consts[i] *= 1.5
    copy = types.FunctionType(fn.__code__.replace(co_consts=tuple(consts)), fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    copy.__kwdefaults__ = fn.__kwdefaults__
    return copy


def scaled(rule):
    """A derivative rule whose result has the wrong factor, with the rule's own parameter names."""
    def wrong(*args):
        r = rule(*args)
        return None if r is None else F.mul(r, -1.0)
    code = rule.__code__
    names = code.co_varnames[:code.co_argcount]
    made = eval(f"lambda {', '.join(names)}: wrong({', '.join(names)})", {"wrong": wrong})     # noqa: S307  (parameter names carry meaning)
    return made


def candidates() -> list[tuple[str, str, int]]:
    """(operator, place, which): constants in references, and derivative rules."""
    found = []
    for name, op in sorted(REGISTRY.items()):
        if not op.forms or is_random(op) or name in GAUGE or op.kind is COMPOSITE and op.front is None or not samples_of(op):
            continue
        if isinstance(op.ref, types.FunctionType):
            found += [(name, "ref", i) for i in float_constants(op.ref)]
        if isinstance(op.vjp, dict):
            found += [(name, arg, -1) for arg, rule in op.vjp.items() if isinstance(rule, types.FunctionType)
                      and not rule.__code__.co_flags & 0x0C]
    return found


# Changes that leave every value the same: constants that only choose between equal formulas, gradients that are zero anyway.
EQUIVALENT = {("matrix_exp", "ref"), ("pow", "ref"), ("lerp", "ref"), ("copysign", "other"), ("remainder", "other"), ("fmod", "other"),
              *((n, "input") for n in ("sign", "sgn", "trunc", "floor", "ceil", "round", "round_decimals", "heaviside"))}


def chosen() -> list[tuple[str, str, int]]:
    """Half in references, half in derivatives, by a hash, so that a new operator changes few of them."""
    pool = sorted((c for c in candidates() if c[:2] not in EQUIVALENT), key=lambda c: zlib.crc32(f"{SEED} {c}".encode()))
    refs = [c for c in pool if c[1] == "ref"][:COUNT // 2]
    return refs + [c for c in pool if c[1] != "ref"][:COUNT - len(refs)]


def caught(name: str, golden: dict) -> bool:
    op = REGISTRY[name]
    for i, (args, kwargs) in enumerate(samples_of(op)):
        if f"{name}/{i}" in golden:
            try:
                compare(name, i, call(op, args, kwargs), golden)
            except AssertionError:
                return True
    for args, kwargs in samples_of(op, dt.float64, True):
        found = differentiable(op, args, kwargs)
        if found is None or not found[0](*found[1]):
            continue
        if not gradcheck(found[0], tuple(found[1]), raise_exception=False):
            return True
    return False


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as z:
        return {k: z[k] for k in z.files}


@pytest.mark.usefixtures("references")
@pytest.mark.parametrize("mutant", chosen(), ids=lambda m: "-".join(map(str, m)))
def test_mutant_is_caught(mutant, golden, monkeypatch):
    name, place, i = mutant
    op = REGISTRY[name]
    if place == "ref":
        wrong = op.__replace__(ref=with_constant(op.ref, i))
    else:
        vjp = dict(op.vjp)
        vjp[place] = scaled(vjp[place])
        saves, plan = _plan(op.args, vjp)
        wrong = op.__replace__(vjp=vjp, saves=saves, plan=plan)
    assert not caught(name, golden), "the operator itself must pass first"
    monkeypatch.setitem(REGISTRY, name, wrong)
    monkeypatch.setattr(F, name, late.entry(wrong))
    assert caught(name, golden), f"{name}: nobody noticed the change in its {place}"
