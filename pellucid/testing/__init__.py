"""`pellucid.testing`: comparing tensors, making them for tests, and the samples that operators declare."""
from __future__ import annotations

from .comparison import assert_allclose, assert_close
from .making import make_tensor
from .samples import Maker, samples_of

__all__ = ["Maker", "assert_allclose", "assert_close", "make_tensor", "samples_of"]
