"""Checking derivatives against finite differences, in float64. Definitions: torch.autograd.gradcheck.

In: a function and inputs, some of which require grad. Out: True, or a GradcheckError that shows both Jacobians. What is
compared: the Jacobian of each output with respect to each input (complex outputs as real and imaginary parts), or, with
`fast_mode`, one random projection of it.

A Jacobian here is a NumPy matrix [input elements, output elements] of a real output; for a complex input its entries are
dL/dRe + i dL/dIm, which is what backward gives.
"""
from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.late import late
from ..tensor import Function, Tensor, enable_grad
from ..tensor import functions as T
from ..tensor.autograd import grad

__all__ = ["GradcheckError", "get_analytical_jacobian", "get_numerical_jacobian", "gradcheck", "gradgradcheck"]

_NONDETERMINISTIC = (
    "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times gives different values, although "
    "analytical gradient matches numerical gradient. The tolerance for nondeterminism was {}.\n\nNOTE: If your op relies on "
    "non-deterministic operations i.e., it is listed here: https://pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms"
    ".html this failure might be expected: pass nondet_tol.")
_UNDEFINED = ('Backwards compatibility: New undefined gradient support checking feature is enabled by default, but it may break existing '
              'callers of this function. If this is true for you, you can call this function with "check_undefined_grad=False" to '
              "disable the feature")


class GradcheckError(RuntimeError):
    """A derivative differs from finite differences."""


# ------------------------------------------------------------------------------------------------ inputs and outputs
def _tuple(x) -> tuple:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _tensors(x) -> list:
    """The tensors in a nest of tuples and lists."""
    if isinstance(x, (list, tuple)):
        return [y for v in x for y in _tensors(v)]
    return [x] if isinstance(x, Tensor) else []


def _watched(inputs) -> list:
    return [x for x in _tensors(inputs) if x.requires_grad]


def _any_sparse(values) -> bool:
    return any(isinstance(x, Tensor) and x.is_sparse for x in values)


def _on_entries(func: Callable, inputs: tuple) -> tuple[Callable, tuple]:
    """`func` as a function of the entries of its sparse inputs, and those. Its sparse results are seen as dense ones."""
    sparse, like = late.sparse(), inputs

    def on_entries(*args: Any) -> Any:
        given = [sparse.assemble(t._indices()._a, x, tuple(t.shape), t.is_coalesced()) if isinstance(t, Tensor) and t.is_sparse else x
                 for t, x in zip(like, args)]
        outs = func(*given)
        dense = tuple([o.to_dense() if isinstance(o, Tensor) else o for o in _tuple(outs)])
        return dense if isinstance(outs, (tuple, list)) else dense[0]

    return on_entries, tuple([t._values().clone().requires_grad_(t.requires_grad) if isinstance(t, Tensor) and t.is_sparse else t for t in inputs])


def _check_inputs(inputs: tuple) -> None:
    for i, x in enumerate(inputs):
        for t in _watched(x):
            if t.dtype not in (dt.float64, dt.complex128):
                warnings.warn(f"Input #{i} requires gradient and is not a double precision floating point or complex. This check will "
                              "likely fail if all the inputs are not of double precision floating point or complex. ", stacklevel=4)
            if any(s == 0 and n > 1 for s, n in zip(t.stride(), t.shape)):
                raise RuntimeError(f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that are "
                                   "non-overlapping to be able to compute the numerical gradients correctly. You should call "
                                   ".contiguous on the input before passing it to gradcheck.")
            t.retain_grad()
    if not _watched(inputs):
        raise ValueError("gradcheck expects at least one input tensor to require gradient, but none of the them have requires_grad=True.")


def _parts(func: Callable, inputs: tuple, outs: list) -> list[tuple[str, Callable]]:
    """The function, or, if it has complex outputs, its imaginary and its real part, each with a prefix for messages."""
    if not any(o.is_complex() for o in outs):
        return [("", func)]

    def part(of):
        def run(*args):
            return tuple(of(o) if o.is_complex() else o for o in _tensors(func(*args)))
        return run
    prefix = "While considering the {} part of complex outputs only, "
    return [(prefix.format("imaginary"), part(lambda o: o.imag)), (prefix.format("real"), part(lambda o: o.real))]


# ------------------------------------------------------------------------------------------------ finite differences
def _slopes(func: Callable, inputs: tuple, x: Tensor, move: Callable, eps: float, where: str) -> list[np.ndarray]:
    """Central differences of all outputs, flat, where `move(array, step)` perturbs the memory of `x`."""
    a = x.detach().numpy()
    old = a.copy()
    sides = []
    try:
        for step in (eps, -eps):
            move(a, step)
            sides.append([o.detach().clone() for o in _tensors(func(*inputs))])
            a[...] = old
    finally:
        a[...] = old
    for p, m in zip(*sides):
        for what, u, v in (("shape", p.shape, m.shape), ("dtype", p.dtype, m.dtype)):
            if u != v:
                raise AssertionError(f"Expected `func` to return outputs with the same {what} when inputs are perturbed{where}, but got:\n {u} "
                                     f"and \n {v}.")
    return [np.asarray(((p - m) / (2 * eps)).numpy()).reshape(-1) for p, m in zip(*sides)]


def _axes(x: Tensor) -> tuple:
    """The directions along which an input's elements move: the real axis, and the imaginary one of complex numbers."""
    return (1.0, 1.0j) if x.is_complex() else (1.0,)


def _numerical(func: Callable, inputs: tuple, x: Tensor, outs: list, eps: float) -> list[np.ndarray]:
    """The Jacobian of each of `outs` with respect to `x`."""
    found = [np.zeros((x.numel(), o.numel()), np.complex128 if x.is_complex() or o.is_complex() else np.float64) for o in outs]
    for row, index in enumerate(np.ndindex(tuple(x.shape))):
        for axis in _axes(x):
            def move(a, step):
                a[index] += step * axis
            for jac, slope in zip(found, _slopes(func, inputs, x, move, eps, f" on index {index}"), strict=True):
                if slope.size != jac.shape[1]:
                    raise AssertionError("Expected `func` to return outputs with the same shape when inputs are perturbed on index "
                                         f"{index}, but got:\n {jac.shape[1]} elements and \n {slope.size} elements.")
                jac[row] += slope * axis
    return found


# ------------------------------------------------------------------------------------------------ backward
def _gradients(o: Tensor, xs: list, v: Tensor) -> list:
    return list(grad(o, xs, v, retain_graph=True, allow_unused=True))


def _analytical(o: Tensor, xs: list, nondet_tol: float = 0.0) -> tuple[list[np.ndarray], bool, bool, bool]:
    """By backward, for each of `xs`: the Jacobian of `o`; then whether two runs agree, and whether sizes and dtypes are right."""
    shape = o.shape
    jacs = [np.zeros((x.numel(), o.numel()), x.detach().numpy().dtype) for x in xs]
    same = sizes = types = True
    for j in range(o.numel()):
        seed = np.zeros(o.numel(), o.detach().numpy().dtype)
        seed[j] = 1
        v = T.from_numpy(seed.reshape(shape))
        for jac, x, g, again in zip(jacs, xs, _gradients(o, xs, v), _gradients(o, xs, v)):
            if g is None:
                continue
            types = types and g.dtype == x.dtype
            if g.shape != x.shape:
                sizes = False
                continue
            column = g.detach().numpy().reshape(-1)
            jac[:, j] = column
            same = same and bool(np.all(np.abs(column - again.detach().numpy().reshape(-1)) <= nondet_tol) or np.isnan(column).any())
    return jacs, same, sizes, types


def _check_attributes(same: bool, sizes: bool, types: bool, check_types: bool, nondet_tol: float) -> None:
    if check_types and not types:
        raise GradcheckError("Gradient has dtype mismatch")
    if not sizes:
        raise GradcheckError("Analytical gradient has incorrect size")
    if not same:
        raise GradcheckError(_NONDETERMINISTIC.format(nondet_tol))


# ------------------------------------------------------------------------------------------------ the two ways
def _slow(func: Callable, inputs: tuple, prefix: str, o: dict) -> None:
    """Whole Jacobians."""
    xs = _watched(inputs)
    outs = _tensors(func(*inputs))
    smooth = [(i, out) for i, out in enumerate(outs) if out.is_floating_point()]
    numerical = [_numerical(func, inputs, x, outs, o["eps"]) for x in xs]
    live = [(i, out) for i, out in smooth if out.requires_grad]
    if not live:
        _check_constant([n[i] for n in numerical for i, _ in smooth], o["eps"])
    for k, (i, out) in enumerate(live):
        jacs, *attributes = _analytical(out, xs, o["nondet_tol"])
        for j, (a, n) in enumerate(zip(jacs, numerical)):
            if not np.allclose(a, n[i], o["rtol"], o["atol"], equal_nan=True):
                raise GradcheckError(f"{prefix}Jacobian mismatch for output {k} with respect to input {j},\nnumerical:{n[i]}\n"
                                     f"analytical:{a}\n")
        _check_attributes(*attributes, o["check_grad_dtypes"], o["nondet_tol"])


def _check_constant(jacs: list[np.ndarray], eps: float) -> None:
    if any((np.abs(n) > eps).any() for n in jacs):
        raise GradcheckError("Numerical gradient for function expected to be zero")


def _fast(func: Callable, inputs: tuple, prefix: str, o: dict) -> None:
    """One random direction per input and one random combination of each output's elements."""
    rng = np.random.default_rng(0)
    xs = _watched(inputs)
    outs = _tensors(func(*inputs))
    smooth = [(i, out) for i, out in enumerate(outs) if out.is_floating_point()]
    live = [(i, out) for i, out in smooth if out.requires_grad]
    weights = {i: _unit(rng, out.shape) for i, out in smooth}
    direct = [[(axis * _unit(rng, x.shape)) for axis in _axes(x)] for x in xs]

    def slopes(x, d):
        def move(a, step):
            a[...] += (step * d).astype(a.dtype)
        return _slopes(func, inputs, x, move, o["eps"], "")

    numerical = [[slopes(x, d) for d in ds] for x, ds in zip(xs, direct)]
    if not live:
        _check_constant([s[i] for per in numerical for s in per for i, _ in smooth], o["eps"])
    for k, (i, out) in enumerate(live):
        v = T.from_numpy(np.asarray(weights[i], out.detach().numpy().dtype))
        gs, again = _gradients(out, xs, v), _gradients(out, xs, v)
        for j, (x, g, ds, per) in enumerate(zip(xs, gs, direct, numerical)):
            for d, s in zip(ds, per):
                n = float(np.sum(s[i] * weights[i].reshape(-1)))
                a = 0.0 if g is None else float(np.real(np.sum(np.conj(g.detach().numpy()) * d)))
                if not abs(a - n) <= o["rtol"] * abs(n) + o["atol"] * np.abs(d).sum() * np.abs(weights[i]).sum() and not (a != a and n != n):
                    raise GradcheckError(f"{prefix}Jacobian mismatch for output {k} with respect to input {j},\nnumerical:{n}\n"
                                         f"analytical:{a}\n\nThe above quantities are projections of the Jacobians on random vectors "
                                         "(fast mode); with fast_mode=False the error shows the whole Jacobians.\n")
        pairs = [(x, g, h) for x, g, h in zip(xs, gs, again) if g is not None]
        _check_attributes(all(bool(((g - h).abs() <= o["nondet_tol"]).all()) or bool(g.isnan().any()) for _, g, h in pairs),
                          all(g.shape == x.shape for x, g, _ in pairs), all(g.dtype == x.dtype for x, g, _ in pairs),
                          o["check_grad_dtypes"], o["nondet_tol"])


def _forward(func: Callable, inputs: tuple, prefix: str, o: dict) -> None:
    """The Jacobian times a random direction of each input, by backward of backward, against differences along it."""
    rng = np.random.default_rng(1)
    xs = _watched(inputs)
    live = [(i, out) for i, out in enumerate(_tensors(func(*inputs))) if out.is_floating_point() and out.requires_grad]
    for j, x in enumerate(xs):
        d = sum(axis * _unit(rng, x.shape) for axis in _axes(x))

        def move(a, step):
            a[...] += (step * d).astype(a.dtype)
        slopes = _slopes(func, inputs, x, move, o["eps"], "")
        v = T.from_numpy(np.asarray(d, x.detach().numpy().dtype))
        for k, (i, out) in enumerate(live):
            w = T.zeros_like(out).requires_grad_()
            (g,) = grad(out, x, w, create_graph=True, allow_unused=True)
            a = None if g is None or not g.requires_grad else grad(g, w, v, allow_unused=True)[0]
            have = np.zeros(out.numel()) if a is None else a.numpy().reshape(-1)
            if not np.allclose(have, slopes[i], o["rtol"], o["atol"], equal_nan=True):
                raise GradcheckError(f"{prefix}Jacobian computed with forward mode mismatch for output {k} with respect to input {j},\n"
                                     f"numerical:{slopes[i]}\nanalytical:{have}\n")


def _unit(rng, shape) -> np.ndarray:
    v = rng.random(tuple(shape)) + 0.1
    return v / max(float(np.sqrt((v * v).sum())), 1e-12)


# ------------------------------------------------------------------------------------------------ further checks
class _UndefinedGrad(Function):
    """The identity, whose gradient is missing."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return None


def _check_scaling(outs: list, xs: list) -> None:
    """A zero gradient of the outputs gives zero gradients of the right size and dtype."""
    gs = grad(outs, xs, [T.zeros_like(o) for o in outs], allow_unused=True, retain_graph=True)
    for g, x in zip(gs, xs):
        if g is None:
            continue
        if not bool((g == 0).all()):
            raise GradcheckError("backward not multiplied by grad_output")
        if g.dtype != x.dtype:
            raise GradcheckError("grad is incorrect type")
        if g.shape != x.shape:
            raise GradcheckError("grad is incorrect size")


def _check_undefined(func: Callable, inputs: tuple) -> None:
    """Backward copes with outputs that get no gradient: all of them, and each alone."""
    xs = _watched(inputs)
    n = len(_live(func, inputs))
    for missing in [set(range(n))] + ([{i} for i in range(n)] if n > 1 else []):
        outs = [_UndefinedGrad.apply(o) if i in missing else o for i, o in enumerate(_live(func, inputs))]
        try:
            gs = grad(outs, xs, [T.zeros_like(o) for o in outs], allow_unused=True)
        except RuntimeError as error:
            warnings.warn(_UNDEFINED, stacklevel=4)
            raise GradcheckError("Expected backward function to handle undefined output grads. Please look at 'Notes about undefined "
                                 "output gradients' in 'tools/autograd/derivatives.yaml'") from error
        for g in gs:
            if g is not None and not bool((g == 0).all()):
                warnings.warn(_UNDEFINED, stacklevel=4)
                raise GradcheckError("Expected all input grads to be undefined or zero when all output grads are undefined or zero. "
                                     "Please look at 'Notes about undefined output gradients' in 'tools/autograd/derivatives.yaml'")


def _live(func: Callable, inputs: tuple) -> list:
    return [o for o in _tensors(func(*inputs)) if o.requires_grad]


def _check_batched(outs: list, xs: list) -> None:
    """Gradients of a batch of output gradients are those of each."""
    for o in outs:
        vs = T.stack([T.ones_like(o), T.full_like(o, 0.5)])
        many = grad(o, xs, vs, retain_graph=True, allow_unused=True, is_grads_batched=True)
        for j in range(2):
            for g, one in zip(many, _gradients(o, xs, vs[j])):
                if (g is None) != (one is None) or g is not None and not T.allclose(g[j], one):
                    raise GradcheckError("While computing batched gradients, got a result that differs from that of each gradient alone")


# ------------------------------------------------------------------------------------------------ public
def gradcheck(func: Callable, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True,
              nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
              check_batched_grad: bool = False, check_batched_forward_grad: bool = False, check_forward_ad: bool = False,
              check_backward_ad: bool = True, fast_mode: bool = False, masked: bool | None = None) -> bool:
    """Whether `func`'s gradients agree with finite differences at `inputs` (float64 or complex128 recommended).

    Args:
        eps, atol, rtol: the step of the finite differences and the tolerances.
        nondet_tol: how much two runs of backward may differ.
        check_undefined_grad: also that backward copes with outputs that get no gradient.
        check_grad_dtypes: also that each gradient has its input's dtype.
        check_batched_grad: also gradients in batches (`is_grads_batched`).
        check_forward_ad: also the product of the Jacobian with a vector, which is computed by backward of backward.
        fast_mode: compare one random projection instead of whole Jacobians.
        raise_exception: False returns False instead of raising.

    Raises:
        GradcheckError: they differ; names output and input and shows both Jacobians.
        ValueError: no input requires grad.
    """
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be True")
    if check_batched_grad and not check_backward_ad:
        raise AssertionError("Setting check_batched_grad=True requires check_backward_ad to be True")
    if check_batched_forward_grad and not check_forward_ad:
        raise AssertionError("Setting check_batched_forward_grad=True requires check_forward_ad to be True")
    options = {"eps": eps, "atol": atol, "rtol": rtol, "nondet_tol": nondet_tol, "check_grad_dtypes": check_grad_dtypes}
    inputs = _tuple(inputs)
    if _any_sparse(inputs):
        func, inputs = _on_entries(func, inputs)
    try:
        _check_inputs(inputs)
        outs = _tensors(func(*inputs))
        if _any_sparse(outs):
            func, inputs = _on_entries(func, inputs)
            outs = [o.to_dense() for o in outs]
        for prefix, part in _parts(func, inputs, outs):
            if check_backward_ad:
                (_fast if fast_mode else _slow)(part, inputs, prefix, options)
            if check_forward_ad:
                _forward(part, inputs, prefix, options)
        live = [o for o in outs if o.requires_grad]
        if not live or not check_backward_ad:
            return True
        xs = _watched(inputs)
        if check_batched_grad:
            _check_batched(live, xs)
        _check_scaling(live, xs)
        if check_undefined_grad:
            _check_undefined(func, inputs)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(func: Callable, inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
                  gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True, nondet_tol: float = 0.0,
                  check_undefined_grad: bool = True, check_grad_dtypes: bool = False, check_batched_grad: bool = False,
                  check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True, fast_mode: bool = False, masked: bool = False) -> bool:
    """Whether the gradients of `func`'s gradients agree with finite differences. `grad_outputs`: the gradients of the outputs
    to start from (random if None); the other arguments are those of `gradcheck`."""
    if not (check_fwd_over_rev or check_rev_over_rev):
        raise AssertionError("Expected at least one of check_fwd_over_rev or check_rev_over_rev to be True")
    inputs = _tuple(inputs)
    if _any_sparse(inputs):
        func, inputs = _on_entries(func, inputs)
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        seeds = tuple(_random_like(o, rng, gen_non_contig_grad_outputs) for o in _live(func, inputs))
    else:
        seeds = _tuple(grad_outputs)
    n = len(seeds)

    def gradients(*args):
        ins, vs = args[:len(args) - n], args[len(args) - n:]
        with enable_grad():
            gs = grad(_live(func, ins), _watched(ins), vs, create_graph=True, allow_unused=True)
        return tuple(g for g in gs if g is not None)

    return gradcheck(gradients, inputs + seeds, eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception, nondet_tol=nondet_tol,
                     check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes, check_batched_grad=check_batched_grad,
                     check_forward_ad=check_fwd_over_rev, check_backward_ad=check_rev_over_rev, fast_mode=fast_mode, masked=masked)


def _random_like(o: Tensor, rng, strided: bool) -> Tensor:
    """A random gradient for `o` that requires grad, not contiguous if asked for."""
    shape = (*o.shape, 2) if strided else tuple(o.shape)
    v = T.tensor(rng.uniform(-1, 1, shape) + (1j * rng.uniform(-1, 1, shape) if o.is_complex() else 0)).to(o.dtype)
    return (v[..., 0] if strided else v).detach().requires_grad_()


# ------------------------------------------------------------------------------------------------ deprecated
def _deprecated(name: str, grad_out: float) -> None:
    warnings.warn(f"`{name}` was part of PyTorch's private API and not meant to be exposed. We are deprecating it and it will be removed "
                  "in a future version of PyTorch.", FutureWarning, stacklevel=3)
    if grad_out != 1.0:
        raise ValueError(f"Expected grad_out to be 1.0. {name} no longer supports values of grad_out != 1.0.")


def get_numerical_jacobian(fn: Callable, inputs: Any, target: Any = None, eps: float = 1e-3, grad_out: float = 1.0) -> tuple:
    """Deprecated in PyTorch too: the Jacobian of the first output of `fn(inputs)` with respect to each tensor of `target`
    (default `inputs`), by central differences."""
    _deprecated("get_numerical_jacobian", grad_out)
    xs = [x for x in _tensors(inputs if target is None else target) if x.is_floating_point() or x.is_complex()]
    return tuple(T.from_numpy(_numerical(lambda: fn(inputs), (), x, _tensors(fn(inputs)), eps)[0]) for x in xs)


def get_analytical_jacobian(inputs: Any, output: Tensor, nondet_tol: float = 0.0, grad_out: float = 1.0) -> tuple:
    """Deprecated in PyTorch too: (Jacobians of `output` by backward, whether two runs agree, sizes right, dtypes right)."""
    _deprecated("get_analytical_jacobian", grad_out)
    jacs, same, sizes, types = _analytical(output, _watched(inputs), nondet_tol)
    return tuple(T.from_numpy(j) for j in jacs), same, sizes, types
