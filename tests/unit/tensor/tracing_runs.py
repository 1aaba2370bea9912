"""Running a trace by the references of its operators, and comparing that with eager."""
from __future__ import annotations

import numpy as np

import pellucid
from pellucid.graph.interp import run as run_graph
from pellucid.graph.verify import check
from pellucid.ops.op import REGISTRY
from pellucid.tensor import Tensor
from pellucid.tensor.tracing import Traced, flatten, trace

f64 = pellucid.float64


def execute(t: Traced, args: tuple = (), kwargs: dict | None = None):
    """What the traced function would do, by the references: results, write-backs, gradients."""
    check(t.graph)
    given: list = []
    flatten((args, kwargs or {}), given)
    arrays = []
    for i in t.inputs:
        if i.role == "scalar":
            value, path = i.source
            for key in path:
                value = value[key]
            arrays.append(np.array(float(value)))
        else:
            arrays.append((given[i.place] if i.place is not None else i.tensor)._a)
    outs = run_graph(t.graph, arrays)
    results = []
    for r in t.results:
        a = arrays[r.input] if r.index is None else outs[r.index]
        for name, attrs in r.chain:
            a = REGISTRY[name].ref(a, **attrs)
        results.append(r.same if r.same is not None and not any(r.same is g for g in given) else Tensor._wrap(a))
    for p, at in t.grad_at.items():
        p._grad = None if at is None else Tensor._wrap(outs[at].reshape(p.shape))
    return t.rebuild(results)


def values(x) -> list:
    leaves: list = []
    flatten(x, leaves)
    return [t.detach().numpy().copy() for t in leaves]


def close(a, b, rtol: float = 1e-6) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b):
        assert x.shape == y.shape and x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


def agree(fn, *args, rtol: float = 1e-6) -> Traced:
    """Eager and traced give the same results and leave the same values in the arguments."""
    eager_args = tuple(copy_of(a) for a in args)
    pellucid.manual_seed(3)
    want = values(fn(*eager_args))
    before = values(args)
    t = trace(fn, args)
    close(values(args), before, 0)                       # tracing computes nothing
    pellucid.manual_seed(3)
    close(values(execute(t, args)), want, rtol)
    close(values(args), values(eager_args), rtol)
    grads = [(a.grad, b.grad) for a, b in zip(args, eager_args) if isinstance(a, Tensor)]
    for g, h in grads:
        assert (g is None) == (h is None)
        if g is not None:
            close(values(g), values(h), rtol)
    return t


def copy_of(a):
    if not isinstance(a, Tensor):
        return a
    c = a.detach().clone(memory_format=pellucid.preserve_format).requires_grad_(a.requires_grad)
    if a.grad is not None:
        c.grad = a.grad.clone()
    return c


def rand(*shape, grad: bool = False, dtype=f64) -> Tensor:
    return pellucid.rand(*shape, dtype=dtype).requires_grad_(grad)


def tensors_of(x) -> list:
    leaves: list = []
    flatten(x, leaves)
    return leaves
