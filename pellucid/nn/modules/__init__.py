"""All layer and container classes, from the files of this package."""

from .module import Module  # noqa: I001  (first: the others build on it)
from .container import Container, ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from .activation import *
from .adaptive import *
from .batchnorm import *
from .channelshuffle import *
from .conv import *
from .distance import *
from .dropout import *
from .flatten import *
from .fold import *
from .instancenorm import *
from .linear import *
from .loss import *
from .normalization import *
from .padding import *
from .pixelshuffle import *
from .pooling import *
from .rnn import *
from .sparse import *
from .transformer import *
from .upsampling import *

# The classes above, each listed in the `__all__` of its file.
__all__ = [name for name, value in list(globals().items()) if isinstance(value, type) and issubclass(value, Module)]
__all__.append("LinearCrossEntropyOptions")      # not a layer, but public beside its loss
