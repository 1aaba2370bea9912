"""refresh_docs.py [PAGE...]: run the Python of documentation pages and put what it prints into the ```text after it.

In: Markdown pages (default: README.md and everything in docs/). Out: the same files, with real output.
What stays true: an expected output that still agrees (with its `...`) is left as it is; a page that fails is not
touched. Read the diff before you commit it: this tool makes pages true, not right.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEST = ROOT / "tests" / "unit" / "docs" / "test_docs.py"


def load_test():
    """The test that executes the pages knows how to read them."""
    spec = importlib.util.spec_from_file_location("pellucid_docs_test", TEST)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def refresh(path: Path, test) -> bool:
    """Rewrite one page; returns whether its Python ran to the end."""
    page = path.read_text(encoding="utf-8")
    done = test.run(page, path.stem, Path(tempfile.mkdtemp()))
    if done.returncode:
        print(f"{path}: stopped\n{done.stderr}")
        return False
    lines = page.splitlines()
    changes = 0
    for comparison in reversed(test.compare(page, done.stdout)):
        if not comparison.agrees:
            lines[comparison.start : comparison.end] = comparison.got.rstrip("\n").splitlines()
            changes += 1
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{path}: {changes} outputs renewed")
    return True


if __name__ == "__main__":
    test = load_test()
    pages = [Path(name).resolve() for name in sys.argv[1:]] or test.PAGES
    sys.exit(not all([refresh(page, test) for page in pages]))
