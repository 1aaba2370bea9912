"""The documentation runs: every ```python block of every page is executed, and ```text after it is its output.

The blocks of one page make one script, run by one process in an empty folder, with warnings as errors. The script has
as many lines as the page, so that a traceback's line number is the page's.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"python", "text", "sh", "toml"}
MARK = "\x1eend of block\x1e"
PRELUDE = (
    "import warnings; warnings.simplefilter('error'); "
    "warnings.filterwarnings('ignore', category=RuntimeWarning, module='pellucid')"
)
CHECKER = doctest.OutputChecker()


@dataclass
class Block:
    language: str
    start: int  # the line number of the opening fence, from 1
    lines: list[str]


def blocks(page: str) -> list[Block]:
    found: list[Block] = []
    open_block: Block | None = None
    for number, line in enumerate(page.splitlines(), start=1):
        if open_block is None and line.startswith("```"):
            open_block = Block(line[3:].strip(), number, [])
        elif open_block is not None and line.rstrip() == "```":
            found.append(open_block)
            open_block = None
        elif open_block is not None:
            open_block.lines.append(line)
    assert open_block is None, f"line {open_block.start}: this block is never closed"
    return found


def script(page: str) -> str:
    """The page's Python at the page's own lines; each block ends by printing a mark."""
    lines = [""] * len(page.splitlines())
    lines[0] = PRELUDE
    for block in blocks(page):
        if block.language == "python":
            lines[block.start : block.start + len(block.lines)] = block.lines
            lines[block.start + len(block.lines)] = f"print({MARK!r}, flush=True)"
    return "\n".join(lines)


@dataclass
class Comparison:
    """The ```text block after a Python block: lines `start` to `end` of the page (from 0), and what was printed."""

    start: int
    end: int
    want: str
    got: str

    @property
    def agrees(self) -> bool:
        """Whether they are the same, but for white space and for what `...` stands for."""
        return CHECKER.check_output(self.want, self.got, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)


def run(page: str, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Execute a page's Python in a process of its own, in a folder where nothing else is."""
    file = folder / f"{name}.py"
    file.write_text(script(page), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # Compiled under its bare name, so that messages which quote a line of the page are the same in every folder.
    code = f"exec(compile(open({file.name!r}, encoding='utf-8').read(), {file.name!r}, 'exec'))"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=110)


def compare(page: str, printed: str) -> list[Comparison]:
    """Each ```text block that follows a Python block, with nothing but blank lines between, and its output."""
    lines = page.splitlines()
    outputs = iter(printed.split(MARK + "\n"))
    comparisons = []
    previous: Block | None = None
    got = ""
    for block in blocks(page):
        if block.language == "python":
            got = next(outputs, "")
        elif block.language == "text" and previous is not None and previous.language == "python":
            end = previous.start + len(previous.lines) + 1
            if not "".join(lines[end : block.start - 1]).strip():
                want = "".join(line + "\n" for line in block.lines)
                comparisons.append(Comparison(block.start, block.start + len(block.lines), want, got))
        previous = block
    return comparisons


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page_runs(path: Path, tmp_path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    if not any(block.language == "python" for block in blocks(page)):
        return
    done = run(page, path.stem, tmp_path)
    name = path.relative_to(ROOT)
    assert done.returncode == 0, f"{name} stopped (line numbers are the page's):\n{done.stdout}\n{done.stderr}"
    for comparison in compare(page, done.stdout):
        if not comparison.agrees:
            pytest.fail(
                f"{name}, line {comparison.start}: tools/refresh_docs.py renews outputs\n"
                f"--- the page says\n{comparison.want}\n--- it printed\n{comparison.got}"
            )


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page_is_sound(path: Path) -> None:
    """Fences say their language (so that no Python escapes), and links inside the project lead somewhere."""
    page = path.read_text(encoding="utf-8")
    assert {block.language for block in blocks(page)} <= LANGUAGES
    prose = re.sub(r"```.*?```", "", page, flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not re.match(r"[a-z]+:|#", target):
            assert (path.parent / target.partition("#")[0]).exists(), f"dead link: {target}"


def test_the_readme_has_all_its_figures() -> None:
    """They come from `make bench` and the parity runs."""
    assert not [line for line in PAGES[0].read_text(encoding="utf-8").splitlines() if "FIGURE" in line]


def test_a_wrong_output_and_a_crash_are_noticed(tmp_path: Path) -> None:
    page = "# Title\n\n```python\nx = 1\n```\n\n```python\nprint(x + 1)\n```\n\n```text\n3\n```\n\n```python\nboom\n```\n"
    done = run(page, "page", tmp_path)
    assert done.returncode == 1
    assert "line 16" in done.stderr and "boom" in done.stderr
    (comparison,) = compare(page, done.stdout)
    assert (comparison.want, comparison.got, comparison.agrees) == ("3\n", "2\n", False)


def test_a_warning_stops_a_page(tmp_path: Path) -> None:
    done = run("# Title\n\n```python\nimport warnings\nwarnings.warn('old')\n```\n", "page", tmp_path)
    assert done.returncode == 1 and "UserWarning: old" in done.stderr
