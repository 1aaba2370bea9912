"""Rule 1 of the design: an operator is defined in one place. Its definition removed, everything of it is gone."""
from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
REMOVED = {"frac": "rounding.py", "hypot": "elementwise.py", "logspace": "creation.py", "roll": "shape.py", "cartesian_prod": "shape.py"}

CHECK = """
import sys, importlib.util, warnings
warnings.simplefilter("error")
names = {names!r}
import pellucid
from pellucid.ops import REGISTRY, F
from pellucid.testing import samples_of
def load(name):
    spec = importlib.util.spec_from_file_location(name, {root!r} + "/tools/" + name + ".py")
    module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); return module
stubs = "".join(load("stubs").files().values())
pages = "".join(load("docs").reference().values())
for n in names:
    present = dict(registry=n in REGISTRY, function=hasattr(pellucid, n), method=hasattr(pellucid.Tensor, n), entry=hasattr(F, n),
                   inplace=hasattr(pellucid.Tensor, n + "_"), stub=f"def {{n}}(" in stubs, page=f"`pellucid.{{n}}(" in pages or f".{{n}}(" in pages)
    print(n, *[k for k, v in present.items() if v])
x = pellucid.ones(3, requires_grad=True)
(x * 2).sum().backward()
assert x.grad.tolist() == [2.0, 2.0, 2.0]
"""


def without(source: str, names: set[str]) -> tuple[str, set[str]]:
    """The source with the definitions of operators removed: decorated functions and registering calls."""
    lines, gone = source.splitlines(keepends=True), set()
    for node in reversed(ast.parse(source).body):
        name = None
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            name, first = node.name.rstrip("_"), node.decorator_list[0].lineno
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node.value.args and isinstance(node.value.args[0], ast.Constant):
            name, first = node.value.args[0].value, node.lineno
        if name in names:
            gone.add(name)
            del lines[first - 1: node.end_lineno]
    return "".join(lines), gone


def run(root: Path) -> dict[str, list[str]]:
    code = CHECK.format(names=sorted(REMOVED), root=str(root))
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}


def test_five_operators_removed_leave_nothing_behind(tmp_path):
    for part in ("pellucid", "tools"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "data.csv"))
    before = run(tmp_path)
    for name, places in before.items():
        assert {"registry", "function", "entry", "stub", "page"} <= set(places), (name, places)
    gone: set[str] = set()
    for path in (tmp_path / "pellucid" / "ops").glob("*.py"):
        text, found = without(path.read_text(), set(REMOVED))
        if found:
            path.write_text(text)
            gone |= found
    assert gone == set(REMOVED)
    for name, places in run(tmp_path).items():
        assert places == [], f"{name} is still there as {places}"


def test_stubs_are_up_to_date():
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "stubs.py"), "--check"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
