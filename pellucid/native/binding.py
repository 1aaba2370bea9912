"""llvmlite, or what stands for it where it is missing.

Out: `llvm`, the module `llvmlite.binding`. Without llvmlite it is an object that raises ImportError, with what to do, when anything is
asked of it: so the layers above load, trace and print, and only making machine code fails.
"""
from __future__ import annotations

from typing import Any

from ..core.errors import message


class _Missing:
    def __getattr__(self, name: str) -> Any:
        raise ImportError(message("P3200", "machine code is made with llvmlite, which is not installed",
                                  fix='pip install llvmlite; or compile(..., backend="eager")'))


try:
    import llvmlite.binding as llvm
except ImportError:
    llvm = _Missing()
