"""What the optimisers that treat every element alike have in common.

In: a parameter group. Out: one call of the optimiser's update per parameter that has a gradient. Each optimiser states
its update twice: `_update_arrays`, on NumPy arrays in place, for dense float32/float64 parameters (complex ones are seen
as pairs of reals), and `_update_tensors`, in tensor operations, for everything else: `differentiable=True`, float16 and
bfloat16 (which round after every operation), and calls that an interpreter or a tensor subclass wants to see. For a tracer
step counts are 0-d float64 tensors and the group's numbers symbols (see `_traced.py`): the helpers below take both.
What stays true: both give the same numbers up to rounding, the order of operations being PyTorch's single-tensor one;
every in-place write bumps the version counter; nothing of a group is written before all its gradients are accepted.
Large groups run the NumPy update as one native loop over all their parameters, read from the same function (tensor/updates.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.errors import fail
from ..ops.dispatch import watched
from ..ops.op import F
from ..tensor import Tensor, no_grad
from ..tensor import functions as T
from ..tensor.repeated import Repeated
from ..tensor.updates import holds_values, temporary, together
from ._traced import real, seen_by_tracer, tracing
from .optimizer import Optimizer, evaluate, grad_mode

__all__: list[str] = []

_CAPTURABLE_DEVICES = ["cuda", "xpu", "hpu", "privateuseone", "xla"]


# ------------------------------------------------------------------------------------------------------ validation
def check(ok: Any, message: str, fix: str = "help() of the optimizer says which values it takes") -> None:
    """Refuse an option of an optimiser."""
    if not ok:
        fail(ValueError, "P725", message, fix=fix)


def check_lr(lr: float | Tensor) -> None:
    """A learning rate is a number, or a tensor of one element, and not negative."""
    if isinstance(lr, Tensor):
        check(lr.numel() == 1, "Tensor lr must be 1-element")
    check(lr >= 0.0, f"Invalid learning rate: {lr}", "a rate is 0 or more, as in lr=1e-3")


def check_betas(betas: Any) -> None:
    """Both decay rates of a running average lie in [0, 1)."""
    for i in (0, 1):
        check(0.0 <= betas[i] < 1.0, f"Invalid beta parameter at index {i}: {betas[i]}", "betas are at least 0 and less than 1")


def to_scalar(x: float | Tensor) -> float | Tensor:
    """A hyperparameter as a number or a 0-d tensor."""
    return x.squeeze() if isinstance(x, Tensor) and x.dim() != 0 else x


# ----------------------------------------------------------------------------------------------------------- state
def scalar_state(value: float, fused: bool | None = None) -> Tensor:
    """A 0-d tensor for a step count and the like: float32, or float64 where that is the default dtype."""
    wide = dt.get_default_dtype() is dt.float64 and not fused
    return T.full((), float(value), dtype=dt.float64 if wide else dt.float32)


def as_scalar_state(states: Iterable[dict], *keys: str, fused: bool | None = None) -> None:
    """Make tensors of counts that old checkpoints hold as numbers."""
    for state in states:
        for key in keys:
            if key in state and not isinstance(state[key], Tensor):
                state[key] = scalar_state(state[key], fused)


def zeros_like(p: Tensor) -> Tensor:
    """State of the parameter's shape, dtype and memory layout."""
    return T.zeros_like(p)


def advance(step: Tensor) -> float:
    """Count one step; the new count."""
    write(step, float(step._a) + 1)
    return float(step._a)


def write(tensor: Tensor, value: float) -> None:
    """Store a number in a 0-d state tensor."""
    tensor._a.fill(value)
    tensor._bump()


def count(step: Tensor) -> float | Tensor:
    """Count one step by an operator; the new count, for a tracer as a 0-d float64 tensor."""
    step.add_(1)
    return step.double() if tracing() else step.item()


def value_of(state: Tensor) -> float | Tensor:
    """What a 0-d state tensor holds, for a tracer as a 0-d float64 tensor."""
    return state.double() if tracing() else state.item()


# ---------------------------------------------------------------------------------------------------------- arrays
def constants(a: np.ndarray, *values: float | Tensor) -> list[np.ndarray]:
    """The numbers as 0-d arrays of `a`'s dtype: NumPy takes those twice as fast as Python floats."""
    dtype = a.dtype
    return [np.array(float(value), dtype) for value in values]


def descent(p: np.ndarray, g: np.ndarray, weight_decay: float, maximize: bool) -> np.ndarray:
    """The gradient to follow downhill: negated when maximizing, plus `weight_decay * p`. `g` itself if neither."""
    if weight_decay == 0:
        return np.negative(g) if maximize else g
    out = np.multiply(p, weight_decay, temporary(p))
    return np.subtract(out, g, out=out) if maximize else np.add(out, g, out=out)


def lerp(start: np.ndarray, end: np.ndarray, weight: np.ndarray, s: np.ndarray) -> None:
    """start += weight * (end - start), from the nearer side as PyTorch does. `s` is scratch."""
    np.subtract(end, start, s)
    if weight < 0.5:
        s *= weight
        start += s
    else:
        s *= 1.0 - weight
        np.subtract(end, s, start)


def descent_tensor(p: Tensor, g: Tensor, weight_decay: float | Tensor, maximize: bool) -> Tensor:
    """`descent` in tensor operations."""
    if maximize:
        g = -g
    if isinstance(weight_decay, Tensor) and weight_decay.requires_grad:
        return g.addcmul(p.clone(), weight_decay)
    return add(g, p, number(weight_decay)) if given(weight_decay) else g


def number(x: float | Tensor) -> float | Tensor:
    """A hyperparameter as a Python number; for a tracer as it is."""
    return x.item() if isinstance(x, Tensor) and not tracing() else x


def given(weight_decay: float | Tensor) -> bool:
    """Whether there is any weight decay. A tracer's numbers are never 0: a 0 stays a Python number."""
    return not _plain(weight_decay) or weight_decay != 0


def _plain(x: Any) -> bool:
    return isinstance(x, (int, float, complex)) or (isinstance(x, Tensor) and not tracing())


# Updates with a factor, which for a tracer may be a symbol or a 0-d float64 tensor: then it is an operand, not an attribute.
def add(x: Tensor, y: Tensor, factor: float | Tensor) -> Tensor:
    """x + factor * y."""
    return x.add(y, alpha=factor) if _plain(factor) else x.add(y * factor)


def add_(x: Tensor, y: Tensor, factor: float | Tensor) -> Tensor:
    """x += factor * y."""
    return x.add_(y, alpha=factor) if _plain(factor) else x.add_(y * factor)


def add_entries_(x: Tensor, places: Tensor, values: Tensor) -> None:
    """x += values at the places that the coalesced sparse tensor `places` names; no others are touched."""
    x._a[tuple(places._indices()._a)] += values._a
    x._bump()


def add_square_(x: Tensor, y: Tensor, factor: float | Tensor) -> Tensor:
    """x += factor * y * y."""
    return x.addcmul_(y, y, value=factor) if _plain(factor) else x.add_(y * y * factor)


def add_quotient_(x: Tensor, y: Tensor, z: Tensor, factor: float | Tensor) -> Tensor:
    """x += factor * y / z."""
    return x.addcdiv_(y, z, value=factor) if _plain(factor) else x.add_(y / z * factor)


def lerp_(x: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
    """x += weight * (y - x)."""
    return x.lerp_(y, weight) if _plain(weight) else x.add_((y - x) * weight)


def greater(x: float | Tensor, y: float | Tensor) -> float | Tensor:
    """max(x, y), also for tensors and a tracer's numbers."""
    return max(x, y) if _plain(x) and _plain(y) else F.maximum(_operand(x), _operand(y))


def lesser(x: float | Tensor, y: float | Tensor) -> float | Tensor:
    """min(x, y), also for tensors and a tracer's numbers."""
    return min(x, y) if _plain(x) and _plain(y) else F.minimum(_operand(x), _operand(y))


def _operand(x: float | Tensor) -> Tensor:
    return x if isinstance(x, Tensor) else T.ones((), dtype=dt.float64) * x


# ------------------------------------------------------------------------------------------------------- the driver
class ElementwiseOptimizer(Optimizer):
    """An optimiser whose update of a parameter needs that parameter, its gradient and its state only."""

    _plain_kinds = "fd"  # dtypes (as NumPy's letters) that `_update_arrays` takes
    _sparse = False      # whether `_update_tensors` takes sparse gradients
    _no_sparse = "{} does not support sparse gradients"

    def _new_state(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter before its first step."""
        raise NotImplementedError

    def _update_arrays(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        raise NotImplementedError

    def _update_tensors(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: recomputes the loss (and the gradients) first; its result is returned.
        """
        loss = None if closure is None else evaluate(closure)
        for group in self.param_groups:
            work = self._accept(group)
            if work:
                self._update_group(seen_by_tracer(group) if tracing() else group, work)
        return loss

    def _accept(self, group: dict[str, Any]) -> list[tuple[Tensor, Tensor, dict]]:
        """The parameters of a group that have a gradient, with it and their state. Raises before anything is written."""
        work = []
        for p in group["params"]:
            g = p.grad
            if g is not None:
                if g.is_sparse and not self._sparse:
                    raise RuntimeError(self._no_sparse.format(type(self).__name__))
                work.append((p, g, self._state_of(p, g, group)))
        if work and group.get("capturable"):
            raise AssertionError(
                "If capturable=True, params and state_steps must be on supported devices: "
                f"{_CAPTURABLE_DEVICES}. On the CPU nothing is captured into a device graph: leave capturable=False."
            )
        return work

    def _state_of(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = self.state[p]
        if not state:
            if group.get("fused"):
                check_fused(p)
            with no_grad(), real():          # also under a tracer: a step is traced with its state there
                state.update(self._new_state(p, g, group))
        return state

    def _update_group(self, group: dict[str, Any], work: list[tuple[Tensor, Tensor, dict]]) -> None:
        if not self._unscale(group, work):
            return
        differentiable = group.get("differentiable", False)
        if differentiable and group.get("foreach"):
            raise AssertionError("_foreach ops don't support autograd: leave foreach unset with differentiable=True")
        arrays = not (differentiable or watched()) and self._takes_arrays(group)
        kinds, repeated = self._plain_kinds, Repeated()
        once = repeated.tracer is not None and not differentiable and self._takes_arrays(group)
        with np.errstate(all="ignore"), together([p._a for p, _, _ in work]):  # an infinity or a NaN is a value here, as in PyTorch
            for p, g, state in work:
                if p._a.dtype.char not in kinds and p.is_complex():
                    p, g, state = _as_real(p, g, state)
                if arrays and holds_values(p) and holds_values(g) and p._a.dtype.char in kinds and p._a.dtype == g._a.dtype:
                    self._update_arrays(p, g, state, group)
                else:
                    before = _versions(p, g, state) if once and p._a.dtype.char in kinds and p._a.dtype == g._a.dtype else []
                    with grad_mode(self.defaults.get("differentiable", False)):
                        repeated.run(lambda: self._update_tensors(p, g, state, group), lambda: _parts(p, g, state))
                    for t, version in before:       # as `_update_arrays` counts its writes
                        if t._storage().version > version:
                            t._storage().version = version + 1

    def _takes_arrays(self, group: dict[str, Any]) -> bool:
        """Whether the group's options are numbers, or tensors that are as good as numbers."""
        return True

    def _unscale(self, group: dict[str, Any], work: list[tuple[Tensor, Tensor, dict]]) -> bool:
        """What `fused` optimisers do for a gradient scaler: divide by its scale; False if it found an infinity."""
        scale, found_inf = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        if scale is None and found_inf is None:
            return True
        if not group.get("fused"):
            raise AssertionError("Expected grad_scale and found_inf to be None: only fused=True handles them in step()")
        if found_inf is not None and found_inf.item():
            return False
        if scale is not None:
            with no_grad():
                for _, g, _ in work:
                    g.div_(scale.item())
        return True


def _parts(p: Tensor, g: Tensor, state: dict[str, Any]) -> tuple[list[Tensor], tuple]:
    """The tensors of a parameter's update, and the names and values of its state that are none."""
    return [p, g, *[v for v in state.values() if isinstance(v, Tensor)]], tuple([(k, None if isinstance(v, Tensor) else v) for k, v in state.items()])


def _versions(p: Tensor, g: Tensor, state: dict[str, Any]) -> list[tuple[Tensor, int]]:
    """The tensors of a parameter's update, and how often each has been written."""
    return [(t, t._storage().version) for t in _parts(p, g, state)[0]]


def _as_real(p: Tensor, g: Tensor, state: dict[str, Any]) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Views of a complex parameter, its gradient and its state as pairs of reals."""
    real = {
        key: T.view_as_real(value) if isinstance(value, Tensor) and value.is_complex() else value
        for key, value in state.items()
    }
    return T.view_as_real(p), T.view_as_real(g), real


def check_fused(p: Tensor) -> None:
    """`fused=True` is for floating-point parameters."""
    if not p.is_floating_point():
        raise RuntimeError(
            "`fused=True` requires all the params to be floating point Tensors of supported devices: ['cpu'] "
            f"but {p.dtype} and {p.device.type}"
        )


def check_fused_options(optimizer: Optimizer, fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
    """`fused` excludes `differentiable` and `foreach`, and lets a gradient scaler leave its work to `step`."""
    if fused:
        optimizer._step_supports_amp_scaling = True
        if differentiable:
            raise RuntimeError("`fused` does not support `differentiable`")
        if foreach:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
