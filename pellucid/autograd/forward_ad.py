"""Forward-mode differentiation by dual tensors. Definitions: torch.autograd.forward_ad.

In: a tensor and its tangent. Out: a dual tensor; what is computed from it inside `dual_level` is dual, too, and `unpack_dual` gives
the tangent. What stays true: tangents exist on their level only, and at its end dual tensors are plain ones; a dual tensor keeps its
place in reverse mode, so that value and tangent can be differentiated with `backward()` and `grad`.
"""
from __future__ import annotations

from typing import Any, NamedTuple

from ..core.errors import fail, no_attribute
from ..func.forward import Jvp
from ..func.gradients import uncaptured
from ..ops.dispatch import add_slow, local
from ..ops.op import F
from ..tensor import Tensor

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


def _levels() -> list[Jvp]:
    """The levels of dual tensors this thread is in."""
    return [i for i in local.stack if isinstance(i, Jvp) and i.inherits]


@uncaptured
def enter_dual_level() -> int:
    """Begin a level; dual tensors are made and computed with until `exit_dual_level`. Returns its number."""
    local.stack.append(Jvp(inherits=True))
    add_slow(1)
    return len(_levels()) - 1


@uncaptured
def exit_dual_level(*, level: int | None = None) -> None:
    """End a level: its tangents are gone. Only the last one entered can be ended (RuntimeError)."""
    found = _levels()
    if not found:
        raise RuntimeError("Trying to exit a forward AD level but no level exists, make sure to enter_dual_level() first.")
    if level is not None and level != len(found) - 1:
        raise RuntimeError("Trying to exit a forward AD level that was not the last one that was created. This is not supported.")
    local.stack.remove(found[-1])
    add_slow(-1)
    found[-1].close()


def _level(level: int | None) -> Jvp | None:
    found = _levels()
    if level is None:
        level = len(found) - 1
    return found[level] if 0 <= level < len(found) else None


@uncaptured
def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """`tensor` as a dual tensor with the tangent `tangent`: a view of the same values.

    Raises RuntimeError outside of a level and for a tangent of another shape, ValueError for integers.
    """
    lv = _level(level)
    if lv is None:
        fail(RuntimeError, "P4060", "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first.",
             fix="with forward_ad.dual_level(): ...")
    for name, t in (("primal", tensor), ("tangent", tangent)):
        if not (t.is_floating_point() or t.is_complex()):
            fail(ValueError, "P4061", f"Expected {name} to be floating point or complex, but got: {t.dtype}", fix="convert it: x.float()")
    if tensor.shape != tangent.shape:
        fail(RuntimeError, "P4062", f"Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
             f"supported. Tensor is of size {list(tensor.shape)} while the given forward gradient is of size {list(tangent.shape)}.",
             fix="a tangent has the shape of its tensor")
    if tensor.dtype is not tangent.dtype:
        fail(RuntimeError, "P4063", f"Trying to set a forward gradient that has a different dtype ({tangent.dtype}) than that of the original Tensor "
             f"({tensor.dtype}), this is not supported.", fix="convert the tangent: tangent.to(x.dtype)")
    if unpack_dual(tensor, level=level).tangent is not None:
        fail(RuntimeError, "P4064", "Trying to set a forward gradient on a tensor that already has one on this level", fix="unpack it first")
    with lv.above():
        dual = F.alias(tensor)
    dual._a.extra = tangent
    return dual


class UnpackedDualTensor(NamedTuple):
    """The value of a dual tensor, and its tangent or None."""

    primal: Tensor
    tangent: Tensor | None


@uncaptured
def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """`(primal, tangent)` of a tensor; the tangent is None if it has none on this level."""
    lv = _level(level)
    if lv is None:
        return UnpackedDualTensor(tensor, None)
    primal, tangent = lv.parts(tensor)
    if tangent is not None:
        with lv.beneath():
            primal = F.alias(primal)            # a view of its own: what is written to it is no write to the dual tensor
    return UnpackedDualTensor(primal, tangent)


class dual_level:
    """`with dual_level():` a level of dual tensors inside the block."""

    @uncaptured
    def __enter__(self) -> int:
        return enter_dual_level()

    @uncaptured
    def __exit__(self, *exc: Any) -> None:
        exit_dual_level()


def __getattr__(name: str) -> int:
    """`_current_level`: the number of the innermost level, -1 outside of all. Private in PyTorch, too; functions ask by it whether they
    run in forward mode."""
    if name == "_current_level":
        return len(_levels()) - 1
    raise no_attribute(f"module {__name__!r}", name, lambda: __all__)
