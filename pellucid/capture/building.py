"""What builds text and containers from values that may not be known yet: a part of the domain of a capture.

In: the values on the interpreter's stack. Out: what the instruction makes, or a frame that makes it where Python code of the user's
has to run for it. What stays true: containers that were there before are told to the journal before they change.
"""
from __future__ import annotations

import sys
from typing import Any

from . import calls, forms, later, policy
from .concrete import Concrete, raising
from .frame import frame_of

__all__: list[str] = []


class Building(Concrete):
    """The instructions that build. `expose` and `change` are the domain's."""

    def build_string(self, parts: list) -> Any:
        return later.joined(parts) if later.holds(parts) else "".join(parts)

    def list_append(self, owner: list, item: Any) -> None:
        self.change(owner)
        owner.append(item)

    @raising
    def list_extend(self, owner: list, items: Any) -> Any:
        if calls.runs_python(items):
            return frame_of(forms.into_list, (owner, items), {})
        return super().list_extend(owner, self.handed_on(items))

    @raising
    def set_update(self, owner: set, items: Any) -> Any:
        if calls.runs_python(items):
            return frame_of(forms.into_set, (owner, items), {})
        self.expose(items)
        return super().set_update(owner, items)

    @raising
    def dict_update(self, owner: dict, items: Any) -> Any:
        items = self.double(items)
        self.expose(items)
        if policy.python_class(type(items)) and policy.python_method(type(items), "keys") is not None:
            return frame_of(forms.into_dict, (owner, items), {})
        return super().dict_update(owner, items)

    def dict_merge(self, owner: dict, items: Any, fn: Any) -> None:
        self.expose(items)
        super().dict_merge(owner, items, fn)

    def handed_on(self, items: Any) -> Any:
        """What is in a container goes elsewhere, and is looked at by whoever looks at it: what stands for the container."""
        items = self.standing_in(items)
        self.expose(items, calls.DEEPEST, True)
        return items

    @raising
    def unpack(self, items: Any, count: int | None, after: int) -> Any:
        if calls.runs_python(items):
            return frame_of(forms.drained if count is None else forms.first, (items,) if count is None else
                            (items, count + 1 if after < 0 else sys.maxsize), {})
        items = self.handed_on(items)
        return super().unpack(items, count, after)

    @raising
    def star_kwargs(self, items: Any) -> dict:
        self.expose(items)
        return dict(items)
