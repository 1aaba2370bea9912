"""One run of a function, or of the rest of one, under the interpreter.

In: a start (a function with arguments, or frames), and how far to go. Out: the tensors that the caller must provide in the end, and a
`Recipe` that makes the results, the values for the next segment, and the writes of them. What stays true: after a run everything that
was there before is as it was; a run that meets a break says after how many instructions the segment must end, and is run again.
"""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ..core import dtype as dt
from ..core.errors import interpreted
from ..ops.dispatch import add_slow, local
from ..tensor.core import Slots
from ..tensor.fake import TraceError
from . import calls, policy
from . import special  # noqa: F401  (fills the tables of calls)
from .breaks import Break
from .frame import Frame, Raised, first_step
from .interpreter import GENERATOR, Interpreter, Stopped
from .journal import ABSENT, Change
from .rebuild import Recipe
from .segment import Stop
from .sources import Source
from .world import World

__all__: list[str] = []


class Located(Exception):
    """A break, and the number of instructions before the one at which the segment must end."""

    def __init__(self, error: Break, steps: int):
        self.error, self.steps = error, steps


class Attempt:
    """`start(world, args, kwargs)` gives the first frames, or a value; `given`: (args, kwargs, extras) as the caller passed them; `end`: a
    Located break to stop at; `points`: makes points."""

    def __init__(self, start: Callable, given: tuple, tracer: Any, points: Callable, end: Located | None = None,
                 varying: frozenset = frozenset(), promoted: tuple = ()):
        self.start, self.given, self.points, self.end, self.promoted = start, given, points, end, promoted
        self.world = World(tracer, varying)
        self.recipe = Recipe(self.world)
        self.stop: Stop | None = None
        self.modes_after: tuple | None = None
        self.rewritten: tuple[set, set] = set(), set()

    def __call__(self, args: tuple, kwargs: dict, extras: tuple) -> list:
        """Run; the tensors of the recipe. `extras`: what stands for the tensors at the `promoted` places."""
        world, before, hooks = self.world, modes(), local.saved_hooks
        try:
            with self.watching():
                return self.outcome(args, kwargs, extras, before)
        finally:
            set_modes(*before)
            add_slow(len(hooks) - len(local.saved_hooks))
            local.saved_hooks = hooks
            world.journal.restore()

    def outcome(self, args: tuple, kwargs: dict, extras: tuple, before: tuple) -> list:
        world = self.world
        args, kwargs = list(args), dict(kwargs)
        world.standing.update((place, value) for place, value in zip(self.promoted, extras) if place.kind == "array")
        for methods in (False, True):                           # of something that a copy stands for, which is known then
            for k, value in enumerate(args):
                if isinstance(value, policy.METHODS) is methods:
                    args[k] = world.adopt(value, (0, k), self.given[0][k])
            for key, value in kwargs.items():
                if isinstance(value, policy.METHODS) is methods:
                    kwargs[key] = world.adopt(value, (1, key), self.given[1][key])
        for k, (place, value) in enumerate(zip(self.promoted, extras)):
            world.adopt(value, (2, k), self.given[2][k])
            world.standing[place] = value
        hooks = local.saved_hooks
        value = self.run(tuple(args), kwargs)
        if local.saved_hooks != hooks:
            raise Unrepeatable(self.place(Break("PX016", "saved_tensors_hooks() around a break")))
        recipe = self.recipe
        world.changed_apart()
        changes = world.journal.changes()
        try:
            recipe.result = recipe.part(value if self.stop is None else tuple(self.stop.values))
            recipe.settle()
            for change in changes:
                recipe.write(change)
            for waiting in world.waiting:
                recipe.call(*waiting)
            recipe.settle()
            recipe.told_apart(self.stop is not None)
            born = [g.born for g in world.generators if g.open] + [frame.entered for frame in world.left]
            if born:                                            # who ends it, and when?
                error = Break("PX016", "a generator that is inside try or with")
                error.born = min(born)
                raise error
        except Break as error:
            self.cannot_rebuild(error)
        self.rewritten = rewritten(world, changes)
        now = modes()
        self.modes_after = None if now == before else now
        return recipe.tensors

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, what the user's functions look at is noted, also where code that is not interpreted calls them."""
        world, outer = self.world, (interpreted.place, interpreted.call)
        interpreted.place, interpreted.call = world.place, lambda fn, args, kwargs: calls.nested(world, fn)(*args, **kwargs)
        try:
            yield
        finally:
            interpreted.place, interpreted.call = outer

    def release(self) -> None:
        """Let go of the values of this call: they hold each other."""
        self.given = ()
        for part in (self.world.journal, self.world, self.recipe, self.interpreter):
            vars(part).clear()

    def run(self, args: tuple, kwargs: dict) -> Any:
        run = self.interpreter = Interpreter(self.world, [], self.end.steps if self.end is not None else -1)
        try:
            found = self.start(self.world, args, kwargs)
        except Break as error:
            raise Located(self.place(error), 0) from error
        except Raised as raised:
            raise Located(self.place(Break("PX014", describe(raised.value))), 0) from raised.value
        if type(found) is not list:
            if type(found) is not Frame:
                return found
            if found.program.code.co_flags & GENERATOR and self.end is None:
                raise Unrepeatable(self.place(Break("PX016", "a generator")))
            found = [found]
        run.frames[:] = found
        found = None                                            # what the function's slots hold is gone when it returns
        try:
            return run.run()
        except Stopped:
            self.stop = Stop(run.frames, self.end.error, self.points)
            return None
        except Break as error:
            if error.number in ("PX011", "PX019"):
                raise Unrepeatable(self.place(error)) from error
            if isinstance(error.__cause__, TraceError) and "[P3002]" in str(error.__cause__):
                raise error.__cause__ from None
            raise Located(self.place(error), first_step(run.frames, run.steps - 1)) from error
        except Raised as raised:
            frames, step = run.trail
            error = Break("PX013" if frames[-1].program.ins[frames[-1].index - 1].op in ("RAISE_VARARGS", "RERAISE") else "PX014",
                          describe(raised.value))
            run.frames[:] = frames
            raise Located(self.place(error), first_step(frames, step)) from raised.value

    def lines(self) -> frozenset:
        """(file, line) of the user's code that ran."""
        return frozenset([(p.code.co_filename, line) for p, line in self.interpreter.seen
                          if line and not calls.policy.framework_file(p.code.co_filename)])

    def place(self, error: Break) -> Break:
        """The break with the user's line."""
        error.file, error.line, error.function = self.world.place()
        return error

    def cannot_rebuild(self, error: Break) -> None:
        """Something that is needed later cannot be made again: end the segment where it was not there yet, at the start if need be."""
        self.place(error)
        steps = self.end.steps if self.end is not None else self.interpreter.steps
        if error.born is not None and error.born < steps:
            raise Located(error, error.born)
        if steps == 0 or self.end is None:
            raise Unrepeatable(error)
        raise Located(error, 0)


class Unrepeatable(Exception):
    """Not even the start of the segment can be handed on."""

    def __init__(self, error: Break):
        self.error = error
        super().__init__(error.reason)


def rewritten(world: World, changes: list[Change]) -> tuple[set[Source], set[Source]]:
    """Places whose numbers, and places whose tensors, were read and are others now: at the next call they will not be what they were."""
    found: set[Source] = set()
    longer: set[Source] = set()
    for kind, owner, key, value in changes:
        source = world.source_of(owner)
        if source is not None and kind == "append":
            longer.add(source)
        if source is None or kind == "append":
            continue
        if kind == "contents":
            before = world.journal.contents.get(id(owner), (owner, None))[1]
            if isinstance(owner, dict) and isinstance(before, dict):
                found.update(Source("item", k, source) for k, v in before.items() if owner.get(k, ABSENT) is not v)
            elif isinstance(owner, list) and isinstance(before, list) and len(owner) == len(before):
                found.update(Source("item", k, source) for k, v in enumerate(before) if owner[k] is not v)
            else:
                found.add(source)
        else:
            found.add(Source(kind, key, source))
    numbers, tensors = set(), set()
    numbers.update(Source("length", None, c.source) for c in world.checks.values() if c.kind == "length" and c.source in longer)
    for check in world.checks.values() if found else ():
        place = check.source
        while place is not None and place not in found:
            place = place.parent
        if place is not None and check.kind == "value" and type(check.what) in (int, float):
            numbers.add(check.source)
        elif place is not None and check.kind == "identity" and isinstance(check.what, Slots):
            tensors.add(check.source)
        elif place is not None and check.kind == "array":
            tensors.add(Source("array", None, check.source))
    return numbers, tensors


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]


def modes() -> tuple:
    """The modes of this thread that a program can set."""
    return local.grad, local.inference, local.autocast, dt.get_default_dtype()


def set_modes(grad: bool, inference: bool, autocast: Any, default: Any) -> None:
    local.grad, local.inference, local.autocast = grad, inference, autocast
    if dt.get_default_dtype() is not default:
        dt.set_default_dtype(default)
