"""Mixed precision: `autocast` and `GradScaler`, under PyTorch's module path."""
from ..core.lazy import lazily
from ..tensor.autocast import autocast, is_autocast_available

__all__ = ["GradScaler", "autocast", "is_autocast_available"]

__getattr__ = lazily(__name__, ("autocast_mode", "grad_scaler"), {"GradScaler": "grad_scaler"})
