"""Neural networks: modules, their parameters, initialisation, functional forms and utilities."""

from ..core.lazy import lazily as _lazily
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter  # noqa: I001
from .modules import *
from .modules import __all__ as _module_names
from . import functional, grad, init, modules, parallel, parameter, utils
from .parallel import DataParallel

__all__ = [
    *_module_names,
    "Buffer",
    "DataParallel",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "attention",
    "factory_kwargs",
    "functional",
    "grad",
    "init",
    "modules",
    "parallel",
    "parameter",
    "utils",
]


def factory_kwargs(kwargs: dict | None) -> dict:
    """Pick the arguments of a tensor factory (``device``, ``dtype``, ``memory_format``) out of a layer's ``kwargs``.

    They may also come as one dict under ``factory_kwargs``. The input is not changed.

    Raises:
        TypeError: another key is present, or one is given in both ways.
    """
    if kwargs is None:
        return {}
    simple = {"device", "dtype", "memory_format"}
    unexpected = kwargs.keys() - simple - {"factory_kwargs"}
    if unexpected:
        raise TypeError(f"unexpected kwargs {unexpected}")
    picked = dict(kwargs.get("factory_kwargs", {}))
    for key in simple & kwargs.keys():
        if key in picked:
            raise TypeError(f"{key} specified twice, in **kwargs and in factory_kwargs")
        picked[key] = kwargs[key]
    return picked

__getattr__ = _lazily(__name__, ("attention",))
