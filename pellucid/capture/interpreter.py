"""The interpreter: runs programs of the closed instruction set on a stack of frames of its own, without recursion.

In: frames, and a domain that says what an operation on values does (`world.World` while capturing, `concrete.Concrete` on plain
values). Out: the result, an exception of the program, or the frames as they stood where it was told to stop. What stays true: an
instruction either takes effect whole or raises before it changes the frame.
"""
from __future__ import annotations

import builtins
import inspect
import types
from collections.abc import Callable
from typing import Any, NoReturn

from . import forms
from .frame import DROPPED, Entering, Exhausted, Frame, Generator, Raised, chained, check_count, dropped, frame_of, free_name, hang, unbound_local
from .tables import NULL, UNBOUND

__all__: list[str] = []

LIMIT = 1_000_000                   # instructions of one segment
GENERATOR = inspect.CO_GENERATOR
ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Stopped(Exception):
    """The interpreter has come to where it was told to stop."""


class Interpreter:
    """Runs `frames`, the last one first. `stop`: the number of instructions after which it stops; `nested`: for code that another one
    has called."""

    def __init__(self, domain: Any, frames: list[Frame], stop: int = -1, nested: bool = False):
        self.domain, self.frames, self.stop, self.steps, self.nested = domain, frames, stop, 0, nested
        self.seen: set[tuple] = set()               # (code, line) of what has run
        self.left: list[Frame] = domain.left        # those of generators that nobody can end any more
        self.origins: dict[int, tuple] = {}         # id of an exception -> (code, line) of where it was raised
        self.raised: dict[int, tuple] = {}          # id of an exception -> (it, what stands for its traceback)
        domain.interpreter = self

    def run(self) -> Any:
        """The result of the first frame. Raises Raised, Stopped, and whatever the domain raises that is no exception of the program."""
        frames, handlers, seen, left = self.frames, HANDLERS, self.seen, self.left
        while True:
            frame = frames[-1]
            if left:
                frame = self.close(left.pop(0), NULL)
            if self.steps == self.stop:
                raise Stopped
            if self.steps == LIMIT:
                self.domain.refuse("PX008", "a function of more than a million instructions")
            self.steps += 1
            instruction = frame.program.ins[frame.index]
            frame.index += 1
            seen.add((frame.program, instruction.line))
            depth = len(frames)
            try:
                handlers[instruction.op](self, frame, frame.stack, instruction.arg)
            except Raised as raised:
                self.trail = frames[:] if len(frames) >= depth else [*frames, frame], self.steps - 1
                self.unwind(raised.value)
                self.trail = [], 0                  # caught: nobody asks where it came from
            if len(frames) > depth:
                frames[-1].entered = self.steps - 1
            elif not frames:
                del frame                           # and what its slots held
                if not left:
                    return self.last
                self.close(left.pop(0), self.last)

    def close(self, frame: Frame, result: Any) -> Frame:
        """The program let go of a generator inside try or with: it is closed, as Python does. `result`: what the function has returned."""
        generator = frame.owner = self.domain.generator(frame)
        closing = frame_of(forms.closed, (generator,), {})
        closing.result, closing.then, closing.entered = result, dropped, self.steps - 1
        self.frames.append(closing)
        return closing

    def unwind(self, value: BaseException) -> None:
        """Go to the handler of an exception, in the frame that has one."""
        frames, popped = self.frames, []
        raising = frames[-1].program.ins[frames[-1].index - 1]
        if raising.op != "RERAISE":
            self.origins[id(value)] = frames[-1].program.code, frames[-1].line
        if raising.op != "RERAISE" and (raising.op != "RAISE_VARARGS" or raising.arg):
            self.raised[id(value)] = value, object()            # its traceback grows here, and in each frame that it leaves
            during = handled(self)
            if during is not None and during is not value and (value.__context__ is None or raising.op == "RAISE_VARARGS"):
                hang(value, during)
        while True:
            frame = frames[-1]
            handler = frame.program.handler[frame.index - 1]
            if handler is not None:
                break
            popped.append(frames.pop())
            self.raised[id(value)] = value, object()
            if frame.awaits is not None and frame.owner is None and isinstance(value, StopIteration):
                end_iteration(self, frame.awaits, value.value)      # a __next__ written in Python
                return
            if frame.owner is not None:
                frame.owner.frame, frame.owner.running = None, False
                if isinstance(value, StopIteration):
                    value = chained(RuntimeError("generator raised StopIteration"), value)
            if not frames:
                raise Raised(value)
        if any([type(v) is Generator and v.open for f in popped for v in (*f.slots, *f.stack)]):
            self.domain.refuse("PX012", "a generator that is left by an exception")         # the traceback has it
        target, depth, last = handler
        del frame.stack[depth:]
        if last:
            frame.stack.append(frame.index - 1)
        frame.stack.append(value)
        frame.index = target

    def raised_at(self, value: BaseException) -> Any:
        """What stands for the traceback of an exception."""
        found = self.raised.get(id(value))
        return value.__traceback__ if found is None else found[1]

    def part_of(self, part: BaseException | None, whole: BaseException) -> None:
        """A part of a group has come into being: it has the traceback of the whole."""
        if isinstance(part, BaseExceptionGroup) and isinstance(whole, BaseExceptionGroup) and part is not whole:
            self.raised[id(part)] = part, self.raised_at(whole)
            if id(whole) in self.origins:
                self.origins[id(part)] = self.origins[id(whole)]

    def give(self, frame: Frame, result: Any) -> None:
        """The result of a call: a value, a frame that will make it, nothing, or a generator to be entered."""
        kind = type(result)
        if kind is Frame:
            self.frames.append(result)
        elif kind is Entering:
            if result.thrown:
                throw(self, result.generator, result.value)
            enter_generator(self, result.generator, ("call", result.default), result.value)
        elif result is not DROPPED:
            frame.stack.append(result)

    def returned(self, frame: Frame, value: Any) -> None:
        """Hand the value of a finished frame to the one below."""
        frames = self.frames
        if frame.result is not NULL:
            if value is not None:
                raise Raised(TypeError(f"__init__() should return None, not '{type(value).__name__}'"))
            value = frame.result
        if not frames:
            self.last = value
            return
        below = frames[-1]
        if frame.then is not None:
            value = frame.then(value)
        self.give(below, value)


HANDLERS: dict[str, Callable] = {}


def handler_of(name: str) -> Callable:
    def register(fn: Callable) -> Callable:
        HANDLERS[name] = fn
        return fn
    return register


# ---------------------------------------------------------------------------------------------------- stack and names
@handler_of("POP_TOP")
def _pop_top(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    stack.pop()


@handler_of("PUSH_NULL")
def _push_null(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    stack.append(NULL)


@handler_of("COPY")
def _copy(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    stack.append(stack[-arg])


@handler_of("SWAP")
def _swap(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    stack[-1], stack[-arg] = stack[-arg], stack[-1]


@handler_of("LOAD_CONST")
def _load_const(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    stack.append(arg)


@handler_of("LOAD_GLOBAL")
def _load_global(run: Interpreter, frame: Frame, stack: list, arg: str) -> None:
    stack.append(run.domain.load_global(frame.space, arg))


@handler_of("STORE_GLOBAL")
def _store_global(run: Interpreter, frame: Frame, stack: list, arg: str) -> None:
    run.domain.set_item(frame.space, arg, stack[-1])
    stack.pop()


@handler_of("DELETE_GLOBAL")
def _delete_global(run: Interpreter, frame: Frame, stack: list, arg: str) -> None:
    run.domain.delete_global(frame.space, arg)


@handler_of("LOAD_FAST")
def _load_fast(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    value = frame.slots[arg]
    if value is UNBOUND:
        raise Raised(unbound_local(frame, arg))
    stack.append(value)


@handler_of("LOAD_FAST_AND_CLEAR")
def _load_fast_and_clear(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    stack.append(frame.slots[arg])
    frame.slots[arg] = UNBOUND


@handler_of("STORE_FAST")
def _store_fast(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    frame.slots[arg] = stack.pop()


@handler_of("DELETE_FAST")
def _delete_fast(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    if frame.slots[arg] is UNBOUND:
        raise Raised(unbound_local(frame, arg))
    frame.slots[arg] = UNBOUND


@handler_of("MAKE_CELL")
def _make_cell(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    value = frame.slots[arg]
    frame.slots[arg] = types.CellType() if value is UNBOUND else types.CellType(value)


@handler_of("LOAD_DEREF")
def _load_deref(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    value = run.domain.cell_get(frame.slots[arg])
    if value is UNBOUND:
        raise Raised(free_name(frame, arg))
    stack.append(value)


@handler_of("STORE_DEREF")
def _store_deref(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    run.domain.cell_set(frame.slots[arg], stack[-1])
    stack.pop()


@handler_of("DELETE_DEREF")
def _delete_deref(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    if run.domain.cell_get(frame.slots[arg]) is UNBOUND:
        raise Raised(free_name(frame, arg))
    run.domain.cell_set(frame.slots[arg], UNBOUND)


# ---------------------------------------------------------------------------------------------------- attributes, items, operators
def _asks(name: str, pops: int, method: str, with_arg: bool = False, gives: bool = True) -> None:
    """An instruction that takes `pops` values off the stack, after a method of the domain has had them, and puts there what that
    makes of them, or the frame it gives does; or nothing, unless it `gives`."""
    def handler(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
        at = len(stack) - pops
        values = stack[at:]
        result = getattr(run.domain, method)(*values, arg) if with_arg else getattr(run.domain, method)(*values)
        del stack[at:]
        if type(result) is Frame:
            if not gives:
                result.then = dropped
            run.frames.append(result)
        elif gives:
            stack.append(result)
    HANDLERS[name] = handler


_asks("LOAD_ATTR", 1, "get_attr", True)
_asks("BINARY_SUBSCR", 2, "get_item")
_asks("UNARY_OP", 1, "unary", True)
_asks("BINARY_OP", 2, "binary", True)
_asks("COMPARE_OP", 2, "compare", True)
_asks("IS_OP", 2, "is_", True)
_asks("CONTAINS_OP", 2, "contains", True)
_asks("TO_BOOL", 1, "truth")
_asks("GET_ITER", 1, "iter")
_asks("GET_YIELD_FROM_ITER", 1, "iter")
_asks("CONVERT_VALUE", 1, "convert", True)
_asks("LOAD_SUPER_ATTR", 3, "super_attr", True)


_asks("STORE_ATTR", 2, "store_attr", True, gives=False)
_asks("DELETE_ATTR", 1, "del_attr", True, gives=False)
_asks("STORE_SUBSCR", 3, "store_item", gives=False)
_asks("DELETE_SUBSCR", 2, "del_item", gives=False)


# ---------------------------------------------------------------------------------------------------- building
def _build(name: str, method: str) -> None:
    def handler(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
        at = len(stack) - arg
        values = stack[at:]
        result = getattr(run.domain, method)(values)
        del stack[at:]
        run.give(frame, result)
    HANDLERS[name] = handler


_build("BUILD_TUPLE", "build_tuple")
_build("BUILD_LIST", "build_list")
_build("BUILD_SET", "build_set")
_build("BUILD_STRING", "build_string")
_build("BUILD_SLICE", "build_slice")


@handler_of("BUILD_MAP")
def _build_map(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    at = len(stack) - 2 * arg
    values = stack[at:]
    result = run.domain.build_map(values[::2], values[1::2])
    del stack[at:]
    stack.append(result)


@handler_of("BUILD_CONST_KEY_MAP")
def _build_const_key_map(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    at = len(stack) - arg - 1
    result = run.domain.build_map(stack[-1], stack[at:-1])
    del stack[at:]
    stack.append(result)


def _into(name: str, method: str, pops: int = 1) -> None:
    """An instruction that puts values into a container further down."""
    def handler(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
        at = len(stack) - pops
        result = getattr(run.domain, method)(stack[at - arg], *stack[at:])
        del stack[at:]
        if type(result) is Frame:
            result.then = dropped
            run.frames.append(result)
    HANDLERS[name] = handler


_into("LIST_APPEND", "list_append")
_into("LIST_EXTEND", "list_extend")
_into("SET_ADD", "set_add")
_into("SET_UPDATE", "set_update")
_into("MAP_ADD", "map_add", 2)
_into("DICT_UPDATE", "dict_update")


@handler_of("DICT_MERGE")
def _dict_merge(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    run.domain.dict_merge(stack[-1 - arg], stack[-1], stack[-1 - arg - 2])
    stack.pop()


@handler_of("UNPACK_SEQUENCE")
def _unpack_sequence(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    _unpack(run, frame, arg, -1)


@handler_of("UNPACK_EX")
def _unpack_ex(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    _unpack(run, frame, arg & 255, arg >> 8)


def _unpack(run: Interpreter, frame: Frame, count: int, after: int) -> None:
    """The top of the stack becomes its values: `count`, and if `after` is not -1 a list of the rest and the last `after`."""
    result = run.domain.unpack(frame.stack[-1], count, after)
    frame.stack.pop()
    if type(result) is Frame:
        result.then = lambda items: _spread(frame, check_count(items, count, after))
        run.frames.append(result)
    else:
        _spread(frame, result)


def _spread(frame: Frame, items: list) -> Any:
    frame.stack.extend(reversed(items))
    return DROPPED


@handler_of("FORMAT")
def _format(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    spec = stack[-1] if arg else ""
    result = run.domain.format(stack[-1 - arg], spec)
    del stack[-1 - arg:]
    run.give(frame, result)


# ---------------------------------------------------------------------------------------------------- control
@handler_of("JUMP")
def _jump(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    frame.index = arg


@handler_of("POP_JUMP_IF_FALSE")
def _pop_jump_if_false(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    if not stack.pop():
        frame.index = arg


@handler_of("POP_JUMP_IF_TRUE")
def _pop_jump_if_true(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    if stack.pop():
        frame.index = arg


@handler_of("FOR_ITER")
def _for_iter(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    it = stack[-1]
    if type(it) is Generator:
        enter_generator(run, it, ("for", arg), None)
        return
    result = run.domain.next(it)
    if type(result) is Exhausted:
        stack.pop()
        frame.index = arg
    elif type(result) is Frame:                     # a __next__ written in Python
        result.awaits = "for", arg
        run.frames.append(result)
    else:
        stack.append(result)


@handler_of("RETURN_VALUE")
def _return_value(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    value = stack.pop()
    run.frames.pop()
    owner = frame.owner
    if owner is not None:
        owner.frame, owner.running = None, False
        finish_generator(run, frame, value)
        return
    run.returned(frame, value)


def enter_generator(run: Interpreter, generator: Generator, awaits: tuple, value: Any) -> None:
    """Run a generator until it yields: its frame on top, with the value sent in."""
    frame = generator.frame
    if generator.running:
        raise Raised(ValueError("generator already executing"))
    if frame is None:
        end_iteration(run, awaits, None)
        return
    if frame.index and frame.program.ins[frame.index - 1].op == "RETURN_GENERATOR":
        if value is not None:
            raise Raised(TypeError("can't send non-None value to a just-started generator"))
        frame.stack.append(None)
    else:
        frame.stack.append(value)
    frame.awaits = awaits
    generator.running = True
    run.frames.append(frame)


def throw(run: Interpreter, generator: Generator, error: BaseException) -> NoReturn:
    """Raise an exception where a generator stands."""
    frame = generator.frame
    if generator.running:
        raise Raised(ValueError("generator already executing"))
    if frame is not None and frame.program.ins[frame.index - 1].op == "RETURN_GENERATOR":
        generator.frame = None
    elif frame is not None:
        inner = generator.awaited
        if type(inner) is Generator and inner.frame is not None or hasattr(inner, "throw") or hasattr(inner, "close"):
            run.domain.refuse("PX012", "an exception thrown into a generator that waits for another")
        frame.awaits = "call", NULL
        generator.running = True
        run.frames.append(frame)
    raise Raised(error)


def end_iteration(run: Interpreter, awaits: tuple, value: Any) -> None:
    """Tell the frame on top that its iterator is exhausted."""
    below = run.frames[-1]
    kind, target = awaits
    if kind == "for":
        below.stack.pop()
        below.index = target
    elif kind == "send":
        below.stack[-1] = value
        below.index = target
    elif kind == "call" and target is not NULL:     # next(it, default)
        below.stack.append(target)
    else:
        raise Raised(StopIteration(*([] if value is None else [value])))


def finish_generator(run: Interpreter, frame: Frame, value: Any) -> None:
    awaits, frame.awaits = frame.awaits, None
    end_iteration(run, awaits, value)


@handler_of("RETURN_GENERATOR")
def _return_generator(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    if frame.program.code.co_flags & ASYNC:
        run.domain.refuse("PX011", "an async function")
    generator = run.domain.generator(frame)
    frame.owner = generator
    run.frames.pop()
    run.returned(frame, generator)


@handler_of("YIELD_VALUE")
def _yield_value(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    value = stack.pop()
    run.frames.pop()
    awaits, frame.awaits = frame.awaits, None
    frame.owner.running = False
    below = run.frames[-1]
    if awaits[0] == "send":
        below.stack[-1] = value
    else:
        below.stack.append(value)


@handler_of("SEND")
def _send(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    it, value = stack[-2], stack[-1]
    if type(it) is Generator:
        enter_generator(run, it, ("send", arg), value)
        return
    result = run.domain.send(it, value)
    if type(result) is Exhausted:
        stack[-1] = result.value
        frame.index = arg
    elif type(result) is Frame:
        result.awaits = ("send", arg)
        run.frames.append(result)
    else:
        stack[-1] = result


@handler_of("CLEANUP_THROW")
def _cleanup_throw(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    value = stack[-1]
    if isinstance(value, StopIteration):
        del stack[-3:]
        stack += [None, value.value]
        return
    raise Raised(stack.pop())


# ---------------------------------------------------------------------------------------------------- calls
def operands(stack: list, count: int) -> tuple[Any, list]:
    """The function and the arguments of a call with `count` of them on the stack."""
    args = stack[len(stack) - count:] if count else []
    first, second = stack[-count - 2], stack[-count - 1]
    if first is NULL:
        return second, args
    if second is NULL:
        return first, args
    return first, [second, *args]


@handler_of("CALL")
def _call(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    fn, args = operands(stack, arg)
    result = run.domain.call(fn, args, {})
    del stack[len(stack) - arg - 2:]
    run.give(frame, result)


@handler_of("CALL_KW")
def _call_kw(run: Interpreter, frame: Frame, stack: list, arg: tuple) -> None:
    count, names = arg
    fn, args = operands(stack, count)
    split = len(args) - len(names)
    result = run.domain.call(fn, args[:split], dict(zip(names, args[split:])))
    del stack[len(stack) - count - 2:]
    run.give(frame, result)


@handler_of("CALL_FUNCTION_EX")
def _call_function_ex(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    kwargs = run.domain.star_kwargs(stack[-1]) if arg else {}
    args = run.domain.unpack(stack[-1 - arg], None, -1)
    fn = stack[-2 - arg] if stack[-2 - arg] is not NULL else stack[-3 - arg]
    if type(args) is Frame:                         # a generator after the star: its values first
        def call(values: list) -> Any:
            del frame.stack[len(frame.stack) - 3 - arg:]
            return run.domain.call(fn, values, kwargs)
        args.then = call
        run.frames.append(args)
        return
    result = run.domain.call(fn, list(args), kwargs)
    del stack[len(stack) - 3 - arg:]
    run.give(frame, result)


@handler_of("MAKE_FUNCTION")
def _make_function(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    code = stack[-1]
    cells = tuple([types.CellType() for _ in code.co_freevars])
    stack[-1] = types.FunctionType(code, frame.space, closure=cells or None)
    run.domain.made(stack[-1])


@handler_of("SET_FUNCTION_ATTRIBUTE")
def _set_function_attribute(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    fn, value = stack.pop(), stack.pop()
    if arg == 1:
        fn.__defaults__ = value
    elif arg == 2:
        fn.__kwdefaults__ = value
    elif arg == 4:
        fn.__annotations__ = dict(zip(value[::2], value[1::2])) if type(value) is tuple else value
    else:
        made = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, tuple(value))
        made.__kwdefaults__, made.__annotations__, made.__qualname__ = fn.__kwdefaults__, fn.__annotations__, fn.__qualname__
        fn = made
        run.domain.made(fn)
    stack.append(fn)


# ---------------------------------------------------------------------------------------------------- with, exceptions
@handler_of("BEFORE_WITH")
def _before_with(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    manager = stack[-1]
    leave = run.domain.special(manager, "__exit__")
    enter = run.domain.special(manager, "__enter__")
    result = run.domain.call(enter, [], {})
    stack[-1] = leave
    run.give(frame, result)


@handler_of("WITH_EXCEPT_START")
def _with_except_start(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    value = stack[-1]
    run.give(frame, run.domain.call(stack[-4], [type(value), value, value.__traceback__], {}))


@handler_of("PUSH_EXC_INFO")
def _push_exc_info(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    value = stack.pop()
    stack += [frame.exc, value]
    frame.exc = value


@handler_of("POP_EXCEPT")
def _pop_except(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    frame.exc = stack.pop()


@handler_of("CHECK_EXC_MATCH")
def _check_exc_match(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    kinds = stack.pop()
    for kind in kinds if isinstance(kinds, tuple) else (kinds,):
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise Raised(TypeError("catching classes that do not inherit from BaseException is not allowed"))
    stack.append(isinstance(stack[-1], kinds))


@handler_of("CHECK_EG_MATCH")
def _check_eg_match(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    whole = stack[-2]
    rest, taken = run.domain.divide(whole, stack[-1])
    run.part_of(rest, whole)
    run.part_of(taken, whole)
    stack[-2:] = [rest, taken]
    if taken is not None:
        frame.exc = taken


@handler_of("RERAISE")
def _reraise(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    raise Raised(stack.pop())


@handler_of("RAISE_VARARGS")
def _raise_varargs(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    if arg == 0:
        error = handled(run)
        if error is None:
            raise Raised(RuntimeError("No active exception to reraise"))
        raise Raised(error)
    cause = stack[-1] if arg == 2 else NULL
    value = stack[-arg]
    if isinstance(value, type) and issubclass(value, BaseException):
        result = run.domain.call(value, [], {})
        if type(result) is Frame:                   # an __init__ written in Python
            def then(made: BaseException) -> Any:
                raise Raised(_caused(made, cause))
            del stack[-arg:]
            result.then = then
            run.frames.append(result)
            return
        value = result
    if not isinstance(value, BaseException):
        raise Raised(TypeError("exceptions must derive from BaseException"))
    del stack[-arg:]
    raise Raised(_caused(value, cause))


def _caused(value: BaseException, cause: Any) -> BaseException:
    if cause is not NULL:
        value.__cause__ = cause() if isinstance(cause, type) else cause
    return value


def handled(run: Interpreter) -> BaseException | None:
    """The exception that is being handled: of the innermost frame that handles one."""
    for frame in reversed(run.frames):
        if frame.exc is not None:
            return frame.exc
    return None


# ---------------------------------------------------------------------------------------------------- imports, matching, the rest
@handler_of("IMPORT_NAME")
def _import_name(run: Interpreter, frame: Frame, stack: list, arg: str) -> None:
    result = run.domain.import_name(arg, frame.space, stack[-1], stack[-2])
    del stack[-2:]
    stack.append(result)


@handler_of("IMPORT_FROM")
def _import_from(run: Interpreter, frame: Frame, stack: list, arg: str) -> None:
    stack.append(run.domain.import_from(stack[-1], arg))


@handler_of("GET_LEN")
def _get_len(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    run.give(frame, run.domain.call(len, [stack[-1]], {}))


@handler_of("MATCH_SEQUENCE")
def _match_sequence(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    stack.append(bool(type(stack[-1]).__flags__ & (1 << 5)))


@handler_of("MATCH_MAPPING")
def _match_mapping(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    stack.append(bool(type(stack[-1]).__flags__ & (1 << 6)))


@handler_of("MATCH_KEYS")
def _match_keys(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    subject, keys = stack[-2], stack[-1]
    found = []
    for key in keys:
        if not run.domain.contains(key, subject, 0):
            stack.append(None)
            return
        found.append(run.domain.get_item(subject, key))
    stack.append(tuple(found))


@handler_of("MATCH_CLASS")
def _match_class(run: Interpreter, frame: Frame, stack: list, arg: int) -> None:
    subject, kind, names = stack[-3:]
    found: list | None = None
    if run.domain.call(isinstance, [subject, kind], {}) is True:
        found = []
        if arg:
            try:
                fields = run.domain.get_attr(kind, "__match_args__")
            except Raised as raised:
                if not isinstance(raised.value, AttributeError):
                    raise
                fields = None
            if fields is None and kind in (bool, bytearray, bytes, dict, float, frozenset, int, list, set, str, tuple) and arg == 1:
                found.append(subject)
                fields = ()
            elif fields is None or len(fields) < arg:
                raise Raised(TypeError(f"{kind.__name__}() accepts {len(fields or ())} positional sub-patterns ({arg} given)"))
            names = (*fields[:arg], *names)
        for name in names:
            try:
                found.append(run.domain.get_attr(subject, name))
            except Raised as raised:
                if not isinstance(raised.value, AttributeError):
                    raise
                found = None
                break
    del stack[-3:]
    stack.append(None if found is None else tuple(found))


@handler_of("INTRINSIC_1")
def _intrinsic_1(run: Interpreter, frame: Frame, stack: list, arg: str) -> None:
    if arg == "LIST_TO_TUPLE":
        stack[-1] = tuple(stack[-1])
    elif arg == "STOPITERATION_ERROR":
        if isinstance(stack[-1], StopIteration):
            stack[-1] = chained(RuntimeError("generator raised StopIteration"), stack[-1])
    else:
        run.domain.refuse("PX019", arg.lower())


@handler_of("INTRINSIC_2")
def _intrinsic_2(run: Interpreter, frame: Frame, stack: list, arg: str) -> None:
    if arg != "PREP_RERAISE_STAR":
        run.domain.refuse("PX019", arg.lower())
    whole, left = stack[-2:]
    stack[-2:] = [run.domain.rejoin(whole, left)]


def _unknown(name: str, number: str, what: str) -> None:
    def handler(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
        run.domain.refuse(number, what)
    HANDLERS[name] = handler


for _name in ("GET_AWAITABLE", "GET_AITER", "GET_ANEXT", "BEFORE_ASYNC_WITH", "END_ASYNC_FOR"):
    _unknown(_name, "PX011", "async code")
for _name in ("LOAD_NAME", "STORE_NAME", "DELETE_NAME", "LOAD_LOCALS", "LOAD_FROM_DICT_OR_GLOBALS",
              "LOAD_FROM_DICT_OR_DEREF", "SETUP_ANNOTATIONS"):
    _unknown(_name, "PX019", "the body of a class")


@handler_of("LOAD_BUILD_CLASS")
def _load_build_class(run: Interpreter, frame: Frame, stack: list, arg: Any) -> None:
    stack.append(builtins.__build_class__)
