"""The public interface: a snapshot of its names, and no name that nothing executes."""
from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from pellucid.ops import REGISTRY
from pellucid.testing import samples_of

ROOT = Path(__file__).parents[2]
PARITY = ROOT.parent / "shared" / "parity"
API = ROOT / "tests" / "golden" / "api.txt"
# Names that hold a value or a type and do nothing by themselves.
PLAIN = re.compile(r"(^|\.)(float8_\w+|q?u?int\w+|complex\w+|chalf|cfloat|cdouble|half|bfloat16|sparse_\w+|jagged|strided|e|pi|inf|nan|newaxis|__version__)$")


def executed() -> set[str]:
    """Last parts of the names that matrix rows, tests, docs, benchmarks and (where they are there) parity cases run."""
    names = set()
    for op in REGISTRY.values():
        if samples_of(op):
            names |= {op.public, op.public + "_", *op.aliases, *(a + "_" for a in op.aliases)}
    texts = [p for folder in ("tests", "docs", "benchmarks") for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".md")]
    for path in [*texts, *(ROOT / "pellucid" / "demo").glob("*.py"), ROOT / "README.md"]:
        names |= set(re.findall(r"[A-Za-z_][A-Za-z_0-9]*", path.read_text(encoding="utf-8")))
    for name in ("opinfo_public.npz", "modules_public.npz"):
        if (PARITY / name).exists():
            with np.load(PARITY / name, allow_pickle=False) as z:
                for case in json.loads(z["meta"].tobytes().decode())["cases"]:
                    for path in (case.get("p", ""), case.get("op", ""), *case.get("v", ())):
                        names |= set(re.split(r"[.:]", path))
    return names


def test_api_snapshot() -> None:
    """A changed interface is a changed file: python tools/api.py"""
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "api.py"), "--check"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, "the public interface changed (python tools/api.py writes the snapshot):\n" + done.stdout + done.stderr


def test_every_public_name_is_executed() -> None:
    known = executed()
    silent = [n for n in API.read_text().split() if n.split(".")[-1] not in known and not PLAIN.search(n)]
    assert not silent, f"{len(silent)} public names that no parity case, matrix row or test executes: {silent}"
