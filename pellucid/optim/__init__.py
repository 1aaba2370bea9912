"""Optimisers, learning-rate schedules (`lr_scheduler`) and weight averaging (`swa_utils`).

In: parameters whose `.grad` a backward pass filled. Out: parameters moved by `step()`. Names, arguments, defaults,
`state_dict` and trajectories are PyTorch's. SGD, Adagrad, LBFGS and SparseAdam take sparse
gradients; the others say so.
"""

from ..core.errors import unknown as _unknown
from . import lr_scheduler as lr_scheduler
from . import swa_utils as swa_utils
from ._adafactor import Adafactor
from ._muon import Muon
from .adadelta import Adadelta
from .adagrad import Adagrad
from .adam import Adam
from .adamax import Adamax
from .adamw import AdamW
from .asgd import ASGD
from .lbfgs import LBFGS
from .nadam import NAdam
from .optimizer import Optimizer
from .radam import RAdam
from .rmsprop import RMSprop
from .rprop import Rprop
from .sgd import SGD
from .sparse_adam import SparseAdam

__all__ = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "LBFGS",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "SparseAdam",
    "lr_scheduler",
    "swa_utils",
]

__getattr__ = _unknown(globals())
