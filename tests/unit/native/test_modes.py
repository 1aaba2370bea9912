"""The programs' tests again, on machines that lack something: each mode is a process of its own."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ({"PELLUCID_NO_ONEDNN": "1"}, {"PELLUCID_NO_GOMP": "1"}, {"PELLUCID_ISA": "baseline"}, {"PELLUCID_ISA": "avx2"},
                                  {"PELLUCID_ISA": "baseline", "PELLUCID_NO_ONEDNN": "1"}), ids=str)
def test_programs_in_every_mode(mode):
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", str(HERE / "test_program.py"), str(HERE / "test_onednn.py")]
    r = subprocess.run(command, cwd=ROOT, env={**os.environ, **mode}, capture_output=True, text=True, timeout=110)
    assert r.returncode == 0, r.stdout[-3000:]
