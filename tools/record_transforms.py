"""Records what torchvision's transforms give on the matrix of tests/unit/vision/transform_cases.py.

    python tools/record_transforms.py        writes tests/golden/transforms.npz (needs torchvision 0.28)
"""
from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import torchvision.transforms as T  # noqa: E402
import torchvision.transforms.v2 as V  # noqa: E402
from torchvision import tv_tensors as tv  # noqa: E402

from tests.unit.vision.transform_cases import Namespace, every, fingerprint  # noqa: E402

TARGET = ROOT / "tests" / "golden" / "transforms.npz"


def main() -> None:
    warnings.simplefilter("ignore")
    names, said, values = [], [], []
    for name, call, exact in every(Namespace(torch=torch, T=T, V=V, tv=tv)):
        try:
            text, numbers = fingerprint(call(), exact)
        except RuntimeError as e:                             # what needs torchvision's compiled part, where it is missing
            print(f"left out: {name}: {e}")
            continue
        names.append(name)
        said.append(text)
        values.append(numbers)
    np.savez_compressed(TARGET, names=np.array(names), said=np.array(said), values=np.stack(values))
    print(f"{len(names)} results, {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
