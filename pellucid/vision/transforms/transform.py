"""What all transforms share: which parts of a sample they change, and that all parts get the same random choices.

In: an image, or any nesting of tuples, lists and dicts with images, masks, boxes and whatever else in it. Out: the same nesting.
What stays true: a plain tensor is an image only if it is the first and the sample has no other image; what is no image, mask,
box or video passes through. Subclasses give `make_params` (the random choices) and `transform` (one part, with these choices).
"""
from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...core.dtype import float32, get_default_dtype
from ...core.errors import fail
from ...core.rng import default_engine
from ...nn import Module
from ...tensor import Tensor
from ...utils._pytree import tree_flatten, tree_unflatten
from .. import tv_tensors
from ..pillow import is_pil
from . import functional as F
from .functional.dispatch import is_pure_tensor

_ALONE = object()               # the structure of a sample that is one image


def uniform(low: float = 0.0, high: float = 1.0) -> float:
    """A draw of the global generator in the default dtype: `torch.empty(1).uniform_(low, high).item()`."""
    kind = get_default_dtype()
    return default_engine().one_uniform(low, high) if kind is float32 else float(default_engine().uniform((1,), low, high, kind.np)[0])


def integer(low: int, high: int) -> int:
    """A draw from `low` to `high` - 1: `torch.randint(low, high, (1,)).item()`."""
    return default_engine().one_integer(low, high)


def chance() -> float:
    """A draw from 0 to 1: `torch.rand(1).item()`."""
    return uniform()


# `get_params` asks them too. A compiled caller runs them, each time: what they give is no constant.
for _draw in (uniform, integer, chance):
    _draw._capture_disabled = "random choices are new each time"      # type: ignore[attr-defined]


class Transform(Module):
    """The base of transforms; see the module's docstring for what a subclass gives."""

    _capture_disabled = "transforms run in Python: their random choices are new each time"
    _transformed_types: tuple[Any, ...] = (Tensor, is_pil)

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Raise if the sample is not one that this transform can take."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The random choices for one sample."""
        return {}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One part of the sample, changed."""
        return inpt

    def _call_kernel(self, functional: Any, inpt: Any, *args: Any, **kwargs: Any) -> Any:
        """`functional` on `inpt`, or `inpt` itself where there is nothing to do for its kind."""
        run = functional.kernel_for(type(inpt))
        return inpt if run is None else run(inpt, *args, **kwargs)

    def forward(self, *inputs: Any) -> Any:
        flat, spec = flattened(inputs)
        self.check_inputs(flat)
        return self._changed(flat, spec)

    def _changed(self, flat: list[Any], spec: Any) -> Any:
        which = self._needs_transform_list(flat)
        params = self.make_params([x for x, needed in zip(flat, which) if needed])
        return unflattened([self.transform(x, params) if needed else x for x, needed in zip(flat, which)], spec)

    def _needs_transform_list(self, flat: list[Any]) -> list[bool]:
        which, pure = [], len(flat) == 1 or not has_any(flat, tv_tensors.Image, tv_tensors.Video, is_pil)
        for x in flat:
            needed = check_type(x, self._transformed_types)
            if needed and is_pure_tensor(x):
                needed, pure = pure, False
            which.append(needed)
        return which

    def extra_repr(self) -> str:
        """The public attributes that are plain values."""
        plain = (bool, int, float, str, tuple, list, enum.Enum)
        return ", ".join(f"{name}={value.value if isinstance(value, enum.Enum) else value}" for name, value in vars(self).items()
                         if not name.startswith("_") and name != "training" and isinstance(value, plain))


class RandomApplied(Transform):
    """A transform that is done with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p <= 1.0:
            fail(ValueError, "P5400", f"`p` should be a floating point value in the interval [0.0, 1.0], got {p}",
                 fix="0.5 is every second time")
        super().__init__()
        self.p = p

    def forward(self, *inputs: Any) -> Any:
        flat, spec = flattened(inputs)
        self.check_inputs(flat)
        if chance() >= self.p:
            return inputs if len(inputs) > 1 else inputs[0]
        return self._changed(flat, spec)


def flattened(inputs: tuple) -> tuple[list[Any], Any]:
    """(the leaves of a sample, its structure)."""
    if len(inputs) == 1:
        x = inputs[0]
        if type(x) is Tensor or is_pil(x):
            return [x], _ALONE
        return tree_flatten(x)
    return tree_flatten(inputs)


def unflattened(flat: list[Any], spec: Any) -> Any:
    return flat[0] if spec is _ALONE else tree_unflatten(flat, spec)


# ----------------------------------------------------------------------------------------------------- looking at samples
def check_type(obj: Any, types_or_checks: Sequence[Any]) -> bool:
    """Whether `obj` is of one of the types, or one of the predicates holds for it."""
    return any(isinstance(obj, t) if isinstance(t, type) else t(obj) for t in types_or_checks)


def has_any(flat_inputs: list[Any], *types_or_checks: Any) -> bool:
    """Whether some leaf is of one of the types."""
    return any(check_type(x, types_or_checks) for x in flat_inputs)


def has_all(flat_inputs: list[Any], *types_or_checks: Any) -> bool:
    """Whether for each type some leaf is of it."""
    return all(any(check_type(x, (t,)) for x in flat_inputs) for t in types_or_checks)


_IMAGES = (is_pure_tensor, tv_tensors.Image, is_pil, tv_tensors.Video)


def query_chw(flat_inputs: list[Any]) -> tuple[int, int, int]:
    """(channels, height, width) of the images and videos of a sample, which must agree."""
    return _the_one({tuple(F.get_dimensions(x)) for x in flat_inputs if check_type(x, _IMAGES)}, "image or video", "CxHxW")


def query_size(flat_inputs: list[Any]) -> tuple[int, int]:
    """(height, width) of all parts of a sample that have them, which must agree."""
    kinds = (*_IMAGES, tv_tensors.Mask, tv_tensors.BoundingBoxes)
    return _the_one({tuple(F.get_size(x)) for x in flat_inputs if check_type(x, kinds)}, "image, video, mask or bounding box", "HxW")


def _the_one(found: set[tuple], what: str, sizes: str) -> Any:
    if not found:
        fail(TypeError, "P5401", f"No {what} was found in the sample", fix="pass an image, a tensor, or a tv_tensor")
    if len(found) > 1:
        fail(ValueError, "P5402", f"Found multiple {sizes} dimensions in the sample: {', '.join(map(str, sorted(found)))}",
             fix="one transform call takes parts of one size")
    return found.pop()


def get_bounding_boxes(flat_inputs: list[Any]) -> tv_tensors.BoundingBoxes:
    """The first bounding boxes of a sample."""
    for x in flat_inputs:
        if isinstance(x, tv_tensors.BoundingBoxes):
            return x
    fail(ValueError, "P5403", "No bounding boxes were found in the sample", fix="wrap them: tv_tensors.BoundingBoxes")


def labels_getter_of(getter: Any) -> Callable[[Any], Any]:
    """How to find the labels in a sample: "default" looks for a key, or takes the second of a pair."""
    if getter == "default":
        return _find_labels
    if callable(getter):
        return getter
    if getter is None:
        return lambda _: None
    fail(ValueError, "P5404", f"labels_getter should either be 'default', a callable, or None, but got {getter}.", fix="one of these")


def _find_labels(sample: Any) -> Any:
    if isinstance(sample, (tuple, list)):
        sample = sample[1]
    if is_pure_tensor(sample):
        return sample
    if isinstance(sample, Mapping):
        keys = [k for k in sample if k.lower() == "labels"] or [k for k in sample if "label" in k.lower()]
        if keys:
            return sample[keys[0]]
    fail(ValueError, "P5405", "Could not infer where the labels are in the sample", got=type(sample).__name__,
         fix="pass labels_getter=lambda sample: ..., or None if there are none")


# ----------------------------------------------------------------------------------------------------- arguments
def pair(value: Any, name: str) -> list[float]:
    """Two floats of a number, or of one or two of them."""
    if isinstance(value, (int, float)):
        return [float(value)] * 2
    if not isinstance(value, Sequence) or len(value) not in (1, 2) or not all(isinstance(v, (int, float)) for v in value):
        fail(ValueError if isinstance(value, Sequence) else TypeError, "P5406",
             f"{name} should be a number or a sequence of one or two numbers. Got {value!r}", fix="a number, or two")
    return [float(value[0]), float(value[-1])]


def sequence(value: Any, name: str, *lengths: int) -> Any:
    """`value`, if it is a sequence of one of these lengths."""
    said = f"{name} should be a sequence of length {' or '.join(map(str, lengths))}."
    if not isinstance(value, Sequence) or isinstance(value, str):
        fail(TypeError, "P5407", said, got=repr(value), fix="a tuple or a list")
    if len(value) not in lengths:
        fail(ValueError, "P5408", said, got=repr(value), fix="give as many values")
    return value


def angles(value: Any, name: str, *lengths: int) -> list[float]:
    """[-value, value] of a number; else a sequence of floats."""
    if isinstance(value, (int, float)):
        if value < 0:
            fail(ValueError, "P5409", f"If {name} is a single number, it must be positive.", got=str(value), fix="or pass (min, max)")
        value = [-value, value]
    return [float(v) for v in sequence(value, name, *lengths)]


def fill_of(fill: Any, kind: type) -> Any:
    """The filling for a kind of input: `fill` itself, or what a dict says for it, or under "others"."""
    if not isinstance(fill, dict):
        return fill
    return fill[kind] if kind in fill else fill.get("others")


def check_fill(fill: Any) -> Any:
    for value in fill.values() if isinstance(fill, dict) else (fill,):
        if value is not None and not isinstance(value, (int, float, tuple, list)):
            fail(TypeError, "P5410", f"Got inappropriate fill arg: {value!r}",
                 fix="a number, one for each channel, or a dict of them by type")
    return fill
