"""How many kernels, library calls and bytes the benchmarks' compiled cases take: `python tools/record_counts.py [CASE ...]` writes
tests/golden/counts.json. A test compares, so that a lost fusion fails a test and not only a timing.

The plans are made for 2 threads and with oneDNN; nothing is compiled to machine code.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from models import Function, Training, lstm, mlp, resnet, rows, transformer  # noqa: E402

import pellucid  # noqa: E402
from pellucid.kernel.plan import HostCall, KernelCall, LibCall, Plan  # noqa: E402
from pellucid.kernel.roots import Options  # noqa: E402
from pellucid.native import build, onednn  # noqa: E402

TARGET = ROOT / "tests" / "golden" / "counts.json"
OPTIONS = {"schedule": Options(threads=2)}


def low(make):
    """A case under bfloat16 autocast."""
    def made(torch):
        work = make(torch)
        work.low = True
        return work
    return made


CASES = {
    "mlp": mlp.training,
    "gelu": rows.gelu,
    "softmax": rows.softmax,
    "softmax+backward": lambda torch: rows.softmax(torch, True),
    "layer_norm": rows.layer_norm,
    "layer_norm+backward": lambda torch: rows.layer_norm(torch, True),
    "block": transformer.block,
    "gpt": transformer.gpt,
    "resnet18": resnet.training,
    "resnet18 inference": resnet.inference,
    "lstm": lstm.training,
    "block, bfloat16": low(transformer.block),
    "gpt, bfloat16": low(transformer.gpt),
    "resnet18, bfloat16": low(resnet.training),
    "gpt with dropout": lambda torch: transformer.gpt(torch, layers=1, dropout=0.1),
}


def plans(name: str) -> list[Plan]:
    """The plans of a case: one for a whole step or a forward, two for a forward and its backward."""
    work = CASES[name](pellucid)
    if isinstance(work, Training):
        return [build.make_plan(pellucid.trace(work.step, *work.batches[0]), OPTIONS)]
    assert isinstance(work, Function)
    found: list[Plan] = []
    compiled = pellucid.compile(work.fn, fullgraph=True, backend="python", options=OPTIONS)
    compiled = getattr(compiled, "_compiled", compiled)             # of a module
    with pellucid.no_grad() if work.seed is None else pellucid.enable_grad():
        version = compiled.prepared(*work.args)
    found.append(version.execute.plan)
    if version.joint is not None:
        found.append(version.joint.execute.plan)
    return found


def counts(made: list[Plan]) -> dict[str, int]:
    """What the plans consist of."""
    steps = [s for p in made for s in p.steps]
    return {"kernels": sum(len(p.kernels) for p in made), "kernel calls": sum(isinstance(s, KernelCall) for s in steps),
            "library calls": sum(isinstance(s, LibCall) for s in steps), "host calls": sum(isinstance(s, HostCall) for s in steps),
            "bytes": sum(p.traffic() for p in made), "arena": sum(p.arena for p in made)}


def main() -> None:
    if onednn.library() is None:
        raise SystemExit("oneDNN is not there: pip install onednn-cpu-gomp==2023.2.0")
    golden: dict[str, Any] = json.loads(TARGET.read_text()) if TARGET.exists() else {}
    for name in sys.argv[1:] or CASES:
        found = counts(plans(name))
        print(name, found, "" if golden.get(name) in (None, found) else f"was {golden[name]}")
        golden[name] = found
    TARGET.write_text(json.dumps({k: golden[k] for k in CASES if k in golden}, indent=1) + "\n")


if __name__ == "__main__":
    main()
