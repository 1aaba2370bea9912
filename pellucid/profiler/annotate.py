"""`record_function`: the user's own names in profiles.

In: a name. Out: an event of that name around what runs inside. True always: a compiled function is the same with and without it; it is
not told of there, because it takes no part in what is compiled.
"""
from __future__ import annotations

from contextlib import ContextDecorator
from typing import Any

from ..ops.dispatch import local, state

__all__ = ["record_function"]


class record_function(ContextDecorator):
    """`with record_function("loading"):` or `@record_function("loading")`: a name for what runs inside, in profiles.

    `args`, a string, is shown beside the name. Costs nothing to speak of while no profile records.
    """

    def __init__(self, name: str, args: str | None = None):
        self.name, self.args = name, args
        self.token: Any = None

    def _recreate_cm(self) -> record_function:
        return type(self)(self.name, self.args)         # a decorated function may call itself

    def __enter__(self) -> record_function:
        observer = state.observer
        if observer is not None and not local.stack:    # what is traced does not run
            self.token = observer, observer.begin(self.name, "user_annotation")
            if self.args is not None:
                self.token[1].values = [self.args]
        return self

    def __exit__(self, *error: Any) -> None:
        if self.token is not None:
            (observer, record), self.token = self.token, None
            observer.end(record)
