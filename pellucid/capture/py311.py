"""CPython 3.11: how its instructions expand to the closed set."""
from __future__ import annotations

from . import tables as t
from .tables import Label, Local

__all__: list[str] = []


def send(d, a):
    return [("SEND", Local(2)), ("JUMP", Label(d.next)), ("SWAP", 2), ("POP_TOP", None), ("JUMP", d.forward(a))]


TABLE = t.COMMON | {
    "LOAD_GLOBAL": lambda d, a: [("PUSH_NULL", None)] * (a & 1) + [("LOAD_GLOBAL", d.names[a >> 1])],
    "LOAD_ATTR": t.named("LOAD_ATTR"),
    "LOAD_METHOD": lambda d, a: [("LOAD_ATTR", d.names[a]), ("PUSH_NULL", None), ("SWAP", 2)],
    "PRECALL": t.dropped, "CALL": t.call, "KW_NAMES": t.keyword_names, "FORMAT_VALUE": t.format_value, "MAKE_FUNCTION": t.make_function,
    "COMPARE_OP": lambda d, a: [("COMPARE_OP", t.COMPARISONS[a])],
    "UNARY_NOT": lambda d, a: [("TO_BOOL", None), ("UNARY_OP", "not")],
    "UNARY_POSITIVE": lambda d, a: [("UNARY_OP", "+")],
    "FOR_ITER": lambda d, a: [("FOR_ITER", d.forward(a))],
    "SEND": send,
    "JUMP_IF_FALSE_OR_POP": lambda d, a: [("COPY", 1), ("TO_BOOL", None), ("POP_JUMP_IF_FALSE", d.forward(a)), ("POP_TOP", None)],
    "JUMP_IF_TRUE_OR_POP": lambda d, a: [("COPY", 1), ("TO_BOOL", None), ("POP_JUMP_IF_TRUE", d.forward(a)), ("POP_TOP", None)],
    "LIST_TO_TUPLE": lambda d, a: [("INTRINSIC_1", "LIST_TO_TUPLE")],
    "ASYNC_GEN_WRAP": lambda d, a: [("INTRINSIC_1", "ASYNC_GEN_WRAP")],
    "PRINT_EXPR": lambda d, a: [("INTRINSIC_1", "PRINT"), ("POP_TOP", None)],
    "IMPORT_STAR": lambda d, a: [("INTRINSIC_1", "IMPORT_STAR"), ("POP_TOP", None)],
    "PREP_RERAISE_STAR": lambda d, a: [("INTRINSIC_2", "PREP_RERAISE_STAR")],
    "LOAD_CLASSDEREF": lambda d, a: [("LOAD_LOCALS", None), ("LOAD_FROM_DICT_OR_DEREF", a)],
}
for _back, _way in ((False, "FORWARD"), (True, "BACKWARD")):
    TABLE |= {
        f"POP_JUMP_{_way}_IF_FALSE": t.jump_if("POP_JUMP_IF_FALSE", _back),
        f"POP_JUMP_{_way}_IF_TRUE": t.jump_if("POP_JUMP_IF_TRUE", _back),
        f"POP_JUMP_{_way}_IF_NONE": t.jump_if_none("POP_JUMP_IF_TRUE", _back),
        f"POP_JUMP_{_way}_IF_NOT_NONE": t.jump_if_none("POP_JUMP_IF_FALSE", _back),
    }
