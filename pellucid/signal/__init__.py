"""`pellucid.signal`: signal processing; so far its window functions, `pellucid.signal.windows`."""
from __future__ import annotations

from . import windows

__all__ = ["windows"]
