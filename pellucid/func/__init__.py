"""`pellucid.func`: functions of functions, composable in any order. Definitions: torch.func.

`grad`, `vjp`, `jacrev` differentiate in reverse mode (gradients.py), `jvp`, `jacfwd`, `linearize` in forward mode (jacobians.py,
forward.py), `vmap` batches (mapping.py, batching.py); modules become functions of their tensors by `functional_call` (state.py).
"""
from __future__ import annotations

from .gradients import grad, grad_and_value, vjp
from .inspection import debug_unwrap
from .jacobians import hessian, jacfwd, jacrev, jvp, linearize
from .mapping import vmap
from .state import functional_call, replace_all_batch_norm_modules_, stack_module_state

__all__ = ["debug_unwrap", "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize",
           "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap"]
