"""Random programs as data: what the fuzzer makes, runs, makes smaller and prints.

    program = (inputs, steps, outputs, wrt)
    value k is input k, or the result of step k - len(inputs)
    step    = an expression of earlier values, as text: "torch.add({0}, {1})", "{2}.mul_(0.5)"; `uses` fills the braces

In: such a program. Out: Python source of a function of its inputs (`source`), the function (`function`), input arrays. What
stays true: the source is what runs, so a failure that is printed is the failure that was seen.
"""
from __future__ import annotations

import linecache
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import pellucid


@dataclass(frozen=True)
class Input:
    """An argument: values uniform in [low, high) from `seed`; integers and bools from the same range. `order` says how
    its dimensions lie in memory ("C", "F", or "gaps": every second element of a wider memory)."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    seed: int = 0
    low: float = -2.0
    high: float = 2.0
    order: str = "C"

    def array(self, dtype: str | None = None) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        if self.dtype.startswith(("int", "bool")):
            a = rng.integers(int(self.low), max(int(self.high), int(self.low) + 1), self.shape)
        else:
            a = rng.uniform(self.low, self.high, self.shape)
        a = np.asarray(a).astype(dtype or self.dtype)
        if self.order == "gaps" and a.ndim:
            wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
            wide[..., ::2] = a
            return wide[..., ::2]
        return np.asarray(a, order="F" if self.order == "F" else "C")


@dataclass(frozen=True)
class Step:
    text: str
    uses: tuple[int, ...] = ()

    def line(self, name: Callable[[int], str]) -> str:
        return self.text.format(*[name(i) for i in self.uses])


@dataclass(frozen=True)
class Program:
    """`outputs` are returned; with `wrt`, also the gradients of a weighted sum of them by these inputs."""

    inputs: tuple[Input, ...] = ()
    steps: tuple[Step, ...] = ()
    outputs: tuple[int, ...] = ()
    wrt: tuple[int, ...] = ()
    seed: int = 0
    notes: dict = field(default_factory=dict, compare=False)

    def name(self, value: int) -> str:
        n = len(self.inputs)
        return f"x{value}" if value < n else f"v{value - n}"

    # ------------------------------------------------------------------------------------------------ as Python
    def source(self) -> str:
        """`def fn(torch, x0, ...)`: the program."""
        out = [f"def fn({', '.join(['torch', *[self.name(i) for i in range(len(self.inputs))]])}):"]
        if self.wrt:
            out += [f"    {self.name(i)} = {self.name(i)}.detach().requires_grad_()" for i in self.wrt]
        n = len(self.inputs)
        out += [f"    {self.name(n + k)} = {step.line(self.name)}" for k, step in enumerate(self.steps)]
        results = [self.name(i) for i in self.outputs]
        if not self.wrt:
            return "\n".join([*out, f"    return [{', '.join(results)}]"]) + "\n"
        terms = " + ".join(f"({r} * {0.5 + 0.25 * k}).sum()" for k, r in enumerate(results))
        out.append(f"    loss = {terms}")
        out.append(f"    grads = torch.autograd.grad(loss, [{', '.join(map(self.name, self.wrt))}], allow_unused=True)")
        out.append(f"    return [{', '.join(f'{r}.detach()' for r in results)}, *[g for g in grads if g is not None]]")
        return "\n".join(out) + "\n"

    def function(self) -> Callable:
        """The program as a function of tensors."""
        text = self.source()
        file = f"<program {abs(hash(text)):x}>"
        linecache.cache[file] = (len(text), None, text.splitlines(True), file)
        space: dict[str, Any] = {}
        exec(compile(text, file, "exec"), space)
        fn = space["fn"]

        def program(*xs):
            return fn(pellucid, *xs)
        return program

    def tensors(self, double: bool = False, nudge: float = 0.0) -> list:
        """Fresh inputs; `double`: floats in float64; `nudge`: every float changed by that much, relatively."""
        found = []
        for i, x in enumerate(self.inputs):
            a = x.array("float64" if double and x.dtype.startswith("float") else None)
            if nudge and x.dtype.startswith("float"):
                a *= (1 + nudge * np.random.default_rng(i).choice([-1.0, 1.0], a.shape)).astype(a.dtype)
            found.append(pellucid.from_numpy(a))
        return found

    def script(self, stage: str) -> str:
        """A script that shows the failure again."""
        args = "\n".join(f"    {x!r}," for x in self.inputs)
        return ("# python -m tests.fuzz THIS_FILE\nfrom tests.fuzz.programs import Input, Program, Step\n"
                "from tests.fuzz.stages import explain\n\n"
                f"program = Program(\n  ({args}\n  ),\n  {self.steps!r},\n  {self.outputs!r}, {self.wrt!r}, {self.seed})\n"
                f'"""\n{self.source()}"""\nexplain(program, {stage!r})\n')

    # ------------------------------------------------------------------------------------------------ making it smaller
    def pruned(self) -> Program:
        """Without the steps and inputs that nothing needs. In-place steps stay as long as their value is needed."""
        n = len(self.inputs)
        needed = set(self.outputs)
        kept = []
        for k in reversed(range(len(self.steps))):
            step = self.steps[k]
            writes = is_write(step)
            if n + k in needed or (writes and needed & set(self.family(step.uses[0]))):
                kept.append(k)
                needed |= set(step.uses)
        kept.reverse()
        inputs = [i for i in range(n) if i in needed]
        place = {old: new for new, old in enumerate(inputs)}
        for k in kept:
            place[n + k] = len(place)
        steps = tuple(replace(self.steps[k], uses=tuple(place[u] for u in self.steps[k].uses)) for k in kept)
        return replace(self, inputs=tuple(self.inputs[i] for i in inputs), steps=steps, outputs=tuple(place[o] for o in self.outputs),
                       wrt=tuple(place[w] for w in self.wrt if w in place))

    def family(self, value: int) -> set[int]:
        """The values that may share memory with `value`: connected to it by steps that return views, or write."""
        n = len(self.inputs)
        groups = {i: {i} for i in range(n + len(self.steps))}
        for k, step in enumerate(self.steps):
            if step.uses and (is_write(step) or is_view(step)):
                merged = groups[n + k] | groups[step.uses[0]]
                for i in merged:
                    groups[i] = merged
        return groups[value]


def is_write(step: Step) -> bool:
    """Whether a step writes to its first operand."""
    return step.text.startswith("{0}.") and step.text.partition("(")[0].endswith("_")


VIEWS = ("view", "reshape", "transpose", "permute", "expand", "unsqueeze", "squeeze", "select", "narrow", "flatten", "diagonal", "unfold",
         "contiguous", "detach", "split", "chunk")


def is_view(step: Step) -> bool:
    head = step.text.partition("(")[0].removeprefix("{0}.")
    return step.text.startswith("{0}[") or head in VIEWS
