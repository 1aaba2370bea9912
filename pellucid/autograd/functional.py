"""Derivatives of functions: vjp, jvp, jacobian, hessian, vhp, hvp. Definitions: torch.autograd.functional.

In: a function of tensors, a tensor or a tuple of them as inputs, and for products a vector shaped like the inputs (or the
outputs). Out: the function's results and the derivative, structured like the inputs and outputs. True always: results
carry no history unless `create_graph`; with `strict`, a derivative that is zero because nothing is connected is an error
instead of zeros.
"""
from __future__ import annotations

from collections.abc import Callable

from ..core.errors import describe, fail
from ..func.gradients import differentiable, gradients
from ..func.jacobians import basis, jacfwd
from ..func.mapping import vmap
from ..ops.dispatch import local
from ..tensor import Tensor, enable_grad
from ..tensor import functions as T
from ..tensor.autograd import grad

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Tensors = Tensor | tuple[Tensor, ...]
_STRICT = "This is not allowed in strict mode"


# ------------------------------------------------------------------------------------------------ checking what comes in
def _tuple(x, what: str, fn: str) -> tuple[bool, tuple]:
    """Whether `x` is a tuple, and its items. TypeError if they are no tensors."""
    several = isinstance(x, tuple)
    for i, t in enumerate(x if several else (x,)):
        if not isinstance(t, Tensor):
            which = f"the value at index {i} has type {type(t)}" if several else f"the given {what} has type {type(x)}"
            fail(TypeError, "P316", f"The {what} given to {fn} must be either a Tensor or a tuple of Tensors but {which}.",
                 fix="wrap numbers with pellucid.tensor(...)")
    return several, x if several else (x,)


def _run(func: Callable, inputs: tuple, fn: str, strict: bool) -> tuple[bool, tuple]:
    """The function's results, checked."""
    several, outs = _tuple(func(*inputs), "outputs of the user-provided function", fn)
    for i, o in enumerate(outs):
        if strict and not o.requires_grad:
            fail(RuntimeError, "P317", f"Output {i} of the user-provided function does not require gradients. The outputs must be computed "
                 "in a differentiable manner from the input when running in strict mode.", got=describe(o), fix="pass strict=False for zeros")
    return several, outs


def _scalar(out, fn: str):
    """The one-element result of a function whose second derivatives are wanted."""
    several, outs = _tuple(out, "outputs of the user-provided function", fn)
    if several or outs[0].numel() != 1:
        what = "The function given to {} should return a single Tensor" if several else \
            "The Tensor returned by the function given to {} should contain a single element"
        fail(RuntimeError, "P318", what.format(fn), got=describe(*outs), fix="reduce the result to one number, as by .sum()")
    return outs[0]


def _vectors(v, likes: tuple, several: bool, of: str, fn: str) -> tuple:
    """The vector of a product, checked against what it multiplies; 1 if there is one element only."""
    if v is None:
        if several or likes[0].numel() != 1:
            fail(RuntimeError, "P319", f"The vector v can only be None if {of} is a single Tensor with a single element.",
                 got=describe(*likes), fix="pass v, shaped like it")
        return (T.ones_like(likes[0]),)
    _, vs = _tuple(v, "v", fn)
    if len(vs) != len(likes):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(likes)} but got {len(vs)}." if several else
                           "The given v should contain a single Tensor.")
    for i, (a, b) in enumerate(zip(vs, likes)):
        if a.shape != b.shape:
            raise RuntimeError(f"{f'Entry {i} in ' if several else ''}v has invalid size: should be {b.shape} but got {a.shape}.")
    return tuple([a.detach() if not a.requires_grad else a for a in vs])


def _fresh(inputs: tuple, create_graph: bool) -> tuple:
    """The inputs as tensors of their own to differentiate with respect to."""
    return tuple([t.view_as(t) if create_graph and t.requires_grad else t.detach().requires_grad_() for t in inputs])


# ------------------------------------------------------------------------------------------------ gradients
def _grads(outs, xs, vs, create_graph: bool, retain_graph: bool | None = None) -> tuple:
    """Gradients of those outputs that have a history; None where there are none."""
    live = [(o, v) for o, v in zip(outs, vs) if o is not None and o.requires_grad]
    if not live:
        return (None,) * len(xs)
    return grad([o for o, _ in live], xs, [v for _, v in live], retain_graph=retain_graph, create_graph=create_graph, allow_unused=True)


def _fill(grads, likes, strict: bool, create_graph: bool, missing: str, constant: str = "") -> tuple:
    """Zeros for missing gradients; in strict mode an error: `missing`, or `constant` for a gradient without a history of its own
    where one was asked for. `{}` in them is the number of the gradient."""
    found = []
    for i, (g, x) in enumerate(zip(grads, likes)):
        if g is None:
            if strict:
                raise RuntimeError(f"{missing.format(i)} {_STRICT}.")
            g = T.zeros_like(x)
        elif strict and create_graph and constant and not g.requires_grad:
            raise RuntimeError(f"{constant.format(i)} {_STRICT} when create_graph=True.")
        found.append(g if create_graph else g.detach())
    return tuple(found)


def _done(outs: tuple, create_graph: bool, several: bool) -> Tensors:
    outs = outs if create_graph else tuple([o.detach() for o in outs])
    return outs if several else outs[0]


def vjp(func: Callable, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(inputs), v^T J): the product of a vector `v`, shaped like the outputs, with the Jacobian.

    Raises TypeError for what is no tensor, RuntimeError for a `v` of another shape."""
    with enable_grad():
        several, xs = _tuple(inputs, "inputs", "vjp")
        xs = _fresh(xs, create_graph)
        many, outs = _run(func, xs, "vjp", strict)
        vs = _vectors(v, outs, many, "the user-provided function returns", "vjp")
        r = _fill(_grads(outs, xs, vs, create_graph), xs, strict, create_graph, "The output of the user-provided function is independent of "
                  "input {}.", "The jacobian of the user-provided function is independent of input {}.")
    return _done(outs, create_graph, many), r if several else r[0]


def jvp(func: Callable, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(inputs), J v): the product of the Jacobian with a vector `v`, shaped like the inputs, by two reverse sweeps: the
    first gives w^T J for a variable w, which is linear in w; the second differentiates that with respect to w.

    Raises TypeError for what is no tensor, RuntimeError for a `v` of another shape."""
    with enable_grad():
        several, xs = _tuple(inputs, "inputs", "jvp")
        vs = _vectors(v, xs, several, "the input to the user-provided function", "jvp")
        xs = _fresh(xs, create_graph)
        many, outs = _run(func, xs, "jvp", strict)
        ws = tuple([T.zeros_like(o).requires_grad_() for o in outs])
        first = _grads(outs, xs, ws, True)
        _fill(first, xs, strict, True, "The output of the user-provided function is independent of input {}.")
        r = _fill(_grads(first, ws, vs, create_graph), outs, strict, create_graph, "The gradient with respect to the input is independent of "
                  "entry {} in the grad_outputs when using the double backward trick to compute forward mode gradients.",
                  "The jacobian of the user-provided function is independent of input {}.")
    return _done(outs, create_graph, many), r if many else r[0]


def jacobian(func: Callable, inputs: Tensors, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode"):
    """The Jacobian: for each output and each input a tensor of shape `output.shape + input.shape`.

    One backward pass per element of the outputs; with `vectorize`, all of them at once (by `func.vmap`), or, with
    `strategy="forward-mode"`, one batched forward pass for all elements of the inputs."""
    _check_ways("jacobian", strategy, strict, vectorize)
    if strategy == "forward-mode":
        return _by_columns(func, inputs, create_graph, vectorize)
    with enable_grad():
        several, xs = _tuple(inputs, "inputs", "jacobian")
        xs = _fresh(xs, create_graph)
        many, outs = _run(func, xs, "jacobian", strict)
        rows = _all_rows(outs, xs, create_graph) if vectorize else [_jacobian_of(i, o, xs, create_graph, strict) for i, o in enumerate(outs)]
    result = tuple([r if several else r[0] for r in rows])
    return result if many else result[0]


def _check_ways(fn: str, strategy: str, strict: bool, vectorize: bool) -> None:
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    if strict and vectorize:
        raise RuntimeError(f"torch.autograd.functional.{fn}: `strict=True` and `vectorize=True` are not supported together. Please either "
                           "set `strict=False` or `vectorize=False`.")


def _all_rows(outs: tuple, xs: tuple, create_graph: bool) -> list:
    """The Jacobians of all outputs, by one batched backward pass."""
    depth = len(local.stack)
    numels = [o.numel() for o in outs]
    if not sum(numels):
        return [tuple([T.zeros((*o.shape, *x.shape), dtype=x.dtype) for x in xs]) for o in outs]
    stacked = vmap(lambda *gs: tuple(gradients(list(outs), list(xs), list(gs), True, create_graph, depth)))(*basis(list(outs), 0, sum(numels)))
    split = [T.split(s if create_graph else s.detach(), numels) for s in stacked]
    return [tuple([split[k][i].reshape(*o.shape, *x.shape) for k, x in enumerate(xs)]) for i, o in enumerate(outs)]


def _by_columns(func: Callable, inputs: Tensors, create_graph: bool, vectorize: bool):
    """The Jacobian by forward mode."""
    if create_graph:
        raise NotImplementedError("torch.autograd.functional.jacobian: `create_graph=True` and `strategy=\"forward-mode\"` are not supported "
                                  "together (yet). Please either set `create_graph=False` or `strategy=\"reverse-mode\"`.")
    if not vectorize:
        raise NotImplementedError("Computing Jacobian using forward-AD or forward-over-reverse Hessian is only implemented for `vectorize=True`.")
    several, xs = _tuple(inputs, "inputs", "jacobian")
    many: list = []
    with enable_grad():

        def run(*a):
            kind, outs = _run(func, a, "jacobian", False)
            many.append(kind)
            return outs
        rows = jacfwd(run, tuple(range(len(xs))))(*[x.detach() for x in xs])
    result = tuple([tuple([r.detach() for r in row]) if several else row[0].detach() for row in rows])
    return result if many[0] else result[0]


def _jacobian_of(i: int, o: Tensor, xs: tuple, create_graph: bool, strict: bool) -> tuple:
    """The Jacobians of output `i` with respect to each of `xs`."""
    flat = o.reshape(-1)
    n = flat.numel()
    rows = []
    for j in range(n):
        seed = T.zeros_like(flat)
        seed[j] = 1
        rows.append(_fill(_grads((flat,), xs, (seed,), create_graph, True), xs, strict, create_graph, f"Output {i} of the user-provided function "
                          "is independent of input {}.", "The jacobian of the user-provided function is independent of input {}."))
    return tuple([T.stack([r[k] for r in rows]).reshape(*o.shape, *x.shape) if rows else T.zeros((*o.shape, *x.shape), dtype=x.dtype)
                  for k, x in enumerate(xs)])


def hessian(func: Callable, inputs: Tensors, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode"):
    """The Hessian of a function with a one-element result: for each pair of inputs a tensor of shape
    `input_i.shape + input_j.shape`."""
    _check_ways("hessian", outer_jacobian_strategy, strict, vectorize)
    several, xs = _tuple(inputs, "inputs", "hessian")

    def gradient(*ys):
        if outer_jacobian_strategy == "forward-mode":
            ys = tuple([differentiable(y) for y in ys])
        (out,) = _run(lambda *a: _scalar(func(*a), "hessian"), ys, "hessian", strict)[1]
        gs = _grads((out.reshape(()),), ys, (T.ones((), dtype=out.dtype),), True)
        _check_varies(gs, strict)
        return tuple([T.zeros_like(y) if g is None else g for g, y in zip(gs, ys)])

    r = jacobian(gradient, xs, create_graph=create_graph, vectorize=vectorize, strategy=outer_jacobian_strategy)
    return r if several else r[0][0]


def _check_varies(gs: tuple, strict: bool) -> None:
    for i, g in enumerate(gs):
        if strict and (g is None or not g.requires_grad):
            raise RuntimeError(f"The jacobian of the user-provided function with respect to input {i} is independent of the inputs. {_STRICT} "
                               "when create_graph=True.")


def vhp(func: Callable, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(inputs), v^T H): the product of a vector, shaped like the inputs, with the Hessian of a function with a
    one-element result."""
    return _hessian_product("vhp", func, inputs, v, create_graph, strict)


def hvp(func: Callable, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(inputs), H v). The Hessian is symmetric, so this is `vhp`."""
    return _hessian_product("hvp", func, inputs, v, create_graph, strict)


def _hessian_product(fn: str, func: Callable, inputs, v, create_graph: bool, strict: bool) -> tuple:
    with enable_grad():
        several, xs = _tuple(inputs, "inputs", fn)
        vs = _vectors(v, xs, several, "the input to the user-provided function", fn)
        xs = _fresh(xs, create_graph)
        (out,) = _run(lambda *a: _scalar(func(*a), fn), xs, fn, strict)[1]
        first = _grads((out.reshape(()),), xs, (T.ones((), dtype=out.dtype),), True)
        _fill(first, xs, strict, True, "The output of the user-provided function is independent of input {}.")
        _check_varies(first, strict)
        r = _fill(_grads(first, xs, vs, create_graph), xs, strict, create_graph, "The jacobian of the user-provided function is independent of "
                  "input {}.", "The hessian of the user-provided function is independent of input {}.")
    return _done((out,), create_graph, False), r if several else r[0]
