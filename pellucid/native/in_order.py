"""Sums and norms of float32 values with PyTorch's roundings, so that a training step goes as it does there where an addition decides it.

A 2-norm in PyTorch (aten/src/ATen/native/cpu/ReduceOpsKernel.cpp, `norm_two`) adds the squares in eight float32 lanes from front to back,
then the lanes, then the values left over: four as they are if there are as many (its compiler does so), the last with one rounding each.
That is less exact than `norm` is here (2e-4 for 6 million values, against 1e-7), and the same on all of its instruction sets.

A sum (SumKernel.cpp, `cascade_sum`) has four rows of eight lanes, and from 512 values on sums of 16 such blocks, of 16 of those, and so on;
up to 32767 values one thread adds them (`ops.reduce.SHORT` says how many come here).

In: an array. Out: a number. What stays true: one thread, one order, so the same on every machine.
"""
from __future__ import annotations

import ctypes

from . import jit, llvm, threads
from .engine import A_DATA
from .execute import readable_layout
from .isa import host_isa

__all__: list[str] = []

NORM = """define float @norm(ptr %object, i64 %n) #0 {
  %slot = getelementptr i8, ptr %object, i64 DATA
  %x = load ptr, ptr %slot
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
""".replace("DATA", str(A_DATA)).replace("LANES", "\n".join(f"  %l{k} = extractelement <8 x float> %sums, i32 {k}\n  %s{k} = fadd float %{'s' if k > 1 else 'l'}{k - 1}, %l{k}"
                              for k in range(1, 8))).replace("FOUR", "\n".join(
    f"  %m{k} = extractelement <4 x float> %q4, i32 {k}\n  %t{k} = fadd float %{f't{k - 1}' if k else 's7'}, %m{k}" for k in range(4)))


ROWS = "<32 x float>"           # four rows of eight lanes
TOTAL = """define float @total(ptr %object, i64 %n) #0 {
  %slot = getelementptr i8, ptr %object, i64 DATA
  %x = load ptr, ptr %slot
  %short = icmp slt i64 %n, 8
  br i1 %short, label %few, label %many
many:
  %vectors = lshr i64 %n, 3
  %rows = lshr i64 %n, 5
  br label %block
block:
  %i = phi i64 [ 0, %many ], [ %end, %moved ]
  %l1 = phi ROWS [ zeroinitializer, %many ], [ %l1.new, %moved ]
  %l2 = phi ROWS [ zeroinitializer, %many ], [ %l2.new, %moved ]
  %l3 = phi ROWS [ zeroinitializer, %many ], [ %l3.new, %moved ]
  %end = add i64 %i, 16
  %full = icmp sle i64 %end, %rows
  br i1 %full, label %row, label %tail
row:
  %r = phi i64 [ %i, %block ], [ %r.after, %row ]
  %a = phi ROWS [ zeroinitializer, %block ], [ %a.more, %row ]
  %r.at = shl i64 %r, 5
  %r.p = getelementptr float, ptr %x, i64 %r.at
  %r.v = load ROWS, ptr %r.p, align 4
  %a.more = fadd ROWS %a, %r.v
  %r.after = add i64 %r, 1
  %again = icmp slt i64 %r.after, %end
  br i1 %again, label %row, label %first
first:
  %s1 = fadd ROWS %l1, %a.more
  %m1 = and i64 %end, 240
  %stop1 = icmp ne i64 %m1, 0
  br i1 %stop1, label %moved, label %second
second:
  %s2 = fadd ROWS %l2, %s1
  %m2 = and i64 %end, 3840
  %stop2 = icmp ne i64 %m2, 0
  br i1 %stop2, label %moved, label %third
third:
  %s3 = fadd ROWS %l3, %s2
  br label %moved
moved:
  %l1.new = phi ROWS [ %s1, %first ], [ zeroinitializer, %second ], [ zeroinitializer, %third ]
  %l2.new = phi ROWS [ %l2, %first ], [ %s2, %second ], [ zeroinitializer, %third ]
  %l3.new = phi ROWS [ %l3, %first ], [ %l3, %second ], [ %s3, %third ]
  br label %block
tail:
  %t = phi i64 [ %i, %block ], [ %t.after, %more ]
  %b = phi ROWS [ zeroinitializer, %block ], [ %b.more, %more ]
  %left = icmp slt i64 %t, %rows
  br i1 %left, label %more, label %join
more:
  %t.at = shl i64 %t, 5
  %t.p = getelementptr float, ptr %x, i64 %t.at
  %t.v = load ROWS, ptr %t.p, align 4
  %b.more = fadd ROWS %b, %t.v
  %t.after = add i64 %t, 1
  br label %tail
join:
  %j1 = fadd ROWS %b, %l1
  %j2 = fadd ROWS %j1, %l2
  %j3 = fadd ROWS %j2, %l3
PARTS
  %over = shl i64 %rows, 2
  br label %vector
vector:
  %v = phi i64 [ %over, %join ], [ %v.after, %whole ]
  %s = phi <8 x float> [ %part0, %join ], [ %s.more, %whole ]
  %v.left = icmp slt i64 %v, %vectors
  br i1 %v.left, label %whole, label %meet
whole:
  %v.at = shl i64 %v, 3
  %v.p = getelementptr float, ptr %x, i64 %v.at
  %v.v = load <8 x float>, ptr %v.p, align 4
  %s.more = fadd <8 x float> %s, %v.v
  %v.after = add i64 %v, 1
  br label %vector
meet:
  %e1 = fadd <8 x float> %s, %part1
  %e2 = fadd <8 x float> %e1, %part2
  %e3 = fadd <8 x float> %e2, %part3
  %last = shl i64 %vectors, 3
  br label %single
single:
  %k = phi i64 [ %last, %meet ], [ %k.after, %one ]
  %f = phi float [ 0.0, %meet ], [ %f.more, %one ]
  %k.left = icmp slt i64 %k, %n
  br i1 %k.left, label %one, label %lanes
one:
  %k.p = getelementptr float, ptr %x, i64 %k
  %k.v = load float, ptr %k.p
  %f.more = fadd float %f, %k.v
  %k.after = add i64 %k, 1
  br label %single
lanes:
LANES
  ret float %f8
few:
  %four = icmp sge i64 %n, 4
  br i1 %four, label %quad, label %rest
quad:
  %q = load <4 x float>, ptr %x, align 4
  br label %rest
rest:
  %q4 = phi <4 x float> [ zeroinitializer, %few ], [ %q, %quad ]
  %w.first = phi i64 [ 0, %few ], [ 4, %quad ]
  %q0 = extractelement <4 x float> %q4, i32 0
  br label %scalar
scalar:
  %w = phi i64 [ %w.first, %rest ], [ %w.after, %add ]
  %g = phi float [ %q0, %rest ], [ %g.more, %add ]
  %w.left = icmp slt i64 %w, %n
  br i1 %w.left, label %add, label %done
add:
  %w.p = getelementptr float, ptr %x, i64 %w
  %w.v = load float, ptr %w.p
  %g.more = fadd float %g, %w.v
  %w.after = add i64 %w, 1
  br label %scalar
done:
  %q1 = extractelement <4 x float> %q4, i32 1
  %q2 = extractelement <4 x float> %q4, i32 2
  %q3 = extractelement <4 x float> %q4, i32 3
  %g1 = fadd float %g, %q1
  %g2 = fadd float %g1, %q2
  %g3 = fadd float %g2, %q3
  ret float %g3
}
""".replace("DATA", str(A_DATA)).replace("PARTS", "\n".join(
    f"  %part{k} = shufflevector ROWS %j3, ROWS poison, <8 x i32> <{', '.join(f'i32 {8 * k + j}' for j in range(8))}>" for k in range(4))).replace(
    "LANES", "\n".join(f"  %e{k}.lane = extractelement <8 x float> %e3, i32 {k}\n  %f{k + 1} = fadd float %f{k or ''}, %e{k}.lane"
                       for k in range(8))).replace("ROWS", ROWS)


class InOrder:
    """Functions of a contiguous float32 array and its size: `norm`; `short_norm` and `total`, which keep Python's lock, of an array with
    fewer than 32768 values."""

    def __init__(self):
        isa = host_isa()
        text = f'target triple = "{isa.triple}"\n{TOTAL}{NORM}'
        data, _ = jit.compiled("in-order", (text, isa.key), lambda: llvm.compile_object(text, isa))
        self.code = jit.load([data], ["norm", "total"])
        arguments = ctypes.c_float, ctypes.py_object, ctypes.c_int64
        self.norm = ctypes.CFUNCTYPE(*arguments)(self.code["norm"])
        self.short_norm, self.total = (ctypes.PYFUNCTYPE(*arguments)(self.code[name]) for name in ("norm", "total"))


@threads.once
def functions() -> InOrder | None:
    """Compiled on first use; None without llvmlite, or where arrays do not lie in memory as expected."""
    try:
        return InOrder() if readable_layout() else None
    except ImportError:
        return None
