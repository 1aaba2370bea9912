"""Modules in notebooks: a tree with parameter counts, sound HTML, shared parameters counted once."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pellucid
from pellucid import nn
from pellucid.nn.html import CHILDREN


class Reader(HTMLParser):
    """The text of a page; checks that every tag is closed in order and that nothing comes from elsewhere."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.unfolded = 0
        self.lines: list[str] = [""]
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in {"div", "span", "b", "details", "summary"} and {k for k, _ in attrs} <= {"style", "open"}
        self.open.append(tag)
        self.seen.append(tag)
        self.unfolded += ("open", None) in attrs
        if tag in ("div", "summary"):
            self.lines.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.lines[-1] += data


def lines(module: nn.Module) -> list[str]:
    return [line.strip() for line in Reader(module._repr_html_()).lines if line.strip()]


def test_the_tree_and_its_counts() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False)))
    model[0].weight.requires_grad_(False)
    assert lines(model) == [
        "Sequential 32 parameters, 12 of them frozen, 9 in buffers, 128 bytes",
        "(0) Linear(in_features=3, out_features=4, bias=True) 16 parameters, 12 of them frozen, 64 bytes",
        "(1) ReLU",
        "(2) Sequential 16 parameters, 9 in buffers, 64 bytes",
        "(0) BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True) 8 parameters, 9 in buffers, 32 bytes",
        "(1) Linear(in_features=4, out_features=2, bias=False) 8 parameters, 32 bytes",
    ]
    assert Reader(model._repr_html_()).unfolded == 1
    assert repr(nn.ReLU()) == "ReLU()"  # the plain repr stays


def test_shared_parameters_count_once() -> None:
    layer = nn.Linear(10, 10, bias=False)
    found = lines(nn.ModuleList([layer, layer]))
    assert found[0] == "ModuleList 100 parameters, 400 bytes"
    assert found[2].endswith("100 parameters, 400 bytes, shared with another place")


def test_lazy_and_odd_modules() -> None:
    assert lines(nn.LazyLinear(3)) == ["LazyLinear(in_features=0, out_features=3, bias=True) 2 not initialised yet"]
    assert lines(nn.Module()) == ["Module"]

    class Odd(nn.Module):
        def extra_repr(self) -> str:
            return "<script>\n&"

    assert "Odd(&lt;script&gt; &amp;)" in re.sub("</?b>", "", Odd()._repr_html_())
    holder = nn.ParameterList([nn.Parameter(pellucid.ones(2, dtype=pellucid.float64))])
    assert lines(holder)[0].endswith("2 parameters, 16 bytes")


def test_large_models_start_folded_and_are_cut() -> None:
    page = Reader(nn.Sequential(*[nn.Sequential(nn.Linear(1, 1)) for _ in range(CHILDREN + 7)])._repr_html_())
    assert page.unfolded == 0 and page.seen.count("details") == CHILDREN
    assert "and 7 more" in page.lines[-1] + page.lines[-2]
