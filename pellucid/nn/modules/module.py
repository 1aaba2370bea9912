"""``Module``: a function with parameters, built from other modules.

In: subclasses that assign tensors and modules as attributes in ``__init__`` and define ``forward``. Out: objects that
can be called, listed, moved, saved, hooked and printed. What stays true: a name is in at most one of the instance's
``__dict__``, ``_parameters``, ``_buffers`` and ``_modules``, and each of the three keeps the order of registration.

The parts: ``_tree`` (walking and reaching), ``_state`` (state_dict), ``_convert`` (to, float, ...), ``_hooks``
(registering hooks); here are attributes, the call, and the hooks common to all modules.
"""

from __future__ import annotations

import inspect
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ...core.errors import fail, no_attribute
from ...core.late import late
from ...tensor import Tensor
from ...tensor.core import check_keeps
from ...utils.hooks import BackwardHook, RemovableHandle
from ..html import module_html
from ..parameter import Buffer, Parameter
from ._convert import ModuleConvert
from ._hooks import Changes, Hooks, ModuleHooks, WrappedHook, add_hook, old_style_hook_gap
from ._state import ModuleState, _IncompatibleKeys  # noqa: F401  (PyTorch's name and place)
from ._tree import ModuleTree

__all__ = [
    "register_module_forward_pre_hook",
    "register_module_forward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_backward_hook",
    "register_module_full_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
    "Module",
]

# -- hooks common to all modules -------------------------------------------------------------------------------------

_global_buffer_registration_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_module_registration_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_parameter_registration_hooks: OrderedDict[int, Callable] = OrderedDict()

_anywhere: list = []  # as Module._has_hooks, for these
_global_backward_pre_hooks: OrderedDict[int, Callable] = Hooks.raising(_anywhere)
_global_backward_hooks: OrderedDict[int, Callable] = Hooks.raising(_anywhere)
_global_is_full_backward_hook: bool | None = None
_global_forward_pre_hooks: OrderedDict[int, Callable] = Hooks.raising(_anywhere)
_global_forward_hooks: OrderedDict[int, Callable] = Hooks.raising(_anywhere)
_global_forward_hooks_always_called: OrderedDict[int, bool] = OrderedDict()
_global_forward_hooks_with_kwargs: OrderedDict[int, bool] = OrderedDict()


GLOBAL_HOOKS = (_global_backward_pre_hooks, _global_backward_hooks, _global_forward_pre_hooks, _global_forward_hooks)  # that calls run


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, name, buffer)`` whenever any module registers a buffer; it may return another one."""
    return add_hook(_global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, name, submodule)`` whenever any module registers a child; it may return another one."""
    return add_hook(_global_module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, name, parameter)`` whenever any module registers a parameter; it may return another one."""
    return add_hook(_global_parameter_registration_hooks, hook)


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, args)`` before the ``forward`` of every module, ahead of the module's own hooks."""
    return add_hook(_global_forward_pre_hooks, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after the ``forward`` of every module, ahead of the module's own hooks."""
    flags = ((_global_forward_hooks_with_kwargs, with_kwargs), (_global_forward_hooks_always_called, always_call))
    return add_hook(_global_forward_hooks, hook, flags=flags)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` in the backward pass of every module."""
    return add_hook(_global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` in the backward pass of every module.

    Raises:
        RuntimeError: global hooks of the old style are registered.
    """
    return _add_global_backward_hook(hook, full=True)


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Deprecated: a global backward hook of the old style. Use ``register_module_full_backward_hook``.

    Raises:
        RuntimeError: global full backward hooks are registered.
    """
    return _add_global_backward_hook(hook, full=False)


def _add_global_backward_hook(hook: Callable, full: bool) -> RemovableHandle:
    global _global_is_full_backward_hook
    if _global_is_full_backward_hook is (not full):
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module hook. Please use only "
            "one of them."
        )
    _global_is_full_backward_hook = full
    return add_hook(_global_backward_hooks, hook)


def settle(flag: list, *hooks: dict) -> bool:
    """Whether there is any hook in these dictionaries; where there is none, `flag` is cleared."""
    if not any(hooks):
        flag.clear()
        if any(hooks):  # another thread has just added one
            flag.append(True)
    return any(hooks)


# -- the class -------------------------------------------------------------------------------------------------------

# The dictionaries of an instance: first the three registries, then the hooks that a call runs, then what belongs to hooks.
_REGISTRIES = ("_parameters", "_buffers", "_modules")
CALL_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_HOOK_DICTS = (
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def _forward_unimplemented(self: Any, *input: Any) -> None:
    """The computation of the module: every subclass defines its own."""
    fail(NotImplementedError, "P601", f'Module [{type(self).__name__}] is missing the required "forward" function',
         fix="define forward(self, ...) in the class")


class Module(ModuleTree, ModuleState, ModuleConvert, ModuleHooks):
    """The base class of all layers and models.

    Assigning a Parameter, a Buffer or another Module as an attribute registers it; ``super().__init__()`` must have
    been called before. The module is called like a function, which runs ``forward`` and the hooks::

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.Linear(784, 128)
                self.out = nn.Linear(128, 10)

            def forward(self, x):
                return self.out(self.hidden(x).relu())

    ``training`` says whether the module is in training mode (see ``train`` and ``eval``).
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        Changes.equal += "__eq__" in vars(cls)

    dump_patches: bool = False
    call_super_init: bool = False  # whether __init__ passes its arguments on to the next class of a mixed inheritance
    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init:
            if kwargs:
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'"
                )
            if args:
                raise TypeError(
                    f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given"
                )
        state = self.__dict__  # written directly: the attribute rules below rely on these entries
        state["training"] = True
        for name in _REGISTRIES:
            state[name] = {}
        state["_non_persistent_buffers_set"] = set()
        state["_is_full_backward_hook"] = None
        self._add_missing_hook_dicts()
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    forward: Callable[..., Any] = _forward_unimplemented

    def _add_missing_hook_dicts(self) -> None:
        state = self.__dict__
        flag = state.setdefault("_has_hooks", [])
        for name in CALL_HOOKS:
            if name not in state:
                state[name] = Hooks.raising(flag)
        for name in _HOOK_DICTS:
            state.setdefault(name, OrderedDict())

    # -- registering -------------------------------------------------------------------------------------------------

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Register ``param`` under ``name``; None holds the place, and is not in the ``state_dict``.

        Raises:
            KeyError: the name is empty, holds a dot or is taken.
            TypeError: ``param`` is not a Parameter.
            ValueError: ``param`` was computed from other tensors.
        """
        self._check_new_name("parameter", name, self._parameters if "_parameters" in self.__dict__ else None)
        if param is not None:
            if not isinstance(param, Parameter):
                fail(TypeError, "P604", f"cannot assign '{_typename(param)}' object to parameter '{name}' (torch.nn.Parameter or None "
                     "required)", fix="wrap the tensor: nn.Parameter(tensor)")
            if param.grad_fn is not None:
                fail(ValueError, "P605", f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created "
                     f"explicitly. To express '{name}' as a function of another Tensor, compute the value in the "
                     "forward() method.", fix="nn.Parameter(tensor.detach()) starts anew from its value")
            param = self._after_registration_hooks(_global_parameter_registration_hooks, name, param)
        Changes.count += 1
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register ``tensor`` as state that is not trained, such as a running mean.

        Args:
            name: the attribute under which it is reached.
            tensor: the buffer, or None to hold the place.
            persistent: whether it is part of the ``state_dict``.

        Raises:
            KeyError: the name is empty, holds a dot or is taken.
            TypeError: ``tensor`` is not a tensor.
        """
        self._check_new_name("buffer", name, self._buffers if "_buffers" in self.__dict__ else None)
        if tensor is not None:
            if not isinstance(tensor, Tensor) and not hasattr(type(tensor), "__torch_function__"):
                fail(TypeError, "P609", f"cannot assign '{_typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)",
                     fix="wrap the value: pellucid.tensor(value)")
        Changes.count += 1
        self._buffers[name] = self._after_registration_hooks(_global_buffer_registration_hooks, name, tensor)
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Register ``module`` as a child under ``name``.

        Raises:
            KeyError: the name is empty, holds a dot or is taken.
            TypeError: ``module`` is not a Module.
        """
        if module is not None and not isinstance(module, Module):
            fail(TypeError, "P602", f"{_typename(module)} is not a Module subclass",
                 fix="functions have layers (relu: nn.ReLU()); others can be called in the forward of a Module")
        self._check_new_name("module", name, self.__dict__.get("_modules"))
        self._modules[name] = self._after_registration_hooks(_global_module_registration_hooks, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as ``add_module``."""
        self.add_module(name, module)

    def _check_new_name(self, kind: str, name: Any, registry: dict[str, Any] | None) -> None:
        """Raise unless ``name`` may become the name of a new entry of ``registry``."""
        if registry is None:
            fail(AttributeError, "P603", f"cannot assign {kind} before Module.__init__() call",
                 fix="call super().__init__() first in __init__")
        if not isinstance(name, str):
            fail(TypeError, "P660", f"{kind} name should be a string. Got {_typename(name)}", fix=f'write "{name}"')
        if kind == "module" and hasattr(self, name) and name not in registry:
            fail(KeyError, "P661", f"attribute '{name}' already exists", fix="choose another name, or del the attribute first")
        if "." in name:
            fail(KeyError, "P662", f'{kind} name can\'t contain "."' + (f", got: {name}" if kind == "module" else ""),
                 fix="dots stand between the names of a path: use another character")
        if name == "":
            fail(KeyError, "P663", f'{kind} name can\'t be empty string ""', fix="give a name")
        if hasattr(self, name) and name not in registry:
            fail(KeyError, "P661", f"attribute '{name}' already exists", fix="choose another name, or del the attribute first")

    def _after_registration_hooks(self, hooks: dict[int, Callable], name: str, value: Any) -> Any:
        for hook in hooks.values():
            returned = hook(self, name, value)
            if returned is not None:
                value = returned
        return value

    # -- attributes --------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # Reached only when ordinary lookup fails. Written out, because every layer reads its weights through here.
        state = self.__dict__
        if "_modules" in state:
            if name in state["_parameters"]:
                return state["_parameters"][name]
            if name in state["_modules"]:
                return state["_modules"][name]
            if name in state["_buffers"]:
                return state["_buffers"][name]
        raise no_attribute(
            f"'{type(self).__name__}' object",
            name,
            lambda: [n for names in (*(state.get(r, ()) for r in _REGISTRIES), state, dir(type(self))) for n in names],
            None if "_modules" in state else "call super().__init__() first in __init__",
        )

    def __setattr__(self, name: str, value: Any) -> None:
        Changes.count += 1
        state = self.__dict__
        parameters = state.get("_parameters")
        if isinstance(value, Tensor):
            check_keeps(value, f"attribute {name!r} of a {type(self).__name__}")
        if isinstance(value, Parameter):
            if parameters is None:
                fail(AttributeError, "P603", "cannot assign parameters before Module.__init__() call",
                     fix="call super().__init__() first in __init__")
            self._forget(name, keep="_parameters")
            self.register_parameter(name, value)
        elif parameters is not None and name in parameters:
            if value is not None:
                fail(TypeError, "P606", f"cannot assign '{_typename(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)",
                     fix="wrap the tensor: nn.Parameter(tensor); to change the values only, copy_ into it under no_grad()")
            self.register_parameter(name, None)
        elif isinstance(value, Module):
            if "_modules" not in state:
                fail(AttributeError, "P603", "cannot assign module before Module.__init__() call",
                     fix="call super().__init__() first in __init__")
            self._forget(name, keep="_modules")
            state["_modules"][name] = self._after_registration_hooks(_global_module_registration_hooks, name, value)
        elif parameters is not None and name in state["_modules"]:
            if value is not None:
                fail(TypeError, "P607", f"cannot assign '{_typename(value)}' as child module '{name}' (torch.nn.Module or None expected)",
                     fix="assign a Module, or choose another name")
            state["_modules"][name] = self._after_registration_hooks(_global_module_registration_hooks, name, None)
        elif isinstance(value, Tensor) and isinstance(value, Buffer):
            self._forget(name, keep="_buffers")
            self._register_new_buffer(name, value)
        elif parameters is not None and name in state["_buffers"]:
            if value is not None and not isinstance(value, Tensor):
                fail(TypeError, "P608", f"cannot assign '{_typename(value)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or None "
                     "expected)", fix="assign a tensor, or choose another name")
            state["_buffers"][name] = self._after_registration_hooks(_global_buffer_registration_hooks, name, value)
        else:
            if name in CALL_HOOKS and type(value) is not Hooks:  # whoever writes into another dictionary raises no flag
                hooks, value = value, Hooks.raising(state.get("_has_hooks"))
                value.update(hooks)
            super().__setattr__(name, value)

    def _forget(self, name: str, keep: str) -> None:
        """Remove ``name`` wherever it is, except from the registry ``keep`` (where it keeps its place in the order)."""
        state = self.__dict__
        state.pop(name, None)
        for registry in _REGISTRIES:
            if registry != keep and registry in state:
                state[registry].pop(name, None)
        if keep != "_buffers" and "_non_persistent_buffers_set" in state:
            state["_non_persistent_buffers_set"].discard(name)

    def _register_new_buffer(self, name: str, buffer: Tensor) -> None:
        # A subclass may have replaced register_buffer by one that knows nothing of `persistent`.
        if "persistent" in inspect.signature(self.register_buffer).parameters:
            self.register_buffer(name, buffer, buffer.persistent)
        elif buffer.persistent:
            self.register_buffer(name, buffer)
        else:
            raise RuntimeError(
                "Registering a non-persistent buffer on a Module subclass that implements register_buffer() without "
                "the persistent argument is not allowed."
            )

    def __delattr__(self, name: str) -> None:
        Changes.count += 1
        for registry in _REGISTRIES:
            if name in self.__dict__[registry]:
                del self.__dict__[registry][name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = set(dir(type(self))) | set(self.__dict__)
        for registry in _REGISTRIES:
            names.update(self.__dict__[registry])
        return sorted(name for name in names if not name[:1].isdigit())

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_compiled_call_impl", None)  # a copy, and what is read from a file, is not compiled
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # Objects pickled by an older version may lack what was added since.
        self._add_missing_hook_dicts()
        for name in CALL_HOOKS:
            if type(hooks := self.__dict__[name]) is not Hooks:
                setattr(self, name, hooks)
                for handle in self.__dict__.values():       # a lazy module takes its own hook away
                    if isinstance(handle, RemovableHandle):
                        handle.follow(hooks, self.__dict__[name])
        self.__dict__.setdefault("_non_persistent_buffers_set", set())
        self.__dict__.setdefault("_is_full_backward_hook", None)

    # -- the call ----------------------------------------------------------------------------------------------------

    _compiled_call_impl: Any = None  # what compile() made of _call_impl

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._compiled_call_impl is not None:
            return self._compiled_call_impl(*args, **kwargs)
        if self._has_hooks or _anywhere:
            return self._call_impl(*args, **kwargs)
        return self.forward(*args, **kwargs)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the calls of this module, in place: hooks and ``forward``, with the arguments of ``pellucid.compile``.

        The module stays the object it is, with its attributes and the names in its ``state_dict()``. Copies of it, and what is
        saved of it, are not compiled. ``pellucid.explain(module)(...)`` says what came of it.
        """
        self._compiled_call_impl = late.compile(self._call_impl, *args, **kwargs)

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        """The call with all hooks."""
        if not self._any_hook_left():
            return self.forward(*args, **kwargs)
        # What the hooks with always_call=True need to know when the call fails half-way.
        progress: dict[str, Any] = {"args": args, "kwargs": kwargs, "result": None, "called": set()}
        if not (self._forward_hooks_always_called or _global_forward_hooks_always_called):
            return self._call_with_hooks(progress)
        try:
            return self._call_with_hooks(progress)
        except Exception:
            self._run_remaining_hooks(progress)
            raise

    def _call_with_hooks(self, progress: dict[str, Any]) -> Any:
        args, kwargs = progress["args"], progress["kwargs"]
        for hook_id, hook in [*_global_forward_pre_hooks.items(), *self._forward_pre_hooks.items()]:
            if hook_id in self._forward_pre_hooks_with_kwargs:
                returned = hook(self, args, kwargs)
                if returned is not None:
                    if not (isinstance(returned, tuple) and len(returned) == 2):
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got "
                            f"{returned}."
                        )
                    args, kwargs = returned
            else:
                returned = hook(self, args)
                if returned is not None:
                    args = returned if isinstance(returned, tuple) else (returned,)
            progress["args"], progress["kwargs"] = args, kwargs

        pre_hooks = [*_global_backward_pre_hooks.values(), *self._backward_pre_hooks.values()]
        full_hooks, old_hooks = self._get_backward_hooks()
        backward_hook = BackwardHook(self, full_hooks, pre_hooks) if full_hooks or pre_hooks else None
        if backward_hook is not None:
            args = progress["args"] = backward_hook.setup_input_hook(args)

        result = progress["result"] = self.forward(*args, **kwargs)

        for hook_id, hook in [*_global_forward_hooks.items(), *self._forward_hooks.items()]:
            progress["called"].add(hook_id)
            returned = self._call_forward_hook(hook_id, hook, args, kwargs, result)
            if returned is not None:
                result = progress["result"] = returned

        if backward_hook is not None:
            if not isinstance(result, (Tensor, tuple)):
                warnings.warn(
                    "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but "
                    f"received {type(result)}",
                    stacklevel=4,
                )
            result = backward_hook.setup_output_hook(result)
        if old_hooks:
            self._hook_output_node(old_hooks, args, result)
        return result

    def _call_forward_hook(self, hook_id: int, hook: Callable, args: tuple, kwargs: dict, result: Any) -> Any:
        if hook_id in self._forward_hooks_with_kwargs or hook_id in _global_forward_hooks_with_kwargs:
            return hook(self, args, kwargs, result)
        return hook(self, args, result)

    def _run_remaining_hooks(self, progress: dict[str, Any]) -> None:
        """After an error: run the hooks with ``always_call=True`` that have not run; their own errors become warnings."""
        kinds = (
            ("global module forward hook", _global_forward_hooks, _global_forward_hooks_always_called),
            ("module forward hook", self._forward_hooks, self._forward_hooks_always_called),
        )
        for kind, hooks, always_called in kinds:
            for hook_id, hook in list(hooks.items()):
                if hook_id not in always_called or hook_id in progress["called"]:
                    continue
                try:
                    args, kwargs, result = progress["args"], progress["kwargs"], progress["result"]
                    returned = self._call_forward_hook(hook_id, hook, args, kwargs, result)
                    if returned is not None:
                        progress["result"] = returned
                except Exception as error:
                    warnings.warn(
                        f"{kind} with ``always_call=True`` raised an exception that was silenced as another error was "
                        f"raised in forward: {error}",
                        stacklevel=4,
                    )

    def _get_backward_hooks(self) -> tuple[list[Callable], list[Callable]]:
        """The backward hooks that apply to this module: (full ones, old-style ones)."""
        full: list[Callable] = []
        old: list[Callable] = []
        for is_full, hooks in (
            (_global_is_full_backward_hook, _global_backward_hooks),
            (self._is_full_backward_hook, self._backward_hooks),
        ):
            (full if is_full else old).extend(hooks.values())
        return full, old

    def _hook_output_node(self, hooks: list[Callable], args: tuple, result: Any) -> None:
        """Old-style backward hooks: put them on the node that made the first tensor of the result."""
        first = result
        while not isinstance(first, Tensor):
            first = next(v for v in first.values() if isinstance(v, Tensor)) if isinstance(first, dict) else first[0]
        node = first.grad_fn
        if node is not None:
            for hook in hooks:
                node.register_hook(WrappedHook(hook, self))
            gap = old_style_hook_gap(args, result, node)
            if gap is not None:
                warnings.warn(gap, FutureWarning, stacklevel=4)

    def _any_hook_left(self) -> bool:
        """Whether there is any hook to run; where there is none, later calls take the short way again."""
        state = self.__dict__
        return settle(_anywhere, *GLOBAL_HOOKS) | settle(self._has_hooks, *[state[name] for name in CALL_HOOKS])

    # -- mode and printing -------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Any:
        """Set training mode (dropout drops, batch norm uses the batch) here and below. Returns self.

        Raises:
            ValueError: ``mode`` is not a bool.
        """
        if not isinstance(mode, bool):
            fail(ValueError, "P610", "training mode is expected to be boolean",
                 fix="model.train(True), or model.eval()")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        """Set evaluation mode: ``train(False)``. Returns self."""
        return self.train(False)

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What to print between the parentheses of this module's line; override it. May have several lines."""
        return ""

    def _repr_html_(self) -> str:
        """What notebooks show: the tree of modules, to be unfolded, with parameter counts."""
        return module_html(self)

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        child_lines = [f"({name}): " + _indented(repr(module)) for name, module in self._modules.items()]
        lines = extra_lines + child_lines
        if not lines:
            return self._get_name() + "()"
        if len(extra_lines) == 1 and not child_lines:
            return f"{self._get_name()}({extra_lines[0]})"
        return self._get_name() + "(\n  " + "\n  ".join(lines) + "\n)"


def _indented(text: str) -> str:
    """``text`` with every line after the first moved two columns to the right (blank ones emptied)."""
    first, *rest = text.split("\n")
    return "\n".join([first] + ["  " + line if line.strip() else "" for line in rest])


def _typename(value: Any) -> str:
    """The name of the type of ``value`` for messages: 'str', 'torch.FloatTensor', 'package.module.Class'."""
    if isinstance(value, Tensor):
        return value.type()
    module = getattr(value, "__module__", None)
    name = value.__qualname__ if hasattr(value, "__qualname__") else type(value).__name__
    return name if module in ("builtins", None, "") else f"{module}.{name}"
