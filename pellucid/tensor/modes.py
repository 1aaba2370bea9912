"""Grad mode, inference mode, anomaly mode, saved-tensor hooks: contexts that also decorate functions and generators."""
from __future__ import annotations

import functools
import inspect
import warnings

from ..ops.dispatch import add_slow, local


class _Context:
    """A context manager that can decorate functions, generator functions and classes' methods."""

    def clone(self):
        return type(self)()

    def __call__(self, fn):
        if inspect.isclass(fn):
            warnings.warn("Decorating classes is deprecated and will be disabled in future versions. You should only decorate "
                          "functions or methods. To preserve the current behavior of class decoration, you can directly "
                          "decorate the `__init__` method and nothing else.", FutureWarning, stacklevel=2)
            fn.__init__ = self(fn.__init__)
            return fn
        if inspect.isgeneratorfunction(fn):
            @functools.wraps(fn)
            def generator(*args, **kwargs):
                it = fn(*args, **kwargs)
                send, value = it.send, None
                try:
                    while True:                       # the mode holds while the generator runs, not while it waits
                        with self.clone():
                            item = send(value)
                        try:
                            value = yield item
                            send = it.send
                        except GeneratorExit:
                            with self.clone():
                                it.close()
                            raise
                        except BaseException as e:
                            value, send = e, it.throw
                except StopIteration as stop:
                    return stop.value
            return generator

        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            with self.clone():
                return fn(*args, **kwargs)
        return wrapper


class no_grad(_Context):
    """Nothing inside is recorded for backward. Use as `with no_grad():` or `@no_grad()`."""

    def __new__(cls, fn=None):
        self = object.__new__(cls)
        return self if fn is None else self(fn)

    def __enter__(self):
        self.before, local.grad = local.grad, False

    def __exit__(self, *exc):
        local.grad = self.before


class enable_grad(_Context):
    """Record again, inside a `no_grad` block."""

    def __new__(cls, fn=None):
        self = object.__new__(cls)
        return self if fn is None else self(fn)

    def __enter__(self):
        self.before, local.grad = local.grad, True

    def __exit__(self, *exc):
        local.grad = self.before


class set_grad_enabled(_Context):
    """Switch recording on or off, at once and until the end of the block it is used as."""

    def __init__(self, mode: bool):
        self.before, self.mode = local.grad, bool(mode)
        local.grad = self.mode

    def __call__(self, fn):
        local.grad = self.before
        return super().__call__(fn)

    def __enter__(self):
        local.grad = self.mode

    def __exit__(self, *exc):
        local.grad = self.before

    def clone(self):
        before = local.grad
        c = set_grad_enabled(self.mode)
        c.before = before
        return c


class inference_mode(_Context):
    """`no_grad`, and the results can never enter autograd later. `inference_mode(False)` switches it off inside."""

    def __new__(cls, mode=True):
        self = object.__new__(cls)
        if not isinstance(mode, bool):
            self.mode = True
            return self(mode)
        self.mode = mode
        return self

    def clone(self):
        return inference_mode(self.mode)

    def __enter__(self):
        self.before = (local.grad, local.inference)
        local.grad, local.inference = (False, True) if self.mode else (True if local.inference else local.grad, False)
        add_slow(1)

    def __exit__(self, *exc):
        add_slow(-1)
        local.grad, local.inference = self.before


def is_grad_enabled() -> bool:
    """Whether operations are recorded for backward in this thread."""
    return local.grad


def is_inference_mode_enabled() -> bool:
    return local.inference


class set_detect_anomaly(_Context):
    """Remember the user's line of every operation, and stop backward at the first NaN (unless `check_nan=False`)."""

    def __init__(self, mode: bool, check_nan: bool = True):
        self.mode, self.check = bool(mode), check_nan
        self.before = (local.anomaly, local.check_nan)
        self._set(self.mode, check_nan)

    @staticmethod
    def _set(mode, check):
        if mode != local.anomaly:
            add_slow(1 if mode else -1)
        local.anomaly, local.check_nan = mode, check

    def __enter__(self):
        self._set(self.mode, self.check)

    def __exit__(self, *exc):
        self._set(*self.before)

    def clone(self):
        return set_detect_anomaly(self.mode, self.check)


class detect_anomaly(set_detect_anomaly):
    """`with detect_anomaly():` names the operation and the line of the first NaN in backward. Slow; for debugging."""

    def __init__(self, check_nan: bool = True):
        warnings.warn("Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled "
                      "for debugging.", stacklevel=2)
        self.mode, self.check = True, check_nan
        self.before = (local.anomaly, local.check_nan)

    def clone(self):
        return set_detect_anomaly(self.mode, self.check)


def is_anomaly_enabled() -> bool:
    return local.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    return local.check_nan


class set_multithreading_enabled(_Context):
    """PyTorch's switch for using several threads in backward, at once and until the end of the block it is used as. Backward
    runs in the calling thread here, so only the setting itself changes."""

    enabled = True

    def __init__(self, mode: bool):
        self.before, self.mode = is_multithreading_enabled(), bool(mode)
        set_multithreading_enabled.enabled = self.mode

    def __enter__(self):
        set_multithreading_enabled.enabled = self.mode

    def __exit__(self, *exc):
        set_multithreading_enabled.enabled = self.before

    def clone(self):
        return set_multithreading_enabled(self.mode)


def is_multithreading_enabled() -> bool:
    return set_multithreading_enabled.enabled


class saved_tensors_hooks:
    """Inside, every tensor saved for backward goes through `pack_hook`, and `unpack_hook` gives it back when needed."""

    def __init__(self, pack_hook, unpack_hook):
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self):
        if local.hooks_disabled is not None:
            raise RuntimeError(local.hooks_disabled)
        local.saved_hooks = local.saved_hooks + ((self.pack_hook, self.unpack_hook),)
        add_slow(1)

    def __exit__(self, *exc):
        if local.saved_hooks:
            add_slow(-1)
            local.saved_hooks = local.saved_hooks[:-1]


class disable_saved_tensors_hooks(_Context):
    """Inside, `saved_tensors_hooks` raises RuntimeError with `error_message`."""

    def __init__(self, error_message: str):
        self.message = error_message

    def clone(self):
        return disable_saved_tensors_hooks(self.message)

    def __enter__(self):
        if local.saved_hooks:
            raise RuntimeError(self.message)
        self.before, local.hooks_disabled = local.hooks_disabled, self.message

    def __exit__(self, *exc):
        local.hooks_disabled = self.before


class save_on_cpu(saved_tensors_hooks):
    """Keep saved tensors as copies on the CPU; on the CPU they stay what they are."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda"):
        super().__init__(lambda t: t.clone() if t.is_leaf and not t.requires_grad else t, lambda t: t)
