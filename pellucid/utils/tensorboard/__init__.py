"""`pellucid.utils.tensorboard`: training written down for TensorBoard. Needs `pip install 'pellucid[tensorboard]'` (tensorboardX: event
files without TensorBoard itself, which is needed to look at them only)."""
from .writer import SummaryWriter

__all__ = ["SummaryWriter"]
