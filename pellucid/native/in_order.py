"""The 2-norm of float32 values with PyTorch's roundings, so that a training step that clips its gradients goes as it does there.

PyTorch (aten/src/ATen/native/cpu/ReduceOpsKernel.cpp, `norm_two`) adds the squares in eight float32 lanes from front to back, then the
lanes, then the values left over: four as they are if there are as many (its compiler does so), the last with one rounding each. That is
less exact than `norm` is here (2e-4 for 6 million values, against 1e-7), and the same on all of its instruction sets.

In: an array. Out: a number. What stays true: one thread, one order, so the same on every machine.
"""
from __future__ import annotations

import ctypes

import numpy as np

from . import jit, llvm, threads
from .isa import host_isa

__all__: list[str] = []

CODE = """define float @norm(ptr %x, i64 %n) #0 {
  %even = and i64 %n, -8
  br label %next
next:
  %i = phi i64 [ 0, %0 ], [ %after, %eight ]
  %sums = phi <8 x float> [ zeroinitializer, %0 ], [ %more, %eight ]
  %go = icmp slt i64 %i, %even
  br i1 %go, label %eight, label %lanes
eight:
  %p = getelementptr float, ptr %x, i64 %i
  %v = load <8 x float>, ptr %p, align 4
  %squares = fmul <8 x float> %v, %v
  %more = fadd <8 x float> %sums, %squares
  %after = add i64 %i, 8
  br label %next
lanes:
  %l0 = extractelement <8 x float> %sums, i32 0
LANES
  %over = and i64 %n, 4
  %some = icmp ne i64 %over, 0
  br i1 %some, label %four, label %rest
four:
  %p4 = getelementptr float, ptr %x, i64 %even
  %v4 = load <4 x float>, ptr %p4, align 4
  %q4 = fmul <4 x float> %v4, %v4
FOUR
  %even4 = add i64 %even, 4
  br label %rest
rest:
  %k = phi i64 [ %even, %lanes ], [ %even4, %four ], [ %k.after, %one ]
  %sum = phi float [ %s7, %lanes ], [ %t3, %four ], [ %sum.more, %one ]
  %left = icmp slt i64 %k, %n
  br i1 %left, label %one, label %end
one:
  %q = getelementptr float, ptr %x, i64 %k
  %w = load float, ptr %q
  %wide = fpext float %w to double
  %square = fmul double %wide, %wide
  %sum.wide = fpext float %sum to double
  %total = fadd double %sum.wide, %square
  %sum.more = fptrunc double %total to float
  %k.after = add i64 %k, 1
  br label %rest
end:
  %root = call float @llvm.sqrt.f32(float %sum)
  ret float %root
}
declare float @llvm.sqrt.f32(float)
attributes #0 = { nounwind }
""".replace("LANES", "\n".join(f"  %l{k} = extractelement <8 x float> %sums, i32 {k}\n  %s{k} = fadd float %{'s' if k > 1 else 'l'}{k - 1}, %l{k}"
                              for k in range(1, 8))).replace("FOUR", "\n".join(
    f"  %m{k} = extractelement <4 x float> %q4, i32 {k}\n  %t{k} = fadd float %{f't{k - 1}' if k else 's7'}, %m{k}" for k in range(4)))


class Norm:
    """`norm(a)` of a contiguous float32 array."""

    def __init__(self):
        isa = host_isa()
        text = f'target triple = "{isa.triple}"\n{CODE}'
        data, _ = jit.compiled("norm", (text, isa.key), lambda: llvm.compile_object(text, isa))
        self.code = jit.load([data], ["norm"])
        self.function = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_void_p, ctypes.c_int64)(self.code["norm"])

    def __call__(self, a: np.ndarray) -> float:
        return self.function(a.__array_interface__["data"][0], a.size)


@threads.once
def norm() -> Norm | None:
    """The function, compiled on first use; None without llvmlite."""
    try:
        return Norm()
    except ImportError:
        return None
