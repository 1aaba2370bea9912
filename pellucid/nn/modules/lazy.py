"""Lazy modules: layers whose input size is read off the first input they see.

In: a layer class and this mixin in front of it. Out: a layer whose parameters are
`UninitializedParameter` until the first call (or the first `load_state_dict`) gives their shapes.
What stays true: after that call the object is an ordinary instance of `cls_to_become`.
"""
from __future__ import annotations

from itertools import chain
from typing import Any

from ..parameter import is_lazy

__all__ = ['LazyModuleMixin']


class LazyModuleMixin:
    """Mixin that initialises parameters at the first forward call.

    A subclass sets `cls_to_become` and defines `initialize_parameters(*inputs)`, which must
    materialise every lazy parameter and buffer. The base class is initialised with
    placeholder sizes first, so `reset_parameters` must do nothing while parameters are lazy.
    """

    cls_to_become: type | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = self.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        # A lazy tensor cannot be detached: it is saved as it is.
        for name, value in chain(self._parameters.items(), self._buffers.items()):
            if value is None or name in self._non_persistent_buffers_set:
                continue
            destination[prefix + name] = value if keep_vars or is_lazy(value) else value.detach()

    def _lazy_load_hook(self, state_dict: dict, prefix: str, local_metadata: dict, strict: bool,
                        missing_keys: list, unexpected_keys: list, error_msgs: list) -> None:
        """Give each lazy tensor the shape of the value about to be loaded into it."""
        for name, value in chain(self._parameters.items(), self._buffers.items()):
            loaded = state_dict.get(prefix + name)
            if value is not None and is_lazy(value) and loaded is not None and not is_lazy(loaded):
                value.materialize(loaded.shape)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Materialise every lazy parameter from the first input; subclasses must define it."""
        raise NotImplementedError(f'initialize_parameters is not implemented for {type(self).__name__}')

    def has_uninitialized_params(self) -> bool:
        """Whether any parameter or buffer of this module has no shape yet."""
        return any(is_lazy(v) for v in chain(self._parameters.values(), self._buffers.values()))

    def _infer_parameters(self, module: Any, args: tuple, kwargs: dict | None = None) -> None:
        """Forward pre-hook of the first call: initialise, drop the hooks, become the plain class."""
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f'module {module._get_name()} has not been fully initialized: '
                               'initialize_parameters must materialize every lazy parameter and buffer')
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook, module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become
