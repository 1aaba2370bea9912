"""Run the fuzzer by hand.

    python -m tests.fuzz [--seeds 0:300] [--stages traced,native] [--keep-going]     random programs
    python -m tests.fuzz FILE                                                        a script that a failure printed
"""
from __future__ import annotations

import argparse
import runpy
import time
import warnings
from collections import Counter

from .generate import generate
from .minimise import minimise
from .stages import STAGES, check


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?")
    parser.add_argument("--seeds", default="0:300")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--keep-going", action="store_true", help="list failures by kind instead of stopping at the first")
    args = parser.parse_args()
    if args.file:
        runpy.run_path(args.file)
        return
    first, last = map(int, args.seeds.split(":"))
    stages = tuple(args.stages.split(","))
    warnings.simplefilter("ignore")
    kinds: Counter[str] = Counter()
    start = time.monotonic()
    for seed in range(first, last):
        program = generate(seed)
        failure = check(program, stages)
        if failure is None:
            continue
        if not args.keep_going:
            program, failure = minimise(program, failure)
            print(program.script(failure.stage))
            raise SystemExit(f"seed {seed}: {failure.stage}: {failure.what}")
        kinds[failure.stage] += 1
        print(f"seed {seed}: {failure.stage}: {failure.what}", flush=True)
    print(f"{last - first} programs in {time.monotonic() - start:.1f} s: {dict(kinds) or 'no failure'}")


if __name__ == "__main__":
    main()
