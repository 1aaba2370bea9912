"""The closed instruction set, and what the tables of the Python versions are written with.

93 operations cover CPython 3.11 to 3.13. `OPS` says how many values each takes off the stack and puts there. What stays true: nothing
but `py311`, `py312` and `py313` mentions a Python version.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__: list[str] = []


class _Sentinel:
    """A value that no program has."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return self.name


NULL = _Sentinel("NULL")            # the empty place beside a function that is called
UNBOUND = _Sentinel("UNBOUND")      # what a slot without a value holds

# Operation -> (values taken, values put), as numbers or functions of the argument; along the edge to the next instruction.
OPS: dict[str, tuple] = {
    # stack
    "POP_TOP": (1, 0), "PUSH_NULL": (0, 1), "COPY": (0, 1), "SWAP": (0, 0),
    # names: LOAD_FAST and the like act on raw slots, where a cell is an ordinary value
    "LOAD_CONST": (0, 1), "LOAD_GLOBAL": (0, 1), "STORE_GLOBAL": (1, 0), "DELETE_GLOBAL": (0, 0),
    "LOAD_FAST": (0, 1), "LOAD_FAST_AND_CLEAR": (0, 1), "STORE_FAST": (1, 0), "DELETE_FAST": (0, 0), "MAKE_CELL": (0, 0),
    "LOAD_DEREF": (0, 1), "STORE_DEREF": (1, 0), "DELETE_DEREF": (0, 0),
    # bodies of classes and modules
    "LOAD_NAME": (0, 1), "STORE_NAME": (1, 0), "DELETE_NAME": (0, 0), "LOAD_LOCALS": (0, 1), "LOAD_FROM_DICT_OR_GLOBALS": (1, 1),
    "LOAD_FROM_DICT_OR_DEREF": (1, 1), "SETUP_ANNOTATIONS": (0, 0), "LOAD_BUILD_CLASS": (0, 1),
    # attributes, items
    "LOAD_ATTR": (1, 1), "STORE_ATTR": (2, 0), "DELETE_ATTR": (1, 0), "LOAD_SUPER_ATTR": (3, 1),
    "BINARY_SUBSCR": (2, 1), "STORE_SUBSCR": (3, 0), "DELETE_SUBSCR": (2, 0),
    # operators
    "BINARY_OP": (2, 1), "UNARY_OP": (1, 1), "COMPARE_OP": (2, 1), "IS_OP": (2, 1), "CONTAINS_OP": (2, 1), "TO_BOOL": (1, 1),
    # building, unpacking
    "BUILD_TUPLE": (lambda a: a, 1), "BUILD_LIST": (lambda a: a, 1), "BUILD_SET": (lambda a: a, 1), "BUILD_MAP": (lambda a: 2 * a, 1),
    "BUILD_CONST_KEY_MAP": (lambda a: a + 1, 1), "BUILD_STRING": (lambda a: a, 1), "BUILD_SLICE": (lambda a: a, 1),
    "LIST_APPEND": (1, 0), "LIST_EXTEND": (1, 0), "SET_ADD": (1, 0), "SET_UPDATE": (1, 0), "MAP_ADD": (2, 0), "DICT_UPDATE": (1, 0),
    "DICT_MERGE": (1, 0), "UNPACK_SEQUENCE": (1, lambda a: a), "UNPACK_EX": (1, lambda a: (a & 255) + 1 + (a >> 8)),
    "CONVERT_VALUE": (1, 1), "FORMAT": (lambda a: 1 + a, 1),
    # control
    "JUMP": (0, 0), "POP_JUMP_IF_FALSE": (1, 0), "POP_JUMP_IF_TRUE": (1, 0), "GET_ITER": (1, 1), "FOR_ITER": (0, 1), "RETURN_VALUE": (1, 0),
    # calls: [f, NULL, *args], [NULL, f, *args] or [f, self, *args]
    "CALL": (lambda a: a + 2, 1), "CALL_KW": (lambda a: a[0] + 2, 1), "CALL_FUNCTION_EX": (lambda a: 3 + a, 1), "MAKE_FUNCTION": (1, 1),
    "SET_FUNCTION_ATTRIBUTE": (2, 1),
    # generators, async
    "RETURN_GENERATOR": (0, 1), "YIELD_VALUE": (1, 1), "SEND": (2, 2), "GET_YIELD_FROM_ITER": (1, 1), "CLEANUP_THROW": (3, 2),
    "GET_AWAITABLE": (1, 1), "GET_AITER": (1, 1), "GET_ANEXT": (0, 1), "BEFORE_ASYNC_WITH": (1, 2), "END_ASYNC_FOR": (2, 0),
    # exceptions, with
    "RAISE_VARARGS": (lambda a: a, 0), "RERAISE": (1, 0), "PUSH_EXC_INFO": (1, 2), "POP_EXCEPT": (1, 0), "CHECK_EXC_MATCH": (1, 1),
    "CHECK_EG_MATCH": (2, 2), "BEFORE_WITH": (1, 2), "WITH_EXCEPT_START": (0, 1),
    # imports, matching, the rest
    "IMPORT_NAME": (2, 1), "IMPORT_FROM": (0, 1), "MATCH_CLASS": (3, 1), "MATCH_KEYS": (0, 1), "MATCH_MAPPING": (0, 1),
    "MATCH_SEQUENCE": (0, 1), "GET_LEN": (0, 1), "INTRINSIC_1": (1, 1), "INTRINSIC_2": (2, 1),
}
JUMPS = frozenset(("JUMP", "POP_JUMP_IF_FALSE", "POP_JUMP_IF_TRUE", "FOR_ITER", "SEND"))
ENDS = frozenset(("JUMP", "RETURN_VALUE", "RERAISE", "RAISE_VARARGS"))

BINARY_SIGNS = "+ & // << @ * % | ** >> - / ^ += &= //= <<= @= *= %= |= **= >>= -= /= ^=".split()
COMPARISONS = ("<", "<=", "==", "!=", ">", ">=")
INTRINSICS_1 = ("INVALID PRINT IMPORT_STAR STOPITERATION_ERROR ASYNC_GEN_WRAP UNARY_POSITIVE LIST_TO_TUPLE TYPEVAR PARAMSPEC TYPEVARTUPLE "
                "SUBSCRIPT_GENERIC TYPEALIAS").split()
INTRINSICS_2 = ("INVALID PREP_RERAISE_STAR TYPEVAR_WITH_BOUND TYPEVAR_WITH_CONSTRAINTS SET_FUNCTION_TYPE_PARAMS "
                "SET_TYPEPARAM_DEFAULT").split()


class Label(int):
    """A byte offset in the code, to become the index of an instruction."""


class Local(int):
    """A jump inside one expansion: the place relative to its first instruction."""


# An expansion is a function of (decoder, argument) that gives [(operation, argument), ...].
def same(name: str) -> Callable:
    return lambda decoder, arg: [(name, arg)]


def named(name: str) -> Callable:
    """The argument is a name's number."""
    return lambda decoder, arg: [(name, decoder.names[arg])]


def dropped(decoder: Any, arg: int) -> list:
    return []


def call(decoder: Any, arg: int) -> list:
    names, decoder.keywords = decoder.keywords, None
    return [("CALL_KW", (arg, names))] if names else [("CALL", arg)]


def keyword_names(decoder: Any, arg: int) -> list:
    decoder.keywords = decoder.consts[arg]
    return []


def format_value(decoder: Any, arg: int) -> list:
    """3.11 and 3.12: conversion and formatting in one."""
    spec = bool(arg & 4)
    convert = [("CONVERT_VALUE", arg & 3)] if arg & 3 else []
    around = [("SWAP", 2)] if convert and spec else []
    return around + convert + around + [("FORMAT", int(spec))]


def make_function(decoder: Any, arg: int) -> list:
    """3.11 and 3.12: what belongs to the function lies below the code object."""
    return [("MAKE_FUNCTION", None), *[("SET_FUNCTION_ATTRIBUTE", flag) for flag in (8, 4, 2, 1) if arg & flag]]


def super_attr(decoder: Any, arg: int) -> list:
    return [("LOAD_SUPER_ATTR", decoder.names[arg >> 2])] + [("PUSH_NULL", None)] * (arg & 1)


def jump_if(name: str, backward: bool = False) -> Callable:
    return lambda decoder, arg: [("TO_BOOL", None), (name, (decoder.back if backward else decoder.forward)(arg))]


def jump_if_none(name: str, backward: bool = False) -> Callable:
    return lambda decoder, arg: [("LOAD_CONST", None), ("IS_OP", 0), (name, (decoder.back if backward else decoder.forward)(arg))]


# What all versions share.
COMMON: dict[str, Callable] = {name: same(name) for name in OPS}
for _name in ("STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "STORE_NAME", "DELETE_NAME", "STORE_ATTR", "DELETE_ATTR", "IMPORT_NAME",
              "IMPORT_FROM", "LOAD_FROM_DICT_OR_GLOBALS"):
    COMMON[_name] = named(_name)
for _name in ("LOAD_GLOBAL", "LOAD_ATTR", "COMPARE_OP", "LOAD_SUPER_ATTR", "MAKE_FUNCTION", "FOR_ITER", "SEND", "TO_BOOL",
              "POP_JUMP_IF_FALSE", "POP_JUMP_IF_TRUE", "CALL_KW", "END_ASYNC_FOR"):
    del COMMON[_name]
COMMON |= {
    "NOP": dropped, "RESUME": dropped, "COPY_FREE_VARS": dropped,           # the frame fills free variables
    "LOAD_CONST": lambda decoder, arg: [("LOAD_CONST", decoder.consts[arg])],
    "LOAD_CLOSURE": same("LOAD_FAST"),
    "BINARY_OP": lambda decoder, arg: [("BINARY_OP", BINARY_SIGNS[arg])],
    "UNARY_NEGATIVE": lambda decoder, arg: [("UNARY_OP", "-")],
    "UNARY_INVERT": lambda decoder, arg: [("UNARY_OP", "~")],
    "LOAD_ASSERTION_ERROR": lambda decoder, arg: [("LOAD_CONST", AssertionError)],
    "JUMP_FORWARD": lambda decoder, arg: [("JUMP", decoder.forward(arg))],
    "JUMP_BACKWARD": lambda decoder, arg: [("JUMP", decoder.back(arg))],
    "JUMP_BACKWARD_NO_INTERRUPT": lambda decoder, arg: [("JUMP", decoder.back(arg))],
    "END_ASYNC_FOR": same("END_ASYNC_FOR"),
}
