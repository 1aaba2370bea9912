"""The enumerations of trained weights, `ResNet18_Weights` and its like: made from weights.json, which tools/record_vision.py writes."""
from __future__ import annotations

from ._api import weights_enums

ENUMS = weights_enums(__name__)
globals().update(ENUMS)

__all__ = list(ENUMS)
