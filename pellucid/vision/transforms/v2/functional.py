"""`transforms.v2.functional` is `transforms.functional`: one function for every kind of input."""
from ..functional import *  # noqa: F401, F403
from ..functional import __all__  # noqa: F401
