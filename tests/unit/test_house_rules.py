"""The rules of the house that a machine can read: layers, imports, file sizes, start-up time, no stray paths.

The table is the one of the design: a package imports only packages above it in the table (a lower number), or its
own layer where that makes no cycle. `core/late.py` holds the only upward paths, slots that higher layers fill.
"""

from __future__ import annotations

import ast
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pellucid"
FILES = sorted(path for path in PACKAGE.rglob("*.py*") if path.suffix in (".py", ".pyi"))
MODULES = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES if path.suffix == ".py"}

# The root, `pellucid/__init__.py`, gathers the public names of layers 0 to 8: only layer 9 may import it.
ROOT_LAYER = 8.5
LAYERS = {
    0: "core",
    1: "ops",
    2: "graph",
    3: "kernel",
    4: "native",
    5: "tensor",
    6: "nn optim data amp func linalg special fft distributions sparse serialization testing utils quantize "
    "distributed profiler autograd random backends cuda version __future__ jit onnx fx overrides multiprocessing "
    "masked signal array_api accelerator cpu hub mps mtia xpu futures types _foreach __config__",
    7: "capture",
    8: "compiler _dynamo",
    9: "explain train export vision text assist torch_alias cli demo __main__",
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names.split()}


def layer_of(module: str) -> float:
    parts = module.split(".")
    if len(parts) == 1:
        return ROOT_LAYER
    assert parts[1] in LAYER_OF, f"{module}: give {parts[1]} a layer, in the design's table and in this test"
    return LAYER_OF[parts[1]]


def dotted(path: Path) -> str:
    return MODULES[path].removesuffix(".__init__")


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


NAMES = set(MODULES.values()) | {name.removesuffix(".__init__") for name in MODULES.values()}


def imports(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of every import that runs; `from package import module` gives the module."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if is_type_checking(node):
            stack += node.orelse
            continue
        if not isinstance(node, ast.expr):              # nothing in an expression is an import
            stack += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = MODULES[path].split(".")[: -node.level]
                base = ".".join([*here, base]) if base else ".".join(here)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if inner in NAMES else base


def ours(module: str) -> bool:
    return module.split(".")[0] == "pellucid"


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_a_package_imports_only_lower_layers() -> None:
    wrong = []
    for path in MODULES:
        if path == PACKAGE / "__init__.py":
            continue
        mine = layer_of(dotted(path))
        for line, target in imports(path, parse(path)):
            if ours(target) and layer_of(target) > mine:
                wrong.append(f"{name_of(path)}:{line} (layer {mine}) imports {target} (layer {layer_of(target)})")
    assert not wrong, "\n".join(wrong)


def test_modules_import_each_other_without_cycles() -> None:
    graph = {
        dotted(path): {target for _, target in imports(path, parse(path)) if ours(target) and target != dotted(path)}
        for path in MODULES
    }
    done: set[str] = set()
    trail: list[str] = []

    def visit(module: str) -> None:
        if module in done or module not in graph:
            return
        assert module not in trail, "a cycle: " + " -> ".join([*trail[trail.index(module) :], module])
        trail.append(module)
        for target in sorted(graph[module]):
            visit(target)
        trail.pop()
        done.add(module)

    for module in sorted(graph):
        visit(module)


def test_no_imports_of_the_package_inside_functions() -> None:
    wrong = []
    for path in MODULES:
        if path in (PACKAGE / "core" / "lazy.py", PACKAGE / "core" / "alias.py"):   # what users ask for, when they first do
            continue
        tree = parse(path)
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            wrong += [f"{name_of(path)}:{line} {name}" for line, name in imports(path, function) if ours(name)]
            wrong += [
                f"{name_of(path)}:{node.lineno} {ast.unparse(node)}"
                for node in ast.walk(function)
                if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__")
            ]
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_torch() -> None:
    wrong = [
        f"{name_of(path)}:{line}"
        for path in MODULES
        for line, target in imports(path, parse(path))
        if target.split(".")[0] == "torch"
    ]
    assert not wrong, "\n".join(wrong)


def test_files_stay_within_one_sitting() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert lengths, "no files found"
    assert not {name: length for name, length in lengths.items() if length > 1000}


def test_every_module_says_what_it_is() -> None:
    missing = [name_of(path) for path in MODULES if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(parse(path))]
    assert not missing


def test_nothing_is_left_undone() -> None:
    """No stub stands behind a public name, and no note says that something is still to be done."""
    pattern = re.compile(r"\b(TODO|FIXME|XXX)\b")
    wrong = [
        f"{name_of(path)}:{number} {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not wrong, "\n".join(wrong)


def project_files() -> list[Path]:
    """What git tracks or would track; in a source archive, every file of the folders that it has."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        return [ROOT / name for name in listed if name and (ROOT / name).is_file()]
    return [path for folder in ("pellucid", "tests", "docs") for path in (ROOT / folder).rglob("*") if path.is_file()]


def test_no_paths_of_one_machine() -> None:
    # Written so that this file does not contain what it looks for.
    places = ["/" + "work/", r"\." + r"library\b", "/" + "root/", "/" + "opt/", r"/home/(?!user\b|you\b)\w+"]
    pattern = re.compile("|".join(rf"(?<![\w.*-]){place}" for place in places))
    wrong = []
    for path in project_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        wrong += [f"{name_of(path)}:{n} {line.strip()[:100]}" for n, line in enumerate(lines, 1) if pattern.search(line)]
        if path.parts[len(ROOT.parts)] not in ("tests", "benchmarks", "tools"):
            shared = re.compile(r"\.\./" + "shared")
            wrong += [f"{name_of(path)}:{n} names shared/" for n, line in enumerate(lines, 1) if shared.search(line)]
    assert not wrong, "\n".join(wrong)


START = """
import sys, time
clock = time.process_time if sys.argv[1] == "cpu" else time.perf_counter
began = clock()
__import__(sys.argv[2])
print(clock() - began)
"""


def import_seconds(clock: str, module: str = "pellucid") -> list[float]:
    """How long importing takes in fresh processes, the first one left out (it may write the .pyc files)."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", START, clock, module]
    times = [
        float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
        for _ in range(8)
    ]
    return times[1:]


def test_import_is_quick() -> None:
    """In processor time, and the best of several: tests run side by side, and share their cores with others. The measure is
    NumPy's own import, which is two thirds of ours: processors differ."""
    assert min(import_seconds("cpu")) < 2.2 * min(import_seconds("cpu", "numpy"))


@pytest.mark.alone
def test_import_is_quick_by_the_clock() -> None:
    assert statistics.median(import_seconds("wall")) < 0.150
