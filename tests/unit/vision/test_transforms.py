"""Transforms against records of torchvision's: same seed, same result; and what no record says."""
from __future__ import annotations

import copy
import pickle
import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image  # noqa: E402

import pellucid as torch  # noqa: E402
from pellucid.vision import transforms as T  # noqa: E402
from pellucid.vision import tv_tensors as tv  # noqa: E402
from pellucid.vision.transforms import functional as F  # noqa: E402
from pellucid.vision.transforms import v2 as V  # noqa: E402

from . import transform_cases as cases  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "golden" / "transforms.npz"
OURS = cases.Namespace(torch=torch, T=T, V=V, tv=tv)

# Boxes of a centre crop larger than the image: torchvision moves them one pixel away from where it moves the image.
ELSEWHERE = {f"CenterCrop(40) {format} {whole} boxes" for format in cases.FORMATS for whole in (False, True)}


@pytest.mark.parametrize("part", ["some", pytest.param("all", marks=pytest.mark.slow)])
def test_the_matrix_is_torchvisions(part: str) -> None:
    """Pillow images to the bit; bytes within 1 (resizing rounds differently in torchvision's two versions), floats within 1e-5."""
    with np.load(GOLDEN) as z:
        expected = {n: (s, v) for n, s, v in zip(z["names"].tolist(), z["said"].tolist(), z["values"])}
    done, wrong = 0, []
    for i, (name, call, exact) in enumerate(cases.every(OURS)):
        if name not in expected or name in ELSEWHERE or part == "some" and i % 11:
            continue
        text, values = expected[name]
        said, found = cases.fingerprint(call(), exact)
        near = np.abs(found - values)
        whole = "float" not in said
        allowed = (0 if exact else 1.0) if whole else 2e-5 * max(1.0, float(np.abs(values).max()))
        if said != text or near.max() > allowed or whole and near[-1] > 0.51:
            wrong.append(f"{name}: {said} for {text}, off by {near.max():.3g}")
        done += 1
    assert not wrong, f"{len(wrong)} of {done}:\n" + "\n".join(wrong)
    assert done > (1500 if part == "all" else 140)
