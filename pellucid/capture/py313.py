"""CPython 3.13: how its instructions expand to the closed set."""
from __future__ import annotations

from . import py312
from . import tables as t
from .tables import Label

__all__: list[str] = []

TABLE = {name: expand for name, expand in py312.TABLE.items() if name not in ("KW_NAMES", "FORMAT_VALUE")} | {
    "LOAD_GLOBAL": lambda d, a: [("LOAD_GLOBAL", d.names[a >> 1])] + [("PUSH_NULL", None)] * (a & 1),
    "LOAD_ATTR": lambda d, a: [("LOAD_ATTR", d.names[a >> 1])] + [("PUSH_NULL", None)] * (a & 1),
    "LOAD_SUPER_ATTR": t.super_attr,
    "CALL": t.same("CALL"), "CALL_KW": t.call,
    "MAKE_FUNCTION": lambda d, a: [("MAKE_FUNCTION", None)],
    "SET_FUNCTION_ATTRIBUTE": t.same("SET_FUNCTION_ATTRIBUTE"),
    "COMPARE_OP": lambda d, a: [("COMPARE_OP", t.COMPARISONS[a >> 5])] + [("TO_BOOL", None)] * bool(a & 16),
    "TO_BOOL": t.same("TO_BOOL"),
    "UNARY_NOT": lambda d, a: [("UNARY_OP", "not")],
    "POP_JUMP_IF_FALSE": lambda d, a: [("POP_JUMP_IF_FALSE", d.forward(a))],
    "POP_JUMP_IF_TRUE": lambda d, a: [("POP_JUMP_IF_TRUE", d.forward(a))],
    "LOAD_FAST_LOAD_FAST": lambda d, a: [("LOAD_FAST", a >> 4), ("LOAD_FAST", a & 15)],
    "STORE_FAST_LOAD_FAST": lambda d, a: [("STORE_FAST", a >> 4), ("LOAD_FAST", a & 15)],
    "STORE_FAST_STORE_FAST": lambda d, a: [("STORE_FAST", a >> 4), ("STORE_FAST", a & 15)],
    "FOR_ITER": lambda d, a: [("FOR_ITER", Label(d.forward(a) + 4))],       # past END_FOR and POP_TOP
    "CONVERT_VALUE": t.same("CONVERT_VALUE"),
    "FORMAT_SIMPLE": lambda d, a: [("FORMAT", 0)],
    "FORMAT_WITH_SPEC": lambda d, a: [("FORMAT", 1)],
}
