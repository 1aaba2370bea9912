"""The tape as text and as a picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

import pellucid as torch
from pellucid import nn
from pellucid.autograd.graph import Drawing, draw


def made():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    h = net(torch.ones(5, 4))
    y = h * 2
    return net, (y + h.softmax(-1) * y).mean()


def test_text():
    net, loss = made()
    assert str(draw(loss, names=net)).splitlines() == [
        " 1 MeanBackward0 []",
        " 2   AddBackward0 [5, 2]",
        " 5     MulBackward0 [5, 2]",
        " 6       LinearBackward0 [5, 2]",
        " 7         ReluBackward0 [5, 3]",
        " 8           LinearBackward0 [5, 3]",
        "11             0.weight [3, 4]",
        "12             0.bias [3]",
        " 9         2.weight [2, 3]",
        "10         2.bias [2]",
        " 3     MulBackward0 [5, 2]",
        " 4       SoftmaxBackward0 [5, 2]",
        " 6         LinearBackward0 [5, 2] (above)",
        " 5       MulBackward0 [5, 2] (above)",
    ]


def test_the_users_lines_in_anomaly_mode():
    x = torch.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="Anomaly Detection"):
        anomaly = torch.autograd.detect_anomaly(check_nan=False)
    with anomaly:
        y = (x * 3).sum()
    first, second, leaf = str(draw(y, names={"the x": x})).splitlines()
    assert re.fullmatch(r"1 SumBackward0 \[\]\s+.*test_drawing\.py:\d+: y = \(x \* 3\)\.sum\(\)", first)
    assert "test_drawing.py" in second
    assert leaf == "3     the x [2]"
    assert "test_drawing.py" in draw(y).svg


def test_several_results_several_outputs_and_leaves():
    x = torch.ones(3, 2, requires_grad=True)
    a, b = (x * 1).unbind(1)
    d = draw((a * b).sum(), torch.cat([a, b]), x)
    assert [d.boxes[r].title for r in d.roots] == ["SumBackward0", "CatBackward0", "leaf"]
    assert [b.title for b in d.boxes].count("leaf") == 1
    assert repr(d) == "<Drawing of 7 nodes>"
    lines = str(draw(x)).splitlines()
    assert lines == ["1 leaf [3, 2]"]


def test_custom_functions_and_views_are_drawn():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = torch.ones(4, requires_grad=True)
    y = Double.apply(x)
    z = y * 1
    z[:2].mul_(2)
    titles = [b.title for b in draw(z.sum()).boxes]
    assert "DoubleBackward" in titles and "CopySlices" in titles
    with torch.no_grad():
        view = x[:2]
    assert len(draw((view * torch.ones(2, requires_grad=True)).sum()).boxes) == 3


def test_the_picture_is_svg_with_every_box_apart_from_the_others(tmp_path):
    net, loss = made()
    d = draw(loss, names=net)
    path = tmp_path / "graph.svg"
    d.save(path)
    root = ElementTree.fromstring(path.read_text())
    assert d._repr_svg_() == path.read_text()
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    groups = root.findall(f"{space}g")
    assert len(groups) == len(d.boxes) == 12
    assert [g.get("class") for g in groups].count("leaf") == 4
    assert groups[0].get("class") == "root"
    width, height = map(float, root.get("viewBox").split()[2:])
    rects = [tuple(float(g.find(f"{space}rect").get(k)) for k in ("x", "y", "width", "height")) for g in groups]
    for i, (x, y, w, h) in enumerate(rects):
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
        for a, b, c, e in rects[:i]:
            assert x + w <= a or a + c <= x or y + h <= b or b + e <= y
    for i, b in enumerate(d.boxes):
        assert all(rects[k][1] > rects[i][1] for k in b.inputs)
    assert len(root.findall(f"{space}path")) == sum(len(b.inputs) for b in d.boxes)
    d.save(tmp_path / "graph.txt")
    assert (tmp_path / "graph.txt").read_text() == f"{d}\n"


def test_names_are_escaped():
    x = torch.ones(2, requires_grad=True)
    svg = draw(x * 2, names={"<a & b>": x}).svg
    assert "&lt;a &amp; b&gt;" in svg
    ElementTree.fromstring(svg)


def test_long_chains_need_no_recursion():
    x = torch.ones(1, requires_grad=True)
    y = x
    for _ in range(3000):
        y = y * 1.0
    d = draw(y)
    assert len(d.boxes) == 3001
    assert len(str(d).splitlines()) == 3001
    assert isinstance(d, Drawing) and d.svg.endswith("</svg>")


def test_what_was_not_recorded_is_refused():
    with pytest.raises(RuntimeError, match="require grad"):
        draw(torch.ones(2))
    with pytest.raises(RuntimeError, match="require grad"):
        draw(3)
