"""One compiled version of a function: its guard, its executable, and how results, gradients and writes reach their owners.

In: a `Traced` function, its executable, the modules that were called. Out: `Entry.call(args, kwargs)`, a generated function
that returns MISS when the trace does not fit these arguments. What stays true: every guard passes before anything runs;
results are the user's own objects where the function returned them, else new tensors; each written tensor's version moves.
"""
from __future__ import annotations

import linecache
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any
from weakref import finalize

import numpy as np

from ..capture.attempt import Attempt, set_modes
from ..capture.rebuild import SPACE, Part, Step
from ..capture.segment import Goto
from ..capture.sources import Source, SourceWriter, evaluate
from ..core.storage import root
from ..native import words
from ..native.execute import Executable
from ..ops.dispatch import local, state
from ..tensor import Tensor
from ..tensor.core import DROPPED, wrap
from ..tensor.fake import Fake
from ..tensor.tracing import Traced, flatten
from .bytecode import bytecode
from .guards import Writer, implied, listings, module_guards, module_kinds, number, path_of, relation, same_value, tensor_guard, type_guard, unpack
from .held import Cells, Constant, Facts, Store, Written, apart, distance, finished, lonely, meet, same_array, views
from .history import edges_of
from .sizes import sizes_of
from .standing import Standing, rest
from .worth import costs

__all__: list[str] = []

GONE = "(AttributeError, IndexError, KeyError, TypeError, ValueError)"       # what guards raise on what is not there any more

FEW = 8                 # written tensors that are counted one by one

_serial = count(1)


class Entry:
    """A traced function, compiled. `given` are the tensors of the arguments as the user passed them, in the order of their
    places; `traced_as` those that the trace saw (stand-ins for views and for results of other functions)."""

    def __init__(self, traced: Traced, execute: Any, arguments: tuple[tuple, dict], given: list[Tensor], traced_as: list[Tensor],
                 modules: Sequence[Any], attempt: Attempt, reads: dict[int, tuple], joint: Any, number_paths: frozenset,
                 keep_grads: bool, constant: Constant | None = None, fixed: Iterable[int] = (),
                 ties: Sequence[tuple[Tensor, int]] = (), met: dict[Tensor, Tensor] | None = None, nodes: Sequence[Any] = ()):
        self.traced, self.execute, self.joint = traced, execute, joint
        self.arguments, self.given, self.traced_as = arguments, given, traced_as
        self.modules, self.reads, self.keep_grads = modules, reads, keep_grads
        self.recipe, self.stop, self.modes_after = attempt.recipe, attempt.stop, attempt.modes_after
        self.promoted = attempt.promoted
        self.checks = list(attempt.world.checks.values())
        self.called = list(attempt.world.called.values())
        self.listed = list(attempt.world.listed.values())
        self.lines = attempt.lines()
        self.number_paths, self.constant, self.fixed, self.ties, self.met = number_paths, constant, fixed, ties, met or {}
        self.places = {id(t): i for i, t in reversed(list(enumerate(traced_as)))}
        self.sized = False                          # whether another version was there that differs in sizes only
        self.sizes = sizes_of(*arguments[:2])
        self._otherwise: tuple[int, Any] = -1, None
        self._guard: Any = None
        self.source = self._write()
        self.pure = not (traced.graph.writebacks or self.recipe.writes or traced.grad_at or traced.flags or self.stop or self.modes_after)
        self.call = self._compile()
        self.costs = costs(self, nodes, attempt.interpreter.steps)
        self._forget()

    # ------------------------------------------------------------------------------------------------ the generated code
    def _compile(self) -> Any:
        file = f"<compiled {self.traced.graph.name} {next(_serial)}>"
        linecache.cache[file] = (len(self.source), None, self.source.splitlines(True), file)
        finalize(self, linecache.cache.pop, file, None)
        exec(bytecode(self.source, file), self.writer.space)
        return self.writer.space["call"]

    def otherwise(self, args: tuple, kwargs: dict, fixed: set) -> bool:
        """Whether the version fits a call but for the sizes of its tensors and the integers at the paths `fixed`."""
        known, check = self._otherwise
        if check is None or known != len(fixed):
            lines, dropped = list(self.guard_lines), set()
            for g in self.writer.guards:
                if g.but_sizes is not None:
                    lines[g.line] = f"    if {g.but_sizes}:"
                elif g.size in fixed and g.line < len(lines):
                    dropped |= {g.line, g.line + 1}
            check = self.checker([line for k, line in enumerate(lines) if k not in dropped], "True")
            self._otherwise = len(fixed), check
        return check(args, kwargs) is True

    def _made_now(self) -> list[dict]:
        """The reports of its programs that came from no cache."""
        reports = [self.execute.report, *([self.joint.execute.report] if self.joint is not None else [])]
        return [r for r in reports if r.get("cache") == "none"]

    @property
    def price(self) -> float:
        """The seconds it took to make, without machine code, which versions for other sizes share."""
        return self.seconds["all"] - sum(r["seconds"].get("llvm", 0.0) for r in self._made_now())

    @property
    def new_objects(self) -> int:
        """How many objects of machine code were made for it, and not found."""
        return sum(r.get("objects", 0) - r.get("cached_objects", 0) for r in self._made_now())

    def guard(self) -> Any:
        """The guard alone: True where the version fits."""
        if self._guard is None:
            self._guard = self.checker(self.guard_code, "True")
        return self._guard

    def checker(self, lines: Sequence[str], result: str) -> Any:
        """A function of (args, kwargs) from these lines of the guard, which gives `result` where they pass, else MISS."""
        body = "\n    ".join(lines)
        text = f"def check(args, kwargs):\n    try:\n    {body}\n        return {result}\n    except {GONE}:\n        return MISS\n"
        space: dict[str, Any] = {}
        exec(compile(text, "<guard>", "exec"), self.writer.space, space)
        return space["check"]

    def early(self, places: Sequence[int], args: tuple, kwargs: dict) -> list[np.ndarray]:
        """The arrays of these inputs of the graph."""
        leaves: list[Tensor] = []
        flatten((args, kwargs, [evaluate(place, (args, kwargs)) for place in self.promoted]), leaves)
        inputs = [self.traced.inputs[k] for k in places]
        return [(leaves[i.place] if i.place is not None else i.tensor)._a for i in inputs]

    def _forget(self) -> None:
        """Let go of the arguments of the first call, and of the memory that the trace had in their place."""
        for t, s in zip(self.given, self.traced_as):
            if s is not t:
                s._a = np.lib.stride_tricks.as_strided(np.empty(1, s._a.dtype), s._a.shape, s._a.strides)
        for i in self.traced.inputs:
            if i.source is not None and i.source[0] is self.arguments:
                i.source = None, i.source[1]
        self.arguments = self.given = self.recipe = self.sources = None
        self.traced.arguments = None, 0             # the caller's objects among them

    def _write(self) -> str:
        w = self.writer = Writer()
        if words.layout() is not None:
            w.standing = Standing(self._busy())
        w.space.update(wrap=wrap, local=local, run=self.execute, np=np, same_array=same_array, views=views, finished=finished,
                       DROPPED=DROPPED)
        self.sources = SourceWriter(w, self._given)
        arrays = self._arguments(w)
        module_kinds(w, self.modules, self.called)
        self.grouped = implied(self.checks, self.modules)
        grouped = {id(c) for c in self.grouped}
        for check in self.checks:
            if id(check) not in grouped:
                w.check, w.stands = check, w.standing is not None and w.standing.check(check)
                self.sources.check(check)
        w.check, w.stands = None, False
        numbers = self.numbers = self._numbers(w)
        self._state(w)
        for step in (*self.recipe.steps, *self.recipe.writes, Step(None, "", (self.recipe.result,))):
            for part in step.parts:
                if part.kind == "source":
                    self.sources.name(part.value)
        self._inputs(w, arrays, numbers)
        self.guard_lines, w.lines = tuple(w.lines), []
        self._run(w)
        self._written(w)
        self._results(w)
        self.facts.load()
        self.guard_code = self._guarding(w)
        return "\n".join(["def call(args, kwargs):", "    try:", *["    " + line for line in self.guard_code],
                          f"    except {GONE}:",                   # what is not there any more does not fit
                          "        return MISS", *w.lines]) + "\n"

    def _busy(self) -> list[Any]:
        """Dictionaries whose run-time numbers were seen to change."""
        found = []
        for container, path in [i.source for i in self.traced.inputs if i.role == "scalar"]:
            if type(container) is Source and container.parent is None:
                continue
            if type(container) is Source:
                parent = evaluate(container.parent, self.arguments)
                found.append(parent.__dict__ if container.kind == "field" else parent)
            else:
                for key in path:
                    found.append(container)
                    container = container[key]
        return found

    def _guarding(self, w: Writer) -> list[str]:
        """The lines of the guard: all, or where words stand for many of them, the rest."""
        if w.standing is None or not w.standing.close():
            return list(self.guard_lines)
        words = w.name(w.standing, "words")
        return [f"    if {words}.stay():", *["    " + line for line in rest(self.guard_lines, w.guards, w.lines)],
                "    else:", f"        now = {words}.read()", *["    " + line for line in self.guard_lines], f"        {words}.settle(now)"]

    def _arguments(self, w: Writer) -> dict[int, str]:
        """Guards of the arguments; {place: the variable of its array}."""
        args, kwargs, extras = self.arguments
        found: list[tuple[str, Tensor]] = []
        w.miss_if(f"len(args) != {len(args)} or " + (f"kwargs.keys() != {w.name(kwargs.keys(), 'K')}" if kwargs else "kwargs"))
        w.paths = dict.fromkeys(self.number_paths, "")
        w.given = {}
        for i, value in enumerate(args):
            unpack(w, f"args[{i}]", value, found, w.paths, (0, i))
        for key, value in kwargs.items():
            unpack(w, f"kwargs[{key!r}]", value, found, w.paths, (1, key))
        own = len(found)
        for k, (place, value) in enumerate(zip(self.promoted, extras)):
            unpack(w, self.sources.name(place), value, found, w.paths, (2, k))
        arrays: dict[int, str] = {}
        inputs = {i.place for i in self.traced.inputs if i.place is not None}
        for place, (variable, t) in enumerate(found):
            first = next(p for p, (_, other) in enumerate(found) if other is t)
            if first != place:
                w.miss_if(f"{variable} is not {found[first][0]}", "the same tensor twice")
                continue
            type_guard(w, variable, t)
            if place in self.fixed:
                w.miss_if(f"{variable} is not {w.name(t, 'o')}", "the function holds this tensor too")
            arrays[place] = f"a{place}"
            tensor_guard(w, variable, f"a{place}", t, place < own)
        self.variables = {p: v for p, (v, _) in enumerate(found)}
        for place in [p for p in arrays if p not in inputs]:
            self._part(w, place, found[place])
        for t, place in self.ties:
            w.space["distance"] = distance
            w.miss_if(f"distance({w.name(t, 'p')}._a, a{place}) != {distance(t._a, self.given[place]._a)}", "memory of an argument")
        self._apart(w, sorted(arrays.keys() & inputs))
        return arrays

    def _part(self, w: Writer, place: int, found: tuple[str, Tensor]) -> None:
        """An argument that was part of another tensor's memory must be that part again."""
        a = self.given[place]._a
        for i in self.traced.inputs:
            b = i.tensor._a if i.place is None and i.tensor is not None else None if i.place is None else self.given[i.place]._a
            if b is not None and root(a) is root(b) and np.may_share_memory(a, b):
                w.space["distance"] = distance
                other = f"a{i.place}" if i.place is not None else f"{w.name(i.tensor, 'p')}._a"
                w.miss_if(f"distance(a{place}, {other}) != {distance(a, b)}", "it shares memory with another tensor")
                return
        w.miss_if(f"{found[0]} is not {w.name(found[1], 'o')}", "it shares memory with another tensor")

    def _apart(self, w: Writer, places: list[int]) -> None:
        """No argument may share memory with what is written, no written one with anything, unless it did so in the trace."""
        targets = {id(v) for v, _ in self.traced.graph.writebacks}
        own = [i.place for i in self.traced.inputs if id(i.value) in targets and i.place in places]
        for p in places:
            for q in own:
                if p != q and (p not in own or p < q):
                    w.space["apart"] = apart
                    w.miss_if(f"apart(a{p}, a{q})", "written memory is shared")
        captured = [i for i in self.traced.inputs if i.place is None and i.tensor is not None]
        written = [i.tensor for i in captured if id(i.value) in targets]
        w.space.update(meet=meet, lonely=lonely)
        for those, tensors in (([p for p in places if p not in own], written), (own, [i.tensor for i in captured])):
            if those and tensors:
                held = w.name(frozenset(map(id, tensors)), "held")
                apart_already = " and ".join(f"lonely({self.variable(p)}, a{p}) and id({self.variable(p)}) not in {held}" for p in those)
                w.miss_if(f"not ({apart_already}) and meet([{', '.join(f'a{p}' for p in those)}], {w.name(tensors, 'T')})",
                          "written memory is shared")

    def _arrays_apart(self, w: Writer) -> None:
        """No array that is relied on by value may lie where the function writes."""
        arrays = [self.sources.name(c.source) for c in self.checks if c.kind == "array" and isinstance(c.what, np.ndarray)]
        targets = {id(v) for v, _ in self.traced.graph.writebacks}
        written = [i for i in self.traced.inputs if id(i.value) in targets] if arrays else []
        tensors = [self.variable(i.place) if i.place is not None else w.name(i.tensor, "p") for i in written]
        if tensors:
            w.miss_if(f"meet([{', '.join(arrays)}], [{', '.join(tensors)}])", "written memory is shared")

    def variable(self, place: int) -> str:
        return self.variables[place]

    def _numbers(self, w: Writer) -> dict[int, str]:
        """Load the run-time numbers and check what was relied on about them; {place among the graph's inputs: variable}."""
        found: dict[int, str] = {}
        for place, i in enumerate(self.traced.inputs):
            if i.role != "scalar":
                continue
            container, path = i.source
            if container is self.arguments:
                found[place] = w.paths[path]
                continue
            v = found[place] = f"n{place}"
            w.put(f"{v} = {self.sources.name(container) if type(container) is Source else path_of(w, container, path)}")
            w.miss_if(f"type({v}) is not float and type({v}) is not int")
        for guard in self.traced.guards:
            w.miss_if(relation(guard, found), guard.where)
        for container, path, value in self.traced.items:
            w.stands = w.standing is not None and w.standing.item(container, path, value)
            same_value(w, path_of(w, container, path), value)
        w.stands = False
        return found

    def _state(self, w: Writer) -> None:
        """Guards of modules, of tensors that are no arguments, and of gradients that were read."""
        lifted = {id(i.tensor): i.tensor for i in self.traced.inputs if i.tensor is not None and i.place is None}
        module_guards(w, self.modules, lifted)
        listings(w, self.listed, lifted)
        self._arrays_apart(w)
        listed = {t: t for m in self.listed for t in (*m._parameters.values(), *m._buffers.values()) if t is not None}
        looked_at = {c.what: c.what for c in self.checks if c.kind == "identity" and isinstance(c.what, Tensor)}
        self.facts = Facts({**listed, **looked_at, **{t: t for t in lifted.values()}, **self.met})
        facts = w.name(self.facts, "facts")
        w.space["state"] = state
        w.miss_if(f"state.moves != {facts}.moves and not {facts}.hold()", "memory, requires_grad or hooks of a tensor")
        self.grad_inputs: dict[int, str] = {}
        for t, read, grad in self.reads.values():
            if not read:
                continue
            owner = self._tensor(w, t)
            if owner is None:
                continue
            if grad is None:
                w.miss_if(f"{owner}._grad is not None", "a gradient is there")
            else:
                g = self.grad_inputs[id(grad)] = w.variable("g")
                w.put(f"{g} = {owner}._grad")
                w.miss_if(f"type({g}) is not {w.name(type(grad), 'T')} or {g}._a.strides != {w.name(grad._a.strides, 'strides')}")

    def _tensor(self, w: Writer, t: Tensor) -> str | None:
        """An expression for a tensor that the trace knew: an argument's variable, or the object itself."""
        place = self.places.get(id(t))
        return w.name(t, "p") if place is None else self.variable(place)

    def _inputs(self, w: Writer, arrays: dict[int, str], numbers: dict[int, str]) -> None:
        """Run: all arrays in the order of the graph's inputs."""
        parts: list[str] = []
        run: list[Tensor] = []
        if self.constant is not None:               # before the arrays are in a list, which counts as somebody else's
            w.put(f"{w.name(self.constant, 'constant')}.check(run)")

        def flush() -> None:
            """The arrays of tensors that the function holds."""
            if len(run) == 1:
                parts.append(f"{w.name(run[0], 'p')}._a")
            elif len(run) > FEW and self.constant is None:
                self.facts.runs.append(list(run))
                parts.append(f"*{w.name(self.facts, 'facts')}.arrays[{len(self.facts.runs) - 1}]")
            elif run:
                parts.append(f"*[t._a for t in {w.name(list(run), 'T')}]")
            run.clear()

        cells = w.name(Cells(len(self.traced.inputs)), "cells") if numbers else ""
        if numbers:
            w.put(f"N = {cells}.memory")
        for place, i in enumerate(self.traced.inputs):
            if i.role == "scalar":
                flush()
                w.put(f"N[{place}] = {numbers[place]}")
                parts.append(f"{cells}.cells[{place}]")
            elif i.place is not None:
                flush()
                parts.append(arrays[i.place])
            elif id(i.tensor) in self.grad_inputs:
                flush()
                parts.append(f"{self.grad_inputs[id(i.tensor)]}._a")
            else:
                run.append(i.tensor)
        flush()
        self.parts = parts

    def _run(self, w: Writer) -> None:
        """The call of the executable."""
        parts = self.parts
        self.store = None
        kept = ""
        if self.keep_grads and not self.joint and isinstance(self.execute, Executable):
            own = {t: at for t, at in self.traced.grad_at.items() if at is not None and id(t) not in self.places and type(t._a) is not Fake}
            if own:
                self.store = Store(list(own), list(own.values()), len(self.traced.graph.outputs))
                self.store.shared = not {r.index for r in self.traced.results}.isdisjoint(own.values())
                w.put(f"kept = {w.name(self.store, 'store')}.lend()")
                kept = ", kept"
        if self.joint is not None:
            w.put(f"inputs = [{', '.join(parts)}]")
            w.put("outs = run(inputs)")
        else:
            w.put(f"outs = run([{', '.join(parts)}]{kept})")

    def _written(self, w: Writer) -> None:
        """Move the versions of what was written."""
        held = []
        for i in self.traced.inputs:
            if not i.writes:
                continue
            if i.place is not None:
                w.put(f"{self.variable(i.place)}._bump({i.writes})")
            elif id(i.tensor) in self.grad_inputs:
                w.put(f"{self.grad_inputs[id(i.tensor)]}._bump({i.writes})")
            else:
                held.append(i)
        together = 0
        if len(held) > FEW:
            together = min([i.writes for i in held])
            written = w.name(Written([i.tensor for i in held]), "written")
            w.put(f"if {written}.clock.whole and state.moves == {written}.moves:")
            w.put(f"    {written}.clock.count += {together}")
            w.put("else:")
            w.put(f"    {written}.bump({together})")
        for i in held:
            if i.writes > together:
                w.put(f"{w.name(i.tensor, 'p')}._bump({i.writes - together})")

    def _results(self, w: Writer) -> None:
        """Gradients to their tensors, results to the caller."""
        traced = self.traced
        if self.store is not None:
            w.put("if kept is None:")
            w.put(f"    {w.name(self.store, 'store')}.take(outs)")
        own = {}                                    # gradients of tensors that the function has made
        set_any = False
        for t, at in traced.grad_at.items():
            if type(t._a) is Fake:
                own[id(t)] = at
                continue
            owner = self._tensor(w, t)
            if self.store is not None and t in self.store.owners_set:
                continue
            set_any = True
            if at is None:
                w.put(f"{owner}._grad = None")
            elif not self.keep_grads:
                w.put(f"{owner}._grad = DROPPED")
            else:
                w.put(f"{owner}._grad = wrap(outs[{at}])")
        if set_any:
            w.put("state.grads += 1")
        for t, flag in traced.flags.items():
            owner = self._tensor(w, t)
            w.put(f"if {owner}._rg is not {flag}:")
            w.put(f"    {owner}._rg = {flag}")
            w.put("    state.moves += 1")
        names = []
        bases: dict[int, str] = {}
        for k, r in enumerate(traced.results[:len(traced.results) - (self.joint.extra if self.joint else 0)]):
            v = f"r{k}"
            names.append(v)
            if r.same is not None:
                w.put(f"{v} = {self._tensor(w, r.same)}")
                continue
            if r.index is None:
                w.put(f"{v} = views({self._input_tensor(w, r.input)}, {w.name(r.chain, 'chain')})")
            elif r.chain:
                if r.index not in bases:
                    bases[r.index] = f"b{r.index}"
                    w.put(f"b{r.index} = wrap(outs[{r.index}])")
                w.put(f"{v} = views(b{r.index}, {w.name(r.chain, 'chain')})")
            else:
                w.put(f"{v} = wrap(outs[{r.index}])")
        for name, r, t in zip(names, traced.results, self.recipe.tensors):
            if r.same is None and (local.inference or t._x is not None and t._x.inference):
                w.put(f"{name}._extras().inference = True")
        live = self.joint.live if self.joint is not None else ()
        written = {bases[r.index] if r.chain else name: t._st.version for r, t, name in zip(traced.results, self.recipe.tensors, names)
                   if r.same is None and r.index is not None and t._st is not None}
        for name, writes in written.items():            # to memory made in here
            if writes:
                w.put(f"{name}._bump({writes})")
        for k, (r, t) in enumerate(zip(traced.results, self.recipe.tensors)):
            if r.requires_grad and r.same is None and k not in live:        # a leaf of the function's own, or used up
                w.put(f"{names[k]}._rg = True" if t._fn is None else f"finished({names[k]})")
            if own.get(id(t)) is not None and r.same is None:
                w.put(f"{names[k]}._grad = {'DROPPED' if not self.keep_grads else f'wrap(outs[{own[id(t)]}])'}")
        if self.joint is not None:
            made = {id(t): names[k] for k, t in enumerate(self.recipe.tensors) if traced.results[k].same is None}
            held = all(id(t) not in made and id(t) not in self.places and t._fn is None and t in self.facts.owners for t in self.joint.wrt)
            if held:                                # they are leaves as long as the facts hold
                edges, idx = (w.name(part, "edges") for part in edges_of(self.joint.wrt))
            else:
                w.space["edges_of"], edges, idx = edges_of, "edges", "idx"
                w.put(f"edges, idx = edges_of([{', '.join(made.get(id(t)) or self._tensor(w, t) for t in self.joint.wrt)}])")
            at = {r.index: names[k] for k, r in enumerate(traced.results[:len(names)]) if r.index is not None}
            memories, held = [], []
            for kind, k in self.joint.saved:
                t = self.traced.inputs[k].tensor if kind == "in" and self.traced.inputs[k].place is None else None
                if t is not None and t in self.facts.owners and id(t) not in self.grad_inputs:
                    held.append(t)
                elif kind == "in" and k not in self.joint.numbers or kind == "out" and k in at:
                    memories.append(f"{at[k] if kind == 'out' else self._input_tensor(w, k)}._storage()")
            if held:
                self.facts.memories = held
                memories.append(f"*{w.name(self.facts, 'facts')}.storages")
            w.put(f"{w.name(self.joint, 'joint')}.connect({edges}, {idx}, [{', '.join(names[k] for k in live)}], [{', '.join(memories)}], "
                  "inputs, outs)")
        self._finish(w, names)

    def _input_tensor(self, w: Writer, place: int) -> str:
        """The tensor at an input of the graph, as an expression."""
        i = self.traced.inputs[place]
        return self.variable(i.place) if i.place is not None else w.name(i.tensor, "p")

    def _given(self, path: tuple) -> str:
        """The variable of a value among the arguments."""
        found = self.writer.given.get(path)
        if found is None:
            key = path[-1]
            found = f"{self._given(path[:-1])}[{key!r}]" if isinstance(key, (int, str)) else f"{self._given(path[:-1])}[{self.writer.name(key, 'k')}]"
        return found

    def _finish(self, w: Writer, names: list[str]) -> None:
        """Make the results and the writes by the recipe; return, or say where to go on."""
        recipe = self.recipe
        w.space.update(SPACE)

        def expr(part: Part) -> str:
            if part.kind == "tensor":
                return names[part.value]
            if part.kind == "source":
                return self.sources.name(part.value)
            if part.kind == "made":
                return f"m{part.value}"
            if part.kind == "number":
                return number(part.value, self.numbers)
            value = part.value
            if value is None or type(value) in (bool, int, str):
                return repr(value)
            return w.name(value, "c")

        for step in (*recipe.steps, *recipe.writes):
            code = step.code.format(*map(expr, step.parts))
            w.put(code if step.made is None else f"m{step.made} = {code}")
        if self.modes_after is not None:
            w.space["set_modes"] = set_modes
            w.put(f"set_modes(*{w.name(self.modes_after, 'modes')})")
        if self.stop is not None:
            w.space["Goto"] = Goto
            w.put(f"return Goto({w.name(self.stop, 'stop')}, {expr(recipe.result)})")
            self.stop.values = ()
        else:
            w.put(f"return {expr(recipe.result)}")
