"""`same(scenario)`: run a scenario under pellucid and compare its outcome with PyTorch's.

A scenario takes the package and returns anything. Its outcome is the returned value in plain terms (tensors as dtype, shape
and numbers), or the exception's type and first line, and the warnings on the way. PyTorch's outcome is computed where it is
installed; otherwise it is read from `like_torch.json`, which `PELLUCID_RECORD=1 pytest tests/unit/nn -p no:xdist` writes.
"""

import json
import math
import os
import pathlib
import re
import warnings

import pytest

import pellucid

try:
    import torch
    import torch.nn.utils.prune
except ImportError:
    torch = None

RECORD = pathlib.Path(__file__).with_name("like_torch.json")


def plain(value, package):
    if isinstance(value, package.Tensor):
        numbers = value.detach().reshape(-1).tolist()
        if value.dtype.is_floating_point:
            numbers = [float(f"{x:.7g}") for x in numbers]
        kind = "Parameter" if isinstance(value, package.nn.Parameter) else "Tensor"
        return [kind, str(value.dtype).split(".")[-1], list(value.shape), bool(value.requires_grad), numbers]
    if isinstance(value, dict):
        return [[plain(k, package), plain(v, package)] for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return [plain(v, package) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(v, package) for v in value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return float(f"{value:.7g}")
    return str(value).replace("pellucid.", "torch.")


def outcome(scenario, package):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        package.manual_seed(0)
        try:
            result = ["returns", plain(scenario(package), package)]
        except Exception as error:
            kind = "KeyError" if isinstance(error, KeyError) else type(error).__name__
            text = error.args[0] if isinstance(error, KeyError) else str(error)
            result = ["raises", kind, re.split(r"\n  (?:got|at|fix|\[P)", text)[0].replace("pellucid.", "torch.")]
    told = [[w.category.__name__, str(w.message).split("Please file an issue")[0].strip()] for w in caught
            if w.category is not RuntimeWarning]        # NumPy's notices of overflow and the like: silenced outside tests
    return json.loads(json.dumps([*result, told]))


def close(ours, theirs):
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(close, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=3e-5, abs_tol=2e-6) or (math.isnan(ours) and math.isnan(theirs))
    return type(ours) is type(theirs) and ours == theirs


def difference(ours, theirs):
    """The first place where two outcomes differ."""
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return next(difference(a, b) for a, b in zip(ours, theirs) if not close(a, b))
    return f"gives {ours!r}\nPyTorch gives {theirs!r}"


@pytest.fixture
def same(request):
    name = f"{request.path.name}::{request.node.name}"
    calls = [0]

    def compare(scenario):
        calls[0] += 1
        key = name if calls[0] == 1 else f"{name}#{calls[0]}"
        ours = outcome(scenario, pellucid)
        if torch is not None:
            theirs = outcome(scenario, torch)
            if os.environ.get("PELLUCID_RECORD"):
                known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
                known[key] = theirs
                rows = [f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in sorted(known.items())]
                RECORD.write_text("{\n" + ",\n".join(rows) + "\n}\n")
        else:
            theirs = json.loads(RECORD.read_text())[key]
        assert close(ours, theirs), f"pellucid {difference(ours, theirs)}"

    return compare
