"""What every distribution is: a batch of independent, identically made distributions over events of one shape.

In: parameters that broadcast to `batch_shape`. Out: `sample(shape)` of shape `shape + batch_shape + event_shape`, and
`log_prob(value)`, which broadcasts over the same and drops the event. Stays true: `rsample` differs from `sample` only in that
gradients flow through it; both draw the same numbers. Parameters and values are checked against `arg_constraints` and
`support` unless `validate_args=False`; a trace, which has no values, checks nothing.
"""
from __future__ import annotations

import warnings
from typing import Any

from ..core.errors import fail
from ..ops.dispatch import state, values_known
from ..tensor import Size, Tensor, no_grad
from ..tensor.core import PLAIN
from ..tensor.eager import F32, F64, I64
from . import constraints
from .utils import lazy_property, size

__all__ = ["Distribution"]


SMALL = 1 << 10             # elements, up to which NumPy is told to check by itself: operators would ask it one by one


def holds(constraint: Any, value: Tensor) -> bool:
    """Whether `value` is valid everywhere."""
    if not state.slow and type(value) in PLAIN:
        a = value._a
        if 0 < a.size <= SMALL and a.dtype in (F32, F64, I64) and constraints.takes_arrays(constraint, a.dtype is I64) \
                and a.ndim >= constraint.event_dim:
            return bool(constraint.check(a).all())
    with no_grad():
        valid = constraint.check(value)
        return bool(valid if valid.ndim == 0 else valid.all())


class Distribution:
    """The base of all distributions."""

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__
    _expands: tuple[str, ...] = ()      # the attributes (tensors, distributions) that expand() expands

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check their parameters and values unless told otherwise."""
        if value not in (True, False):
            raise ValueError
        Distribution._validate_args = value

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None):
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args and values_known():
            self._check_parameters()

    def _check_parameters(self) -> None:
        try:
            wanted = self.arg_constraints
        except NotImplementedError:
            warnings.warn(f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or initialize the "
                          "distribution with `validate_args=False` to turn off validation.", stacklevel=4)
            return
        for name, constraint in wanted.items():
            if constraints.is_dependent(constraint):
                continue
            if name not in self.__dict__ and isinstance(getattr(type(self), name, None), lazy_property):
                continue            # it follows from another parameter
            value = getattr(self, name)
            if not holds(constraint, value):
                fail(ValueError, "P684", f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution "
                     f"{self!r} to satisfy the constraint {constraint!r}, but found invalid values:\n{value}",
                     fix="validate_args=False leaves the check out")

    @property
    def batch_shape(self) -> Size:
        """The shape of the parameters."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one sample of one distribution."""
        return self._event_shape

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """{name of a parameter: its constraint}"""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """The constraint that samples satisfy."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """The most likely value."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Tensor:
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples of shape `sample_shape + batch_shape + event_shape`, without gradients."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples through which gradients reach the parameters."""
        raise NotImplementedError

    def sample_n(self, n: int) -> Tensor:
        """`sample((n,))`."""
        warnings.warn("sample_n(n) will be deprecated. Use .sample((n,)) instead.", FutureWarning, stacklevel=2)
        return self.sample((n,))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density or probability of `value`."""
        raise NotImplementedError

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a sample up to `value`."""
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of `cdf`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Every value of a discrete distribution along dimension 0, for the whole batch if `expand`."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """exp(entropy)"""
        return self.entropy().exp()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The distribution with its parameters expanded to `batch_shape`."""
        owner = next(c for c in type(self).__mro__ if "_expands" in vars(c))
        if owner is Distribution:
            raise NotImplementedError
        new = self._get_checked_instance(owner, _instance)
        shape, own = Size(batch_shape), len(self.batch_shape)
        for name in owner._expands:
            value = self.__dict__.get(name)
            if value is not None:
                new.__dict__[name] = value.expand(shape + value.shape[own:] if isinstance(value, Tensor) else shape)
        self._expand_rest(new)
        Distribution.__init__(new, shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _expand_rest(self, new: Any) -> None:
        """Give `new` what does not depend on the batch."""

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        if _instance is None and type(self).__init__ is not cls.__init__:
            fail(NotImplementedError, "P685", f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ method "
                 "must also define a custom .expand() method.")
        return type(self).__new__(type(self)) if _instance is None else _instance

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        return size(sample_shape, self._batch_shape, self._event_shape)

    def _validate_sample(self, value: Any) -> None:
        """ValueError unless `value` can be an argument of log_prob() or cdf()."""
        if not isinstance(value, Tensor):
            fail(ValueError, "P686", "The value argument to log_prob must be a Tensor", got=f"{type(value).__name__}",
                 fix="wrap it with pellucid.tensor(...)")
        shape, event = value.shape, self._event_shape
        expected = self._batch_shape + event if event else self._batch_shape
        if shape != expected:
            if shape[max(len(shape) - len(event), 0):] != event:
                fail(ValueError, "P686", f"The right-most size of value must match event_shape: {tuple(shape)} vs {tuple(event)}.")
            if any(i != 1 and j != 1 and i != j for i, j in zip(reversed(shape), reversed(expected))):
                fail(ValueError, "P686", f"Value is not broadcastable with batch_shape+event_shape: {tuple(shape)} vs {tuple(expected)}.")
        if not values_known():
            return
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(f"{type(self)} does not define `support` to enable sample validation. Please initialize the distribution with "
                          "`validate_args=False` to turn off validation.", stacklevel=3)
            return
        if not holds(support, value):
            fail(ValueError, "P687", f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the support "
                 f"({support!r}) of the distribution {self!r}, but found invalid values:\n{value}",
                 fix="validate_args=False leaves the check out")

    def __repr__(self) -> str:
        own = [(k, self.__dict__[k]) for k in self.arg_constraints if k in self.__dict__]
        return f"{type(self).__name__}({', '.join(f'{k}: {v if v.numel() == 1 else v.size()}' for k, v in own)})"
