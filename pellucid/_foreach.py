"""`pellucid._foreach_add` and its kin: one operator over lists of tensors. Private in PyTorch; several optimisers of other projects use them.

In: a list of tensors; further lists of as many, or one tensor or number for all of them. Out: a tuple of results; the forms that end in `_`
write into the first list and return it. True always: each result is what the tensor's own method gives.
"""
from __future__ import annotations

from .core.errors import fail
from .tensor import Tensor

# what is called for each tensor: the method of that name, or the one named here
_METHODS = {**{name: name for name in (
    "abs acos add addcdiv addcmul asin atan ceil clamp_max clamp_min clone cos cosh div erf erfc exp expm1 floor frac lerp lgamma log log10 "
    "log1p log2 mul neg pow reciprocal round rsqrt sigmoid sign sin sinh sqrt sub tan tanh trunc norm").split()},
    "maximum": "clamp_min", "minimum": "clamp_max", "max": "amax", "copy_": "copy_", "zero_": "zero_"}
_ONLY_NEW = ("clone", "norm", "max")


def _rows(fn: str, first, *others) -> list[tuple]:
    """The arguments of each call: lists side by side, anything else repeated."""
    if not isinstance(first, (list, tuple)) or not all(isinstance(t, Tensor) for t in first):
        fail(TypeError, "P4801", f"{fn}(): argument 'self' (position 1) must be tuple of Tensors", fix="pass a list of tensors")
    if not first:
        fail(RuntimeError, "P4802", "Tensor list must have at least one tensor.", got=f"{fn}()")
    for other in others:
        if isinstance(other, (list, tuple)) and len(other) != len(first):
            fail(RuntimeError, "P4803", f"Tensor lists must have the same number of tensors, got {len(first)} and {len(other)}"
                 if other and isinstance(other[0], Tensor) else "Tensor list must have same number of elements as scalar list.", got=f"{fn}()")
    return [tuple([x[i] if isinstance(x, (list, tuple)) else x for x in (first, *others)]) for i in range(len(first))]


def _over_lists(name: str, method: str):
    public, inplace = f"_foreach_{name}", name.endswith("_")
    takes_value = name.startswith(("addcmul", "addcdiv"))

    def function(self, *args, **kwargs):
        if takes_value:
            if len(args) > 2:
                *args, kwargs["value"] = args           # PyTorch takes it by position
            elif "scalars" in kwargs:
                kwargs["value"] = kwargs.pop("scalars")
            if isinstance(kwargs.get("value"), Tensor):
                kwargs["value"] = kwargs["value"].tolist()
        n = 1 + len(args)
        results = [getattr(row[0], method)(*row[1:n], **dict(zip(kwargs, row[n:]))) for row in _rows(public, self, *args, *kwargs.values())]
        return self if inplace else tuple(results)

    function.__name__ = function.__qualname__ = public
    function.__doc__ = f"`{method}` of each tensor" + (", in place." if inplace else ".")
    return function


for _name, _method in _METHODS.items():
    for _form in ("",) if _name in _ONLY_NEW or _name.endswith("_") else ("", "_"):
        globals()[f"_foreach_{_name}{_form}"] = _over_lists(_name + _form, _method + _form)
__all__: list[str] = []
