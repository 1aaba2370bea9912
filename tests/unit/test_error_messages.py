"""What the user reads when something goes wrong: golden messages of small programs.

Each file of tests/golden/errors holds cases: `=== name`, a program, and after `---` the exception it ends with. The
programs see `torch` (pellucid), `nn` and `F`, and run as snippet.py in an empty folder. After a wanted change of words,

    PELLUCID_UPDATE_GOLDEN=1 python -m pytest tests/unit/test_error_messages.py

writes the messages anew; read the diff.
"""

from __future__ import annotations

import ast
import linecache
import os
import pickle
import re
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import pytest

import pellucid
from pellucid import nn
from pellucid.core.errors import Later
from pellucid.nn import functional
from pellucid.ops.op import REGISTRY

GOLDEN = Path(__file__).parents[1] / "golden" / "errors"
UPDATE = os.environ.get("PELLUCID_UPDATE_GOLDEN") == "1"
PACKAGE = str(Path(pellucid.__file__).parent)


def read(path: Path) -> dict[str, tuple[str, str]]:
    """{name: (program, recorded message)} of one golden file."""
    cases = {}
    for part in re.split(r"^=== ", path.read_text(), flags=re.M)[1:]:
        head, _, body = part.partition("\n")
        program, _, recorded = body.partition("\n---\n")
        cases[head] = (program.strip("\n") + "\n", recorded.strip("\n"))
    return cases


def write(path: Path, cases: dict[str, tuple[str, str]]) -> None:
    path.write_text("".join(f"=== {name}\n{program}---\n{text}\n" for name, (program, text) in cases.items()))


CASES = [(path.stem, name) for path in sorted(GOLDEN.glob("*.txt")) for name in read(path)]


def attempt(program: str, folder: Path) -> tuple[BaseException, int, str]:
    """(the exception, the line of the program it passed through last, the message without machine-dependent parts)."""
    file = folder / "snippet.py"
    file.write_text(program)
    linecache.checkcache(str(file))
    names = {"torch": pellucid, "nn": nn, "F": functional, "__name__": "snippet", "__file__": str(file)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            exec(compile(program, str(file), "exec"), names)
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
        return error, lines[-1], clean(f"{type(error).__name__}: {error}", folder)
    pytest.fail("the program ends without an exception")


def clean(text: str, folder: Path) -> str:
    text = text.replace(str(folder) + os.sep, "").replace(PACKAGE, "PELLUCID")
    text = re.sub(r"\b0x[0-9a-f]{6,}", "0x...", text)
    text = re.sub(r"\(pids?:? [0-9, ]+\)|\bpid \d+", "pid ...", text)
    return "\n".join(line.rstrip() for line in text.splitlines())


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder; default dtype and anomaly mode are put back."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# What the message shows in another way: the worker's own traceback names the line.
ELSEWHERE = {("data", "exception in a worker")}
FOREIGN = ("ufunc", "operands could not be broadcast", "numpy.core", "numpy._core", "PELLUCID", "basic_index", "view_shape", "object has no attribute 'dtype'")
INTERNAL = {op.name for op in REGISTRY.values() if "_" in op.name} - {
    name for op in REGISTRY.values() if op.ns or "method" in op.forms for name in (op.public, op.name, *op.aliases)
}


@pytest.mark.parametrize("group, name", CASES, ids=[f"{g}-{n}".replace(" ", "_") for g, n in CASES])
def test_message(group: str, name: str, quiet: Path) -> None:
    """The recorded words; the user's own line; a remedy; nothing that only pellucid's authors would understand."""
    path = GOLDEN / f"{group}.txt"
    cases = read(path)
    program, recorded = cases[name]
    _, line, text = attempt(program, quiet)
    if UPDATE:
        cases[name] = (program, text)
        write(path, cases)
        return
    assert text == recorded
    if (group, name) not in ELSEWHERE:
        source = program.splitlines()[line - 1].strip()
        assert re.search(rf"^  at: +snippet\.py:{line}: {re.escape(source)}$", text, re.M), "the user's line"
        assert re.search(r"^  fix: +\S", text, re.M), "how to mend it"
        assert re.search(r"^  \[P\w{3,4}\]$", text, re.M), "its number"
    said = "\n".join(part for part in text.splitlines() if not part.startswith("  at:"))
    assert not [word for word in FOREIGN if word in said]
    assert not [word for word in INTERNAL & set(re.findall(r"\w+", said))]
    if group == "shapes":
        assert re.search(r"\d", said.replace(text.splitlines()[-1], "")), "the sizes"


def test_enough_cases() -> None:
    assert len(CASES) >= 60 and len(set(CASES)) == len(CASES)


# Codes of errors that several files raise in nearly the same words: bad indices, sizes, dtypes, random draws.
RELATED = {"P012", "P202", "P211", "P213", "P214", "P215", "P216", "P219", "P229", "P231", "P256", "P261", "P262", "P263", "P266", "P2714",
           "P290", "P291", "P292", "P293", "P297", "P315", "P360", "P628", "P647"}


def test_a_number_stands_for_one_text() -> None:
    """No two files use a number for unrelated errors."""
    files: dict[str, set[str]] = {}
    for path in Path(PACKAGE).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                for arg in node.args:
                    if isinstance(arg, ast.Constant) and isinstance(arg.value, str) and re.fullmatch(r"P\d\w{2,3}", arg.value):
                        files.setdefault(arg.value, set()).add(str(path.relative_to(PACKAGE)))
    assert {code: sorted(found) for code, found in files.items() if len(found) > 1 and code not in RELATED} == {}


def test_python_suggests_the_nearest_tensor_method(quiet: Path) -> None:
    """Tensor has no __getattr__ (it would slow every access), so the interpreter's own hint must work: it gives up on
    objects of more than 750 names."""
    (quiet / "snippet.py").write_text("import pellucid as torch\ntorch.ones(3).sotfmax(0)\n")
    root = str(Path(PACKAGE).parent)
    run = subprocess.run([sys.executable, "snippet.py"], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root})
    assert run.stderr.endswith("AttributeError: 'Tensor' object has no attribute 'sotfmax'. Did you mean: 'softmax'?\n")


def test_probing_for_names_is_quiet_and_quick() -> None:
    """hasattr works as ever, and the text of a missing name is made only when somebody reads it."""
    assert not hasattr(pellucid, "sofmax") and not hasattr(nn.Linear(1, 1), "wieght") and hasattr(nn, "Linear")
    with pytest.raises(AttributeError) as caught:
        nn.Linear(1, 1).wieght
    assert isinstance(caught.value.args[0], Later)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert str(copied) == str(caught.value) and "did you mean 'weight'?" in str(copied)


def test_the_users_line_is_not_that_of_a_library(quiet: Path) -> None:
    """Frames of Python's own modules between the user and pellucid are passed over."""
    _, line, text = attempt("import copy\nx = torch.ones(1, requires_grad=True) * 2\n\ncopy.deepcopy([x])\n", quiet)
    assert line == 4 and "at:  snippet.py:4: copy.deepcopy([x])" in text
