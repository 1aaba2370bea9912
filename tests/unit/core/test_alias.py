"""pellucid known by a second name in `sys.modules`: the same modules, each loaded once."""
from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

import pellucid


@pytest.fixture
def other() -> Iterator[str]:
    name = "another_name"
    sys.modules[name] = pellucid
    yield name
    for known in [n for n in sys.modules if n.partition(".")[0] == name]:
        del sys.modules[known]


def test_a_submodule_is_the_very_module(other: str) -> None:
    for rest in ("nn", "nn.functional", "nn.utils.rnn", "utils.data", "optim.lr_scheduler", "fft"):
        real = importlib.import_module(f"pellucid.{rest}")
        spec, loader = real.__spec__, real.__loader__
        assert importlib.import_module(f"{other}.{rest}") is real is sys.modules[f"{other}.{rest}"]
        assert (real.__name__, real.__spec__, real.__loader__) == (f"pellucid.{rest}", spec, loader)
    scope: dict = {}
    exec(f"from {other}.nn import functional as F, Linear\nimport {other}.nn.functional as G\nfrom {other} import nn, tensor", scope)
    assert scope["F"] is scope["G"] is pellucid.nn.functional and scope["Linear"] is pellucid.nn.Linear
    assert scope["nn"] is pellucid.nn and callable(scope["tensor"])


def test_a_part_may_have_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "layers", pellucid.nn)
    monkeypatch.delitem(sys.modules, "layers.functional", raising=False)
    assert importlib.import_module("layers.functional") is pellucid.nn.functional
    monkeypatch.delitem(sys.modules, "layers.functional")


def test_what_is_missing_is_named(other: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"{other}.nn.nowhere") as caught:
        importlib.import_module(f"{other}.nn.nowhere")
    assert caught.value.name == f"{other}.nn.nowhere"
    with pytest.raises(ModuleNotFoundError, match="pellucid.nowhere"):
        importlib.import_module("pellucid.nowhere")
    assert importlib.util.find_spec(f"{other}.nowhere") is None
    with pytest.raises(ModuleNotFoundError, match=f"{other}.tensor"):       # a function; the package of that name is pellucid's own affair
        importlib.import_module(f"{other}.tensor.core")
    assert callable(pellucid.tensor)
    found = importlib.util.find_spec(f"{other}.nn")
    assert found is not None and found.origin == pellucid.nn.__file__ and found.submodule_search_locations is not None


def test_in_a_fresh_process_nothing_is_loaded_twice_or_early() -> None:
    code = """
        import sys, pellucid
        early = set(sys.modules)
        sys.modules["torch"] = pellucid
        assert "pellucid.optim" not in early
        import torch, torch.nn.functional as F
        from torch.optim.lr_scheduler import StepLR
        from torch.utils.data import DataLoader
        from torch.utils import data
        assert torch.optim is sys.modules["pellucid.optim"] is sys.modules["torch.optim"]
        assert StepLR is pellucid.optim.lr_scheduler.StepLR and DataLoader is data.DataLoader
        assert isinstance(F.relu(torch.tensor([1.0])), pellucid.Tensor)
        files = [m.__file__ for n, m in {id(m): (n, m) for n, m in sys.modules.items()}.values()
                 if n.startswith(("pellucid", "torch")) and getattr(m, "__file__", None)]
        assert len(files) == len(set(files))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)
