"""CPython 3.12: how its instructions expand to the closed set."""
from __future__ import annotations

from . import tables as t
from .tables import Label

__all__: list[str] = []

TABLE = t.COMMON | {
    "LOAD_GLOBAL": lambda d, a: [("PUSH_NULL", None)] * (a & 1) + [("LOAD_GLOBAL", d.names[a >> 1])],
    "LOAD_ATTR": lambda d, a: [("LOAD_ATTR", d.names[a >> 1])] + [("PUSH_NULL", None), ("SWAP", 2)] * (a & 1),
    "LOAD_SUPER_ATTR": lambda d, a: t.super_attr(d, a) + [("SWAP", 2)] * (a & 1),
    "CALL": t.call, "KW_NAMES": t.keyword_names, "FORMAT_VALUE": t.format_value, "MAKE_FUNCTION": t.make_function,
    "COMPARE_OP": lambda d, a: [("COMPARE_OP", t.COMPARISONS[a >> 4])],
    "UNARY_NOT": lambda d, a: [("TO_BOOL", None), ("UNARY_OP", "not")],
    "LOAD_FAST_CHECK": t.same("LOAD_FAST"),
    "BINARY_SLICE": lambda d, a: [("BUILD_SLICE", 2), ("BINARY_SUBSCR", None)],
    "STORE_SLICE": lambda d, a: [("BUILD_SLICE", 2), ("STORE_SUBSCR", None)],
    "RETURN_CONST": lambda d, a: [("LOAD_CONST", d.consts[a]), ("RETURN_VALUE", None)],
    "FOR_ITER": lambda d, a: [("FOR_ITER", Label(d.forward(a) + 2))],       # exhausted: past END_FOR
    "END_FOR": t.dropped,
    "SEND": lambda d, a: [("SEND", d.forward(a))],
    "END_SEND": lambda d, a: [("SWAP", 2), ("POP_TOP", None)],
    "CALL_INTRINSIC_1": lambda d, a: [("UNARY_OP", "+") if a == 5 else ("INTRINSIC_1", t.INTRINSICS_1[a])],
    "CALL_INTRINSIC_2": lambda d, a: [("INTRINSIC_2", t.INTRINSICS_2[a])],
    "POP_JUMP_IF_FALSE": t.jump_if("POP_JUMP_IF_FALSE"),
    "POP_JUMP_IF_TRUE": t.jump_if("POP_JUMP_IF_TRUE"),
    "POP_JUMP_IF_NONE": t.jump_if_none("POP_JUMP_IF_TRUE"),
    "POP_JUMP_IF_NOT_NONE": t.jump_if_none("POP_JUMP_IF_FALSE"),
}
