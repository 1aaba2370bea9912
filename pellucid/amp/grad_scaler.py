"""Loss scaling: small gradients of low precision survive, and a step with infinite gradients is left out.

In: a loss, and the optimiser whose gradients come from it. Out: the scaled loss; gradients unscaled before the step; a scale that
shrinks when a gradient was infinite or NaN, and grows after `growth_interval` steps without one. Definition: PyTorch's
`torch.amp.GradScaler`. What stays true: an optimiser is unscaled at most once between two calls of `update`, and never steps on
gradients that are not finite.
"""
from __future__ import annotations

import enum
import inspect
import warnings
from collections.abc import Iterable
from typing import Any

from ..core import dtype as dt
from ..optim.optimizer import Optimizer
from ..tensor import Tensor, no_grad
from ..tensor import functions as T

__all__ = ["GradScaler", "OptState"]


class OptState(enum.Enum):
    """What has been done with an optimiser since the last `update`."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


class _Optimizer:
    """One optimiser since the last `update`."""

    def __init__(self) -> None:
        self.stage = OptState.READY
        self.found_inf: Tensor | None = None        # 0-d float32: 1 if a gradient is not finite


class GradScaler:
    """Scales losses so that gradients of low precision neither vanish nor overflow.

    Args:
        device: "cpu", or "cuda", which is not available here: the scaler is then disabled, with a warning.
        init_scale: the first scale.
        growth_factor: what the scale is multiplied by after `growth_interval` steps with finite gradients (more than 1).
        backoff_factor: what it is multiplied by after a step with infinities or NaNs (less than 1).
        growth_interval: how many finite steps in a row let the scale grow.
        enabled: False makes every method pass its argument through.

    Raises:
        AssertionError: `step` or `update` without `scale` before; factors out of range.
        RuntimeError: an optimiser is unscaled, or stepped, twice between two updates.
        ValueError: a gradient is float16 (parameters should be float32).
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0 ** 16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
                 growth_interval: int = 2000, enabled: bool = True) -> None:
        self._device, self._enabled = device, enabled
        if device == "cuda" and enabled:
            warnings.warn("torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2)
            self._enabled = False
        if not self._enabled:
            return
        if growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale, self._init_growth_tracker = init_scale, 0
        self._growth_factor, self._backoff_factor, self._growth_interval = growth_factor, backoff_factor, growth_interval
        self._scale: Tensor | None = None
        self._growth_tracker: Tensor | None = None
        self._seen: dict[int, _Optimizer] = {}

    def _begun(self, what: str) -> tuple[Tensor, Tensor]:
        for name in ("_scale", "_growth_tracker"):
            if getattr(self, name) is None:
                raise AssertionError(f"Attempted {what} but {name} is None.  This may indicate your script did not use "
                                     "scaler.scale(loss or outputs) earlier in the iteration.")
        return self._scale, self._growth_tracker

    def scale(self, outputs: Tensor | Iterable) -> Any:
        """`outputs`, a tensor or any nesting of iterables of tensors, multiplied by the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                self._scale = T.full((), self._init_scale, dtype=dt.float32)
                self._growth_tracker = T.full((), self._init_growth_tracker, dtype=dt.int32)
            return outputs * self._scale
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(map(self.scale, outputs))
        if isinstance(outputs, Iterable):
            return map(self.scale, outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def _unscale(self, optimizer: Optimizer, factor: Tensor) -> Tensor:
        """Multiply the gradients by `factor`; whether any is not finite, as a 0-d tensor of 0 or 1."""
        found = T.full((), 0.0, dtype=dt.float32)
        with no_grad():
            grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            if any(g.dtype is dt.float16 for g in grads):
                raise ValueError("Attempting to unscale FP16 gradients.")
            for g in grads:
                g = g._values() if g.is_sparse else g
                if not T.isfinite(g).all():
                    found.fill_(1.0)
                g.mul_(factor)
        return found

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the optimiser's gradients by the scale, for instance before they are clipped; `step` does it otherwise."""
        if not self._enabled:
            return
        scale, _ = self._begun("unscale_")
        seen = self._seen.setdefault(id(optimizer), _Optimizer())
        if seen.stage is OptState.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if seen.stage is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        seen.found_inf = self._unscale(optimizer, scale.double().reciprocal().float())
        seen.stage = OptState.UNSCALED

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(*args, **kwargs)` on the unscaled gradients, or nothing (None) if one of them is infinite or NaN."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        scale, _ = self._begun("step")
        seen = self._seen.setdefault(id(optimizer), _Optimizer())
        if seen.stage is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            r = self._step_that_unscales(optimizer, seen, scale, args, kwargs)
        else:
            if seen.stage is OptState.READY:
                self.unscale_(optimizer)
            r = None if seen.found_inf.item() else optimizer.step(*args, **kwargs)
        seen.stage = OptState.STEPPED
        return r

    def _step_that_unscales(self, optimizer: Any, seen: _Optimizer, scale: Tensor, args: tuple, kwargs: dict) -> Any:
        """The step of an optimiser that divides by `grad_scale` itself and looks at `found_inf`."""
        if "grad_scaler" in inspect.signature(optimizer.step).parameters:
            warnings.warn("GradScaler is going to stop passing itself as a keyword argument to the passed optimizer. In the near future "
                          "GradScaler registers `grad_scale: Tensor` and `found_inf: Tensor` to the passed optimizer and let the "
                          "optimizer use them directly.", FutureWarning, stacklevel=3)
            return optimizer.step(*args, **kwargs, grad_scaler=self)
        outer = getattr(optimizer, "grad_scale", None)
        if seen.stage is OptState.READY:
            seen.found_inf = self._unscale(optimizer, T.full((), 1.0))
            optimizer.grad_scale = scale * (1 if outer is None else outer)
        else:
            optimizer.grad_scale = outer
        optimizer.found_inf = seen.found_inf
        try:
            return optimizer.step(*args, **kwargs)
        finally:
            del optimizer.grad_scale, optimizer.found_inf

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """At the end of an iteration: shrink or grow the scale, or set it to `new_scale`."""
        if not self._enabled:
            return
        scale, tracker = self._begun("update")
        if new_scale is not None:
            if isinstance(new_scale, float):
                scale.fill_(new_scale)
            else:
                if new_scale.device.type != self._device or new_scale.numel() != 1 or new_scale.requires_grad:
                    raise AssertionError("new_scale should be a float or a 1-element torch.cuda.FloatTensor or torch.FloatTensor with "
                                         "requires_grad=False.")
                scale.copy_(new_scale)
        else:
            found = [seen.found_inf for seen in self._seen.values() if seen.found_inf is not None]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            with no_grad():
                self._adapt(scale, tracker, any(f.item() for f in found))
        self._seen = {}

    def _adapt(self, scale: Tensor, tracker: Tensor, infinite: bool) -> None:
        if infinite:
            scale.mul_(self._backoff_factor)
            tracker.fill_(0)
            return
        tracker.add_(1)
        if tracker.item() == self._growth_interval:
            grown = scale * self._growth_factor
            if grown.isfinite():
                scale.copy_(grown)
            tracker.fill_(0)

    # ------------------------------------------------------------------------------------------------ settings and state
    def get_scale(self) -> float:
        """The scale; 1.0 if scaling is disabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = new_interval

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        return self._init_growth_tracker if self._growth_tracker is None else self._growth_tracker.item()

    def is_enabled(self) -> bool:
        """Whether losses are scaled."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """The scale, the factors, the interval and the finite steps so far; empty if disabled."""
        if not self._enabled:
            return {}
        return {"scale": self.get_scale(), "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
                "growth_interval": self._growth_interval, "_growth_tracker": self._get_growth_tracker()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave. A disabled scaler ignores it; RuntimeError if it is empty."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler.")
        self._init_scale, self._init_growth_tracker = state_dict["scale"], state_dict["_growth_tracker"]
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        if self._scale is not None:
            self._scale.fill_(self._init_scale)
            self._growth_tracker.fill_(self._init_growth_tracker)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._enabled:
            if self._seen:
                raise AssertionError("A GradScaler instance may only be pickled at the beginning of an iteration, or at the end after "
                                     "scaler.update().")
            state.update(_init_scale=self.get_scale(), _init_growth_tracker=self._get_growth_tracker(), _scale=None, _growth_tracker=None)
        return state
