"""Exceptions with the user's lines in their tracebacks, where no frame of Python's was on that line."""
from __future__ import annotations

from typing import Any

__all__: list[str] = []

_raisers: dict[tuple, Any] = {}


def at_line(error: BaseException, code: Any, line: int | None) -> BaseException:
    """The exception as raised at a line of the user's."""
    key = code.co_filename, code.co_name, line
    raiser = _raisers.get(key)
    if raiser is None:
        if len(_raisers) > 1000:
            _raisers.clear()
        source = "\n" * max((line or 1) - 2, 0) + ("def raiser(error):\n" if (line or 1) > 1 else "def raiser(error): ") + " raise error"
        space: dict = {}
        exec(compile(source, code.co_filename, "exec"), space)
        raiser = space["raiser"]
        raiser.__code__ = raiser.__code__.replace(co_name=code.co_name, co_qualname=code.co_qualname)
        _raisers[key] = raiser
    before = error.__context__, error.__cause__, error.__suppress_context__
    try:
        raiser(error)
    except BaseException as raised:
        raised.__traceback__ = raised.__traceback__.tb_next
        raised.__context__, raised.__cause__, raised.__suppress_context__ = before
        return raised
    return error
