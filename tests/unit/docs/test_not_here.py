"""The page of what is not here tells the truth, and the table of PyTorch's tests adds up."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

import pellucid

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
NAMES = [name for row in re.findall(r"^\| (`.*?) \|", (REFERENCE / "not-here.md").read_text(), re.M) for name in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize("name", NAMES)
def test_absent(name):
    owner = pellucid
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    assert not hasattr(owner, last)


def test_the_page_names_many():
    assert len(NAMES) > 50 and len(set(NAMES)) == len(NAMES)


def test_table_of_pytorchs_tests():
    rows = re.findall(r"^\| (\S+) \| (\d+) \| (\d+) \| ([\d.]+) \|$", (REFERENCE / "pytorch-tests.md").read_text(), re.M)
    *files, (name, *total) = rows
    assert name == "**all**" and len(files) == 29
    assert [int(total[0]), int(total[1])] == [sum(int(r[i]) for r in files) for i in (1, 2)]
    for _, accepted, passing, percent in rows:
        assert f"{100 * int(passing) / int(accepted):.1f}" == percent
        assert int(passing) >= 0.4 * int(accepted)
