"""pellucid.compile beside torch eager and torch.compile: whole training steps and large functions.

    python benchmarks/compile.py [--case NAME] [--quick] [--rounds 15] [--dropout 0.0] [--no-start | --only-start] [--json FILE]

Processes of 2 threads take turns round by round; the idle ones sleep. Printed: the medians, and the median of the rounds'
ratios peer / pellucid (above 1: pellucid is faster) with the goal in brackets; a row below its goal is marked. torch runs in
its best layout (channels_last for images) and torch.compile in its better way (optimizer compiled too, or not). Then the first call
of fresh processes (the model is made and the compiler imported before), with an empty cache and with a filled one (the median of three),
what ours takes beside a step, what the system takes of it, and peak memory. The same model code runs on all sides.
"""
from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import _side_by_side as side_by_side
from _side_by_side import THREADS, Side, load, ratio, rounds, timed
from models import Training, lstm, mlp, resnet, rows, transformer


class Case(NamedTuple):
    """`calls` per round; goals: at least that many times faster than torch eager, and than torch.compile."""

    make: Callable[..., Any]
    calls: int
    eager: float
    compiled: float
    low: bool = False


def table(dropout: float) -> dict[str, Case]:
    """The cases by name. `make(torch, best)`: with `best` the peer's best memory layout."""
    def block(torch, best):
        return transformer.block(torch)

    def gpt(torch, best):
        return transformer.gpt(torch, dropout=dropout)

    def training(torch, best):
        return resnet.training(torch, channels_last=best)

    return {
        "mlp": Case(lambda torch, best: mlp.training(torch), 200, 3.0, 2.7),
        "gelu": Case(lambda torch, best: rows.gelu(torch), 5, 5.0, 2.5),
        "softmax": Case(lambda torch, best: rows.softmax(torch), 40, 1.3, 1.5),
        "softmax+backward": Case(lambda torch, best: rows.softmax(torch, True), 20, 1.3, 3.0),
        "layer_norm": Case(lambda torch, best: rows.layer_norm(torch), 40, 1.0, 1.5),
        "layer_norm+backward": Case(lambda torch, best: rows.layer_norm(torch, True), 20, 1.2, 1.5),
        "block": Case(block, 8, 1.15, 1.15),
        "block, bfloat16": Case(block, 8, 1.5, 1.5, low=True),
        "gpt": Case(gpt, 3, 1.2, 1.2),
        "gpt, bfloat16": Case(gpt, 3, 1.8, 1.8, low=True),
        "resnet18": Case(training, 2, 1.25, 1.2),
        "resnet18, bfloat16": Case(training, 2, 1.15, 1.15, low=True),
        "resnet18 inference": Case(lambda torch, best: resnet.inference(torch, channels_last=best), 10, 1.15, 1.1),
        "lstm": Case(lambda torch, best: lstm.training(torch), 4, 1.3, 1.2),
    }


# ------------------------------------------------------------------------------------------------------------ one side
def prepared(torch: Any, case: Case, way: str, work: Any = None) -> Callable[[], Any]:
    """The function that is timed: one step, or one call. `way`: pellucid, torch or torch.compile; `work`: what the case has made."""
    work = work or case.make(torch, way != "pellucid")
    if not isinstance(work, Training):
        if way == "pellucid":
            work.fn = torch.compile(work.fn, fullgraph=True)
        elif way == "torch.compile":
            work.fn = torch.compile(work.fn)
        work.compiled = work.fn
        return work
    work.low = case.low
    step = work.step
    if way == "pellucid":
        step = torch.compile(step, fullgraph=True)
    elif way == "torch.compile":
        work.loss = torch.compile(work.loss)
    turn = 0

    def run() -> Any:
        nonlocal turn
        turn += 1
        return step(*work.batches[turn % len(work.batches)])

    if way == "torch.compile":
        run()
        plain, fast = work.update, torch.compile(work.update)
        times = {}
        for update in (fast, plain):
            work.update = update
            run()
            times[update] = min(timed(run, case.calls // 2 + 1) for _ in range(3))
        work.update = min(times, key=times.get)
    run.compiled = step
    return run


def serve(way: str, dropout: float) -> None:
    """Answers `NAME`: seconds per call in one round. `first NAME`: seconds of the first call, the model being made and the compiler
    imported; `system NAME`: what the system took of that, on all cores (it gives memory, page by page); `again NAME`: of a later one.
    `memory NAME`: MiB."""
    torch = load(way.partition(".")[0])
    cases, made = table(dropout), {}
    system = 0.0

    def ready(name: str) -> Callable[[], Any]:
        if name not in made:
            made.clear()                # one case's memory at a time
            made[name] = prepared(torch, cases[name], way)
            for _ in range(3):
                made[name]()
            if way == "pellucid":
                compiled = made[name].compiled
                assert compiled.compiles == 1 and not compiled.report().host_calls, "one compile, and nothing from Python"
        return made[name]

    def answer(line: str) -> float | int:
        nonlocal system
        what, _, name = line.partition(" ")
        if what == "first":
            work = cases[name].make(torch, way != "pellucid")
            if way != "torch":
                torch.compile(lambda: None)                     # imports the compiler
            before = resource.getrusage(resource.RUSAGE_SELF).ru_stime
            seconds = timed(lambda: made.__setitem__(name, prepared(torch, cases[name], way, work)) or made[name](), 1)
            system = resource.getrusage(resource.RUSAGE_SELF).ru_stime - before
            return seconds
        if what == "system":
            return system
        if what == "again":
            return statistics.median(timed(made[name], 1) for _ in range(5))
        if what == "memory":
            for _ in range(5):
                made[name]()
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if what == "kernels":
            return ready(name).compiled.report().kernels
        return timed(ready(line), cases[line].calls)

    side_by_side.serve(answer)


# ------------------------------------------------------------------------------------------------------------ the table
WAYS = ("pellucid", "torch", "torch.compile")
WARM = 0.2              # seconds: what a first call with a filled cache may take beside a step
STARTS = 3              # processes with a filled cache


def start(name: str, ways: list[str], dropout: float) -> dict[str, dict[str, float]]:
    """For each way: seconds of the first call with an empty cache (`cold`); and of processes with a filled one the medians of the first
    call (`warm`), of what it took beside a later call (`beyond`), of the system's part in it, and of the peak memory in MiB."""
    found = {}
    for way in ways:
        with tempfile.TemporaryDirectory() as folder:
            caches = {"PELLUCID_CACHE_DIR": folder, "TORCHINDUCTOR_CACHE_DIR": folder}
            figures: dict[str, list[float]] = {"warm": [], "beyond": [], "system": [], "memory": []}
            for process in range(1 + STARTS):
                with Side(__file__, way, "--dropout", str(dropout), **caches) as side:
                    first, system, later, memory = (side.run(f"{what} {name}") for what in ("first", "system", "again", "memory"))
                if process == 0:
                    cold = first
                else:
                    for values, value in zip(figures.values(), (first, first - later, system, memory)):
                        values.append(value)
            found[way] = {"cold": cold, **{what: statistics.median(values) for what, values in figures.items()}}
    return found


def verdict(faster: float, goal: float) -> str:
    return f"{faster:5.2f}x [{goal:.2f}]{' ' if faster >= goal else '!'}"


def compare(figures: dict[str, dict], count: int, dropout: float) -> list[str]:
    """Print the speed of the cases; those below a goal."""
    missed = []
    print(f"{THREADS} threads, {count} rounds, GPT with dropout {dropout}")
    print(f"{'case':22s} {'pellucid':>11s} {'torch':>11s} {'compile':>11s}   {'against torch':16s} {'against torch.compile':22s} kernels")
    cache = tempfile.TemporaryDirectory()           # one that an earlier run, killed in a write, cannot have left broken
    sides = [Side(__file__, way, "--dropout", str(dropout), TORCHINDUCTOR_CACHE_DIR=cache.name) for way in WAYS]
    cases = table(dropout)
    for name in figures:
        case, times = cases[name], rounds(sides, name, count)
        ours, eager, compiled = times
        faster = ratio(eager, ours), ratio(compiled, ours)
        figures[name] = {"seconds": dict(zip(WAYS, map(statistics.median, times))), "ratios": faster,
                         "kernels": sides[0].run(f"kernels {name}")}
        if faster[0] < case.eager or faster[1] < case.compiled:
            missed.append(name)
        medians = " ".join(f"{statistics.median(t) * 1e3:8.3f} ms" for t in times)
        print(f"{name:22s} {medians}   {verdict(faster[0], case.eager)}  {verdict(faster[1], case.compiled):22s} "
              f"{figures[name]['kernels']:5.0f}", flush=True)
    for side in sides:
        side.close()
    cache.cleanup()
    return missed


def first_calls(figures: dict[str, dict], ways: list[str], dropout: float) -> list[str]:
    """Print what first calls take, and memory; the cases whose warm first call is slower than it should be."""
    missed = []
    print(f"\n{'first call':22s} {'cold: ' + ', '.join(ways):40s} {'warm':34s} {'ours, less a step':18s} {'system':>8s}  peak memory")
    for name in figures:
        figures[name]["start"] = found = start(name, ways, dropout)
        columns = [" ".join(f"{found[way][key]:8.3f} s" for way in ways) for key in ("cold", "warm")]
        peaks = " ".join(f"{found[way]['memory']:6.0f} MiB" for way in ways)
        beyond = found[ways[0]]["beyond"]
        if beyond > WARM:
            missed.append(f"{name} (warm)")
        print(f"{name:22s} {columns[0]:40s} {columns[1]:34s} {beyond:6.3f} [{WARM}]{'!' if beyond > WARM else ' ':5s} "
              f"{found[ways[0]]['system']:6.3f} s {peaks}", flush=True)
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", default="", help="only the cases whose name contains this (or that: a|b)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="3 rounds, and no first calls")
    parser.add_argument("--dropout", type=float, default=0.0, help="dropout probability of the GPT (0.0)")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--no-start", action="store_true", help="leave out first calls and memory")
    only.add_argument("--only-start", action="store_true", help="nothing but first calls and memory")
    parser.add_argument("--ways", default=",".join(WAYS), help="of first calls: %(default)s")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.dropout)
    names = [name for name in table(args.dropout) if any(wanted in name for wanted in args.case.split("|"))]
    figures: dict[str, dict] = {name: {} for name in names}
    missed = [] if args.only_start else compare(figures, 3 if args.quick else args.rounds, args.dropout)
    if not (args.quick or args.no_start):
        missed += first_calls(figures, args.ways.split(","), args.dropout)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    print("every case reached its goals" if not missed else f"below a goal (marked !): {', '.join(missed)}")


if __name__ == "__main__":
    main()
