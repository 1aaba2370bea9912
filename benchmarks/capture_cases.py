"""Functions that are captured with breaks: what a call of the compiled function costs beside plain Python.

    python benchmarks/capture_cases.py CASES.json [--all] [NAME ...]
    python benchmarks/capture_cases.py --scripts

CASES.json: {"preamble": source, "cases": [{"name", "src", "nargs"}]}, each a function of 10 by 10 tensors; `--scripts`: the training
steps of capture_scripts.py. Both are warmed up, then timed in turns; printed is the median of the rounds' ratios, of each case with
breaks (`--all`: of every case), and how many of those with breaks are above 1.2.
"""
from __future__ import annotations

import argparse
import json
import linecache
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from _side_by_side import load, timed

BAR = 1.2
ROUNDS, SECONDS = 21, 0.002          # rounds, and about how long one side of one works
WARM = 6                            # calls before


def namespace(preamble: str, torch: Any) -> dict[str, Any]:
    """The names that the cases' functions see."""
    module = sys.modules["capture_cases"] = types.ModuleType("capture_cases")
    space = vars(module)
    space["torch"] = sys.modules["torch"] = torch
    put("<preamble>", preamble)
    exec(compile(preamble, "<preamble>", "exec"), space)
    return space


def put(file: str, source: str) -> None:
    linecache.cache[file] = len(source), None, source.splitlines(True), file


def function(case: dict, space: dict[str, Any]) -> Callable:
    file = f"<case {case['name']}>"
    put(file, case["src"])
    exec(compile(case["src"], file, "exec"), space)
    return space[case["name"]]


def tensors(torch: Any, count: int) -> list:
    return [torch.tensor((np.cos(np.arange(100) * (0.37 + 0.21 * i) + i) * 1.5).reshape(10, 10).astype(np.float32)) for i in range(count)]


def compared(eager: Callable[[], Any], compiled: Callable[[], Any]) -> tuple[float, float, float]:
    """(seconds of eager, of compiled, median ratio), in turns."""
    for _ in range(WARM):
        eager()
        compiled()
    start = time.perf_counter()
    eager()
    calls = max(int(SECONDS / max(time.perf_counter() - start, 1e-7)), 1)
    found = []
    for k in range(ROUNDS):
        if k % 2:
            b, a = timed(compiled, calls), timed(eager, calls)
        else:
            a, b = timed(eager, calls), timed(compiled, calls)
        found.append((a, b, b / a))
    return tuple(statistics.median(column) for column in zip(*found))


def described(compiled: Any) -> str:
    """What became of a compiled function."""
    if compiled.gave_up:
        return f"gave up: {compiled.gave_up.splitlines()[0][:60]}"
    plain = getattr(compiled, "plain", None)
    return f"{len(compiled.breaks)} breaks, {len(compiled.versions)} segments" + (", runs as plain Python" if plain else "")


def cases(path: Path, torch: Any, names: list[str], every: bool) -> list[tuple[str, float]]:
    given = json.loads(path.read_text())
    space = namespace(given["preamble"], torch)
    found = []
    for case in given["cases"]:
        if names and case["name"] not in names:
            continue
        try:
            eager = function(case, space)
            compiled = torch.compile(function(case, space))
            args = tensors(torch, case["nargs"])
            torch.manual_seed(0)
            compiled(*args)
            if compiled.breaks or compiled.gave_up or every:
                a, b, ratio = compared(lambda: eager(*args), lambda: compiled(*args))
                print(f"{case['name']:50s} {a * 1e6:10.1f} {b * 1e6:10.1f} {ratio:6.2f}  {described(compiled)}", flush=True)
                if compiled.breaks:
                    found.append((case["name"], ratio))
        except Exception as error:
            print(f"{case['name']:50s} {type(error).__name__}: {str(error).splitlines()[0][:80]}")
    return found


def scripts(torch: Any, names: list[str]) -> list[tuple[str, float]]:
    from capture_scripts import SCRIPTS
    found = []
    for name in names or SCRIPTS:
        eager, batches = SCRIPTS[name](torch)
        step, ours = SCRIPTS[name](torch)
        compiled = torch.compile(step)
        for batch, other in zip(batches, ours):
            eager(*batch)
            compiled(*other)
        a, b, ratio = compared(lambda: eager(*batches[0]), lambda: compiled(*ours[0]))
        print(f"{name:50s} {a * 1e6:10.1f} {b * 1e6:10.1f} {ratio:6.2f}  {described(compiled)}", flush=True)
        if compiled.breaks:
            found.append((name, ratio))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="?", type=Path, help="a file of cases")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--scripts", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    torch = load("pellucid")
    if options.threads:
        torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    print(f"{'':50s} {'eager us':>10s} {'compiled':>10s} {'ratio':>6s}")
    found = []
    if options.scripts:
        found += scripts(torch, ([str(options.cases)] if options.cases else []) + options.names)
    elif options.cases:
        found += cases(options.cases, torch, options.names, options.all)
    else:
        parser.error("a file of cases, or --scripts")
    above = [name for name, ratio in found if ratio > BAR]
    print(f"{len(found)} with breaks, {len(above)} above {BAR}" + (f": {', '.join(above)}" if above else ""))


if __name__ == "__main__":
    main()
