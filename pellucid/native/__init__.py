"""Layer 4: machine code. Kernels are compiled with LLVM, library calls are bound, and a whole graph becomes one function."""
from ..core.late import late
from ..core.lazy import lazily

__getattr__ = lazily(__name__, ("batch", "build", "flat", "in_order", "quick", "rng", "threads"))


def _draws():
    try:
        return __getattr__("rng").draws()
    except ImportError:             # no llvmlite
        return None


late.draws = _draws
late.in_order = lambda: __getattr__("in_order").functions()
