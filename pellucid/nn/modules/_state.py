"""The state of a module as a flat dictionary, and back.

In: a module tree, or a dictionary of dotted names to tensors. Out: an ``OrderedDict`` with the version of every
module's format in ``_metadata``; or the module with those values, and a list of what was missing or unexpected. What
stays true: nothing is reported by name twice, every problem found is reported (not only the first), and with
``assign=False`` the module's tensors keep their identity, dtype and device.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from typing import Any

from ...core.errors import fail, nearest
from ...tensor import Tensor, no_grad
from ...utils.hooks import RemovableHandle
from ...utils.swap import swap_tensors
from ..parameter import Parameter, is_lazy
from ._convert import get_swap_module_params_on_conversion
from ._hooks import WrappedHook, add_hook

__all__ = ["ModuleState"]

_EXTRA_STATE = "_extra_state"


def _load_hint(missing: list[str], unexpected: list[str]) -> str:
    """What usually mends a state_dict whose names or sizes differ from the model's."""
    for key in missing[:1]:
        for found in unexpected:
            if found.endswith("." + key):
                prefix = found.removesuffix(key)
                return f"the saved names begin with {prefix!r}: strip it, {{k.removeprefix({prefix!r}): v for k, v in state.items()}}"
            if key.endswith("." + found):
                return f"the model's names begin with {key.removesuffix(found)!r}, the saved ones do not: load into that part of it"
    pairs = [(key, near) for key in unexpected[:20] if (near := nearest(key, missing))]
    if pairs:
        return "; ".join(f"{key!r} may be {near!r} here" for key, near in pairs[:3])
    if missing or unexpected:
        return "build the model as it was when it was saved; strict=False leaves differing names alone"
    return "build the model with the sizes it had when it was saved, or leave these values out and pass strict=False"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What ``load_state_dict`` returns."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class ModuleState:
    """The part of ``Module`` that saves and restores state."""

    # Bumped by a subclass whose state changes its format; handed to _load_from_state_dict as local_metadata["version"].
    _version: int = 1

    # -- state that is not a tensor ----------------------------------------------------------------------------------

    def get_extra_state(self) -> Any:
        """Override (with ``set_extra_state``) to put something of your own into the ``state_dict``."""
        raise RuntimeError(
            f"{type(self).__name__}.get_extra_state() was called, but the class does not define it. Define "
            "get_extra_state() and set_extra_state() together."
        )

    def set_extra_state(self, state: Any) -> None:
        """Override to take back what ``get_extra_state`` returned."""
        raise RuntimeError(
            f"{type(self).__name__}.set_extra_state() was called, but the class does not define it. Define "
            "get_extra_state() and set_extra_state() together."
        )

    def _overrides(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(ModuleState, method)

    # -- saving ------------------------------------------------------------------------------------------------------

    def state_dict(
        self, *args: Any, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """All parameters, persistent buffers and extra state under dotted names.

        Args:
            destination: a dictionary to fill and return (default: a new one).
            prefix: put before every name.
            keep_vars: give the tensors themselves instead of detached aliases of them.
        """
        if args:
            warnings.warn(
                "Positional args are being deprecated, use kwargs instead. Refer to "
                "https://pytorch.org/docs/main/generated/torch.nn.Module.html#torch.nn.Module.state_dict for details.",
                FutureWarning,
                stacklevel=2,
            )
            destination = args[0] if destination is None else destination
            prefix = args[1] if len(args) > 1 and prefix == "" else prefix
            keep_vars = args[2] if len(args) > 2 and keep_vars is False else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            returned = hook(self, destination, prefix, local_metadata)
            if getattr(hook, "_from_public_api", False):
                if returned is not None:
                    raise RuntimeError("state_dict post-hook must return None")
            elif returned is not None:
                destination = returned
        return destination

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Put this module's own state (not its children's) into ``destination``; may be overridden."""
        for name, tensor in self._own_tensors():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if self._overrides("get_extra_state"):
            destination[prefix + _EXTRA_STATE] = self.get_extra_state()

    def _own_tensors(self) -> list[tuple[str, Tensor]]:
        """The module's own parameters and persistent buffers."""
        transient = self._non_persistent_buffers_set
        tensors = list(self._parameters.items())
        tensors += [(name, buffer) for name, buffer in self._buffers.items() if name not in transient]
        return [(name, tensor) for name, tensor in tensors if tensor is not None]

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before ``state_dict`` collects anything."""
        return add_hook(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` afterwards; it may change the dictionary in place."""
        hook._from_public_api = True
        return add_hook(self._state_dict_hooks, hook)

    def _register_state_dict_hook(self, hook: Callable) -> RemovableHandle:
        """Like ``register_state_dict_post_hook``, but the hook may return another dictionary."""
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was previously registered via "
                "register_state_dict_post_hook"
            )
        return add_hook(self._state_dict_hooks, hook)

    # -- loading -----------------------------------------------------------------------------------------------------

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> _IncompatibleKeys:
        """Copy the values of ``state_dict`` into this module and those below it.

        Args:
            strict: require that the keys are exactly those of ``state_dict()``.
            assign: put the given tensors in place of the module's own instead of copying into them; the dtype,
                device and layout of the given tensors are kept, ``requires_grad`` is the module's.

        Returns:
            the missing and the unexpected keys.

        Raises:
            TypeError: ``state_dict`` is not a mapping.
            RuntimeError: a shape differs, a value is not a tensor, or (``strict``) the keys differ; all problems are
                listed.
        """
        if not isinstance(state_dict, Mapping):
            fail(TypeError, "P616", f"Expected state_dict to be dict-like, got {type(state_dict)}.",
                 fix="pass what model.state_dict() or pellucid.load(file) returned")
        metadata = getattr(state_dict, "_metadata", None)
        state_dict = OrderedDict(state_dict)  # hooks may change it
        if metadata is not None:
            state_dict._metadata = metadata
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        _load_tree(self, state_dict, metadata or {}, "", assign, missing, unexpected, errors)
        if strict:
            if unexpected:
                errors.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
            if missing:
                errors.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if errors:
            listed = "\n\t".join(errors)
            fail(RuntimeError, "P617", f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listed}",
                 fix=_load_hint(missing, unexpected))
        return _IncompatibleKeys(missing, unexpected)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load this module's own state (not its children's) from ``state_dict``; may be overridden.

        Args:
            local_metadata: the metadata saved for this module, for instance ``version``.
            strict: whether to report keys that are missing or unexpected under ``prefix``.
            missing_keys, unexpected_keys, error_msgs: lists to add to.
        """
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = dict(self._own_tensors())
        for name, tensor in own.items():
            key = prefix + name
            if key in state_dict:
                error = self._load_one(name, tensor, key, state_dict[key], assign)
                if error:
                    error_msgs.append(error)
            elif strict:
                missing_keys.append(key)
        extra_key = prefix + _EXTRA_STATE
        if self._overrides("set_extra_state"):
            if extra_key in state_dict:
                self.set_extra_state(state_dict[extra_key])
            elif strict:
                missing_keys.append(extra_key)
        elif strict and extra_key in state_dict:
            unexpected_keys.append(extra_key)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra_key:
                    name, dot, _ = key[len(prefix) :].partition(".")
                    if name not in (self._modules if dot else own):
                        unexpected_keys.append(key)

    def _load_one(self, name: str, tensor: Tensor, key: str, value: Any, assign: bool) -> str | None:
        """Load one value; returns what is wrong with it, or None."""
        if not isinstance(value, Tensor) and not hasattr(type(value), "__torch_function__"):
            return (
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from '
                f"checkpoint but received {type(value)}"
            )
        if is_lazy(tensor) and is_lazy(value):
            return None  # there is nothing to load yet
        if not is_lazy(tensor):
            if len(tensor.shape) == 0 and tuple(value.shape) == (1,):
                value = value[0]  # files of old versions hold scalars as one-element vectors
            if value.shape != tensor.shape:
                return (
                    f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, the shape in "
                    f"current model is {tensor.shape}."
                )
            if tensor.is_meta and not value.is_meta and not assign:
                warnings.warn(
                    f"for {key}: copying from a non-meta parameter in the checkpoint to a meta parameter in the "
                    "current model, which is a no-op. (Did you mean to pass `assign=True` to assign items in the "
                    "state dictionary to their corresponding key in the module instead of copying them in place?)",
                    stacklevel=2,
                )
        try:
            with no_grad():
                if get_swap_module_params_on_conversion():
                    loaded = value.detach() if assign else tensor.copy_(value).detach()
                    swap_tensors(tensor, _as_assigned(tensor, loaded))
                elif assign:
                    setattr(self, name, _as_assigned(tensor, value))
                else:
                    tensor.copy_(value)
        except Exception as error:
            return (
                f'While copying the parameter named "{key}", whose dimensions in the model are {tensor.size()} and '
                f"whose dimensions in the checkpoint are {value.size()}, an exception occurred : {error.args}."
            )
        return None

    def _register_load_state_dict_pre_hook(self, hook: Callable, with_module: bool = False) -> RemovableHandle:
        """Call ``hook(state_dict, prefix, ...)`` before loading; ``with_module`` puts the module first."""
        return add_hook(self._load_state_dict_pre_hooks, WrappedHook(hook, self if with_module else None))

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)``
        before this module's state is loaded; it may change the dictionary in place."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after loading; it may change the two lists in place."""
        return add_hook(self._load_state_dict_post_hooks, hook)


def _load_tree(
    module: Any,
    state_dict: dict[str, Any],
    metadata: dict[str, Any],
    prefix: str,
    assign: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    local_metadata = dict(metadata.get(prefix[:-1], {}))  # a copy: `assign` must not stick to the user's dictionary
    if assign:
        local_metadata["assign_to_params_buffers"] = assign
    module._load_from_state_dict(state_dict, prefix, local_metadata, True, missing, unexpected, errors)
    for name, child in module._modules.items():
        if child is not None:
            child_prefix = f"{prefix}{name}."
            child_state = {key: value for key, value in state_dict.items() if key.startswith(child_prefix)}
            _load_tree(child, child_state, metadata, child_prefix, assign, missing, unexpected, errors)
    incompatible = _IncompatibleKeys(missing, unexpected)
    for hook in module._load_state_dict_post_hooks.values():
        if hook(module, incompatible) is not None:
            raise AssertionError(
                "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new values, "
                "if incompatible_keys need to be modified, it should be done inplace."
            )


def _as_assigned(tensor: Tensor, value: Tensor) -> Tensor:
    """``value`` in the role that ``tensor`` has in the module: a parameter stays one, with its ``requires_grad``."""
    if not isinstance(tensor, Parameter):
        return value
    if isinstance(value, Parameter):
        return value.requires_grad_(tensor.requires_grad)
    return Parameter(value, requires_grad=tensor.requires_grad)


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)
