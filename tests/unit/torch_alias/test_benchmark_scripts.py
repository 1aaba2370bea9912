"""What `benchmarks/scripts.py` watches a script with: the losses of its backward calls, float64, compiled modules, numbers in a text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import pellucid

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
sys.path.append(str(BENCHMARKS))
from scripts import difference, nudge, process, words_of  # noqa: E402

SCRIPT = """\
import sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.captured = []

    def forward(self, x):
        self.captured.append(type(self).__call__ is not nn.Linear.__call__)
        return torch.relu(self.layer(x))

net, measure, x = Net(), nn.MSELoss(), torch.arange(6.0).reshape(2, 3)
for _ in range(int(sys.argv[1])):
    measure(net(x), x).backward()
open("kinds", "w").write(f"{x.dtype} {'_compiled_call_impl' in vars(net)} {'_compiled_call_impl' in vars(net.layer)} {any(net.captured)}")
"""


@pytest.mark.parametrize("how, dtype", [("float64", "float64"), ("compiled", "float32"), ("nudged", "float32")])
def test_side_notes_the_losses_of_a_script(tmp_path, how, dtype):
    (tmp_path / "train.py").write_text(SCRIPT)
    for name, words in (("plain", dtype.replace("float32", "")), ("other", how)):
        process([str(BENCHMARKS / "scripts.py"), "--side", "pellucid", str(tmp_path / name), "0", words, "", "train.py", "3"], tmp_path)
    plain, other = ([loss for loss, _ in json.loads((tmp_path / name).read_text())] for name in ("plain", "other"))
    assert len(plain) == 3 and difference(plain, other) < 1e-6 and (plain != other) is (how == "nudged")
    compiled = how == "compiled"
    assert (tmp_path / "kinds").read_text() == f"torch.{dtype} {compiled} False False"


@pytest.mark.parametrize("dtype", [pellucid.float32, pellucid.float64])
def test_a_nudge_moves_each_parameter_by_one_rounding(dtype):
    layer = pellucid.nn.Linear(20, 3).to(dtype)
    before = [p.detach().numpy().copy() for p in layer.parameters()]
    nudge(layer)
    for old, p in zip(before, layer.parameters()):
        apart = np.abs(p.detach().numpy() - old) / np.abs(np.spacing(old))
        assert apart.min() >= 1 and apart.max() <= 2


def test_side_stops_after_the_steps_asked_for(tmp_path):
    (tmp_path / "train.py").write_text("import matplotlib.pyplot as plt\nplt.figure(figsize=(3, 1))\n" + SCRIPT)     # there or not
    process([str(BENCHMARKS / "scripts.py"), "--side", "pellucid", str(tmp_path / "notes"), "2", "", "", "train.py", "5"], tmp_path)
    assert len(json.loads((tmp_path / "notes").read_text())) == 2
    assert not (tmp_path / "kinds").exists()


def test_a_failing_script_is_an_error_with_its_output(tmp_path):
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        process(["-c", "print('before'); 1 / 0"], tmp_path)


def test_texts_are_compared_number_by_number():
    text = "loss is 2.5e-1, tensor([1., -2.0000]) at <Net object at 0x7f12ab>"
    assert difference(words_of(text), words_of(text.replace("7f12ab", "55aa"))) == 0.0
    assert difference(words_of(text), words_of(text.replace("7f12ab", "7EFE93"))) == 0.0           # Pillow's are in capitals
    assert difference(words_of(text), words_of(text.replace("2.5e-1", "0.2500025"))) == pytest.approx(1e-5)
    assert difference(words_of(text), words_of(text.replace("Net", "Block"))) == float("inf")
    assert difference(words_of(text), words_of(text + " 3")) == float("inf")
