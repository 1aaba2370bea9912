"""docs.py SITE: the documentation as HTML, with a reference of every operator made from the registry.

In: README.md, docs/**/*.md, and `pellucid.ops`' registry. Out: a folder of HTML pages that need no server.
What stays true: nothing about an operator is written here; an operator that is removed is gone from the reference.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import pellucid  # noqa: E402
from pellucid.ops.op import REGISTRY, Op  # noqa: E402

STYLE = """
body { margin: 0; color: #222; font: 16px/1.55 sans-serif; display: flex; }
nav { flex: 0 0 230px; padding: 24px 16px 24px 28px; font-size: 14px; border-right: 1px solid #e4e4e4; }
nav a { display: block; padding: 2px 0; } nav b { display: block; margin-top: 14px; }
main { flex: 1; max-width: 900px; padding: 12px 40px 80px; min-width: 0; }
a { color: #1f6fb4; text-decoration: none; } a:hover { text-decoration: underline; }
pre { background: #f6f6f6; padding: 12px 14px; overflow-x: auto; font-size: 14px; line-height: 1.4; }
code { font-size: 0.92em; } table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #e4e4e4; padding: 4px 12px; text-align: left; vertical-align: top; }
h3 code { background: none; } .forms { color: #767676; font-size: 14px; }
"""


LINK = re.compile(r"\[(?P<words>[^]]*)\]\((?P<target>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")


# ------------------------------------------------------------------------------------------------- the reference
def names(op: Op) -> list[str]:
    """Under which names users reach the operator, the usual one first; empty for a part of other operators."""
    found = []
    if op.public.startswith("_"):
        return found
    if "function" in op.forms:
        found += [".".join(filter(None, ("pellucid", space, op.public))) for space in op.ns]
    if "method" in op.forms:
        found.append(f"Tensor.{op.public}")
    if "inplace" in op.forms:
        found.append(f"Tensor.{op.public}_")
    return found


def heading(op: Op) -> str:
    return f"### `{(names(op) or [f'ops.F.{op.name}'])[0]}{op.signature}`"


def forms(op: Op) -> str:
    """The other ways to call an operator."""
    words = [f"`{name}`" for name in names(op)[1:]]
    if "out" in op.forms:
        words.append("`out=`")
    if op.aliases:
        words.append("aliases " + ", ".join(f"`{name}`" for name in op.aliases))
    return ", ".join(words)


def section(op: Op) -> str:
    """One operator as Markdown."""
    lines = [heading(op), ""]
    facts = [op.kind.value, "differentiable" if op.plan or (op.body and op.grads) else "no derivative"]
    lines += [f"*{', '.join(facts)}*" + (f" · {forms(op)}" if forms(op) else ""), ""]
    if op.doc:
        lines += [op.text, ""]
    return "\n".join(lines)


def reference() -> dict[str, str]:
    """{page name: Markdown}: one page for each file of operators, and an overview of all."""
    families: dict[str, list[Op]] = {}
    for op in REGISTRY.values():
        families.setdefault(op.module.rpartition(".")[2], []).append(op)
    pages = {}
    index = ["# Reference", "", f"{len(REGISTRY)} operators, each defined once. Signatures are the functions' own.", ""]
    for family, ops in sorted(families.items()):
        ops.sort(key=lambda op: op.name)
        public, parts = [op for op in ops if names(op)], [op for op in ops if not names(op)]
        text = [f"# {family}", "", *map(section, public)]
        if parts:
            text += ["## Parts that operators are made of", "", *map(section, parts)]
        pages[family] = "\n".join(text)
        listed = ", ".join(f"`{names(op)[0].removeprefix('pellucid.')}`" for op in public)
        index += [f"**[{family}]({family}.md)** ({len(public)} public, {len(parts)} parts): {listed}", ""]
    pages["overview"] = "\n".join(index)
    return pages


# ------------------------------------------------------------------------------------------------- the site
def title(markdown: str) -> str:
    return next((line[2:].strip() for line in markdown.splitlines() if line.startswith("# ")), "pellucid")


def navigation(pages: dict[str, str], here: str) -> str:
    """Links to every page, grouped by folder, relative to `here`."""
    groups: dict[str, list[str]] = {}
    for name in pages:
        groups.setdefault(os.path.dirname(name), []).append(name)
    parts = []
    for folder, names in groups.items():
        if folder:
            parts.append(f"<b>{escape(folder)}</b>")
        for name in names:
            target = os.path.relpath(name, os.path.dirname(here) or ".").replace(".md", ".html")
            words = escape(re.sub(r"`", "", title(pages[name])))
            parts.append(f'<a href="{target}">{words}</a>')
    return "\n".join(parts)


def collect() -> dict[str, str]:
    """{path in the site, ending in .md: Markdown} in reading order."""
    pages = {"index.md": (ROOT / "docs" / "index.md").read_text(encoding="utf-8")}
    for folder in ("tutorial", "how-to"):
        for path in sorted((ROOT / "docs" / folder).glob("*.md")):
            pages[f"{folder}/{path.name}"] = path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").glob("*.md")):
        pages.setdefault(path.name, path.read_text(encoding="utf-8"))
    made = reference()
    pages["reference/overview.md"] = made.pop("overview")
    pages |= {f"reference/{name}.md": text for name, text in made.items()}
    return pages


def relink(link: re.Match[str], here: str, pages: dict[str, str]) -> str:
    """A link to another page leads to its .html; a link out of the site (to a source file) becomes plain words."""
    words, target, anchor = link["words"], link["target"], link["anchor"] or ""
    if re.match(r"\w+:", target) or not target:
        return link[0]
    if os.path.normpath(os.path.join(os.path.dirname(here), target)) in pages:
        return f"[{words}]({target.removesuffix('.md')}.html{anchor})"
    return words


def build(site: Path) -> int:
    """Write every page; returns how many."""
    import markdown

    if site.exists():
        shutil.rmtree(site)
    pages = collect()
    for name, text in pages.items():
        text = LINK.sub(lambda link: relink(link, name, pages), text)
        body = markdown.markdown(text, extensions=["fenced_code", "codehilite", "tables", "toc"])
        page = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title(text))} · pellucid'
            f"</title><style>{STYLE}{highlighting()}</style></head>\n<body><nav>\n{navigation(pages, name)}\n</nav>"
            f"<main>\n{body}\n</main></body></html>\n"
        )
        target = (site / name).with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, encoding="utf-8")
    return len(pages)


def highlighting() -> str:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(style="friendly").get_style_defs(".codehilite")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(f"pellucid {pellucid.__version__}: {build(Path(sys.argv[1]))} pages in {sys.argv[1]}/, start at index.html")
