"""The rest of a frame as a real Python function: basic blocks of a program, written as a syntax tree and compiled.

In: a program, the instruction to go on from, the globals. Out: a function of the frame's slots, its stack and the exception being
handled, or for a generator's code one that gives a generator. What stays true: locals have the user's names (what has no value is
simply unbound), everything else a name that begins with a dot; every node has the user's place in the source; an exception that is
being handled is handled by a real `except` clause, one nested in the other, so that `__context__`, `sys.exception()` and a bare
`raise` are Python's own.
"""
from __future__ import annotations

import ast
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

from . import blockwork as work
from .decode import Program, depths, effect
from .interpreter import ASYNC, GENERATOR
from .spelling import EMPTY, ENDED, WRITERS, Maybe, Unsupported, literal, mentions
from .tables import ENDS, JUMPS, UNBOUND

__all__: list[str] = []


# ---------------------------------------------------------------------------------------------------- what is known before an instruction
VALUE, MAYBE, PLACE = "value", "maybe unbound", "place"     # kinds of stack entries, beside EMPTY; a number: the exception saved there
QUIET = frozenset(("COPY", "SWAP", "POP_TOP", "PUSH_NULL", "LOAD_CONST", "POP_EXCEPT", "PUSH_EXC_INFO", "JUMP", "LOAD_FAST_AND_CLEAR",
                   "STORE_FAST", "MAKE_CELL", "RETURN_GENERATOR", "RETURN_VALUE"))


class State:
    """`kinds`: of the entries of the stack; `level`: how many exceptions are being handled."""

    __slots__ = ("kinds", "level")

    def __init__(self, kinds: tuple, level: int):
        self.kinds, self.level = kinds, level


def handler_of(program: Program, k: int) -> tuple[int, int, bool] | None:
    """The handler of an instruction, but for the one that turns StopIteration into RuntimeError: real generators do that."""
    found = program.handler[k]
    if found is not None and program.ins[found[0]].arg == "STOPITERATION_ERROR":
        return None
    return found


def successors(program: Program, k: int, state: State) -> list[tuple[int, State]]:
    """Where an instruction leads, and what is known there. `yield from` is one instruction here: SEND leads to its end."""
    instruction, kinds, level = program.ins[k], state.kinds, state.level
    op, arg = instruction.op, instruction.arg
    found = []
    handler = handler_of(program, k)
    if handler is not None and op not in QUIET:
        target, depth, place = handler
        found.append((target, State((*kinds[:depth], *[PLACE] * place, VALUE), level)))
    if op == "PUSH_NULL":
        kinds += (EMPTY,)
    elif op == "COPY":
        kinds += (kinds[-arg],)
    elif op == "SWAP":
        swapped = list(kinds)
        swapped[-1], swapped[-arg] = swapped[-arg], swapped[-1]
        kinds = tuple(swapped)
    elif op == "LOAD_FAST_AND_CLEAR":
        kinds += (MAYBE,)
    elif op == "PUSH_EXC_INFO":
        level += 1
        kinds = (*kinds[:-1], level, VALUE)
    elif op == "POP_EXCEPT":
        level -= 1
        kinds = kinds[:-1]
    else:
        takes, puts = effect(instruction)
        kinds = kinds[:len(kinds) - takes] + (VALUE,) * puts
    if op in JUMPS:
        found.append((arg, State(state.kinds[:-1] if op == "FOR_ITER" else kinds, level)))
    if op not in ENDS and op != "SEND":
        found.append((k + 1, State(kinds, level)))
    return found


def states(program: Program) -> dict[int, State]:
    """What is known before each instruction that can be reached."""
    found, work = {0: State((), 0)}, [0]
    while work:
        k = work.pop()
        for target, state in successors(program, k, found[k]):
            known = found.get(target)
            if known is None:
                found[target] = state
                work.append(target)
            elif (known.kinds, known.level) != (state.kinds, state.level):
                raise Unsupported(f"instruction {target} of {program.code.co_qualname} is reached with different stacks")
    return found


def delegation(program: Program, index: int, primed: bool) -> tuple[int, bool] | None:
    """Inside a `yield from`: its SEND, and whether it gives a value first (else it sends one)."""
    ins, at = program.ins, index
    if ins[at].op == "JUMP":
        at = ins[at].arg
    if ins[at].op == "SEND":
        return at, primed
    if ins[at].op == "YIELD_VALUE" and ins[at + 1].op == "JUMP" and ins[ins[at + 1].arg].op == "SEND":
        return ins[at + 1].arg, True
    return None


# ---------------------------------------------------------------------------------------------------- writing
NESTED = 12                                 # how deep blocks are written into each other
LOOKING = frozenset(("locals", "vars", "dir", "eval", "exec"))      # functions that look at the frame that calls them


class Writer:
    """Writes the function that goes on at `index`. `primed`: from inside the `yield` before it, for the next value that is sent.

    While a block is written, `stack` holds what its instructions have put there: expressions still to be evaluated, in order, and
    the kinds of entries that need no variable. Whatever stays there over a statement is in the variables `.s0`, `.s1`, ... first.
    """

    def __init__(self, program: Program, index: int, primed: bool):
        code = program.code
        if code.co_flags & ASYNC:
            raise Unsupported(f"{code.co_qualname} is async")
        self.program, self.states = program, states(program)
        self.primed, self.delegates = primed, delegation(program, index, primed)
        self.entry = index - primed if self.delegates is None else self.delegates[0]
        if self.entry not in self.states:
            raise Unsupported(f"instruction {index} of {code.co_qualname} cannot be reached")
        self.known: dict[str, Any] = {}
        self.contents = work.contents_of(program)
        self.positions = list(code.co_positions())
        self.place = {"lineno": code.co_firstlineno, "end_lineno": code.co_firstlineno, "col_offset": 0, "end_col_offset": 0}
        world = {i.arg for i in program.ins if i.op in ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL")}
        self.locals = [f"..{name}" if name in world else name for name in program.slotnames]
        self.looks, self.written_globals = world & LOOKING, {i.arg for i in program.ins if i.op in ("STORE_GLOBAL", "DELETE_GLOBAL")}
        self.stack: list[Any] = []
        self.out: list[ast.stmt] = []
        self.dirty: set[int] = set()                # variables of the stack that hold something
        self.used: set[int] = set()
        self.leaders, self.sources = self.edges()
        self.numbers: dict[int, int] = {}           # a block that is gone to by its number -> that
        self.regions: list[tuple[int, Any]] = []    # number -> (level, handler, or a step into the handling of an exception)
        self.bodies: dict[int, list] = {}
        self.waiting: list[int] = []
        self.handler: Any = None                    # of the block that is being written
        self.steps: list[int] = []
        self.arrival = (0, -1)

    def edges(self) -> tuple[set[int], dict[int, int]]:
        """Where blocks begin, and from how many places each is gone to (an exception counts as two)."""
        program, ins = self.program, self.program.ins
        leaders, sources, reached, work = {self.entry}, {self.entry: 2}, {self.entry}, [self.entry]
        while work:
            k = work.pop()
            op = ins[k].op
            for target, state in successors(program, k, self.states[k]):
                jump = op in JUMPS or op in ("POP_EXCEPT", "PUSH_EXC_INFO") or target != k + 1
                if jump or ins[target].op == "PUSH_EXC_INFO" or handler_of(program, k) != handler_of(program, target):
                    leaders.add(target)
                sources[target] = sources.get(target, 0) + 1 + (target != k + 1 and not (op in JUMPS and target == ins[k].arg))
                if target not in reached:
                    reached.add(target)
                    work.append(target)
        return leaders, sources

    # ------------------------------------------------------------------------------------------ nodes
    def make(self, kind: type, *parts: Any) -> Any:
        return kind(*parts, **self.place)

    def name(self, text: str, context: type = ast.Load) -> ast.Name:
        return ast.Name(text, context(), **self.place)

    def entry_of_stack(self, at: int, context: type = ast.Load, kind: type = ast.Name) -> ast.Name:
        self.used.add(at)
        return kind(f".s{at}", context(), **self.place)

    def value(self, value: Any) -> ast.expr:
        return self.make(ast.Constant, value) if literal(value) else self.thing(value, f".k{len(self.known)}")

    def thing(self, value: Any, name: str = "") -> ast.Name:
        """An object by a name of its own."""
        name = name or f".{value.__name__}"
        self.known[name] = value
        return self.name(name)

    def called(self, fn: Any, *args: ast.expr) -> ast.Call:
        return self.make(ast.Call, self.thing(fn) if callable(fn) else fn, list(args), [])

    def assigned(self, target: str, value: ast.expr) -> ast.Assign:
        return self.make(ast.Assign, [self.name(target, ast.Store)], value)

    def cleared(self, *names: str) -> list[ast.stmt]:
        return [self.make(ast.Assign, [self.name(name, ast.Store) for name in names], self.value(None))] if names else []

    def same(self, name: str, value: Any, known: str) -> ast.expr:
        return self.make(ast.Compare, self.name(name), [ast.Is()], [self.thing(value, known)])

    # ------------------------------------------------------------------------------------------ the stack of a block
    def settle(self, operands: int = 0, constants: bool = False) -> None:
        """Evaluate what lies below the topmost `operands` into its variables."""
        below = len(self.stack) - operands

        def pending(end: int) -> list[int]:
            return [at for at, item in enumerate(self.stack[:end]) if isinstance(item, ast.AST) and (
                constants or not isinstance(item, ast.Constant)) and not (isinstance(item, ast.Name) and item.id == f".s{at}")]
        moved = pending(below)
        if moved and mentions(self.stack[below:], {f".s{at}" for at in moved}):
            moved = pending(len(self.stack))
        if not moved:
            return
        targets = [self.entry_of_stack(at, ast.Store) for at in moved]
        values = [self.stack[at] for at in moved]
        if len(moved) == 1:
            self.out.append(self.make(ast.Assign, targets, values[0]))
        else:
            self.out.append(self.make(ast.Assign, [self.make(ast.Tuple, targets, ast.Store())], self.make(ast.Tuple, values, ast.Load())))
        for at in moved:
            self.stack[at] = self.entry_of_stack(at, kind=Maybe if type(self.stack[at]) is Maybe else ast.Name)
        self.dirty.update(moved)
        self.release()

    def release(self) -> None:
        """Let go of what is no longer on the stack."""
        stale = [at for at in sorted(self.dirty) if not mentions(self.stack, {f".s{at}"})]
        self.out += self.cleared(*[f".s{at}" for at in stale])
        self.dirty.difference_update(stale)

    def statement(self, *nodes: ast.stmt) -> None:
        self.out += nodes
        self.release()

    def push(self, item: Any) -> None:
        self.stack.append(item)

    def hold(self, kind: type = ast.Name) -> str:
        """The name of the variable for a new topmost entry, which is to be set by a statement."""
        at = len(self.stack)
        self.stack.append(self.entry_of_stack(at, kind=kind))
        self.dirty.add(at)
        return f".s{at}"

    def pop(self) -> Any:
        return self.stack.pop()

    def popped(self, count: int) -> list:
        at = len(self.stack) - count
        items = self.stack[at:]
        del self.stack[at:]
        return items

    # ------------------------------------------------------------------------------------------ blocks
    def block(self, k: int, depth: int) -> list[ast.stmt]:
        """The statements of the block that begins at `k`."""
        saved = self.stack, self.out, self.dirty, self.handler
        state, self.handler = self.states[k], handler_of(self.program, k)
        self.stack = [self.entry_of_stack(at, kind=Maybe if kind == MAYBE else ast.Name) if kind in (VALUE, MAYBE) else kind
                      for at, kind in enumerate(state.kinds)]
        self.out, self.dirty = [], {at for at, kind in enumerate(state.kinds) if kind in (VALUE, MAYBE)}
        ins = self.program.ins
        while True:
            instruction = ins[k]
            line, end, column, end_column = self.positions[instruction.off >> 1]
            if line is not None:
                known = column is not None and end_column is not None and end is not None
                self.place = dict(lineno=line, end_lineno=end if known else line, col_offset=column if known else 0,
                                  end_col_offset=end_column if known else 0)
            following = ins[k + 1] if k + 1 < len(ins) and k + 1 not in self.leaders else None
            skipped = WRITERS[instruction.op](self, instruction.arg, following, k, depth) or 0
            if skipped == ENDED:
                break
            k += 1 + skipped
            if k in self.leaders:
                self.settle(constants=True)
                self.out += self.goto(k, depth)
                break
        made, (self.stack, self.out, self.dirty, self.handler) = self.out, saved
        return made

    def goto(self, k: int, depth: int) -> list[ast.stmt]:
        """Go on at `k`, where the same number of exceptions is being handled."""
        handler = handler_of(self.program, k)
        made = self.left(k)
        if self.sources[k] > 1 or depth == NESTED:
            return [*made, self.assigned(".pc", self.value(self.number(k))), self.make(ast.Continue)]
        if handler != self.handler:
            made.append(self.assigned(".pc", self.value(self.region(self.states[k].level, handler))))
        return [*made, *self.block(k, depth + 1)]

    def left(self, k: int) -> list[ast.stmt]:
        """Let go of what `k` has no more on its stack."""
        there = {at for at, kind in enumerate(self.states[k].kinds) if kind in (VALUE, MAYBE)}
        return self.cleared(*[f".s{at}" for at in sorted(self.dirty - there)])

    def number(self, k: int) -> int:
        """The number by which the block at `k` is gone to."""
        if k not in self.numbers:
            self.numbers[k] = self.region(self.states[k].level, handler_of(self.program, k))
            self.waiting.append(k)
        return self.numbers[k]

    def region(self, level: int, handler: Any) -> int:
        """A number for statements that this handler covers; with another level there, only what cannot raise stands in its range."""
        if handler is not None and handler[0] != "handle":
            if handler[0] not in self.sources or self.states[handler[0]].level != level:
                handler = None
            else:
                self.number(handler[0] + (self.program.ins[handler[0]].op == "PUSH_EXC_INFO"))
        self.regions.append((level, handler))
        return len(self.regions) - 1

    # ------------------------------------------------------------------------------------------ the function
    def compiled(self) -> tuple[types.CodeType, dict[str, Any]]:
        """Code that defines `.make`, a function that makes the function of the things it knows by name; these."""
        code = self.program.code
        body = self.begin()
        while self.waiting:
            k = self.waiting.pop()
            self.bodies[self.numbers[k]] = self.block(k, 0)
        body += self.level(0)
        tree = ast.parse("def make():\n def rest(slots, stack, exc=None): pass\n return rest")
        outer: Any = tree.body[0]
        inner = outer.body[0]
        outer.name, inner.name, outer.body[1].value.id = ".make", ".rest", ".rest"
        outer.args.args = [ast.arg(name, lineno=1, col_offset=0, end_lineno=1, end_col_offset=0) for name in self.known]
        for argument in inner.args.args:
            argument.arg = f".{argument.arg}"
        inner.lineno = inner.end_lineno = code.co_firstlineno
        inner.body = body
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")         # they were given when the user's own code was compiled
            try:
                return compile(tree, code.co_filename, "exec", dont_inherit=True), self.known
            except (SyntaxError, RecursionError, MemoryError) as error:
                raise Unsupported(f"{code.co_qualname}: {error}") from None

    def begin(self) -> list[ast.stmt]:
        """Take the frame apart, and step into the handling of each exception that is being handled."""
        code, state = self.program.code, self.states[self.entry]
        made: list[ast.stmt] = [self.make(ast.Global, sorted(self.written_globals))] if self.written_globals else []
        if code.co_flags & GENERATOR:
            made.append(self.make(ast.If, self.value(False), [self.make(ast.Expr, self.make(ast.Yield))], []))
        kinds, level = list(state.kinds), state.level
        targets = []
        for at, kind in enumerate(kinds[:-1] if self.primed else kinds):
            handled = f".handled{kind - 1}" if isinstance(kind, int) and kind > 1 else ".unused"
            targets.append(self.entry_of_stack(at, ast.Store) if kind in (VALUE, MAYBE) else self.name(handled, ast.Store))
        for names, source in (([self.name(name, ast.Store) for name in self.locals], ".slots"), (targets, ".stack")):
            made.append(self.make(ast.Assign, [self.make(ast.Tuple, names, ast.Store())], self.name(source)))
        for name in self.locals:
            made.append(self.make(ast.If, self.same(name, UNBOUND, ".unbound"), [self.make(ast.Delete, [self.name(name, ast.Del)])], []))
        top = len(kinds) - 1
        if self.primed:
            made.append(self.assigned(self.entry_of_stack(top).id, self.value(None)))
        if self.delegates is not None:
            resumed = self.called(work.Resumed, self.entry_of_stack(top - 1), self.value(self.delegates[1]), self.entry_of_stack(top))
            made += [self.assigned(f".s{top - 1}", resumed), *self.cleared(f".s{top}")]
        handling = [f".handled{n}" for n in range(1, level)] + [".exc"] * (level > 0)
        if self.program.ins[self.entry].op == "PUSH_EXC_INFO":
            handling.append(self.entry_of_stack(top).id)
            self.arrival = self.number(self.entry + 1), top + 1
        else:
            self.arrival = self.number(self.entry), -1
        steps = [self.region(n, ("handle", n)) for n in range(len(handling))]
        self.steps = [*steps, self.arrival[0]]
        for number, name in zip(steps, handling):
            self.bodies[number] = self.again(name)
        made += self.cleared(".slots", ".stack", ".unused", ".again", ".error")
        return [*made, self.assigned(".pc", self.value(self.steps[0]))]

    def again(self, name: str) -> list[ast.stmt]:
        """Raise an exception that has been raised before."""
        return [self.assigned(".again", self.called(work.keep, self.name(name))), self.make(ast.Raise, self.name(name))]

    def level(self, level: int) -> list[ast.stmt]:
        """The loop that runs the blocks where `level` exceptions are being handled, in it those with one more."""
        here = [number for number in sorted(self.bodies) if self.regions[number][0] == level]
        body = self.tree(here)
        covered: dict[Any, list[int]] = {}
        for number, (at, handler) in enumerate(self.regions):
            if at == level and handler is not None:
                covered.setdefault(handler, []).append(number)
        names = [f".s{at}" for at in sorted(self.used)]
        chain: list[ast.stmt] = [*self.cleared(*names, *[f".handled{n}" for n in range(1, len(self.steps) - 1)], ".exc", ".error"),
                                 self.make(ast.Raise)]
        deeper = False
        for handler, numbers in covered.items():
            pc = self.make(ast.Tuple, [self.value(number) for number in numbers], ast.Load())
            taken, up = self.handle(handler)
            deeper |= up
            chain = [self.make(ast.If, self.make(ast.Compare, self.name(".pc"), [ast.In()], [pc]), taken, chain)]
        caught: list[ast.stmt] = [
            self.assigned(".error", self.called(sys.exception)),
            self.make(ast.If, self.make(ast.Compare, self.name(".again"), [ast.IsNot()], [self.value(None)]), [
                self.make(ast.Expr, self.called(work.restore, self.name(".error"), self.name(".again"))), *self.cleared(".again")], []),
            self.make(ast.Expr, self.called(work.tidy, self.name(".error"))), *chain]
        if deeper:
            caught += self.level(level + 1)
        handler_node = self.make(ast.ExceptHandler, self.thing(BaseException), None, caught)
        return [self.make(ast.While, self.value(True), [self.make(ast.Try, body, [handler_node], [], [])], [])]

    def handle(self, handler: tuple) -> tuple[list[ast.stmt], bool]:
        """What is done with an exception that a handler takes, and whether it is being handled from then on."""
        if handler[0] == "handle":
            at, target, up = -1, self.steps[handler[1] + 1], True
            if handler[1] + 2 == len(self.steps):
                at = self.arrival[1]
        else:
            target, at, place = handler
            up = self.program.ins[target].op == "PUSH_EXC_INFO"
            at, target = at + place + up, self.numbers[target + up]
        made = [] if at < 0 else [self.assigned(self.entry_of_stack(at).id, self.name(".error"))]
        gone = [f".s{n}" for n in sorted(self.used) if n > at >= 0]
        made += [*self.cleared(".error", *gone), self.assigned(".pc", self.value(target))]
        return (made if up else [*made, self.make(ast.Continue)]), up

    def tree(self, numbers: list[int]) -> list[ast.stmt]:
        """The choice between blocks by their numbers."""
        if len(numbers) == 1:
            return self.bodies[numbers[0]]
        middle = len(numbers) // 2
        test = self.make(ast.Compare, self.name(".pc"), [ast.Lt()], [self.value(numbers[middle])])
        return [self.make(ast.If, test, self.tree(numbers[:middle]), self.tree(numbers[middle:]))]


# ---------------------------------------------------------------------------------------------------- the functions
_codes: dict[tuple[int, int, bool], tuple] = {}
_functions: dict[tuple[int, int, bool, int], tuple] = {}


def _function(program: Program, index: int, space: dict, primed: bool) -> Callable:
    key = id(program), index, primed
    found = _functions.get((*key, id(space)))
    if found is not None and found[0] is program and found[1] is space:
        return found[2]
    written = _codes.get(key)
    if written is None or written[0] is not program:
        if len(_codes) > 5_000:
            _codes.clear()
        written = _codes[key] = (program, *Writer(program, index, primed).compiled())
    _, code, known = written
    names: dict[str, Any] = {}
    exec(code, space, names)
    fn = names[".make"](**known)
    fn.__code__ = fn.__code__.replace(co_name=program.code.co_name, co_qualname=program.code.co_qualname)
    fn.__name__, fn.__qualname__ = program.code.co_name, program.code.co_qualname
    if len(_functions) > 5_000:
        _functions.clear()
    _functions[(*key, id(space))] = program, space, fn
    return fn


def continuation(program: Program, index: int, space: dict) -> Callable:
    """The function (slots, stack, exc=None) that runs the rest of a frame: from instruction `index` on, with the raw values of its
    slots (UNBOUND where there is none), its stack and the exception it is handling; it returns what the frame returns, for the code of
    a generator the generator. Raises Unsupported."""
    if program.code.co_flags & GENERATOR:
        return generator_continuation(program, index, space)
    return _function(program, index, space, False)


def generator_continuation(program: Program, index: int, space: dict) -> Callable:
    """The function (slots, stack, exc=None) that gives a generator which goes on at `index`. After a YIELD_VALUE whose value is not
    yet on the stack the generator stands there: the next `send` is what that `yield` receives. Everywhere else it goes on with the
    next `next`. Raises Unsupported."""
    if not program.code.co_flags & GENERATOR:
        raise Unsupported(f"{program.code.co_qualname} is no generator")
    before = program.ins[index - 1].op if index else ""
    if before not in ("YIELD_VALUE", "RETURN_GENERATOR"):
        return _function(program, index, space, False)

    def start(slots: list, stack: list, exc: BaseException | None = None) -> Any:
        if len(stack) == depths(program)[index]:                # the value is there
            return _function(program, index, space, False)(slots, stack, exc)
        if before == "RETURN_GENERATOR":
            return _function(program, index - 1, space, False)(slots, stack, exc)
        made = _function(program, index, space, True)(slots, stack, exc)
        next(made)
        return made
    return start
