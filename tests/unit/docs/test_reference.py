"""The reference is made from the registry alone: what is registered is in it, what is removed is not."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import pellucid  # noqa: F401  (registers the operators)
from pellucid.ops.op import REGISTRY

TOOL = Path(__file__).parents[3] / "tools" / "docs.py"


@pytest.fixture(scope="module")
def docs():
    spec = importlib.util.spec_from_file_location("pellucid_docs_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_operator_has_its_section(docs) -> None:
    pages = docs.reference()
    text = "\n".join(pages.values())
    missing = [op.name for op in REGISTRY.values() if docs.heading(op) not in text]
    assert len(REGISTRY) > 100 and not missing


def test_a_removed_operator_leaves_the_reference(docs, monkeypatch: pytest.MonkeyPatch) -> None:
    op = next(op for op in REGISTRY.values() if op.doc)
    heading = docs.heading(op)
    assert heading in "\n".join(docs.reference().values())
    monkeypatch.delitem(REGISTRY, op.name)
    assert heading not in "\n".join(docs.reference().values())


def test_the_site_is_written(docs, tmp_path: Path) -> None:
    pytest.importorskip("markdown")
    pytest.importorskip("pygments")
    count = docs.build(tmp_path / "site")
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) == count
    assert (tmp_path / "site" / "index.html").exists()
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "<main>" in text
        for target in re.findall(r'<a href="([^"#:]+)(?:#[^"]*)?"', text):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
