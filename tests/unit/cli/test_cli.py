"""The command line: versions agree, `info` tells what a bug report needs, misuse ends with one clear line."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import pellucid
from pellucid import cli

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]


def test_one_version_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert pellucid.__version__ == PROJECT["version"]
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"pellucid {PROJECT['version']}\n"


def test_the_console_script_is_the_cli() -> None:
    try:
        scripts = metadata.distribution("pellucid").entry_points.select(group="console_scripts", name="pellucid")
    except metadata.PackageNotFoundError:
        pytest.skip("pellucid is not installed, only on the path")
    assert [script.load() for script in scripts] == [cli.main]


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["pellucid"].startswith(f"{PROJECT['version']} (")
    assert rows["python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert rows["numpy"].startswith(np.__version__)
    assert rows["threads"].startswith(f"{pellucid.get_num_threads()} of ")
    assert {"bool", "int64", "uint8", "float16", "bfloat16", "float32", "complex128"} <= set(rows["data types"].split(", "))
    assert rows["devices"] == "cpu"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["train"], "invalid choice"),
        (["demo", "--epochs", "0"], "0 is not at least 1"),
        (["demo", "--epochs", "many"], "invalid"),
    ],
)
def test_misuse(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_an_unknown_device_is_told_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert cli.main(["demo", "--device", "warp", "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert "--device warp" in message and "cpu" in message
    assert not out.exists()


def test_demo_without_pillow_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "_installed", lambda name: False)
    assert cli.main(["demo"]) == 1
    assert "pip install 'pellucid[demo]'" in capsys.readouterr().err


def test_starting_imports_neither_pillow_nor_rich() -> None:
    code = "import sys, pellucid.cli; print(sorted({'PIL', 'rich', 'scipy', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
