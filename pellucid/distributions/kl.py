"""The Kullback-Leibler divergence of two distributions: which rule applies, and how `register_kl` adds one.

The rules themselves are in `kl_same` (two distributions of one family) and `kl_mixed` (of two families).
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.errors import fail
from ..ops import F
from ..tensor import Tensor
from .distribution import Distribution

__all__ = ["kl_divergence", "register_kl"]

_RULES: dict[tuple[type, type], Callable] = {}
_FOUND: dict[tuple[type, type], Callable | None] = {}


def register_kl(type_p: type, type_q: type) -> Callable:
    """Decorator: the function gives the divergence of a `type_p` from a `type_q`, and of their subclasses."""
    if not (isinstance(type_p, type) and issubclass(type_p, Distribution)):
        fail(TypeError, "P696", f"Expected type_p to be a Distribution subclass but got {type_p}")
    if not (isinstance(type_q, type) and issubclass(type_q, Distribution)):
        fail(TypeError, "P696", f"Expected type_q to be a Distribution subclass but got {type_q}")

    def enter(rule: Callable) -> Callable:
        _RULES[type_p, type_q] = rule
        _FOUND.clear()
        return rule
    return enter


def rule_for(type_p: type, type_q: type) -> Callable | None:
    """The rule for the nearest base classes; the first distribution's come first."""
    if (type_p, type_q) not in _FOUND:
        fits = [(type_p.__mro__.index(p), type_q.__mro__.index(q), rule) for (p, q), rule in _RULES.items()
                if issubclass(type_p, p) and issubclass(type_q, q)]
        _FOUND[type_p, type_q] = min(fits, key=lambda fit: fit[:2])[2] if fits else None
    return _FOUND[type_p, type_q]


def infinite(like: Tensor) -> Tensor:
    return F.full_like(like, float("inf"))


def kl_divergence(p: Distribution, q: Distribution) -> Any:
    """The mean of log p(x) - log q(x) for x from p, of shape `batch_shape`. NotImplementedError if there is no rule."""
    rule = rule_for(type(p), type(q))
    if rule is None:
        fail(NotImplementedError, "P696", f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}",
             fix="write one and decorate it with register_kl(type(p), type(q))")
    return rule(p, q)
