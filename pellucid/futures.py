"""`pellucid.futures`: results that are not there yet.

In: a value or an exception, set once, by any thread. Out: whoever waits gets it; callbacks run as soon as it is there, in the order they
were added. True always: a future is completed at most once, and what it holds never changes after.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from .core.errors import fail

__all__ = ["Future", "collect_all", "wait_all"]

T = TypeVar("T")
S = TypeVar("S")


class Future(Generic[T]):
    """A value that some thread will set. `devices` is PyTorch's: results on a GPU would wait for those; it is not looked at."""

    def __init__(self, *, devices: Sequence[Any] | None = None):
        self._completed = threading.Condition()
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future[T]], Any]] = []

    def done(self) -> bool:
        """Whether the value, or an exception, is there."""
        return self._done

    def wait(self) -> T:
        """The value, waited for; raises the exception if there is one instead."""
        with self._completed:
            self._completed.wait_for(lambda: self._done)
        return self.value()

    def value(self) -> T:
        """The value, which must be there: RuntimeError if not. Raises the exception if there is one instead."""
        if not self._done:
            fail(RuntimeError, "P4701", "the future has no value yet", fix="wait() for it, or ask done() first")
        if self._error is not None:
            raise self._error
        return self._value

    def then(self, callback: Callable[[Future[T]], S]) -> Future[S]:
        """The future of what `callback(self)` returns, called once this one is completed; at once if it is."""
        out: Future[S] = Future()

        def run(done: Future[T]) -> None:
            try:
                result = callback(done)
            except Exception as error:
                out.set_exception(error)
            else:
                out.set_result(result)
        self.add_done_callback(run)
        return out

    def add_done_callback(self, callback: Callable[[Future[T]], Any]) -> None:
        """Call `callback(self)` once this future is completed; at once if it is."""
        with self._completed:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback(self)

    def set_result(self, result: T) -> None:
        """Complete the future with a value."""
        self._complete(result, None)

    def set_exception(self, result: BaseException) -> None:
        """Complete the future with an exception, which `wait` and `value` raise."""
        if not isinstance(result, BaseException):
            fail(AssertionError, "P4702", f"{result} is of type {type(result)}, not an Exception.", fix="use set_result for values")
        self._complete(None, result)

    def _complete(self, value: Any, error: BaseException | None) -> None:
        with self._completed:
            if self._done:
                fail(RuntimeError, "P4703", "Future can only be set once", fix="make a new future for another value")
            self._value, self._error, self._done = value, error, True
            callbacks, self._callbacks = self._callbacks, []
            self._completed.notify_all()
        for callback in callbacks:
            callback(self)


def collect_all(futures: Sequence[Future]) -> Future[list[Future]]:
    """The future of the list `futures`, completed when all of them are; with the exception of the first that has one, if any has."""
    out: Future[list[Future]] = Future()
    waiting, lock = len(futures), threading.Lock()

    def one_less(_: Future) -> None:
        nonlocal waiting
        with lock:
            waiting -= 1
            if waiting:
                return
        failed = next((f for f in futures if f._error is not None), None)
        if failed is not None:
            out.set_exception(failed._error)  # type: ignore
        else:
            out.set_result(list(futures))
    for future in futures:
        future.add_done_callback(one_less)
    if not futures:
        out.set_result([])
    return out


def wait_all(futures: Sequence[Future]) -> list:
    """The values of all futures, waited for; raises the exception of the first that has one."""
    return [future.wait() for future in collect_all(futures).wait()]
