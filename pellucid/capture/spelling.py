"""How each instruction is written as Python's syntax.

In: `blocks.Writer`, which holds the stack of the block being written. Out: expressions on that stack, statements in `Writer.out`. What
stays true: expressions are evaluated in the order in which the instructions would have run; before a statement everything that is
pending below its operands is evaluated (`Writer.settle`).
"""
from __future__ import annotations

import ast
import builtins
import types
from collections.abc import Callable
from typing import Any

from . import blockwork as work
from . import groups
from .tables import NULL, UNBOUND

__all__: list[str] = []

SIGNS: dict[str, type] = {"+": ast.Add, "-": ast.Sub, "*": ast.Mult, "/": ast.Div, "//": ast.FloorDiv, "%": ast.Mod, "@": ast.MatMult,
                          "**": ast.Pow, "&": ast.BitAnd, "|": ast.BitOr, "^": ast.BitXor, "<<": ast.LShift, ">>": ast.RShift,
                          "==": ast.Eq, "!=": ast.NotEq, "<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE}
UNARY: dict[str, type] = {"-": ast.USub, "+": ast.UAdd, "~": ast.Invert, "not": ast.Not}
EMPTY = "NULL"                          # the kind of a stack entry that holds NULL
ENDED = -1                              # the block ends with this instruction


class Unsupported(Exception):
    """A frame that cannot be continued as a Python function."""


class Maybe(ast.Name):
    """A variable of the stack that may hold UNBOUND."""


class Keywords(ast.Dict):
    """The dict of a call's keyword arguments: `parts`, to be merged."""

    parts: list


def node(item: Any) -> bool:
    return isinstance(item, ast.AST)


def mentions(items: list, names: set[str]) -> bool:
    """Whether one of these entries reads one of these variables."""
    return any([isinstance(part, ast.Name) and part.id in names for item in items if node(item) for part in ast.walk(item)])


def literal(value: Any) -> bool:
    """Whether the syntax has a constant for a value."""
    return value is None or value is ... or type(value) in (bool, int, float, complex, str, bytes) or (
        type(value) is tuple and all([literal(v) for v in value]))


# A writer is a function of (Writer, argument, the next instruction of the block or None, index, nesting); gives how many instructions
# after it are written with it, or ENDED.
WRITERS: dict[str, Callable] = {}


def writes(*names: str) -> Callable:
    def register(fn: Callable) -> Callable:
        WRITERS.update(dict.fromkeys(names, fn))
        return fn
    return register


def expression(name: str, pops: int, made: Callable) -> None:
    """An instruction that is an expression: `made` gives it, of (Writer, argument, operands...)."""
    def write(w: Any, arg: Any, following: Any, k: int, depth: int) -> None:
        w.push(made(w, arg, *w.popped(pops)))
    WRITERS[name] = write


# ---------------------------------------------------------------------------------------------------- stack and names
expression("PUSH_NULL", 0, lambda w, arg: EMPTY)
expression("LOAD_CONST", 0, lambda w, arg: w.value(arg))
expression("LOAD_GLOBAL", 0, lambda w, arg: w.name(arg))
expression("LOAD_FAST", 0, lambda w, arg: w.name(w.locals[arg]))
expression("RETURN_GENERATOR", 0, lambda w, arg: w.value(None))
expression("LOAD_BUILD_CLASS", 0, lambda w, arg: w.make(ast.Attribute, w.thing(builtins, ".builtins"), "__build_class__", ast.Load()))


def simple(item: Any) -> bool:
    """Whether an entry of the stack can be read twice, and later."""
    return not node(item) or isinstance(item, (ast.Name, ast.Constant))


def stacked(item: Any) -> bool:
    """Whether an entry is a variable of the stack."""
    return isinstance(item, ast.Name) and item.id.startswith(".s") and item.id[2:].isdigit()


@writes("POP_TOP")
def _pop_top(w: Any, arg: Any, following: Any, k: int, depth: int) -> None:
    if simple(w.stack[-1]) and (stacked(w.stack[-1]) or not isinstance(w.stack[-1], ast.Name)):
        w.pop()
    else:                                               # a name too: it may be unknown
        w.settle(1)
        w.statement(w.make(ast.Expr, w.pop()))


@writes("COPY")
def _copy(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    if not simple(w.stack[-arg]):
        w.settle()
    w.push(w.stack[-arg])


@writes("SWAP")
def _swap(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    between = [item for item in w.stack[-arg:] if node(item) and not isinstance(item, ast.Constant)]
    if len(between) > 1 and not all([simple(item) for item in between]):
        w.settle()
    w.stack[-1], w.stack[-arg] = w.stack[-arg], w.stack[-1]


def store(w: Any, name: str) -> None:
    """A statement `name = the topmost value`."""
    w.settle(1)
    value = w.pop()
    again = [] if not isinstance(value, Maybe) else [
        w.make(ast.If, w.same(name, UNBOUND, ".unbound"), [w.make(ast.Delete, [w.name(name, ast.Del)])], [])]
    w.statement(w.assigned(name, value), *again)


@writes("STORE_FAST")
def _store_fast(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    store(w, w.locals[arg])


@writes("STORE_GLOBAL")
def _store_global(w: Any, arg: str, following: Any, k: int, depth: int) -> None:
    store(w, arg)


@writes("DELETE_GLOBAL", "DELETE_FAST")
def _delete(w: Any, arg: Any, following: Any, k: int, depth: int) -> None:
    w.settle()
    w.statement(w.make(ast.Delete, [w.name(arg if isinstance(arg, str) else w.locals[arg], ast.Del)]))


def if_bound(w: Any, bound: list, otherwise: list) -> ast.stmt:
    """Statements for a local that has a value, and for one that has none."""
    return w.make(ast.Try, bound, [w.make(ast.ExceptHandler, w.thing(UnboundLocalError), None, otherwise)], [], [])


@writes("LOAD_FAST_AND_CLEAR")
def _load_fast_and_clear(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    w.settle()
    name, held = w.locals[arg], w.hold(Maybe)
    w.out.append(if_bound(w, [w.assigned(held, w.name(name)), w.make(ast.Delete, [w.name(name, ast.Del)])],
                          [w.assigned(held, w.thing(UNBOUND, ".unbound"))]))


@writes("MAKE_CELL")
def _make_cell(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    w.settle()
    name = w.locals[arg]
    w.statement(if_bound(w, [w.assigned(name, w.called(types.CellType, w.name(name)))], [w.assigned(name, w.called(types.CellType))]))


def contents(w: Any, slot: int) -> ast.expr:
    return w.make(ast.Call, w.thing(w.contents, ".contents"), [w.name(w.locals[slot]), w.value(slot)], [])


expression("LOAD_DEREF", 0, contents)


def cell(w: Any, slot: int, context: ast.expr_context) -> ast.expr:
    return w.make(ast.Attribute, w.name(w.locals[slot]), "cell_contents", context)


@writes("STORE_DEREF")
def _store_deref(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    w.settle(1)
    w.statement(w.make(ast.Assign, [cell(w, arg, ast.Store())], w.pop()))


@writes("DELETE_DEREF")
def _delete_deref(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    w.settle()
    w.statement(w.make(ast.Expr, contents(w, arg)), w.make(ast.Delete, [cell(w, arg, ast.Del())]))


# ---------------------------------------------------------------------------------------------------- attributes, items, operators
def compared(w: Any, left: Any, operator: ast.cmpop, right: Any) -> ast.expr:
    return w.make(ast.Compare, left, [operator], [right])


expression("LOAD_ATTR", 1, lambda w, arg, owner: w.make(ast.Attribute, owner, arg, ast.Load()))
expression("LOAD_SUPER_ATTR", 3, lambda w, arg, found, cls, owner: w.make(
    ast.Attribute, w.make(ast.Call, found, [cls, owner], []), arg, ast.Load()))
expression("BINARY_SUBSCR", 2, lambda w, arg, owner, key: w.make(ast.Subscript, owner, key, ast.Load()))
expression("UNARY_OP", 1, lambda w, arg, value: w.make(ast.UnaryOp, UNARY[arg](), value))
expression("COMPARE_OP", 2, lambda w, arg, a, b: compared(w, a, SIGNS[arg](), b))
expression("IS_OP", 2, lambda w, arg, a, b: compared(w, a, ast.IsNot() if arg else ast.Is(), b))
expression("CONTAINS_OP", 2, lambda w, arg, a, b: compared(w, a, ast.NotIn() if arg else ast.In(), b))
expression("GET_ITER", 1, lambda w, arg, value: w.called(iter, value))
expression("GET_YIELD_FROM_ITER", 1, lambda w, arg, value: w.called(iter, value))
expression("CONVERT_VALUE", 1, lambda w, arg, value: w.called((str, str, repr, ascii)[arg], value))


@writes("TO_BOOL")
def _to_bool(w: Any, arg: Any, following: Any, k: int, depth: int) -> None:
    if following is None or not (following.op.startswith("POP_JUMP") or following.op == "UNARY_OP" and following.arg == "not"):
        w.push(w.make(ast.UnaryOp, ast.Not(), w.make(ast.UnaryOp, ast.Not(), w.pop())))


@writes("BINARY_OP")
def _binary_op(w: Any, arg: str, following: Any, k: int, depth: int) -> int:
    if not arg.endswith("="):
        left, right = w.popped(2)
        w.push(w.make(ast.BinOp, left, SIGNS[arg](), right))
        return 0
    operator, left = SIGNS[arg[:-1]](), w.stack[-2]
    if following is not None and following.op == "STORE_FAST" and isinstance(left, ast.Name) and left.id == w.locals[following.arg]:
        w.settle(2)
        if w.stack[-2] is left:
            _, right = w.popped(2)
            w.statement(w.make(ast.AugAssign, w.name(left.id, ast.Store), operator, right))
            return 1
    w.settle(1, constants=True)
    right = w.pop()
    w.statement(w.make(ast.AugAssign, w.name(w.stack[-1].id, ast.Store), operator, right))
    return 0


@writes("STORE_ATTR", "DELETE_ATTR", "STORE_SUBSCR", "DELETE_SUBSCR")
def _write(w: Any, arg: Any, following: Any, k: int, depth: int) -> None:
    name = w.program.ins[k].op
    context = ast.Store() if name.startswith("STORE") else ast.Del()
    count = name.startswith("STORE") + 1 + name.endswith("SUBSCR")
    w.settle(count)
    operands = w.popped(count)
    if name.endswith("ATTR"):
        place = w.make(ast.Attribute, operands[-1], arg, context)
    else:
        place = w.make(ast.Subscript, operands[-2], operands[-1], context)
    w.statement(w.make(ast.Assign, [place], operands[0]) if name.startswith("STORE") else w.make(ast.Delete, [place]))


# ---------------------------------------------------------------------------------------------------- building, unpacking
@writes("BUILD_TUPLE", "BUILD_LIST", "BUILD_SET")
def _build(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    name, items = w.program.ins[k].op, w.popped(arg)
    if name == "BUILD_SET":
        nothing = w.make(ast.Starred, w.make(ast.Tuple, [], ast.Load()), ast.Load())
        w.push(w.make(ast.Set, items or [nothing]))
    else:
        w.push(w.make(ast.Tuple if name == "BUILD_TUPLE" else ast.List, items, ast.Load()))


@writes("BUILD_MAP", "BUILD_CONST_KEY_MAP")
def _build_map(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    if w.program.ins[k].op == "BUILD_MAP":
        items = w.popped(2 * arg)
        w.push(w.make(ast.Dict, items[::2], items[1::2]))
    else:
        keys = w.pop()
        w.push(w.make(ast.Dict, [w.value(key) for key in keys.value], w.popped(arg)) if isinstance(keys, ast.Constant) else
               w.called(dict, w.called(zip, keys, w.make(ast.Tuple, w.popped(arg), ast.Load()))))


@writes("BUILD_STRING")
def _build_string(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    parts = []
    for item in w.popped(arg):
        whole = isinstance(item, ast.JoinedStr) and item.values or isinstance(item, ast.Constant) and [item]
        parts += whole or [w.make(ast.FormattedValue, item, -1, None)]
    w.push(w.make(ast.JoinedStr, parts))


@writes("FORMAT")
def _format(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    value, *form = w.popped(1 + arg)
    w.push(w.make(ast.JoinedStr, [w.make(ast.FormattedValue, value, -1, form[0] if form else None)]))


@writes("BUILD_SLICE")
def _build_slice(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    w.push(w.called(slice, *w.popped(arg)))


def into(name: str, pops: int, method: str, merged: Callable) -> None:
    """An instruction that puts values into a container: into its display, if that is still to be evaluated."""
    def write(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
        values = w.popped(pops)
        container = w.stack[-arg]
        if arg == 1 and isinstance(container, (ast.List, ast.Set, ast.Dict)):
            merged(w, container, *values)
            return
        w.stack += values
        w.settle(pops)
        values = w.popped(pops)
        if method == "extend":
            values = [w.make(ast.List, [starred(w, *values)], ast.Load())]
        w.statement(w.make(ast.Expr, w.make(ast.Call, w.make(ast.Attribute, w.stack[-arg], method, ast.Load()), values, [])))
    WRITERS[name] = write


def starred(w: Any, value: Any) -> ast.expr:
    return w.make(ast.Starred, value, ast.Load())


def pair(w: Any, container: Any, key: Any, value: Any) -> None:
    container.keys.append(key)
    container.values.append(value)


into("LIST_APPEND", 1, "append", lambda w, container, value: container.elts.append(value))
into("LIST_EXTEND", 1, "extend", lambda w, container, value: container.elts.append(starred(w, value)))
into("SET_ADD", 1, "add", lambda w, container, value: container.elts.append(value))
into("SET_UPDATE", 1, "update", lambda w, container, value: container.elts.append(starred(w, value)))
into("MAP_ADD", 2, "__setitem__", pair)
into("DICT_UPDATE", 1, "update", lambda w, container, value: pair(w, container, None, value))


@writes("DICT_MERGE")
def _dict_merge(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    container, value = w.stack[-2], w.stack[-1]
    if not isinstance(container, ast.Dict):             # evaluated already: a new dict of both
        w.settle(1)
        value = w.pop()
        container = w.pop()
    else:
        w.popped(2)
    if isinstance(container, Keywords):
        parts = container.parts
    else:
        parts = [] if isinstance(container, ast.Dict) and not container.keys else [container]
    merged = w.make(Keywords, [None], [w.make(ast.Call, w.thing(dict), [], [])])
    merged.parts = [*parts, value]
    merged.values[0].keywords = [w.make(ast.keyword, None, part) for part in merged.parts]
    w.push(merged)


@writes("UNPACK_SEQUENCE", "UNPACK_EX")
def _unpack(w: Any, arg: int, following: Any, k: int, depth: int) -> int:
    star = arg & 255 if w.program.ins[k].op == "UNPACK_EX" else -1
    count = arg if star < 0 else star + 1 + (arg >> 8)
    w.settle(1)
    value = w.pop()
    next_ones = w.program.ins[k + 1:k + 1 + count]
    direct = all([x.op == "STORE_FAST" for x in next_ones]) and w.leaders.isdisjoint(range(k + 1, k + 1 + count))
    if direct:
        targets = [w.name(w.locals[x.arg], ast.Store) for x in next_ones]
    else:
        targets = [w.name(w.hold(), ast.Store) for _ in range(count)][::-1]
    if star >= 0:
        targets[star] = w.make(ast.Starred, targets[star], ast.Store())
    w.statement(w.make(ast.Assign, [w.make(ast.Tuple, targets, ast.Store())], value))
    return count if direct else 0


# ---------------------------------------------------------------------------------------------------- control
@writes("JUMP")
def _jump(w: Any, arg: int, following: Any, k: int, depth: int) -> int:
    w.settle(constants=True)
    w.out += w.goto(arg, depth)
    return ENDED


@writes("POP_JUMP_IF_FALSE", "POP_JUMP_IF_TRUE")
def _pop_jump(w: Any, arg: int, following: Any, k: int, depth: int) -> int:
    w.settle(1, constants=True)
    test = w.pop()
    ways = w.goto(k + 1, depth), w.goto(arg, depth)
    w.out.append(w.make(ast.If, test, *(ways if w.program.ins[k].op.endswith("FALSE") else ways[::-1])))
    return ENDED


@writes("FOR_ITER")
def _for_iter(w: Any, arg: int, following: Any, k: int, depth: int) -> int:
    w.settle(constants=True)
    it = w.stack[-1]
    value = w.hold()
    w.out.append(w.assigned(value, w.called(next, it, w.thing(NULL, ".null"))))
    w.out.append(w.make(ast.If, w.same(value, NULL, ".null"), w.goto(arg, depth), w.goto(k + 1, depth)))
    return ENDED


@writes("RETURN_VALUE")
def _return_value(w: Any, arg: Any, following: Any, k: int, depth: int) -> int:
    w.settle(1)
    w.out.append(w.make(ast.Return, w.pop()))
    return ENDED


expression("YIELD_VALUE", 1, lambda w, arg, value: w.make(ast.Yield, value))


@writes("SEND")
def _send(w: Any, arg: int, following: Any, k: int, depth: int) -> int:
    w.pop()                                             # None, to begin with
    w.settle()
    it = w.stack[-1]
    w.push(w.make(ast.YieldFrom, it))
    w.settle(constants=True)
    w.out += w.goto(arg, depth)
    return ENDED


# ---------------------------------------------------------------------------------------------------- calls
@writes("CALL", "CALL_KW")
def _call(w: Any, arg: Any, following: Any, k: int, depth: int) -> None:
    count, names = arg if isinstance(arg, tuple) else (arg, ())
    args = w.popped(count)
    first, second = w.popped(2)
    fn = second if first == EMPTY else first
    if first != EMPTY and second != EMPTY:
        args.insert(0, second)
    split = len(args) - len(names)
    keywords = [w.make(ast.keyword, key, value) for key, value in zip(names, args[split:])]
    made = w.make(ast.Call, fn, args[:split], keywords)
    if isinstance(fn, ast.Name) and not keywords:
        unknown = stacked(fn)
        if not args and "__class__" in w.program.slotnames and (fn.id == "super" or unknown):
            first_name = w.program.slotnames[0]
            owner = contents(w, 0) if first_name in w.program.code.co_cellvars else w.name(w.locals[0])
            meant = w.make(ast.Call, fn, [contents(w, w.program.slotnames.index("__class__")), owner], [])
            made = w.make(ast.IfExp, w.same(fn.id, super, ".super"), meant, made)
        elif len(args) < 2 and (fn.id in w.looks or unknown and w.looks):
            made = w.called(work.looked_up, fn, w.called(globals), w.called(locals), *args)
    w.push(made)


@writes("CALL_FUNCTION_EX")
def _call_function_ex(w: Any, arg: int, following: Any, k: int, depth: int) -> None:
    mapping = w.pop() if arg else None
    args = w.pop()
    first, second = w.popped(2)
    parts = mapping.parts if isinstance(mapping, Keywords) else [mapping] if arg else []
    positional = args.elts if isinstance(args, ast.Tuple) else [starred(w, args)]
    w.push(w.make(ast.Call, second if first == EMPTY else first, positional, [w.make(ast.keyword, None, part) for part in parts]))


expression("MAKE_FUNCTION", 1, lambda w, arg, code: w.called(work.make_function, code, w.called(globals)))
expression("SET_FUNCTION_ATTRIBUTE", 2, lambda w, arg, value, fn: w.called(work.with_attribute, value, fn, w.value(arg)))


# ---------------------------------------------------------------------------------------------------- with, exceptions
@writes("BEFORE_WITH")
def _before_with(w: Any, arg: Any, following: Any, k: int, depth: int) -> None:
    w.settle(1)
    value = w.pop()
    held = [w.name(w.hold(), ast.Store), w.name(w.hold(), ast.Store)]
    w.out.append(w.make(ast.Assign, [w.make(ast.Tuple, held, ast.Store())], w.called(work.manager, value)))
    w.push(w.make(ast.Call, w.pop(), [], []))


@writes("WITH_EXCEPT_START")
def _with_except_start(w: Any, arg: Any, following: Any, k: int, depth: int) -> None:
    w.settle()
    error = w.stack[-1]
    w.push(w.make(ast.Call, w.stack[-4], [w.called(type, error), error, w.make(ast.Attribute, error, "__traceback__", ast.Load())], []))


@writes("CHECK_EXC_MATCH")
def _check_exc_match(w: Any, arg: Any, following: Any, k: int, depth: int) -> None:
    kinds = w.pop()
    w.push(w.called(groups.matches, w.stack[-1], kinds))


@writes("CHECK_EG_MATCH")
def _check_eg_match(w: Any, arg: Any, following: Any, k: int, depth: int) -> None:
    w.settle(2)
    error, kinds = w.popped(2)
    held = [w.name(w.hold(), ast.Store), w.name(w.hold(), ast.Store)]
    w.statement(w.make(ast.Assign, [w.make(ast.Tuple, held, ast.Store())], w.called(groups.taken_of, error, kinds)))


@writes("INTRINSIC_2")
def _intrinsic_2(w: Any, arg: str, following: Any, k: int, depth: int) -> None:
    if arg != "PREP_RERAISE_STAR":
        raise Unsupported(f"the instruction {arg.lower()}")
    w.push(w.called(groups.raised_again, *w.popped(2)))


@writes("PUSH_EXC_INFO")
def _push_exc_info(w: Any, arg: Any, following: Any, k: int, depth: int) -> int:
    raise AssertionError("an exception is handled by a clause")


@writes("POP_EXCEPT")
def _pop_except(w: Any, arg: Any, following: Any, k: int, depth: int) -> int:
    w.pop()
    w.settle(constants=True)
    w.out += [*w.left(k + 1), w.assigned(".pc", w.value(w.number(k + 1))), w.make(ast.Break)]
    return ENDED


@writes("RERAISE")
def _reraise(w: Any, arg: Any, following: Any, k: int, depth: int) -> int:
    w.settle()
    w.out += w.again(w.pop().id)
    return ENDED


@writes("RAISE_VARARGS")
def _raise_varargs(w: Any, arg: int, following: Any, k: int, depth: int) -> int:
    w.settle(arg)
    w.out.append(w.make(ast.Raise, *w.popped(arg)))
    return ENDED


# ---------------------------------------------------------------------------------------------------- imports, matching, the rest
expression("IMPORT_NAME", 2, lambda w, arg, level, names: w.make(
    ast.Call, w.make(ast.Attribute, w.thing(builtins, ".builtins"), "__import__", ast.Load()),
    [w.value(arg), w.called(globals), w.value(None), names, level], []))


@writes("IMPORT_FROM")
def _import_from(w: Any, arg: str, following: Any, k: int, depth: int) -> None:
    w.settle()
    module, name = w.stack[-1], w.value(arg)
    held = w.hold()
    found, failed = w.assigned(held, w.called(getattr, module, name, w.thing(NULL, ".null"))), w.name(held)
    other = [w.assigned(held, w.called(work.submodule, module, name)),
             w.make(ast.If, w.called(isinstance, failed, w.thing(ImportError)), [w.make(ast.Raise, failed)], [])]
    w.out += [found, w.make(ast.If, w.same(held, NULL, ".null"), other, [])]


def look(name: str, entries: int, fn: Callable) -> None:
    """An instruction that puts what `fn` gives of the topmost entries on top of them."""
    def write(w: Any, arg: Any, following: Any, k: int, depth: int) -> None:
        if not all([simple(item) for item in w.stack[-entries:]]):
            w.settle()
        w.push(w.called(fn, *w.stack[-entries:]))
    WRITERS[name] = write


look("GET_LEN", 1, len)
look("MATCH_MAPPING", 1, work.match_mapping)
look("MATCH_SEQUENCE", 1, work.match_sequence)
look("MATCH_KEYS", 2, work.match_keys)
expression("MATCH_CLASS", 3, lambda w, arg, subject, kind, names: w.called(work.match_class, subject, kind, w.value(arg), names))


@writes("INTRINSIC_1")
def _intrinsic_1(w: Any, arg: str, following: Any, k: int, depth: int) -> None:
    if arg != "LIST_TO_TUPLE":
        raise Unsupported(f"the instruction {arg.lower()}")
    value = w.pop()
    w.push(w.make(ast.Tuple, value.elts, ast.Load()) if isinstance(value, ast.List) else w.called(tuple, value))


def _refused(w: Any, arg: Any, following: Any, k: int, depth: int) -> None:
    raise Unsupported(f"the instruction {w.program.ins[k].op.lower()}")


WRITERS |= dict.fromkeys((
    "GET_AWAITABLE", "GET_AITER", "GET_ANEXT", "BEFORE_ASYNC_WITH", "END_ASYNC_FOR", "LOAD_NAME", "STORE_NAME", "DELETE_NAME",
    "LOAD_LOCALS", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_FROM_DICT_OR_DEREF", "SETUP_ANNOTATIONS", "CLEANUP_THROW"), _refused)
