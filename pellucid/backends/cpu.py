"""`torch.backends.cpu`: what the processor can do."""
from __future__ import annotations

from ..native.isa import host_isa


def get_cpu_capability() -> str:
    """The vector instructions that compiled code uses: "AVX512", "AVX2" or "DEFAULT"; `PELLUCID_ISA` lowers them."""
    name = host_isa().name
    return name.upper() if name.startswith("avx") else "DEFAULT"
