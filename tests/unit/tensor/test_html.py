"""Tensors in notebooks: what the card says, that it is sound HTML, and that it is cheap."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import pellucid
from pellucid.nn import Parameter, UninitializedParameter
from pellucid.ops.dispatch import add_slow
from pellucid.tensor import html


class Reader(HTMLParser):
    """Collects the text and the table, and checks that every tag is closed in order."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        assert tag in {"div", "span", "b", "table", "tbody", "tr", "td"} and all(k == "style" for k, _ in attrs)  # no scripts, no links
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open[-1] == "td":
            self.rows[-1].append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def read(t) -> Reader:
    return Reader(t._repr_html_())


def test_values_statistics_and_history() -> None:
    x = pellucid.tensor([[1.0, -2.0], [0.5, 4.0]], requires_grad=True)
    card = read(x)
    assert card.text.startswith("Tensor float32[2, 2] 16 bytes, requires_grad")
    assert "min -2 · mean 0.875 · max 4" in card.text
    assert card.rows == [["1", "-2"], ["0.5", "4"]]
    assert "grad_fn=MulBackward0" in read(x * 2).text and "a view" in read(x[0]).text
    x.sum().backward()
    assert "has a grad" in read(x).text
    assert repr(x) == "tensor([[ 1.0000, -2.0000],\n        [ 0.5000,  4.0000]], requires_grad=True)"  # the plain repr stays


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda: pellucid.tensor(3.5), "float32[] 4 bytes3.5"),
        (lambda: pellucid.zeros(0, 3), "float32[0, 3] 0 bytesno elements"),
        (lambda: pellucid.arange(5), "min 0 · mean 2 · max 4"),
        (lambda: pellucid.tensor([True, False]), "50% True"),
        (lambda: pellucid.tensor([1 + 2j]), "1+2j"),
        (lambda: pellucid.tensor([float("nan"), float("inf"), 2.0]), "min 2 · mean 2 · max 2 · 1 NaN · 1 infinite"),
        (lambda: pellucid.tensor([float("nan")] * 2), "2 NaN"),
        (lambda: pellucid.tensor([1.5, 2.5], dtype=pellucid.bfloat16), "bfloat16[2] 4 bytesmin 1.5 · mean 2 · max 2.5"),
        (lambda: pellucid.tensor([2**63], dtype=pellucid.uint64), str(2**63)),
        (lambda: Parameter(pellucid.ones(2)), "Parameter float32[2] 8 bytes, requires_grad"),
        (lambda: pellucid.ones(2, 3, 4, 5), "[0, 0, :, :], the first of 6"),
    ],
)
def test_kinds_of_tensors(make, expected: str) -> None:
    assert expected in read(make()).text


def test_large_tables_show_their_edges() -> None:
    card = read(pellucid.arange(600).reshape(20, 30))
    assert len(card.rows) == html.ROWS + 1 and all(len(row) == html.COLUMNS + 1 for row in card.rows)
    assert card.rows[0][:4] == ["0", "1", "2", "3"] and card.rows[-1][-1] == "599" and card.rows[0][4] == "…"


@pytest.mark.parametrize("shape", [(4_000_000,), (2000, 2000), (3, 1_000_000), (100, 1, 100, 100)])
def test_large_tensors_are_sampled_without_a_copy(shape: tuple[int, ...]) -> None:
    a = np.broadcast_to(np.float32(1), shape)  # no memory behind it: reading all of it would take a copy
    part = html.sampled(a)
    assert html.SAMPLE / 4 < part.size <= html.SAMPLE and np.shares_memory(part, a)
    assert f"of {part.size:,} sampled elements" in html.statistics(a)
    assert len(pellucid.zeros(1).expand(shape)._repr_html_()) < 12_000


def test_names_are_escaped_and_lazy_ones_left_alone() -> None:
    odd = type("A<b>&", (pellucid.Tensor,), {})
    try:
        page = pellucid.ones(1).as_subclass(odd)._repr_html_()
        assert "A&lt;b&gt;&amp;" in page and "A<b>" not in page
    finally:
        add_slow(-1)  # the class is gone with this test
    assert UninitializedParameter()._repr_html_() is None


def test_nothing_is_recorded_or_changed() -> None:
    x = pellucid.ones(3, requires_grad=True)
    before = x._version
    with pellucid.inference_mode():
        read(pellucid.ones(2))
    read(x)
    assert x._version == before and x.grad is None and x.grad_fn is None
    assert re.fullmatch(r"<div .*</div>", x._repr_html_(), re.S)
