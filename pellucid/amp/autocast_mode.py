"""PyTorch's module path of `autocast`."""
from ..tensor.autocast import autocast, is_autocast_available

__all__ = ["autocast", "is_autocast_available"]
