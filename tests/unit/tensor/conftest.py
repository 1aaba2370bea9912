"""`like_pytorch`: small programs give here what they give in PyTorch.

A program is a function of the framework. Its outcome (tensors, numbers, names; or the exception it ends with) is kept in
tests/golden/autograd.json, recorded from PyTorch by

    PELLUCID_UPDATE_GOLDEN=1 python -m pytest tests/unit/tensor

so that the comparison needs no PyTorch; where PyTorch is there, the record itself is checked too.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import pytest

import pellucid

GOLDEN = Path(__file__).parents[2] / "golden" / "autograd.json"
UPDATE = os.environ.get("PELLUCID_UPDATE_GOLDEN") == "1"


def plain(value):
    """What a program returned, as JSON: tensors as nested lists of five significant digits."""
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.detach().tolist())
    if isinstance(value, float):
        return float(f"{value:.5g}")
    return value if value is None or isinstance(value, (bool, int, str)) else type(value).__name__


def outcome(program, framework):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return plain(program(framework))
        except Exception as error:
            return {type(error).__name__: str(error).split("\n")[0][:48]}


def key(program) -> str:
    return f"{program.__module__.split('.')[-1]}.{program.__name__}"


@pytest.fixture
def like_pytorch():
    try:
        import torch
    except ImportError:
        torch = None

    def check(program) -> None:
        if UPDATE:
            known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
            known[key(program)] = outcome(program, pytest.importorskip("torch"))
            GOLDEN.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(known.items())) + "\n}\n")
        expected = json.loads(GOLDEN.read_text())[key(program)]
        if torch is not None:
            assert outcome(program, torch) == expected, "the record is not what PyTorch does"
        assert outcome(program, pellucid) == expected
    return check


@pytest.fixture
def references():
    """Eager without kernels: exactly what operators' references compute."""
    from pellucid.tensor import kernels
    kernels.switch(False)
    yield
    kernels.switch(True)
