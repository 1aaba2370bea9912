"""Records what PyTorch answers on the operators' samples, for the operator matrix.

    python tools/record_golden.py        writes tests/golden/opmatrix.npz (needs torch==2.13.0)

For each operator and sample the flattened float64 results of PyTorch's function of the same name. Operators PyTorch does not
have, random ones and uninitialised ones are left out; the file lists them under "left_out".
"""
from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from pellucid.core.dtype import dtype  # noqa: E402
from pellucid.core.layout import layout, memory_format  # noqa: E402
from pellucid.ops import REGISTRY  # noqa: E402
from pellucid.tensor import Tensor  # noqa: E402
from pellucid.testing import samples_of  # noqa: E402
from tests.opmatrix.helpers import is_random  # noqa: E402

TARGET = ROOT / "tests" / "golden" / "opmatrix.npz"


def to_torch(x):
    if isinstance(x, Tensor):
        return torch.from_numpy(x.detach().numpy().copy())
    if isinstance(x, (dtype, layout, memory_format)):
        return getattr(torch, x.name)
    if isinstance(x, (list, tuple)) and not isinstance(x, str):
        return type(x)(to_torch(v) for v in x)
    if isinstance(x, dict):
        return {k: to_torch(v) for k, v in x.items()}
    return x


def flat(x) -> list:
    if isinstance(x, torch.Tensor):
        return [x.detach().resolve_conj().resolve_neg().numpy().copy()]
    if isinstance(x, (list, tuple)):
        return [a for v in x for a in flat(v)]
    if isinstance(x, (bool, int, float, complex)):
        return [np.asarray(x)]
    return []


def peer(op):
    """PyTorch's callable for an operator, or None."""
    if "function" in op.forms:
        for ns in sorted(op.ns, reverse=True):        # nn.functional first: there losses take their reduction by name
            where = torch
            for part in ns.split(".") if ns else ():
                where = getattr(where, part)
            if hasattr(where, op.public):
                return getattr(where, op.public)
    if "method" in op.forms and hasattr(torch.Tensor, op.public):
        return getattr(torch.Tensor, op.public)
    return None


def main() -> None:
    warnings.simplefilter("ignore")
    arrays, left_out = {}, {}
    for name, op in sorted(REGISTRY.items()):
        fn = peer(op)
        if name.endswith("_enum"):                     # the same function again, with PyTorch's numbered reductions
            left_out[name] = "recorded under its other name"
            continue
        if fn is None or is_random(op) or name.startswith(("empty", "new_empty")) or name == "cuda":
            left_out[name] = "no peer" if fn is None else "random or uninitialised"
            continue
        for i, (args, kwargs) in enumerate(samples_of(op)):
            try:
                results = flat(fn(*to_torch(args), **to_torch(kwargs)))
            except Exception as e:
                left_out[f"{name}/{i}"] = f"{type(e).__name__}: {e}"[:120]
                continue
            for j, a in enumerate(results):
                arrays[f"{name}/{i}/{j}"] = a
            arrays[f"{name}/{i}"] = np.asarray(len(results))
    arrays["left_out"] = np.frombuffer(json.dumps(left_out).encode(), np.uint8)
    arrays["torch"] = np.frombuffer(torch.__version__.encode(), np.uint8)
    np.savez_compressed(TARGET, **arrays)
    print(f"{len(arrays)} arrays, {TARGET.stat().st_size / 1e6:.1f} MB; left out {len(left_out)}")
    for name, why in left_out.items():
        if "/" in name:
            print("  ", name, why)


if __name__ == "__main__":
    main()
