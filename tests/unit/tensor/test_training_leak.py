"""Ten thousand training steps leak less than a megabyte, and leave no reference cycles behind."""
from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pellucid
import pellucid as torch
from pellucid.nn import functional as F


def steps(n: int) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    for _ in range(n):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def leaked(n: int) -> int:
    """Bytes that are still allocated after n steps, and were not before."""
    steps(50)
    gc.collect()
    tracemalloc.start()
    steps(100)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    steps(n)
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


def cycles(n: int) -> int:
    """Objects that only the collector frees after n steps."""
    steps(50)                   # operators met a dozen times get programs, which are made once
    gc.collect()
    gc.disable()
    steps(n)
    return gc.collect()


def alone(call: str) -> int:
    """What the call gives in a process of its own: what other tests keep in memory, and let go, would count too."""
    environment = os.environ | {"PYTHONPATH": str(Path(pellucid.__file__).parents[1])}
    done = subprocess.run([sys.executable, __file__, call], capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


def test_ten_thousand_steps_leak_less_than_a_megabyte():
    found = alone("leaked")
    assert found < 1 << 20, f"{found / 1e6:.2f} MB leaked"


def test_a_step_frees_its_graph_without_the_collector():
    found = alone("cycles")
    assert found < 200, f"{found} objects in reference cycles after 50 steps"


if __name__ == "__main__":
    print(leaked(10_000) if sys.argv[1] == "leaked" else cycles(50))
