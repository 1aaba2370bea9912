"""Kernels, library calls and bytes of the benchmarks' cases: a lost fusion fails here, whatever the clock says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from pellucid.native import onednn

ROOT = Path(__file__).parents[3]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "counts.json").read_text())
_spec = importlib.util.spec_from_file_location("record_counts", ROOT / "tools" / "record_counts.py")
tool = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tool)


@pytest.mark.skipif(onednn.library() is None, reason="the counts are those with oneDNN")
@pytest.mark.parametrize("name", GOLDEN)
def test_no_fusion_is_lost(name):
    """Fewer is better: then `python tools/record_counts.py` writes the new counts."""
    if name.startswith("gpt") and not tool.transformer.DATA.exists():
        pytest.skip("the text is not in this checkout")
    found = tool.counts(tool.plans(name))
    worse = {k: (v, GOLDEN[name][k]) for k, v in found.items() if v > GOLDEN[name][k]}
    assert not worse, f"now, and before: {worse}"


def test_every_case_of_the_benchmark_is_here():
    assert GOLDEN.keys() == tool.CASES.keys()
