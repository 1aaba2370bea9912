"""Layer 4: machine code. Kernels are compiled with LLVM, library calls are bound, and a whole graph becomes one function."""
from ..core.lazy import lazily

__getattr__ = lazily(__name__, ("build", "threads"))
