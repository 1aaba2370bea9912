"""Kernels as Python: what is printed is readable, runs, and does what the kernel says; what breaks a rule is found."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import replace

import numpy as np
import pytest

from pellucid.core import dtype as dt
from pellucid.kernel import printer, verify
from pellucid.kernel.ir import (
    Accum, AccumStore, Apply, Axis, Buf, Const, If, Index, Kernel, Let, Load, Local, Loop, Store, Var,
)

F, I64, B = dt.float32, dt.int64, dt.bool_


def at(const=0, **terms) -> Index:
    return Index(const, tuple(terms.items()))


def op(name, *args, d=None):
    return Apply(name, args, d or args[-1].dtype)


def num(x, d=F):
    return Const(x, d)


X = Load("x", at(r="n", j=1), F)
SOFTMAX = Kernel("softmax", (Buf("x", F, "in", "all"), Buf("y", F, "out", "all")), ("rows", "n", "all"), (Loop(Axis("r", "rows", "par"), (
    Local("m", num(-math.inf)),
    Loop(Axis("j", "n", "red", True), (Accum("m", "max", X),)),
    Local("s", num(0.0)),
    Loop(Axis("j", "n", "red", True), (
        Let("e", op("exp", op("sub", X, Var("m", F)))), Store("y", at(r="n", j=1), Var("e", F)), Accum("s", "add", Var("e", F)))),
    Loop(Axis("j", "n", "seq", True), (Store("y", at(r="n", j=1), op("div", Load("y", at(r="n", j=1), F), Var("s", F))),)),
)),), ops=("softmax",), lines=("model.py:12",))

SOFTMAX_TEXT = '''\
from pellucid.kernel import scalars as m


def softmax(x, y, rows, n, all):
    """softmax; from model.py:12"""
    # y: float32, all elements, out
    for r in range(rows):  # par: in any order
        m_ = m.float32(-m.inf)
        for j in range(n):  # red, in lanes
            m_ = m.max(m_, x[r * n + j])
        s = m.float32(0.0)
        for j in range(n):  # red, in lanes
            e = m.exp(x[r * n + j] - m_)
            y[r * n + j] = e
            s += e
        for j in range(n):  # seq, in lanes
            y[r * n + j] = y[r * n + j] / s
'''


def test_a_kernel_prints_as_loops():
    assert printer.text(SOFTMAX) == SOFTMAX_TEXT
    assert SOFTMAX.text() == SOFTMAX_TEXT
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        SOFTMAX.print()
    assert out.getvalue() == SOFTMAX_TEXT + "\n"


def test_the_text_runs_on_its_own():
    space: dict = {}
    exec(printer.text(SOFTMAX), space)
    x = np.random.default_rng(0).standard_normal(15).astype(np.float32)
    y, again = np.zeros_like(x), np.zeros_like(x)
    space["softmax"](x, y, 3, 5, 15)
    printer.run(SOFTMAX, {"x": x, "y": again}, {"rows": 3, "n": 5, "all": 15})
    e = np.exp(x.reshape(3, 5))
    assert np.allclose(y.reshape(3, 5), e / e.sum(1, keepdims=True), rtol=1e-6)
    assert np.array_equal(y, again)


def test_names_that_python_or_the_printer_needs_are_changed():
    names = ("lambda", "m", "range", "x.sum", "exp")
    kernel = Kernel("for", (*(Buf(n, F, "in", 4) for n in names), Buf("1y", F, "out", 4)), (), (Loop(Axis("in", 4, "par", True), (
        Store("1y", at(**{"in": 1}), op("exp", op("add", op("add", op("add", *(Load(n, at(**{"in": 1}), F) for n in names[:2])),
                                                             Load("range", at(**{"in": 1}), F)),
                                                   op("mul", *(Load(n, at(**{"in": 1}), F) for n in names[3:]))))),)),))
    verify.check(kernel)
    arrays = [np.full(4, k / 4, np.float32) for k in range(5)] + [np.zeros(4, np.float32)]
    printer.run(kernel, arrays)
    assert np.allclose(arrays[-1], np.exp(0.75 + 0.75))


def test_shared_and_deep_parts_get_names():
    x = Load("x", at(i=1), F)
    shared = op("exp", x)
    deep = op("mul", shared, shared)
    for _ in range(30):
        deep = op("add", deep, num(1.0))
    kernel = Kernel("deep", (Buf("x", F, "in", 3), Buf("y", F, "out", 3)), (), (Loop(Axis("i", 3, "par", True), (Store("y", at(i=1), deep),)),))
    text = printer.text(kernel)
    assert text.count("m.exp(") == 1
    assert max(map(len, text.splitlines())) < 120
    arrays = [np.zeros(3, np.float32), np.zeros(3, np.float32)]
    printer.run(kernel, arrays)
    assert np.array_equal(arrays[1], np.full(3, 31, np.float32))


def test_low_precision_is_rounded_where_it_is_stored():
    x = Load("x", at(i=1), F)
    kernel = Kernel("low", (Buf("x", dt.bfloat16, "in", 4096), Buf("y", dt.bfloat16, "out", 4096), Buf("s", dt.bfloat16, "out", 1, 0.0)), (), (
        Loop(Axis("i", 4096, "par", True), (Store("y", at(i=1), op("mul", x, num(1.25))), AccumStore("s", at(), "add", x))),))
    ones = np.ones(4096, dt.bfloat16.np)
    arrays = [ones, ones.copy(), np.zeros(1, dt.bfloat16.np)]
    printer.run(kernel, arrays)
    assert arrays[1][0] == 1.25 and arrays[2][0] == 4096      # a sum in bfloat16 would stop at 256


def test_numbers_keep_their_dtypes():
    """Constants beside constants, loop variables as values, and integers that wrap."""
    i = Var("i", I64)
    kernel = Kernel("dtypes", (Buf("y", F, "out", 3), Buf("z", dt.uint8, "out", 3), Buf("w", I64, "out", 3)), (), (Loop(Axis("i", 3, "par", True), (
        Store("y", at(i=1), op("add", Apply("select", (Apply("lt", (i, num(1, I64)), B), num(0.1), num(0.2)), F), num(0.7))),
        Store("z", at(i=1), op("add", Apply("cast", (i,), dt.uint8), num(254, dt.uint8))),
        Store("w", at(i=1), op("max", op("abs", op("sub", i, num(2, I64))), op("shl", i, num(3, I64)))))),))
    verify.check(kernel)
    arrays = [np.zeros(3, np.float32), np.zeros(3, np.uint8), np.zeros(3, np.int64)]
    printer.run(kernel, arrays)
    f = np.float32
    assert arrays[0].tolist() == [f(0.1) + f(0.7), f(0.2) + f(0.7), f(0.2) + f(0.7)]
    assert arrays[1].tolist() == [254, 255, 0] and arrays[2].tolist() == [2, 8, 16]


# ---------------------------------------------------------------------------------------------------- the rules
ADD = Kernel("add", (Buf("x", F, "in", 8), Buf("y", F, "out", 8)), (), (Loop(Axis("i", 8, "par", True), (
    Store("y", at(i=1), op("add", Load("x", at(i=1), F), num(1.0))),)),))


def body(*stmts, **axis):
    return replace(ADD, body=(Loop(Axis("i", 8, "par", True), stmts),))


WRONG = {
    "used before it is bound": body(Store("y", at(i=1), Var("t", F))),
    "is bound already": body(Let("i", num(1.0))),
    "float32 and float64 meet": body(Store("y", at(i=1), op("add", Load("x", at(i=1), F), Const(1.0, dt.float64)))),
    "a load of float64 from x": body(Store("y", at(i=1), Load("x", at(i=1), dt.float64))),
    "is an input": body(Store("x", at(i=1), num(1.0))),
    "no buffer z": body(Store("z", at(i=1), num(1.0))),
    "the index name k is not bound": body(Store("y", at(k=1), num(1.0))),
    "not int64": body(Let("t", num(1.0)), Store("y", at(t=1), num(1.0))),
    "is indexed from 1 to 8": body(Store("y", at(1, i=1), num(1.0))),
    "is indexed from -7 to 0": body(Store("y", at(i=1), Load("x", at(i=-1), F))),
    "stores to the same element": body(Store("y", at(), num(1.0))),
    "may store to the same element": replace(ADD, body=(Loop(Axis("i", 2, "par"), (Loop(Axis("j", 4, "par"), (
        Store("y", at(i=1, j=2), num(1.0)), Store("y", at(i=2, j=1), num(1.0)))),)),)),
    "a vec axis within a vec axis": body(Loop(Axis("j", 2, "seq", True), (Store("y", at(i=1), num(1.0)),))),
    "a par axis within one that is not": replace(ADD, body=(Loop(Axis("i", 8, "seq"), (Loop(Axis("j", 2, "par"), ()),)),)),
    "is no Local": body(Accum("t", "add", num(1.0))),
    "no reduction": body(Local("t", num(1.0)), Accum("t", "div", num(1.0))),
    "no operation 'frobnicate'": body(Store("y", at(i=1), Apply("frobnicate", (num(1.0),), F))),
    "takes 2 operands": body(Store("y", at(i=1), op("add", num(1.0)))),
    "select wants a bool": body(Store("y", at(i=1), Apply("select", (num(1.0), num(1.0), num(2.0)), F))),
    "lt gives bool": body(Store("y", at(i=1), op("lt", num(1.0), num(2.0)))),
    "exp of int64": body(Let("t", op("exp", num(1, I64)))),
    "a condition is not bool": body(If(num(1.0), ())),
    "the extent 'n' is no size": replace(ADD, body=(Loop(Axis("i", "n", "par"), ()),)),
    "has the role 'output'": replace(ADD, bufs=(Buf("x", F, "output", 8),)),
    "two buffers are called x": replace(ADD, bufs=(Buf("x", F, "in", 8), Buf("x", F, "in", 8))),
}


@pytest.mark.parametrize("rule", WRONG)
def test_what_breaks_a_rule_is_found(rule):
    if rule == "may store to the same element":
        verify.check(replace(WRONG[rule], body=(Loop(Axis("i", 2, "par"), (Loop(Axis("j", 4, "par"), (
            Store("y", at(i=1, j=2), num(1.0)),)),)),)))
    with pytest.raises(verify.KernelError, match=rule) as error:
        verify.check(WRONG[rule])
    assert "kernel add" in str(error.value)


def test_good_kernels_pass():
    for kernel in (ADD, SOFTMAX):
        verify.check(kernel)
    verify.check(body(If(op("lt", Var("i", I64), num(7, I64), d=B), (Store("y", at(i=1), Load("x", at(1, i=1), F)),))))
