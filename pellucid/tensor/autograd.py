"""Calling the backward engine: `backward` and `grad`.

In: results, gradients of some scalar with respect to them, and the inputs wanted. Results and inputs are tensors or
GradientEdges. Out: `.grad` fields, or a tuple of gradients. True always: a missing gradient of a one-element result is 1.
"""
from __future__ import annotations

import math
import warnings

from ..core import dtype as dt
from ..core.errors import describe, fail
from ..core.late import late
from ..ops.dispatch import local, state
from ..ops.op import F
from .core import UNTRACKED, AccumulateGrad, GradientEdge, Node, Slots, wrap
from .engine import Task, filled, sweep
from .fake import without_data
from .hooks import retain_grad


# ---------------------------------------------------------------------------------------------------- public
def as_tuple(x) -> tuple:
    """One or several tensors, None or edges, as a tuple. A bare node is its first output."""
    if x is None or isinstance(x, Slots):
        return (x,)
    if isinstance(x, (GradientEdge, Node)):
        x = (x,)
    return tuple([GradientEdge(e, 0) if isinstance(e, Node) else e for e in x])


def place_of(t) -> tuple:
    """(edge, output index) where the gradient of a tensor or GradientEdge arrives; the edge of a leaf is the leaf."""
    if isinstance(t, GradientEdge):
        return (t.node.variable if isinstance(t.node, AccumulateGrad) else t.node), t.output_nr
    return (t if t._fn is None else t._fn), t._oi


def spec_of(edge: GradientEdge) -> tuple:
    """(shape, NumPy dtype) of what an edge stands for; (None, None) where the node does not know."""
    if isinstance(edge.node, AccumulateGrad):
        a = edge.node.variable._a
        return a.shape, a.dtype
    specs = edge.node._x.out_specs if edge.node._x is not None else None
    return specs[edge.output_nr] if specs and specs[edge.output_nr] else (None, None)


def size_text(shape) -> str:
    return f"torch.Size({list(shape)})"


def make_root(i: int, t, g, batched: bool = False) -> tuple:
    """(edge, output index, gradient) of result number `i`; with `batched` the gradient has one more dimension in front."""
    if isinstance(t, Slots):
        if not t._rg:
            fail(RuntimeError, "P306", f"element {i} of tensors does not require grad and does not have a grad_fn",
                 got=describe(t), fix="no input of the computation has requires_grad=True, or it ran under no_grad() or detach()")
        edge, oi = (t if t._fn is None else t._fn), t._oi
        shape, npd = t._a.shape, t._a.dtype
    else:
        (edge, oi), (shape, npd) = place_of(t), spec_of(t)
    if g is None:
        if shape != () and (shape is None or math.prod(shape) != 1):
            fail(RuntimeError, "P307", "grad can be implicitly created only for scalar outputs", got=describe(t),
                 fix="reduce to one number first (loss.mean() or loss.sum()), or pass the gradient of the output explicitly")
        if npd.kind == "c":
            fail(RuntimeError, "P308", f"grad can be implicitly created only for real scalar outputs but got {dt.of(npd)}",
                 fix="take .abs() or .real first")
        g = F.ones_like(F.detach(t)) if state.slow and isinstance(t, Slots) and without_data(t) else filled(shape, npd, 1)
    elif not isinstance(g, Slots):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    elif shape is not None:
        have = g._a.shape
        if batched and have[1:] != shape:
            raise RuntimeError(f"If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch "
                               "dimension. The sizes of the remaining dimensions are expected to match the shape of corresponding "
                               f"output, but a mismatch was detected: grad_output[{i}] has a shape of {size_text(have)} and "
                               f"output[{i}] has a shape of {size_text(shape)}. If you only want some tensors in `grad_output` to be "
                               "considered batched, consider using vmap.")
        if not batched and have != shape:
            fail(RuntimeError, "P315", f"Mismatch in shape: grad_output[{i}] has a shape of {size_text(have)} and output[{i}] has a shape of "
                 f"{size_text(shape)}.", fix="the gradient of a tensor has the tensor's own shape")
        if (g._a.dtype.kind == "c") != (npd.kind == "c"):
            raise RuntimeError("For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in "
                               f"dtype: grad_output[{i}] has a dtype of {dt.of(g._a.dtype)} and output[{i}] has a dtype of {dt.of(npd)}.")
        if g._a.dtype != npd:
            g = F.convert(g, dt.of(npd))
    return edge, oi, g


def make_roots(tensors: tuple, grads: tuple) -> list:
    if len(tensors) != len(grads):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(grads)} gradients")
    return [make_root(i, t, g) for i, (t, g) in enumerate(zip(tensors, grads))]


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, grad_variables=None, inputs=None) -> None:
    """Accumulate the gradients of `tensors` with respect to the leaves into their `.grad`.

    tensors: one or several tensors or GradientEdges; grad_tensors: the gradients of the final scalar with respect to them
    (None: 1 for a one-element tensor). inputs: accumulate only into these; a non-leaf among them retains its gradient.
    Raises RuntimeError when nothing requires a gradient, when a non-scalar has no gradient given, or when a freed graph is
    walked again. Definition: torch.autograd.backward.
    """
    if grad_variables is not None:
        warnings.warn("`grad_variables` is deprecated. Use `grad_tensors` instead.", FutureWarning, stacklevel=2)
        if grad_tensors is not None:
            raise RuntimeError("`grad_tensors` and `grad_variables` (deprecated) arguments both passed to `backward()`. Please "
                               "only use `grad_tensors`.")
        grad_tensors = grad_variables
    tensors = as_tuple(tensors)
    grads = (None,) * len(tensors) if grad_tensors is None else as_tuple(grad_tensors)
    targets = None
    if inputs is not None:
        inputs = as_tuple(inputs)
        if not inputs:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        targets = make_targets(inputs)
        for t in inputs:
            if isinstance(t, Slots) and t._fn is not None:
                retain_grad(t)
    run(Task(make_roots(tensors, grads), create_graph if retain_graph is None else retain_graph, create_graph, targets))


def make_targets(inputs: tuple) -> list:
    for t in inputs:
        if isinstance(t, Slots) and not t._rg:
            fail(RuntimeError, "P310", "One of the differentiated Tensors does not require grad", got=describe(t),
                 fix="set requires_grad_() on it before the computation")
    return [place_of(t) for t in inputs]


def run(task: Task) -> None:
    if state.slow and local.stack[-1:] != [state.meta] and any([without_data(g) for _, _, g in task.roots]):
        with state.meta.entered():
            return run(task)
    if not local.partial and task.needed is None:
        return sweep(task)
    before, local.partial = local.partial, task.needed is not None
    try:
        sweep(task)
    finally:
        local.partial = before


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, only_inputs=True, allow_unused=None,
         is_grads_batched=False, materialize_grads=False) -> tuple:
    """The gradients of `outputs` with respect to `inputs`, as a tuple; `.grad` fields stay as they are.

    outputs, inputs: tensors or GradientEdges. is_grads_batched: `grad_outputs` have one more dimension in front, and so have
    the results. materialize_grads: zeros instead of None for unused inputs.
    Raises RuntimeError when an input does not require grad, or was not used (unless `allow_unused`).
    Definition: torch.autograd.grad.
    """
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False.")
    if not only_inputs:
        warnings.warn("only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate gradient for other "
                      "parts of the graph, please use torch.autograd.backward.", FutureWarning, stacklevel=2)
    outputs, inputs = as_tuple(outputs), as_tuple(inputs)
    if not inputs:
        raise ValueError("grad requires non-empty inputs.")
    grads = (None,) * len(outputs) if grad_outputs is None else as_tuple(grad_outputs)
    keep = create_graph if retain_graph is None else retain_graph
    targets = make_targets(inputs)
    if is_grads_batched:
        result = batched(outputs, grads, keep, create_graph, targets)
    else:
        result = captured(make_roots(outputs, grads), keep, create_graph, targets)
    for i, (t, g) in enumerate(zip(inputs, result)):
        if g is None:
            if materialize_grads:
                if isinstance(t, GradientEdge):
                    raise RuntimeError("materialize_grads cannot be used when the given input is a GradientEdge")
                result[i] = filled(t._a.shape, t._a.dtype, 0)
                result[i]._rg = create_graph
            elif not allow_unused:
                fail(RuntimeError, "P311", f"The differentiated Tensor at index {i} appears to not have been used in the graph. "
                     "Set allow_unused=True if this is the desired behavior.",
                     got=describe(t) if isinstance(t, Slots) else repr(t), fix="pass allow_unused=True to get None for it")
    return tuple(result)


def captured(roots: list, keep: bool, create_graph: bool, targets: list) -> list:
    """The gradients at `targets`, None where nothing arrived."""
    task = Task(roots, keep, create_graph, targets, accumulate=False)
    run(task)
    found = [None if e is UNTRACKED else task.captured[e][oi] for e, oi in targets]
    return found if create_graph else [wrap(g._a) if g is not None and g._rg else g for g in found]


def batched(outputs: tuple, grads: tuple, keep: bool, create_graph: bool, targets: list) -> list:
    """`captured` for each row of `grads`, stacked."""
    roots = [make_root(i, t, g, True) for i, (t, g) in enumerate(zip(outputs, grads))]
    n = roots[0][2]._a.shape[0]
    rows = [captured([(e, oi, g[j]) for e, oi, g in roots], keep or j < n - 1, create_graph, targets) for j in range(n)]
    return [None if r[0] is None else F.stack(list(r)) for r in zip(*rows)]


late.grad = grad
