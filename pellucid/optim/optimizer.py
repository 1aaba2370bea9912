"""The base of every optimiser: parameter groups, per-parameter state, hooks, and the `state_dict` format.

In: an iterable of tensors, of (name, tensor) pairs, or of dicts that hold them under "params" with options of their own.
Out: `param_groups` (a list of dicts, every option filled in from `defaults`) and `state` (tensor -> dict), which `step`
of a subclass reads and writes. What stays true: a tensor is in one group only; `state_dict` numbers the parameters in the
order of the groups, so that it can be loaded into an optimiser built over another copy of the same model (and into
PyTorch's optimiser of the same name, and back).
"""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable
from copy import deepcopy
from functools import wraps
from itertools import chain
from typing import Any

from ..core.errors import call_back, describe, fail
from ..core import dtype as dt
from ..ops.dispatch import state
from ..tensor import Tensor, enable_grad, no_grad
from ..utils.hooks import RemovableHandle
from ._traced import guard_optimizer, tracing

__all__ = [
    "Optimizer",
    "ParamsT",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
    "required",
]

ParamsT = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
StateDict = dict[str, Any]
StepPreHook = Callable[["Optimizer", tuple, dict], "tuple[tuple, dict] | None"]
StepPostHook = Callable[["Optimizer", tuple, dict], None]

_global_pre_hooks: OrderedDict[int, StepPreHook] = OrderedDict()
_global_post_hooks: OrderedDict[int, StepPostHook] = OrderedDict()
STEP_HOOKS = (_global_pre_hooks, _global_post_hooks)
_HOOK_TABLES = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)


class _RequiredParameter:
    """The default of an option that every group must give itself."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _RequiredParameter()


def _register(hooks: OrderedDict, hook: Callable, prepend: bool = False) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook: StepPreHook) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before `step` of every optimiser; it may return new `(args, kwargs)`."""
    return _register(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: StepPostHook) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after `step` of every optimiser."""
    return _register(_global_post_hooks, hook)


def _typename(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class Optimizer:
    """Base class of all optimisers; a subclass passes `defaults` up and defines `step`.

    Args:
        params: tensors, (name, tensor) pairs, or dicts ``{"params": ..., option: value}``; in an order that is the same
            in every run, because `state_dict` knows parameters by their place.
        defaults: options for groups that do not give their own. A value of `required` must be given by every group.

    Raises:
        TypeError: `params` is a single tensor, a set, or holds something other than tensors.
        ValueError: nothing to optimise, a tensor that is not a leaf, or one that is in two groups.
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._add_missing_hook_tables()
        self._patch_step_function()
        if isinstance(params, Tensor) or not isinstance(params, Iterable):
            fail(TypeError, "P701", f"params argument given to the optimizer should be an iterable of Tensors or dicts, but got {_typename(params)}",
                 fix="for one tensor pass [tensor]; for a model, model.parameters()")
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            fail(ValueError, "P702", "optimizer got an empty parameter list",
                 fix="pass model.parameters() anew: a generator can be used once, and a model without parameters needs no optimizer")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    # -- copies and printing ---------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._add_missing_hook_tables()
        self._patch_step_function()
        self.defaults.setdefault("differentiable", False)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join(lines) + "\n)"

    # -- hooks -----------------------------------------------------------------------------------------------------

    def _add_missing_hook_tables(self) -> None:
        for name in _HOOK_TABLES:
            if name not in self.__dict__:
                setattr(self, name, OrderedDict())

    def _patch_step_function(self) -> None:
        """Give the class of this instance a `step` that runs the hooks, once per class."""
        cls = type(self)
        if not getattr(cls.step, "hooked", False):
            cls.step = self.profile_hook_step(cls.step)
            cls.step.hooked = True

    @staticmethod
    def profile_hook_step(func: Callable) -> Callable:
        """`func` (a `step`) with the pre-hooks before it and the post-hooks after it."""

        @wraps(func)
        def step(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
            observer = state.observer
            if observer is not None and not tracing() and not observer.inside(self):
                token = observer.begin(f"Optimizer.step#{type(self).__name__}.step", "user_annotation", self)
                try:
                    return step(self, *args, **kwargs)
                finally:
                    observer.end(token)
            before, after = self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks
            if not (before or after or _global_pre_hooks or _global_post_hooks):
                out = func(self, *args, **kwargs)
                if tracing():
                    guard_optimizer(self, STEP_HOOKS)
                return out
            passed = (self, *args)
            for hook in (*_global_pre_hooks.values(), *before.values()):
                changed = call_back(hook, self, passed, kwargs)
                if changed is None:
                    continue
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"{func} must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                    )
                passed, kwargs = changed
            out = func(*passed, **kwargs)
            for hook in (*after.values(), *_global_post_hooks.values()):
                call_back(hook, self, passed, kwargs)
            if tracing():
                guard_optimizer(self, STEP_HOOKS)
            return out

        return step

    def register_step_pre_hook(self, hook: StepPreHook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before `step`; it may return new `(args, kwargs)` (args[0] is self)."""
        return _register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: StepPostHook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after `step`."""
        return _register(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(
        self, hook: Callable[[Optimizer], None], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict` is made (first of all hooks with `prepend`)."""
        return _register(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[[Optimizer, StateDict], StateDict | None], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict` is made; it may return another one."""
        return _register(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[[Optimizer, StateDict], StateDict | None], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)`, with a shallow copy, before it is loaded; it may return another one."""
        return _register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[[Optimizer], None], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer)` after a state dict was loaded."""
        return _register(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # -- state dict ------------------------------------------------------------------------------------------------

    def state_dict(self) -> StateDict:
        """``{"state": {number: per-parameter state}, "param_groups": [options and numbers under "params"]}``.

        The tensors are the optimiser's own, not copies.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)

        numbers: dict[int, int] = {}  # id of a parameter -> its number; a tensor met twice keeps its first number
        groups = []
        start = 0
        for group in self.param_groups:
            for i, p in enumerate(group["params"], start):
                numbers.setdefault(id(p), i)
            packed = {key: value for key, value in group.items() if key != "params"}
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            start += len(group["params"])
            groups.append(packed)
        state = {numbers[id(k)] if isinstance(k, Tensor) else k: v for k, v in self.state.items()}

        state_dict: StateDict = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, state_dict)
            if changed is not None:
                state_dict = changed
        return state_dict

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over options and state from `state_dict()` of an optimiser with the same groups.

        State tensors are brought to the dtype (when floating) and the device of their parameter; a tensor that needs no
        change is used as it is, without a copy. Load learning-rate schedulers first: making one sets the rates.

        Raises:
            ValueError: another number of groups, or of parameters in a group.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            if changed is not None:
                state_dict = changed

        groups = self.param_groups
        saved_groups = deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved_groups):
            fail(ValueError, "P703", "loaded state dict has a different number of parameter groups: "
                 f"{len(saved_groups)}, and the optimizer has {len(groups)}",
                 fix="build the optimizer with the groups it had when it was saved")
        for i, (group, saved) in enumerate(zip(groups, saved_groups)):
            if len(group["params"]) != len(saved["params"]):
                fail(ValueError, "P704", "loaded state dict contains a parameter group that doesn't match the size of optimizer's group",
                     got=f"group {i} has {len(saved['params'])} parameters in the state dict and {len(group['params'])} in the optimizer", fix="build model and optimizer as they were when the state was saved")

        saved_ids = chain.from_iterable(g["params"] for g in saved_groups)
        params = dict(zip(saved_ids, chain.from_iterable(g["params"] for g in groups)))
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in params:
                state[params[key]] = _fit(params[key], value, key, state_dict["param_groups"])
            else:
                state[key] = value  # state that belongs to no parameter is kept as it is

        for group, saved in zip(groups, saved_groups):
            saved["params"] = group["params"]
            if "param_names" in group:
                saved.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved_groups})

        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    @staticmethod
    def _process_value_according_to_param_policy(
        param: Tensor, value: Tensor, param_id: int, param_groups: list[dict], key: Hashable = None
    ) -> Tensor:
        """One loaded state tensor, fitted to its parameter. Step counts stay float32, or as they are."""
        group = next((g for g in param_groups if param_id in g["params"]), {})
        if key == "step":
            if group.get("capturable") or group.get("fused"):
                return value.to(dtype=dt.float32, device=param.device)
            return value
        if param.is_floating_point():
            return value.to(dtype=param.dtype, device=param.device)
        return value.to(device=param.device)

    # -- what training calls ---------------------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients: `p.grad = None`, or fill them with zeros if not `set_to_none`.

        A parameter without gradient is skipped by `step`; one with a gradient of zeros is updated (momentum, decay).
        """
        observer = state.observer
        if observer is not None and not tracing() and not observer.inside(self):
            token = observer.begin(f"Optimizer.zero_grad#{type(self).__name__}.zero_grad", "user_annotation", self)
            try:
                return Optimizer.zero_grad(self, set_to_none)
            finally:
                observer.end(token)
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                    continue
                grad = p.grad
                if grad is not None:
                    if grad.grad_fn is not None:
                        grad.detach_()
                    else:
                        grad.requires_grad_(False)
                    grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients. `closure`, if given, recomputes the loss first; it is returned."""
        raise NotImplementedError(f"{type(self).__name__} does not define step(); every optimizer must")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: a dict with "params" and options that replace the defaults for it.

        Raises:
            TypeError: not a dict, a set of parameters, or something that is not a tensor.
            ValueError: a non-leaf tensor, a missing required option, names for some parameters only, or a parameter
                that another group has already.
        """
        if not isinstance(param_group, dict):
            fail(TypeError, "P709", f"param_group must be a dict, but got {type(param_group)}",
                 fix="a group is {'params': [...], 'lr': ...}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            fail(TypeError, "P710", "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                 "will change between runs. Please use a list instead.",
                 fix="pass a list: the order of a set changes from run to run")
        entries = list(params)
        names = [entry[0] for entry in entries if isinstance(entry, tuple)]
        params = [entry[1] if isinstance(entry, tuple) else entry for entry in entries]
        param_group["params"] = params
        if names:
            if len(names) != len(params):
                raise ValueError(
                    "all optimizer params should be with/without names. Some param names are missing: "
                    f"{len(names)} names for {len(params)} parameters"
                )
            param_group["param_names"] = names

        for p in params:
            if not isinstance(p, Tensor):
                fail(TypeError, "P706", f"optimizer can only optimize Tensors, but one of the params is {_typename(p)}",
                     fix="pass tensors that require grad, such as model.parameters()")
            if not self.defaults.get("differentiable", None) and not (p.is_leaf or p.retains_grad):
                fail(ValueError, "P707", "can't optimize a non-leaf Tensor",
                     got=f"{describe(p)}, the result of {p.grad_fn.name()}", fix="pass the tensor it was made from, or its .detach().requires_grad_()")

        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                fail(ValueError, "P708", f"parameter group didn't specify a value of required optimization parameter {name}",
                     fix=f"give {name}= to the optimizer, or in every group")
            param_group.setdefault(name, default)

        if len(params) != len(set(params)):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        known: set[Tensor] = set()
        for group in self.param_groups:
            known.update(group["params"])
            if ("param_names" in param_group) != ("param_names" in group):
                kind = "with names" if "param_names" in param_group else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {kind} to the optimizer"
                )
        if not known.isdisjoint(params):
            fail(ValueError, "P705", "some parameters appear in more than one parameter group",
                 fix="list each parameter once")
        self.param_groups.append(param_group)


def _fit(param: Tensor, value: Any, param_id: int, groups: list[dict], key: Hashable = None) -> Any:
    """A loaded state value with every tensor in it fitted to `param`; containers are copied."""
    if isinstance(value, Tensor):
        return Optimizer._process_value_according_to_param_policy(param, value, param_id, groups, key)
    if isinstance(value, dict):
        return {k: _fit(param, v, param_id, groups, k) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return type(value)(_fit(param, v, param_id, groups) for v in value)
    return value


def evaluate(closure: Callable[[], Any] | None) -> Any:
    """The loss of a `step(closure)`, computed with gradients on; None without a closure."""
    if closure is None:
        return None
    with enable_grad():
        return closure()


def grad_mode(differentiable: bool) -> Any:
    """The gradient mode of an update: recorded only when the user differentiates through the step."""
    return enable_grad() if differentiable else no_grad()
