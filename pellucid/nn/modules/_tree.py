"""The tree a module is: walking it, listing what it owns, and reaching parts of it by dotted path.

In: a module whose ``_modules``, ``_parameters`` and ``_buffers`` hold its children and tensors by name. Out: iterators
of (dotted name, thing) in the order of registration, parents before children. What stays true: shared modules and
tensors are listed once, under their first name, unless ``remove_duplicate=False``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...core.errors import fail, nearest
from ...tensor import Tensor
from ..parameter import Parameter

__all__ = ["ModuleTree"]


class ModuleTree:
    """The part of ``Module`` that walks the tree."""

    _modules: dict[str, Any]
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]

    # -- walking -----------------------------------------------------------------------------------------------------

    def children(self) -> Iterator[Any]:
        """The immediate submodules, each once."""
        for _, module in self.named_children():
            yield module

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """The immediate submodules with their names, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def modules(self, remove_duplicate: bool = True) -> Iterator[Any]:
        """This module and all below it."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_modules(
        self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """This module and all below it with their dotted names (its own is ``prefix``).

        Args:
            memo: the modules already listed, which are skipped.
            prefix: put before every name.
            remove_duplicate: list a shared module once (default) or under each of its names.
        """
        if memo is None:
            memo = set()
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, _join(prefix, name), remove_duplicate)

    def _named_members(
        self,
        get_members_fn: Callable[[Any], Iterable[tuple[str, Any]]],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        """What ``get_members_fn(module)`` gives for this module and those below it, under dotted names."""
        memo = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        )
        for module_prefix, module in modules:
            for name, member in get_members_fn(module):
                if member is None or member in memo:
                    continue
                if remove_duplicate:
                    memo.add(member)
                yield _join(module_prefix, name), member

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, for instance to hand to an optimizer; ``recurse=False``: only this module's own."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their dotted names."""
        yield from self._named_members(lambda module: module._parameters.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers (persistent or not); ``recurse=False``: only this module's own."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted names."""
        yield from self._named_members(lambda module: module._buffers.items(), prefix, recurse, remove_duplicate)

    # -- reaching a part by its path ---------------------------------------------------------------------------------

    def get_submodule(self, target: str) -> Any:
        """The module at the dotted path ``target`` (``""`` is this one).

        Raises:
            AttributeError: a step of the path is missing or is not a module.
        """
        module = self
        for step in target.split(".") if target else ():
            if not hasattr(module, step):
                fail(AttributeError, "P611", f"{module._get_name()} has no attribute `{step}`",
                     fix=_hint(module, step))
            module = getattr(module, step)
            if not isinstance(module, ModuleTree):
                fail(AttributeError, "P612", f"`{step}` is not an nn.Module",
                     fix="a path leads through modules: named_modules() lists them")
        return module

    def set_submodule(self, target: str, module: Any, strict: bool = False) -> None:
        """Put ``module`` at the dotted path ``target``, in place of what is there.

        Args:
            strict: require that a module is there already; otherwise only the parents of ``target`` must exist.

        Raises:
            ValueError: ``target`` is empty or ``module`` is not a module.
            AttributeError: a step of the path is missing or is not a module.
        """
        if target == "":
            fail(ValueError, "P615", "Cannot set the submodule without a target name!",
                 fix="name a path, as in \"encoder.0\"")
        if not isinstance(module, ModuleTree):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            fail(AttributeError, "P611", f"{parent._get_name()} has no attribute `{name}`", fix=_hint(parent, name))
        if hasattr(parent, name) and not isinstance(getattr(parent, name), ModuleTree):
            fail(AttributeError, "P612", f"`{name}` is not an nn.Module",
                 fix="a path leads through modules: named_modules() lists them")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at the dotted path ``target``.

        Raises:
            AttributeError: a step of the path is missing, or its end is not a Parameter.
        """
        module, name = self._owner_of(target)
        parameter = getattr(module, name)
        if not isinstance(parameter, Parameter):
            fail(AttributeError, "P613", f"`{name}` is not an nn.Parameter",
                 fix="named_parameters() lists the parameters")
        return parameter

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at the dotted path ``target``.

        Raises:
            AttributeError: a step of the path is missing, or its end is not a buffer.
        """
        module, name = self._owner_of(target)
        buffer = getattr(module, name)
        if name not in module._buffers:
            fail(AttributeError, "P614", f"`{name}` is not a buffer", fix="named_buffers() lists the buffers")
        return buffer

    def _owner_of(self, target: str) -> tuple[Any, str]:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            fail(AttributeError, "P611", f"{module._get_name()} has no attribute `{name}`", fix=_hint(module, name))
        return module, name


def _hint(module: Any, name: str) -> str:
    """How to find the part of `module` that was asked for as `name`."""
    near = nearest(name, [*module._modules, *module._parameters, *module._buffers])
    if near:
        return f"did you mean {near!r}?"
    return f"its parts are {', '.join(module._modules)}" if module._modules else f"{module._get_name()} has no parts"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
