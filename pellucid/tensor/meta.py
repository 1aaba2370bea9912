"""Tensors without data, on the device "meta": operators on them compute shapes, dtypes and strides.

In: calls of operators on such tensors, or that are asked to make one. Out: such tensors, with the ordinary history, so that
`backward()` gives gradients without data. One interpreter per process does it, the tracer of `compile` without a graph: its
tensors are the fakes of tracing, and their shapes come from the same rules.

What stays true: nothing is computed, no random number is drawn, and no memory is taken that grows with a tensor's size.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from ..core import dtype as dt
from ..core.device import META
from ..core.errors import describe, fail
from ..core.spec import Spec
from ..graph.ir import Value
from ..ops.dispatch import add_slow, local, state
from ..ops.op import Op
from . import eager
from .core import Slots
from .devices import refuse_data
from .fake import Cell, Fake, asked, refuse as refuse_traced, without_data
from .tracer import Tracer

_ITEM = frozenset(("tensor.item()", "bool(tensor)", "float(tensor)", "int(tensor)", "tensor as an index", "complex(tensor)",
                   "value in tensor", "allclose()", "is_nonzero()"))
_NUMPY = frozenset(("tensor.numpy()", "tensor as a NumPy array"))
_COPIES = frozenset(("tensor.tolist()", "copy_()", "save()"))


class _Cell(Cell):
    """Memory that is not there. As long as one lives, calls are looked at for tensors without data."""

    __slots__ = ()

    def __init__(self, tracer, value, a: np.ndarray):
        super().__init__(tracer, value, a)
        add_slow(1)

    def __del__(self):
        add_slow(-1)


class Meta(Tracer):
    """The interpreter of tensors without data. It keeps nothing: values are Specs, and a write changes none."""

    covers = False          # tensors with data keep it
    device = META
    cell_type = _Cell

    # ------------------------------------------------------------------------------------------ calls
    @contextlib.contextmanager
    def entered(self) -> Iterator[Meta]:
        """Run the block with this interpreter on top of the stack."""
        stack = local.stack
        if any([isinstance(i, Tracer) and i is not self for i in stack]):
            refuse_traced("a tensor on the meta device", fix="call the function as it is: there is nothing to compile")
        local.stack = [*stack, self]
        add_slow(1)
        try:
            yield self
        finally:
            add_slow(-1)
            local.stack = stack

    def enter(self, op: Op, args: tuple, kwargs: dict) -> Any:
        """A call that reaches this interpreter from outside, or again from the body of a composite."""
        if "device" in kwargs and op.name != "to":
            kwargs = {k: v for k, v in kwargs.items() if k != "device"}
        if local.stack and local.stack[-1] is self:
            return self.call(op, args, kwargs)
        with self.entered():
            return self.call(op, args, kwargs)

    def apply(self, op: Op, flat: tuple, attrs: dict) -> Any:
        if local.stack and local.stack[-1] is self:
            return self.record(op, flat, attrs)
        with self.entered():
            return self.record(op, flat, attrs)

    def record(self, op: Op, flat: tuple, attrs: dict) -> Any:
        return super().record(op, tuple([self.counterpart(op, t) if isinstance(t, Slots) and not without_data(t) else t for t in flat]), attrs)

    def counterpart(self, op: Op, t):
        """What stands for an operand on the CPU: allowed are 0-d tensors, indices, and what is copied from."""
        if t._a.ndim and dt.of(t._a.dtype).category >= dt.FLOAT and op.name not in ("copy", "view_scatter"):
            fail(RuntimeError, "P3012", f"Tensor on device {t.device} is not on the expected device meta!", got=f"{op.public} with {describe(t)}",
                 fix="bring it there, too: x.to('meta')")
        return self.empty(t._a.shape, t._a.dtype)

    # ------------------------------------------------------------------------------------------ what a tracer would write down
    def emit(self, op: Op, args: tuple, attrs: dict, specs: tuple) -> tuple[Value, ...]:
        return tuple([Value(s, "meta") for s in specs])

    def follow(self, value: Value, chain: tuple) -> Value:
        return value

    def view(self, op: Op, flat: tuple, attrs: dict):
        source = flat[0]
        try:
            a = op.ref(source._a, **attrs)
        except Exception as error:
            raise eager.explain(op, flat, attrs, error) from None
        if a is not source._a:
            a = a if type(a) is Fake else a.view(Fake)
            a.cell, a.value, a.stamp = source._a.cell, source._a.value, source._a.stamp
        return eager.view_result(op, source, flat, attrs, a)

    def drawn(self, op: Op, flat: tuple, attrs: dict, specs: tuple) -> None:
        return None

    def constant(self, array: np.ndarray):
        return self.empty(array.shape, array.dtype)

    def write(self, target: Fake, v) -> None:
        """Nothing: there is no data."""

    def lift(self, t, role: str | None = None, name: str | None = None) -> Fake:
        """A tensor with data is about to get a value that is not there."""
        if without_data(t):
            return t._a
        refuse_data()

    def touch(self, t) -> None:
        """Nothing is put back."""

    def use_grad(self, t, read: bool) -> None:
        """Nobody asks."""

    def copied(self, t) -> None:
        """What is a copy here is one for good."""

    def recorded(self, node) -> None:
        """No lines are remembered."""

    # ------------------------------------------------------------------------------------------ tensors
    def empty(self, shape: tuple, npd: np.dtype, strides: tuple | None = None):
        """A tensor of its own; strides are in elements."""
        return self.tensor(Value(Spec(shape, dt.of(npd), strides), "meta"))

    def memory_for(self, shape: tuple, npd: np.dtype, strides: tuple) -> Fake:
        """An array of its own."""
        return self.empty(shape, npd, strides)._a

    def refuse(self, what: str | None = None, got: str | None = None, fix: str | None = None) -> NoReturn:
        """The error of whoever wants values, in PyTorch's words."""
        what = what or asked()
        fix = fix or "make the tensor on the CPU: on the meta device there are only shapes and dtypes"
        if what in _ITEM:
            fail(RuntimeError, "P3013", "Tensor.item() cannot be called on meta tensors", got=got, fix=fix)
        if what in _NUMPY:
            fail(TypeError, "P3014", "can't convert meta device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.",
                 got=got, fix=fix)
        if what in _COPIES:
            refuse_data()
        if what == "tensor through DLPack":
            fail(BufferError, "P3015", "Cannot pack tensors on meta", got=got, fix=fix)
        fail(NotImplementedError, "P3016", f"{what} was called on tensors on the meta device: its result depends on their values", got=got, fix=fix)


META_INTERPRETER = state.meta = Meta("meta")
