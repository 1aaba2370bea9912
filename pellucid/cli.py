"""The command line: `pellucid run`, `pellucid explain`, `pellucid demo`, `pellucid info`, `pellucid --version`.

In: the arguments of the process. Out: text on standard output and an exit status (0 good, 1 failed, 2 misused,
130 interrupted).
What stays true: starting costs no more than `import pellucid`; Pillow and rich are imported when something is drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

import pellucid
from pellucid.core.lazy import lazily
from pellucid.demo import digits

_later = lazily("pellucid", ("torch_alias",))       # importing it changes what `import torch` means


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the console script `pellucid` and `python -m pellucid` end here."""
    options = parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The whole command line as an argparse parser."""
    top = argparse.ArgumentParser(prog="pellucid", description="A deep-learning framework you can see through.")
    top.add_argument("--version", action="version", version=f"pellucid {pellucid.__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser("demo", help="train a small convolutional network on real handwritten digits")
    defaults = digits.Settings()
    demo.add_argument("--epochs", type=_positive, default=defaults.epochs, help="passes (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=defaults.seed, help="of everything random (default: %(default)s)")
    demo.add_argument("--device", default=defaults.device, help="where to compute (default: %(default)s)")
    demo.add_argument("--out", type=Path, default=defaults.out, metavar="DIR", help="results (default: %(default)s)")
    demo.add_argument(
        "--shuffle-labels", action="store_true", help="permute the labels first, so that nothing can be learned"
    )
    demo.set_defaults(command=run_demo)

    explain = commands.add_parser("explain", help="run a script, and say what the compiler did with each compiled function")
    explain.add_argument("script", type=Path)
    explain.add_argument("arguments", nargs=argparse.REMAINDER, help="for the script")
    explain.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    explain.add_argument("--assert", dest="limits", type=_limits, default={}, metavar="LIMITS",
                         help="exit with status 1 if there is more, for CI: max_breaks=0,max_recompiles=1")
    explain.set_defaults(command=run_explain)

    run = commands.add_parser("run", help="run a script written for PyTorch: `import torch` is pellucid there")
    run.add_argument("script", type=Path)
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="for the script")
    run.add_argument("--float64", action="store_true", help="compute in float64 wherever the script says float32")
    run.add_argument("--missing", action="store_true",
                     help="do not run it: list what it uses of torch that is not here, with status 1 if there is any")
    run.set_defaults(command=run_script)

    info = commands.add_parser("info", help="versions, processor, threads, data types and devices")
    info.set_defaults(command=run_info)
    return top


def run_demo(options: argparse.Namespace) -> int:
    """Train, test, draw; wrong arguments and a missing Pillow are told in one line."""
    if not _installed("Pillow"):
        print("pellucid demo draws with Pillow: pip install 'pellucid[demo]'", file=sys.stderr)
        return 1
    try:
        pellucid.empty(0, device=options.device)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        print(f"pellucid demo: --device {options.device}: {reason} (there is only cpu)", file=sys.stderr)
        return 2
    digits.run(
        digits.Settings(
            epochs=options.epochs,
            seed=options.seed,
            device=options.device,
            out=options.out,
            shuffle_labels=options.shuffle_labels,
        )
    )
    return 0


def run_script(options: argparse.Namespace) -> int:
    """Run the script as `python` would, with pellucid as torch; or list what it would miss."""
    if not options.script.is_file():
        print(f"pellucid run: there is no {options.script}", file=sys.stderr)
        return 2
    torch_alias = _later("torch_alias")
    if options.missing:
        found = torch_alias.absent(options.script)
        print("\n".join(map(str, found)), end="\n" if found else "")
        return 1 if found else 0
    if options.float64:
        torch_alias.float64(torch_alias.torch)
    torch_alias.run(options.script, options.arguments)
    return 0


def run_explain(options: argparse.Namespace) -> int:
    """Run the script as `pellucid run` does; print what became of its compiled functions."""
    if not options.script.is_file():
        print(f"pellucid explain: there is no {options.script}", file=sys.stderr)
        return 2
    compiler = pellucid.compiler
    with compiler.explain_all() as explained:
        try:
            _later("torch_alias").run(options.script, options.arguments)
        except SystemExit as stopped:
            if stopped.code:
                raise
    found = explained()
    print("\n\n".join(map(str, found)) or "no compiled function was called", file=sys.stderr)
    if options.json:
        part = options.json.with_suffix(options.json.suffix + ".part")
        part.write_text(json.dumps([e.data for e in found], indent=1))
        part.replace(options.json)
    wrong = [line for e in found for line in e.check(**options.limits)]
    print("\n".join(wrong), end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0


def _limits(text: str) -> dict[str, int]:
    """max_breaks=0,max_recompiles=1"""
    try:
        found = {name.strip(): int(value) for name, _, value in (part.partition("=") for part in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form max_breaks=0,max_recompiles=1") from None
    known = ("max_breaks", "max_recompiles", "max_graphs")
    if not found.keys() <= set(known):
        raise argparse.ArgumentTypeError(f"limits are {', '.join(known)}")
    return found


def run_info(options: argparse.Namespace) -> int:
    """Print what a bug report needs."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    rows = {
        "pellucid": f"{pellucid.__version__} ({Path(pellucid.__file__).parent})",
        "python": f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})",
        "numpy": f"{np.__version__} ({blas.get('name', 'unknown BLAS')} {blas.get('version', '')})",
        "ml_dtypes": metadata.version("ml_dtypes"),
        "optional": ", ".join(f"{name} {_version(name)}" for name in ("Pillow", "rich", "safetensors")),
        "system": platform.platform(),
        "processor": _processor(),
        "threads": f"{pellucid.get_num_threads()} of {os.cpu_count()} cores",
        "devices": "cpu",
        "data types": ", ".join(_dtypes()),
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _installed(distribution: str) -> bool:
    return _version(distribution) != "absent"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    """The processor's name: Linux says it in /proc/cpuinfo, other systems through platform."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _dtypes() -> list[str]:
    """Every data type's name, once (`float` and `float32` are the same object)."""
    found = {value for value in vars(pellucid).values() if isinstance(value, pellucid.dtype)}
    return sorted(str(dtype).removeprefix("torch.").removeprefix("pellucid.") for dtype in found)


if __name__ == "__main__":
    sys.exit(main())
