"""Training scripts in PyTorch's style: the compiled step trains as the plain one does, and is one graph where nothing must be read."""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import pellucid

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
from capture_scripts import ONE_GRAPH, SCRIPTS, counts, given_up, losses  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*runs uncompiled")
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_compiled_step_trains_as_the_plain_one(name):
    expected, *_ = losses(pellucid, name, more=0)
    whole = name in ONE_GRAPH
    found, step, _ = losses(pellucid, name, lambda step: pellucid.compile(step, backend="eager", fullgraph=whole), more=0)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    graphs, breaks, versions = counts(step)
    print(f"{name}: {graphs} graphs, {breaks} breaks, {versions} versions")
    assert not given_up(step) and graphs
    if whole:
        assert not breaks and versions <= 2, "the step is one graph; its first call may differ"


@pytest.mark.parametrize("name", ONE_GRAPH)
def test_as_in_pytorch(name):
    """The same script under PyTorch: the same losses from the same seed."""
    torch = pytest.importorskip("torch")
    expected, *_ = losses(torch, name, more=0)
    found, *_ = losses(pellucid, name, more=0)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)
