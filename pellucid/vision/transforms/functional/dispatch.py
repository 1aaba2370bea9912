"""One function for images of every kind: `@functional` over a tensor's kernel, `@function.on(kind)` for other kinds.

In: a kernel that takes a plain Tensor of images. Out: a function that also takes `tv_tensors.Image` and `Video` (the same
kernel, the kind put back) and whatever is registered: Pillow images (`PIL`), masks, boxes, the user's own kinds.
What stays true: a kind is looked up once; a TVTensor without a kernel is refused, or passed through by transforms.
"""
from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from ....core.errors import fail
from ....tensor import Tensor
from ... import tv_tensors

PIL = "a Pillow image"           # stands for a class that is not imported before the user has an image of it
_NO_KERNEL = object()


def functional(kernel: Callable) -> Any:
    """The public function over `kernel`."""
    own: dict[Any, Callable] = {Tensor: kernel, tv_tensors.Image: rewrapping(kernel), tv_tensors.Video: rewrapping(kernel)}
    found: dict[type, Any] = {}

    def kernel_for(kind: type) -> Any:
        known = found.get(kind)
        if known is None:
            known = found[kind] = _look_up(own, kind)
        return None if known is _NO_KERNEL else known

    @wraps(kernel)
    def function(inpt: Any, *args: Any, **kwargs: Any) -> Any:
        run = kernel_for(type(inpt))
        if run is None:
            fail(TypeError, "P5310", f"{kernel.__name__} does not take a {type(inpt).__name__}",
                 got=type(inpt).__module__ + "." + type(inpt).__qualname__,
                 fix=f"it takes {', '.join(k if isinstance(k, str) else k.__name__ for k in own)}")
        return run(inpt, *args, **kwargs)

    def on(*kinds: Any) -> Callable:
        def register(extra: Callable) -> Callable:
            own.update(dict.fromkeys(kinds, extra))
            found.clear()
            return extra
        return register

    function.on, function.kernel_for, function.kernels = on, kernel_for, own       # type: ignore[attr-defined]
    return function


def _look_up(own: dict[Any, Callable], kind: type) -> Any:
    pil = getattr(sys.modules.get("PIL.Image"), "Image", None)
    for cls in kind.__mro__:
        if cls in own:
            return own[cls]
        if cls is pil:
            return own.get(PIL, _NO_KERNEL)
        if cls is tv_tensors.TVTensor:
            break
    return _NO_KERNEL


def rewrapping(kernel: Callable) -> Callable:
    """`kernel` for a TVTensor: run on the plain tensor, the kind put back on what comes out."""
    @wraps(kernel)
    def run(inpt: Any, *args: Any, **kwargs: Any) -> Any:
        output = kernel(inpt.as_subclass(Tensor), *args, **kwargs)
        if isinstance(output, tuple):
            return tuple(tv_tensors.wrap(part, like=inpt) for part in output)
        return tv_tensors.wrap(output, like=inpt)
    return run


def register_kernel(functional: Any, tv_tensor_cls: type) -> Callable:
    """Decorator: the kernel of `functional` for a TVTensor class of your own."""
    if not hasattr(functional, "kernels"):
        fail(ValueError, "P5311", f"kernels belong to functions of pellucid.vision.transforms.v2.functional, got {functional!r}",
             fix="pass one of those functions")
    if not (isinstance(tv_tensor_cls, type) and issubclass(tv_tensor_cls, tv_tensors.TVTensor)
            and tv_tensor_cls.__module__ != tv_tensors.__name__):
        fail(ValueError, "P5312", f"a kernel is registered for a subclass of tv_tensors.TVTensor of your own, got {tv_tensor_cls!r}",
             fix="derive a class from tv_tensors.TVTensor")
    return functional.on(tv_tensor_cls)


def is_pure_tensor(inpt: Any) -> bool:
    """A Tensor that is no TVTensor."""
    return isinstance(inpt, Tensor) and not isinstance(inpt, tv_tensors.TVTensor)
