"""Where a segment ends and how the program goes on: stops, points, and the single instruction in between.

In: the frames as they stood before the instruction that cannot be captured. Out: a `Stop`, which knows what of them is live, runs the
instruction on real values, and says at which `Point` the next segment starts, with which values. What stays true: values travel as
one flat tuple, outermost frame first, of each frame its live slots, its stack, the exception it handles.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .breaks import Break
from .concrete import Concrete, raising
from .decode import Program, live
from .frame import Frame, Raised
from .interpreter import HANDLERS, Interpreter
from .raising import at_line, caller_at, callers
from .tables import NULL, UNBOUND

__all__: list[str] = []


class Spec(NamedTuple):
    """One frame of a point. `slots`: which ones hold values; `stack`: for each entry whether it is a value (else NULL); `handling`:
    whether an exception is being handled; `building`: whether its call gives an object made before."""

    program: Program
    space: Any
    index: int
    slots: tuple[int, ...]
    stack: tuple[bool, ...]
    handling: bool
    building: bool
    name: str | None

    @property
    def size(self) -> int:
        return len(self.slots) + sum(self.stack) + self.handling + self.building


def spec_of(frame: Frame) -> tuple[Spec, list]:
    """A frame's Spec and the values it needs."""
    mask = live(frame.program)[frame.index]
    slots = tuple([k for k, v in enumerate(frame.slots) if v is not UNBOUND and mask >> k & 1])
    stack = tuple([v is not NULL for v in frame.stack])
    values = [frame.slots[k] for k in slots] + [v for v in frame.stack if v is not NULL]
    handling, building = frame.exc is not None, frame.result is not NULL
    values += [frame.exc] * handling + [frame.result] * building
    return Spec(frame.program, frame.space, frame.index, slots, stack, handling, building, frame.name), values


def frames_of(specs: Sequence[Spec], values: Sequence) -> list[Frame]:
    """The frames that `specs` and `values` describe."""
    return [frame_from(spec, part) for spec, part in zip(specs, divide(specs, values))]


def divide(specs: Sequence[Spec], values: Sequence) -> list[Sequence]:
    parts, at = [], 0
    for spec in specs:
        parts.append(values[at:at + spec.size])
        at += spec.size
    return parts


def frame_from(spec: Spec, values: Sequence) -> Frame:
    program, space, index, live_slots, depth, handling, building, name = spec
    slots = [UNBOUND] * program.nslots
    at = 0
    for k in live_slots:
        slots[k] = values[at]
        at += 1
    stack = []
    for there in depth:
        if there:
            stack.append(values[at])
            at += 1
        else:
            stack.append(NULL)
    frame = Frame(program, space, slots, index, stack)
    frame.name = name
    if handling:
        frame.exc = values[at]
        at += 1
    if building:
        frame.result = values[at]
    return frame


class Key:
    """Specs compared by the identity of their programs."""

    __slots__ = ("specs", "_hash")

    def __init__(self, specs: tuple[Spec, ...]):
        self.specs = specs
        self._hash = hash(tuple([(id(s.program), *s[2:7]) for s in specs]))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: Any) -> bool:
        return len(self.specs) == len(other.specs) and all(
            a.program is b.program and a.space is b.space and a[2:7] == b[2:7] for a, b in zip(self.specs, other.specs))


# Instructions that leave the slots and the exception being handled as they are.
KEEPS = frozenset(("POP_TOP", "LOAD_GLOBAL", "STORE_GLOBAL", "LOAD_DEREF", "STORE_DEREF", "LOAD_ATTR", "STORE_ATTR", "DELETE_ATTR", "BINARY_SUBSCR",
                   "STORE_SUBSCR", "DELETE_SUBSCR", "BINARY_OP", "UNARY_OP", "COMPARE_OP", "IS_OP", "CONTAINS_OP", "TO_BOOL", "BUILD_STRING",
                   "CONVERT_VALUE", "FORMAT", "POP_JUMP_IF_FALSE", "POP_JUMP_IF_TRUE", "GET_ITER", "FOR_ITER", "CALL", "CALL_KW",
                   "CALL_FUNCTION_EX", "IMPORT_NAME", "UNPACK_SEQUENCE"))


class Goto(NamedTuple):
    """What a segment that ends in a break returns."""

    stop: Stop
    values: tuple


class Finished(NamedTuple):
    """The function has returned, after the last instruction of a stop."""

    value: Any


class Placed(Concrete):
    """Plain Python, whose calls come from the user's line."""

    def __init__(self, caller: Any):
        super().__init__()
        self.caller = caller

    @raising
    def call(self, fn: Any, args: list, kwargs: dict) -> Any:
        if fn is super and not args:
            return super(*self.enclosing())
        return self.caller(fn, args, kwargs)


class Stop:
    """The end of a segment: the instruction at the top frame's index is run by Python. `points` makes the next point for a Key."""

    def __init__(self, frames: Sequence[Frame], error: Break, points: Any):
        self.error, self.points = error, points
        specs, values = [], []
        for frame in frames:
            spec, part = spec_of(frame)
            specs.append(spec)
            values.append(part)
        self.specs, self.values = tuple(specs), [v for part in values for v in part]
        self.below = sum(s.size for s in self.specs[:-1])
        self.known: dict[Any, Any] = {}
        self.caller: Any = None                             # calls from the user's line
        top = self.specs[-1]
        self.keeps = self.instruction.op in KEEPS and not top.handling and not top.building
        self.quick: dict[tuple[int, int], tuple] = {}       # (index, depth of the stack) -> (point, places of values, whether all is there)

    @property
    def instruction(self) -> Any:
        top = self.specs[-1]
        return top.program.ins[top.index]

    def proceed(self, values: tuple) -> tuple[Any, tuple] | Finished:
        """Run the instruction; (the next point, its values)."""
        spec = self.specs[-1]
        frame = frame_from(spec, values[self.below:])
        instruction = spec.program.ins[spec.index]
        if self.caller is None:
            self.caller = caller_at(spec.program.code, instruction.line, spec.space)
        run = Interpreter(Placed(self.caller), [frame])
        frame.index = spec.index + 1
        outer = self.specs[:-1]
        error = None
        try:
            self.caller(HANDLERS[instruction.op], (run, frame, frame.stack, instruction.arg), {})
        except Raised as raised:
            error = raised.value
        finally:
            run.domain.interpreter = None           # else they hold each other, and the values, until Python looks for such rings
        if error is not None:
            return self.raised(frame, error, values)
        if not run.frames:
            return self.returned(outer, values, run.last)
        if not self.keeps:
            return self.point(outer, values, frame)
        stack = frame.stack
        at = frame.index, len(stack)
        found = self.quick.get(at)
        if found is None:                           # what is live there is the same each time
            point, own = self.point(outer, values, frame)
            after = point.specs[-1]
            places = (*range(self.below), *[self.below + spec.slots.index(k) for k in after.slots])
            self.quick[at] = point, places, all(after.stack)
            return point, own
        point, places, whole = found
        return point, (*[values[k] for k in places], *(stack if whole else [v for v in stack if v is not NULL]))

    def point(self, outer: tuple[Spec, ...], values: tuple, frame: Frame) -> tuple[Any, tuple]:
        spec, own = spec_of(frame)
        key = (len(outer), spec.index, spec.slots, spec.stack, spec.handling)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self.points((*outer, spec))
        return found, (*values[:sum(s.size for s in outer)], *own)

    def returned(self, outer: tuple[Spec, ...], values: tuple, value: Any) -> tuple[Any, tuple] | Finished:
        if not outer:
            return Finished(value)
        frame = frames_of(outer, values)[-1]
        frame.stack.append(value)
        return self.point(outer[:-1], values, frame)

    def raised(self, frame: Frame, error: BaseException, values: tuple) -> tuple[Any, tuple]:
        """An exception: on to the handler that Python would choose."""
        frames = [*frames_of(self.specs[:-1], values), frame]
        places = [(f.program.code, f.line) for f in frames]
        again = self.instruction.op == "RERAISE"
        run = Interpreter(Concrete(), frames)
        caught = True
        try:
            run.unwind(error)
        except Raised:
            caught = False
        passed = places[max(len(frames) - 1, 0):len(places) - again]       # the frames it was raised in or went through
        error = traced(error, passed, again)
        if not caught:                              # outside of any handler, whose exception Python would hang on it
            raise error
        top = frames[-1]
        return self.point(self.specs[:len(frames) - 1], values, top)


def traced(error: BaseException, places: Sequence[tuple], again: bool) -> BaseException:
    """The exception, with the user's lines in its traceback. `again`: it is on its way already."""
    if not again:
        error.__traceback__ = beyond(error.__traceback__)
    for code, line in reversed(places):
        error = at_line(error, code, line)
    return error


def beyond(traceback: Any) -> Any:
    """The part of a traceback past capture's own frames."""
    while traceback is not None and ((code := traceback.tb_frame.f_code).co_filename.startswith(_HERE) or code in callers):
        traceback = traceback.tb_next
    return traceback


_HERE = __file__.rpartition("segment")[0]
