"""An update written for NumPy's arrays, read as a program: so that it can run as one native loop over all parameters.

In: a rule such as Adam's, a function that changes arrays in place by NumPy's elementwise functions, with the kinds of its operands. Out: the
graph of what it writes, and which comparisons of its numbers decided its course. What stays true: the rule is run as it is, on
stand-ins for the arrays and numbers; whatever it does that a stand-in does not know ends the reading (TypeError): the rule then goes on
running on arrays.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import native
from ..core import dtype as dt
from ..core.late import late
from ..core.spec import Spec
from ..graph.ir import Graph
from ..ops.op import F
from . import kernels

__all__: list[str] = []

_OPERATORS = {np.add: "add", np.subtract: "sub", np.multiply: "mul", np.divide: "div", np.negative: "neg", np.sqrt: "sqrt", np.absolute: "abs",
              np.maximum: "maximum", np.minimum: "minimum", np.square: "square", np.sign: "sign"}
VARIANTS = 8                # of a rule, by the outcomes of its comparisons
Comparison = tuple[int, Callable[[Any, Any], bool], float, bool]        # of which number, how, with what, the outcome

_programs: dict[tuple, Any] = {}


class Recorded(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands for an array, or for a number if `place` says which."""

    def __init__(self, value: Any, place: int | None = None, number: float = 0.0, met: list[Comparison] | None = None):
        self.value, self.place, self.number, self.met = value, place, number, met

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, out: Any = (), **more: Any) -> Any:
        name = _OPERATORS.get(ufunc)
        if name is None or method != "__call__" or more:
            return NotImplemented
        out = out or operands[ufunc.nin:]
        made = getattr(F, name)(*[x.value if isinstance(x, Recorded) else x for x in operands[: ufunc.nin]])
        if not out:
            return Recorded(made)
        out[0].value = made
        return out[0]

    def __setitem__(self, where: Any, new: Recorded) -> None:
        if where is not ...:
            raise TypeError("only whole arrays are written")
        self.value = new.value

    def _compare(self, how: Callable[[Any, Any], bool], other: Any) -> bool:
        if self.place is None or type(other) not in (int, float):
            raise TypeError("a choice that depends on elements")
        outcome = how(self.number, other)
        self.met.append((self.place, how, other, outcome))
        return outcome

    def __lt__(self, other: Any) -> bool:
        return self._compare(operator.lt, other)

    def __eq__(self, other: Any) -> bool:
        return self._compare(operator.eq, other)

    def __ne__(self, other: Any) -> bool:
        return self._compare(operator.ne, other)

    def __bool__(self) -> bool:
        raise TypeError("a choice that depends on elements")

    __hash__ = None


def program(rule: Callable, arrays: Sequence[np.ndarray], options: dict[str, Any]) -> tuple[Any, list[np.ndarray]]:
    """(the native program of `rule(*arrays, **options)`, its operands): the numbers among the options are operands too. (None, []) if
    there is none."""
    numbers: list[np.ndarray] = []
    form: list[Any] = []
    d = arrays[0].dtype
    for name, value in options.items():
        many = value if type(value) is list else (value,)
        if type(many[0]) is np.ndarray or type(many[0]) is float:
            numbers += [x if type(x) is np.ndarray else np.array(x, d) for x in many]
            form.append((name, type(value) is list, len(many)))
        else:
            form.append((name, value))
    key = rule, tuple(form), *[a.dtype for a in arrays]
    for variant in range(VARIANTS):
        found = _programs.get((key, variant))
        if found is None:
            found = kernels.make(_programs, (key, variant), lambda: _program(rule, tuple(form), key[2:], [float(x) for x in numbers]))
        if found is kernels.NO:
            break
        batch, met = found
        if all([how(numbers[k], other) == outcome for k, how, other, outcome in met]):
            return batch, [*arrays, *numbers]
    return None, []


def _program(rule: Callable, form: tuple, dtypes: Sequence[np.dtype], numbers: list[float]) -> tuple[Any, list[Comparison]] | None:
    def run(arrays: list[Recorded], given: list[Recorded]) -> None:
        left = iter(given)
        options = {}
        for name, value, *count in form:
            options[name] = value if not count else [next(left) for _ in range(count[0])] if value else next(left)
        rule(*arrays, **options)

    try:
        graph, met = read(run, dtypes, numbers, native.flat.LENGTH)
        batch = native.batch.make(graph)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return None
    return None if batch is None else (batch, met)


def read(rule: Callable, dtypes: Sequence[np.dtype], numbers: Sequence[float], length: int) -> tuple[Graph, list[Comparison]]:
    """The graph of `rule(arrays, numbers)` on vectors: its inputs are the arrays, then the numbers; it writes back what the rule
    changes. And the comparisons for whose outcomes it holds."""
    met: list[Comparison] = []
    written: list[int] = []

    def run(*values: Any) -> list[Any]:
        arrays = [Recorded(v) for v in values[: len(dtypes)]]
        rule(arrays, [Recorded(v, k, numbers[k], met) for k, v in enumerate(values[len(dtypes):])])
        written.extend(k for k, a in enumerate(arrays) if a.value is not values[k])
        return [arrays[k].value for k in written]

    kinds = [dt.of(d) for d in dtypes]
    graph = late.trace(run, [*[Spec((length,), d) for d in kinds], *[Spec((), kinds[0])] * len(numbers)])
    graph.writebacks = [(graph.inputs[k], v) for k, v in zip(written, graph.outputs)]
    graph.outputs = []
    return graph, met
