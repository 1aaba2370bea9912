"""Mixed precision: `amp.autocast("cpu")` is `autocast`, under PyTorch's module path."""
from ..tensor.autocast import autocast, is_autocast_available

__all__ = ["autocast", "is_autocast_available"]
