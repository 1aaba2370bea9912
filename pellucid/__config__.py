"""`pellucid.__config__`: what this build computes with, as text, where scripts that report bugs ask for it."""
from __future__ import annotations

import os
import platform

import numpy as np

from .tensor.misc import get_num_threads
from .version import __version__

__all__ = ["parallel_info", "show"]


def show() -> str:
    """The versions of pellucid, Python and NumPy, and the machine, one a line."""
    return f"pellucid built with:\n  - pellucid {__version__}\n  - Python {platform.python_version()}\n  - NumPy {np.__version__}\n" \
           f"  - {platform.machine()}, {platform.system()}\n"


def parallel_info() -> str:
    """How many threads compute, how many cores there are, and the environment variables that say so."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return "\n".join([f"get_num_threads() : {get_num_threads()}", f"os.cpu_count() : {os.cpu_count()}", "Environment variables:",
                      *(f"\t{n} : {os.environ.get(n, '[not set]')}" for n in names)]) + "\n"
