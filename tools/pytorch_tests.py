"""How many of PyTorch's own tests pass on pellucid, file by file.

    python tools/pytorch_tests.py --parity PARITY --tests TESTS [--list N] [--table PAGE] [FILE ...]

PARITY is the folder of parity cases; TESTS holds PyTorch's test/ folder (PARITY/get_pytorch_tests.sh fetches it). Each file
runs in a process of its own under PARITY/ptshim.py; only tests of its accepted list count. A file may import private
modules or names that do not exist here: those imports get placeholders, so that the rest of the file loads; a test that
uses one fails. Without FILE all files with accepted tests run. `--table` writes what came out into a page, between the lines
`<!-- table: begin -->` and `<!-- table: end -->`; rows of files that did not run stay.
"""
from __future__ import annotations

import argparse
import ast
import collections
import importlib
import importlib.abc
import importlib.machinery
import os
import re
import runpy
import subprocess
import sys
import tempfile
import types
import unittest
import unittest.mock  # noqa: F401  (PyTorch's own import brings it in)
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


class Absent(type):
    """What a missing name becomes: false, and a class whose use raises once the tests run."""

    loading = True

    def __bool__(cls):
        return False

    def __call__(cls, *args, **kwargs):
        if Absent.loading:
            return Absent(cls.__name__ + "()", (), {})
        raise AttributeError(f"pellucid has no {cls.__name__}")

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{cls.__name__}.{name}", (), {})


class Placeholder(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(name, (), {})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last in line: modules under `torch.` that nobody else finds."""

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.startswith("torch.") else None

    def create_module(self, spec):
        module = Placeholder(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module):
        pass


def fill_missing_names(path: str) -> None:
    """Give modules that exist the names a test file imports from them in vain."""
    for node in ast.walk(ast.parse(Path(path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "torch" and "_internal" not in node.module:
            try:
                module = importlib.import_module(node.module)
            except ImportError:
                continue
            for alias in node.names:
                if not hasattr(module, alias.name):
                    try:
                        importlib.import_module(f"{node.module}.{alias.name}")
                    except ImportError:
                        setattr(module, alias.name, Absent(alias.name, (), {}))


def serve(shim: str, tsv: str, path: str) -> None:
    """Run one file under the shim, here."""
    sys.path.insert(0, str(ROOT))
    sys.meta_path.append(Finder())
    module = importlib.import_module("pellucid")
    sys.modules["torch"] = module
    for name in list(sys.modules):
        if name.startswith("pellucid."):
            sys.modules["torch" + name[len("pellucid"):]] = sys.modules[name]
    fill_missing_names(path)
    # while the file loads, a missing attribute of `torch` (in a decorator, say) is a placeholder; in the tests it is missing
    lazy = module.__getattr__

    def lenient(name):
        try:
            return lazy(name)
        except AttributeError:
            return Absent(name, (), {})
    module.__getattr__ = lenient
    run_suite = unittest.TestSuite.run

    def run(self, *args, **kwargs):
        module.__getattr__ = lazy
        Absent.loading = False
        return run_suite(self, *args, **kwargs)
    unittest.TestSuite.run = run
    sys.argv = [shim, "--tsv", tsv, path]
    runpy.run_path(shim, run_name="__main__")


def write_table(page: Path, counted: dict[str, tuple[int, int]]) -> None:
    """Put {file: (accepted, passing)} into the page's table, beside the rows that are there."""
    head, _, rest = page.read_text().partition(BEGIN)
    old, found, tail = rest.partition(END)
    if not found:
        raise SystemExit(f"{page} has no lines {BEGIN} and {END}")
    rows = {m[1]: (int(m[2]), int(m[3])) for m in re.finditer(r"^\| ([\w/]+\.py) \| (\d+) \| (\d+) \|", old, re.M)} | counted
    rows = {**dict(sorted(rows.items())), "**all**": tuple(map(sum, zip(*rows.values())))}
    lines = ["| file | accepted | passing | percent |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | {n} | {good} | {100 * good / n:.1f} |" for name, (n, good) in rows.items()]
    page.write_text(f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{tail}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", help="files of test/ (default: all with accepted tests)")
    parser.add_argument("--tests", type=Path, required=True, help="the folder with PyTorch's test/ (or test/ itself)")
    parser.add_argument("--parity", type=Path, required=True, help="the folder with ptshim.py and the list of accepted tests")
    parser.add_argument("--list", type=int, default=0, help="print the N most frequent failures of each file")
    parser.add_argument("--table", type=Path, help="the page to write the table into")
    parser.add_argument("--fail", action="store_true", help="print every failing accepted test")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    shim = args.parity.resolve() / "ptshim.py"
    tests = args.tests / "test" if (args.tests / "test").is_dir() else args.tests
    if args.serve:
        os.chdir(tests)
        return serve(str(shim), args.serve, args.files[0])
    accepted = collections.defaultdict(set)
    for line in (args.parity / "pytorch_tests_accepted.tsv").read_text().splitlines():
        name, test = line.split("\t")[:2]
        accepted[name].add(test)
    total = passed = 0
    counted: dict[str, tuple[int, int]] = {}
    for name in args.files or sorted(accepted):
        with tempfile.NamedTemporaryFile(suffix=".tsv") as tsv:
            done = subprocess.run([sys.executable, __file__, "--tests", str(tests), "--parity", str(args.parity), "--serve", tsv.name, name],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=1800, env=dict(os.environ, OMP_NUM_THREADS="1"))
            rows = [line.split("\t") for line in Path(tsv.name).read_text().splitlines()]
        wanted = accepted[name]
        good = {r[1] for r in rows if r[2] == "pass"} & wanted
        total, passed = total + len(wanted), passed + len(good)
        counted[name] = len(wanted), len(good)
        print(f"{name:28s} {len(good):4d} of {len(wanted):4d} accepted tests pass ({100 * len(good) / max(len(wanted), 1):.1f}%)"
              + f"; killed by signal {-done.returncode}" * (done.returncode < 0), flush=True)
        bad = [r for r in rows if r[2] not in ("pass", "skip") and (r[1] in wanted or r[2] == "import-error")]
        if args.fail:
            for r in bad:
                print("   ", r[1], "|", r[3][:160] if len(r) > 3 else "")
        counts = collections.Counter(re.sub(r"\d+", "N", r[3][:110]) for r in bad if len(r) > 3)
        for text, n in counts.most_common(args.list):
            print(f"    {n:4d} {text}")
    print(f"{'all':28s} {passed:4d} of {total:4d} ({100 * passed / max(total, 1):.1f}%)")
    if args.table:
        write_table(args.table, counted)


if __name__ == "__main__":
    main()
