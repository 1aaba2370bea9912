"""Tensors that know what they are: Image, Video, Mask, BoundingBoxes; transforms of `transforms.v2` treat each as its kind asks.

In: data as for `torch.tensor`, or a Pillow image. Out: a Tensor subclass over the same memory where that is possible.
What stays true: an operator on one gives a plain Tensor (except `clone`, `to`, `detach`, `requires_grad_`, `pin_memory`),
unless `set_return_type("TVTensor")` asks for the subclass; `wrap` puts the kind back.
"""
from __future__ import annotations

from enum import Enum
from typing import Any

import pellucid as torch

from ..core.errors import fail
from ..ops.dispatch import add_slow
from ..tensor import Tensor
from ..tensor.overrides import DisableTorchFunctionSubclass
from .pillow import is_pil, to_array

__all__ = ["BoundingBoxFormat", "BoundingBoxes", "Image", "Mask", "TVTensor", "Video", "set_return_type", "wrap"]

_keep_all = False


class set_return_type:
    """`set_return_type("TVTensor")`: operators keep the subclass from now on, or inside `with`; "Tensor" undoes it."""

    def __init__(self, return_type: str):
        kinds = {"tensor": False, "tvtensor": True}
        if str(return_type).lower() not in kinds:
            fail(ValueError, "P5301", f"return_type must be 'TVTensor' or 'Tensor', got {return_type}", fix="pass one of the two")
        self.before = _keep_all
        self._set(kinds[return_type.lower()])

    @staticmethod
    def _set(keep: bool) -> None:
        global _keep_all
        add_slow(keep - _keep_all)                           # operators look for overrides as long as there is one
        _keep_all = keep

    def __enter__(self):
        return self

    def __exit__(self, *exc: object) -> None:
        self._set(self.before)


def _to_tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool | None = None) -> Tensor:
    if is_pil(data):
        data = torch.from_numpy(to_array(data))
    if requires_grad is None:
        requires_grad = isinstance(data, Tensor) and data.requires_grad
    return torch.as_tensor(data, dtype=dtype, device=device).requires_grad_(requires_grad)


class TVTensor(Tensor):
    """The base of them all."""

    def __new__(cls, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool | None = None):
        return _to_tensor(data, dtype, device, requires_grad).as_subclass(cls)

    @classmethod
    def wrap(cls, tensor: Tensor, like: TVTensor, **kwargs: Any) -> Any:
        """`tensor` as this kind, with what `like` knows besides."""
        return tensor.as_subclass(cls)

    def clone(self, *args: Any, **kwargs: Any) -> Any:
        return wrap(super().clone(*args, **kwargs), like=self)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        return wrap(super().to(*args, **kwargs), like=self)

    def detach(self) -> Any:
        return wrap(super().detach(), like=self)

    def pin_memory(self, *args: Any) -> Any:
        return wrap(super().pin_memory(*args), like=self)

    def __deepcopy__(self, memo: dict) -> Any:
        return self.detach().clone().requires_grad_(self.requires_grad)

    def _described(self, **extra: Any) -> str:
        body = repr(self.as_subclass(Tensor))
        return type(self).__name__ + body[body.index("("):-1] + "".join(f", {k}={v}" for k, v in extra.items()) + ")"

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return self._described()


def _torch_function(cls: type, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
    """Asked only where somebody takes operators over, or inside `set_return_type("TVTensor")`."""
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    with DisableTorchFunctionSubclass():
        output = func(*args, **(kwargs or {}))
    like = next((a for a in args if isinstance(a, cls)), None)
    if like is not None and (_keep_all or getattr(func, "__name__", "") == "requires_grad_"):
        return _rewrapped(output, like)
    return _plain(output, cls)


# Not in the class's body: a class that is made with an override makes every operator look for overrides from then on.
TVTensor.__torch_function__ = classmethod(_torch_function)      # type: ignore[assignment]


def _rewrapped(output: Any, like: TVTensor) -> Any:
    if isinstance(output, (tuple, list)):
        return type(output)(_rewrapped(part, like) for part in output)
    return type(like).wrap(output, like) if isinstance(output, Tensor) else output


def _plain(output: Any, cls: type) -> Any:
    return output.as_subclass(Tensor) if isinstance(output, cls) else output


class Image(TVTensor):
    """A picture or a batch of them: (..., channels, height, width); two dimensions get a channel."""

    def __new__(cls, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool | None = None):
        tensor = _to_tensor(data, dtype, device, requires_grad)
        if tensor.ndim < 2:
            fail(ValueError, "P5302", f"Tensor must be 2D or higher, got {tensor.ndim}D tensor.", fix="give it a height and a width")
        return (tensor.unsqueeze(0) if tensor.ndim == 2 else tensor).as_subclass(cls)


class Video(TVTensor):
    """Frames: (..., time, channels, height, width)."""

    def __new__(cls, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool | None = None):
        tensor = _to_tensor(data, dtype, device, requires_grad)
        if tensor.ndim < 4:
            fail(ValueError, "P5303", f"a Video has at least 4 dimensions (time, channels, height, width), got {tensor.ndim}",
                 fix="give it a time dimension: unsqueeze(0)")
        return tensor.as_subclass(cls)


class Mask(TVTensor):
    """Segmentation or detection masks: (..., height, width)."""


class BoundingBoxFormat(Enum):
    """What the four numbers of a box are: two corners; a corner and a size; a centre and a size."""

    XYXY = "XYXY"
    XYWH = "XYWH"
    CXCYWH = "CXCYWH"

    @classmethod
    def of(cls, value: Any) -> BoundingBoxFormat:
        """A format from itself or from its name."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and value.upper() in cls.__members__:
            return cls[value.upper()]
        fail(ValueError, "P5304", f"unknown format of bounding boxes: {value!r}", fix=f"one of {', '.join(cls.__members__)}")


class BoundingBoxes(TVTensor):
    """Boxes, (N, 4), of a picture whose (height, width) is `canvas_size`. `clamping_mode` None leaves boxes that transforms
    push over the edge as they are; "soft" and "hard" cut them."""

    format: BoundingBoxFormat
    canvas_size: tuple[int, int]
    clamping_mode: str | None

    def __new__(cls, data: Any, *, format: Any, canvas_size: tuple[int, int], clamping_mode: str | None = "soft", dtype: Any = None,
                device: Any = None, requires_grad: bool | None = None):
        tensor = _to_tensor(data, dtype, device, requires_grad)
        if tensor.ndim not in (1, 2):
            fail(ValueError, "P5305", f"Expected a 1D or 2D tensor, got {tensor.ndim}D", fix="boxes are rows of four numbers")
        return cls._make(tensor.unsqueeze(0) if tensor.ndim == 1 else tensor, format, canvas_size, clamping_mode)

    @classmethod
    def _make(cls, tensor: Tensor, format: Any, canvas_size: tuple[int, int], clamping_mode: str | None) -> BoundingBoxes:
        if clamping_mode not in (None, "hard", "soft"):
            fail(ValueError, "P5306", f"clamping_mode must be None, hard or soft, got {clamping_mode}.", fix="pass one of the three")
        boxes = tensor.as_subclass(cls)
        boxes.format, boxes.canvas_size, boxes.clamping_mode = BoundingBoxFormat.of(format), tuple(canvas_size), clamping_mode
        return boxes

    @classmethod
    def wrap(cls, tensor: Tensor, like: Any, **kwargs: Any) -> BoundingBoxes:
        known = {name: kwargs.get(name, getattr(like, name)) for name in ("format", "canvas_size", "clamping_mode")}
        return cls._make(tensor, **known)

    def __deepcopy__(self, memo: dict) -> Any:
        return self.wrap(super().__deepcopy__(memo), self)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return self._described(format=self.format, canvas_size=self.canvas_size, clamping_mode=self.clamping_mode)


def wrap(wrappee: Tensor, *, like: Any, **kwargs: Any) -> Any:
    """`wrappee` as the kind of `like`, with what `like` knows besides (boxes: format, canvas_size, clamping_mode)."""
    return type(like).wrap(wrappee, like, **kwargs) if isinstance(like, TVTensor) else wrappee.as_subclass(type(like))
