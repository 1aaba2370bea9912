"""`torch._dynamo.testing`: backends that count and record what is compiled, and what tests of compiled functions are written with.

In: graphs, from `compile(backend=...)`; results of models. Out: counts, graphs; results as lists. What stays true: what is counted is
what was captured: the backward that is cut off a compiled forward is run, and not counted.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..compiler import backends, disable
from ..core import dtype as dt
from ..graph.ir import Graph
from ..nn import Module
from ..tensor import Tensor
from ..tensor import functions as f
from .utils import clone_input, same

__all__ = ["CompileCounter", "CompileCounterWithBackend", "EagerAndRecordGraphs", "clone_me", "collect_results", "rand_strided",
           "reduce_to_scalar_loss", "remove_optimized_module_prefix", "requires_bwd_pass", "same", "three", "unsupported"]

three = 3
clone_me = clone_input


class EagerAndRecordGraphs:
    """A backend that keeps the graphs and runs them by the operators' references."""

    backend: str | Callable = "eager"

    def __init__(self) -> None:
        self.graphs: list[Graph] = []

    def __call__(self, graph: Graph) -> Callable[[list], list]:
        if "tangent" not in graph.roles.values():           # or it is a backward
            self.graphs.append(graph)
        return backends.build(graph, self.backend, {})


class CompileCounterWithBackend(EagerAndRecordGraphs):
    """A backend that counts the graphs (`frame_count`) and their operators (`op_count`), and leaves the rest to another."""

    def __init__(self, backend: str | Callable):
        super().__init__()
        backends.check_backend(backend)
        self.backend = "llvm" if backend == "inductor" else backend
        self.clear()

    def __call__(self, graph: Graph) -> Callable[[list], list]:
        before = len(self.graphs)
        run = super().__call__(graph)
        if len(self.graphs) > before:
            self.frame_count += 1
            self.op_count += len(graph.nodes)
        return run

    def clear(self) -> None:
        self.frame_count, self.op_count, self.graphs = 0, 0, []


class CompileCounter(CompileCounterWithBackend):
    """A backend that counts, and runs the graphs by the operators' references."""

    def __init__(self) -> None:
        super().__init__("eager")


@disable(reason="unsupported() was called")
def unsupported(a: Any, b: Any) -> Any:
    """Its first argument. A compiled function that calls it is cut there."""
    return a


def rand_strided(size: Sequence[int], stride: Sequence[int], dtype: Any = dt.float32, device: Any = "cpu", extra_size: int = 0) -> Tensor:
    """Normal random numbers, or zeros of an integer dtype, in memory with these strides; `extra_size` elements lie behind."""
    needed = extra_size + (sum((n - 1) * s for n, s in zip(size, stride)) + 1 if all(n > 0 for n in size) else 0)
    if dtype.is_floating_point and dtype.itemsize == 1:     # no normal numbers are drawn in 8 bits
        buffer = f.randn(needed, dtype=dt.float16, device=device).to(dtype)
    elif dtype.is_floating_point:
        buffer = f.randn(needed, dtype=dtype, device=device)
    else:
        buffer = f.zeros(needed, dtype=dtype, device=device)
    return f.as_strided(buffer, size, stride)


def remove_optimized_module_prefix(name: str) -> str:
    """A parameter's name without `_orig_mod.`, which is no part of it here."""
    return name.removeprefix("_orig_mod.")


def collect_results(model: Module, prediction: Any, loss: Any, example_inputs: Any) -> list:
    """Prediction, loss, gradients (zeros where there is none), parameters, buffers, and the gradients of inputs, for `same`."""
    parameters = dict(model.named_parameters())
    grads = {f"{name}.grad": f.zeros_like(p) if p.grad is None else p.grad for name, p in parameters.items()}
    inputs = [x for example in example_inputs for x in (example if isinstance(example, (tuple, list)) else [example])]
    return [prediction, loss, grads, parameters, dict(model.named_buffers()), *[x.grad for x in inputs if isinstance(x, Tensor)]]


def requires_bwd_pass(out: Any) -> bool:
    """Whether a model's output has a gradient."""
    if isinstance(out, (list, tuple)):
        return any(map(requires_bwd_pass, out))
    return isinstance(out, Tensor) and out.requires_grad


def reduce_to_scalar_loss(out: Any) -> Any:
    """A loss of any output: the mean of a tensor, of a structure the mean of its parts' losses."""
    if isinstance(out, Tensor):
        return out.sum() / out.numel()                      # a mean of integers too
    parts = list(out.values() if isinstance(out, dict) else out)
    return sum(map(reduce_to_scalar_loss, parts)) / len(parts)
