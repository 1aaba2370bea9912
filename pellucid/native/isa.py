"""Which instructions code may use.

Out: `Isa`, what the emitters need to know of a processor, and `host_isa()`, this machine's. The environment variable
PELLUCID_ISA (baseline, avx2 or avx512) forces a lower one: for tests, and to make files that older machines can run.
"""
from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache

from .binding import llvm

SIZES = {"float": 4, "double": 8, "half": 2, "i8": 1, "i16": 2, "i32": 4, "i64": 8}
LEVELS = ("baseline", "avx2", "avx512")
AVX512_FEATURES = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx2", "fma", "f16c")
AVX2_FEATURES = ("avx2", "fma", "f16c", "bmi", "bmi2")


@dataclass(frozen=True, slots=True)
class Isa:
    """`bits` of a vector register and how many there are; `fma`: one instruction for a*b + c; `masks`: loads and stores
    of part of a vector for all element sizes; `half`: conversions of float16."""

    name: str
    cpu: str
    features: str
    triple: str
    bits: int
    registers: int
    fma: bool
    masks: bool
    half: bool

    def lanes(self, ty: str) -> int:
        return self.bits // (8 * SIZES[ty])

    @property
    def key(self) -> str:
        """What object code for this processor depends on."""
        return f"{self.triple} {self.cpu} {self.features} {self.bits}"


# What is common to all processors of a level.
AVX512 = Isa("avx512", "x86-64-v4", "", "", 512, 32, True, True, True)
AVX2 = Isa("avx2", "x86-64-v3", "", "", 256, 16, True, False, True)
SSE2 = Isa("baseline", "x86-64", "", "", 128, 16, False, False, False)


def host_isa() -> Isa:
    """This machine's instructions, or the lower ones that PELLUCID_ISA names."""
    return isa_of(os.environ.get("PELLUCID_ISA", ""))


@lru_cache
def isa_of(level: str) -> Isa:
    """`level` (baseline, avx2, avx512; "" for the best), or less if this machine has less."""
    triple = llvm.get_process_triple()
    if level and level not in LEVELS:
        raise ValueError(f"PELLUCID_ISA={level}: choose one of {', '.join(LEVELS)}")
    features = dict(llvm.get_host_cpu_features())
    if not triple.startswith(("x86_64", "i686", "amd64")):
        arm = triple.startswith(("aarch64", "arm64"))
        return Isa("neon" if arm else "generic", llvm.get_host_cpu_name(), features_text(features), triple, 128, 32, arm, False, arm)
    wanted = LEVELS.index(level) if level else 2
    if wanted == 2 and all(features.get(f) for f in AVX512_FEATURES):
        return Isa("avx512", llvm.get_host_cpu_name(), features_text(features), triple, 512, 32, True, True, True)
    if wanted >= 1 and all(features.get(f) for f in AVX2_FEATURES):
        return replace(AVX2, triple=triple)
    return replace(SSE2, triple=triple)


def features_text(features: dict[str, bool]) -> str:
    return ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(features.items()))
