"""Scripts that say `import torch`: each in a process of its own, because the name stays taken in it."""
from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# What stands for PyTorch where it is installed; importing it would show.
REAL = "raise SystemExit('PyTorch was touched')\n"


def python(*arguments: str, cwd: Path, status: int = 0, path: Path | None = None) -> str:
    """Run Python; what it printed."""
    folders = [str(ROOT), *([str(path)] if path else [])]
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=110,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"})
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def script(tmp_path: Path):
    """Write a script, run it by `pellucid run`; what it printed."""
    def run(text: str, *options: str, arguments: tuple[str, ...] = (), status: int = 0) -> str:
        file = tmp_path / "script.py"
        file.write_text(textwrap.dedent(text))
        return python("-m", "pellucid", "run", *options, str(file), *arguments, cwd=tmp_path, status=status)
    return run


def test_names_are_pellucids_own(script) -> None:
    script("""
        import sys
        import torch, torch.nn as nn, torch.nn.functional as F
        import torch.cuda.amp, torch.backends.cudnn as cudnn
        import torch.optim.lr_scheduler
        from torch import optim, Tensor
        from torch.utils.data import DataLoader, TensorDataset
        from torch.utils.data.dataloader import DataLoader as Same
        from torch.autograd import Variable
        import pellucid
        assert nn is pellucid.nn is sys.modules["torch.nn"] and F is pellucid.nn.functional and optim is pellucid.optim
        assert Same is DataLoader is pellucid.utils.data.DataLoader
        assert isinstance(pellucid.ones(2), torch.Tensor) and Tensor is pellucid.Tensor
        assert issubclass(nn.Linear, torch.nn.modules.module.Module)
        assert torch.float32 is pellucid.float32 and str(torch.float32) == "torch.float32"
        loaded = [m.__file__ for m in {id(m): m for n, m in sys.modules.items() if n.startswith(("torch", "pellucid"))}.values()
                  if getattr(m, "__file__", None)]
        assert len(loaded) == len(set(loaded))
        assert set(dir(pellucid)) <= set(dir(torch)) and torch.linalg is pellucid.linalg
        from pellucid.core.alias import HEADS
        assert HEADS == {"torch": "pellucid", "torchvision": "pellucid.vision"}
        HEADS["optics"] = "pellucid.optim"          # a head that is a part, as torchvision is
        import optics.lr_scheduler as schedulers
        from optics import SGD
        assert schedulers is pellucid.optim.lr_scheduler and SGD is pellucid.optim.SGD and sys.modules["optics"] is pellucid.optim
    """)


def test_the_version_is_one_of_pytorch(script) -> None:
    script("""
        import torch
        v = torch.__version__
        assert isinstance(v, str) and v.endswith("+pellucid")
        assert int(v.split(".")[0]) == 2 and v >= "2.2" and v > "2.9" and not v < "2.13" and v >= (2, 0) and v <= (2, 99) and v < "10"
        assert torch.version.cuda is None
        torch.my_own = 1                # what a script puts there is there for it, and nowhere else
        import pellucid
        assert torch.my_own == 1 and not hasattr(pellucid, "my_own")
    """)


def test_a_script_runs_as_python_runs_it(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "beside.py").write_text("import torch\nSIZE = torch.zeros(3).numel()\n")
    (tmp_path / "work" / "train.py").write_text(textwrap.dedent("""
        import inspect, pickle, sys
        import torch
        import beside
        class Net(torch.nn.Linear):
            pass
        def main():
            assert __file__ == sys.modules["__main__"].__file__ and inspect.getsource(main).startswith("def main")
            assert pickle.loads(pickle.dumps(Net)) is Net
            print(__name__, sys.argv[1:], beside.SIZE, sys.path[0])
            sys.exit(7)
        if __name__ == "__main__":
            main()
    """))
    for start in (("-m", "pellucid", "run"), ("-m", "pellucid.torch_alias")):
        said = python(*start, "work/train.py", "--lr", "0.1", "x", cwd=tmp_path, status=7)
        assert said == f"__main__ ['--lr', '0.1', 'x'] 3 {tmp_path / 'work'}\n"
    assert "there is no" in python("-m", "pellucid", "run", "nowhere.py", cwd=tmp_path, status=2)
    assert "usage" in python("-m", "pellucid.torch_alias", cwd=tmp_path, status=1)


def test_pytorch_is_not_touched_where_it_is_installed(tmp_path: Path) -> None:
    for name in ("torch", "torchvision"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(REAL)
        (tmp_path / name / "only_there.py").write_text(REAL)
    python("-c", textwrap.dedent("""
        import pellucid.torch_alias, torch
        assert torch.ones(1).item() == 1
        for name in ("torch.only_there", "torchvision.only_there"):
            try:
                __import__(name)
            except ImportError:
                pass
            else:
                raise AssertionError(name)
    """), cwd=tmp_path, path=tmp_path)


def test_pytorch_imported_before_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")
    said = python("-c", "import torch\nimport pellucid.torch_alias", cwd=tmp_path, path=tmp_path, status=1)
    assert "RuntimeError: pellucid.torch_alias: torch has been imported already" in said and "torch.py" in said


def test_starting_the_command_line_does_not_take_the_name(tmp_path: Path) -> None:
    python("-c", "import sys, pellucid.cli; assert 'torch' not in sys.modules and 'pellucid.torch_alias' not in sys.modules", cwd=tmp_path)


MISSING = [
    ("torch.sofmax", "AttributeError", "torch.sofmax", "torch.softmax"),
    ("from torch import sofmax", "ModuleNotFoundError", "torch.sofmax", "torch.softmax"),
    ("from torch.nn import Linaer", "ModuleNotFoundError", "torch.nn.Linaer", "torch.nn.Linear"),
    ("from torch.nn.functional import reluu", "ModuleNotFoundError", "torch.nn.functional.reluu", "torch.nn.functional.relu"),
    ("import torch.nn.functionl", "ModuleNotFoundError", "torch.nn.functionl", "torch.nn.functional"),
    ("import torch.utils.dta.sampler", "ModuleNotFoundError", "torch.utils.dta", "torch.utils.data"),
    ("import torch.nowhere_at_all", "ModuleNotFoundError", "torch.nowhere_at_all", None),
]


def test_what_is_missing_is_named_with_the_nearest(script) -> None:
    said = script(f"""
        import torch
        for line in {[line for line, *_ in MISSING]}:
            try:
                exec(line)
            except Exception as error:
                print(f"{{type(error).__name__}}: {{error}}")
    """).splitlines()
    assert len(said) == len(MISSING)
    for text, (_, error, name, near) in zip(said, MISSING):
        assert text.startswith(f"{error}: {name} is not in pellucid")
        assert text.endswith(f"the nearest name is {near}" if near else "stands in for torch here")


def test_what_is_missing_can_be_asked_for(script) -> None:
    script("""
        import torch
        assert not hasattr(torch, "sofmax") and not hasattr(torch.nn, "Linaer") and getattr(torch, "_dynamo_", None) is None
        try:
            from torch.utils import nothing_like_it
        except ImportError:
            nothing_like_it = None
    """)


def test_missing_names_are_listed_without_running(tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text("from torch import nn\n\ndef make():\n    return nn.Linaer(1, 1)\n\nimport train\n")
    (tmp_path / "train.py").write_text(textwrap.dedent("""
        import torch
        import torch.nn.functional as F
        import numpy as np
        from torch.utils.data import DataLoader, Datasett
        from layers import make
        raise SystemExit("it ran")
        F.reluu(torch.Tensor.sumn, torch.ones(2).nothing, torch.version.cuda.anything, np.nothing)
    """))
    said = python("-m", "pellucid", "run", "--missing", "train.py", cwd=tmp_path, status=1).splitlines()
    assert said == [
        "train.py:5: torch.utils.data.Datasett is not there; the nearest name is torch.utils.data.Dataset",
        "train.py:8: torch.nn.functional.reluu is not there; the nearest name is torch.nn.functional.relu",
        "train.py:8: torch.Tensor.sumn is not there; the nearest name is torch.Tensor.sum",
        f"{tmp_path / 'layers.py'}:4: torch.nn.Linaer is not there; the nearest name is torch.nn.Linear",
    ]
    (tmp_path / "good.py").write_text("import torch.nn as nn\nnn.Linear(2, 2)\n")
    assert python("-m", "pellucid", "run", "--missing", "good.py", cwd=tmp_path) == ""


def test_float64_reaches_what_says_float32(script) -> None:
    text = """
        import numpy as np
        import torch
        from torch.utils.data import DataLoader
        array = np.ones(2, np.float32)
        class Rows(torch.utils.data.Dataset):
            def __len__(self):
                return 4
            def __getitem__(self, i):
                return array, np.float32(i), torch.from_numpy(array), i * 0.5
        made = [torch.randn(2), torch.nn.Linear(2, 2).weight, torch.zeros(2, dtype=torch.float32), torch.arange(2).float(), torch.Tensor([1]),
                torch.FloatTensor([1]), torch.from_numpy(array), torch.tensor(array), torch.as_tensor(array), torch.zeros(2).to(torch.float),
                torch.nn.Linear(2, 2).half().float().weight, *next(iter(DataLoader(Rows(), 2)))]
        print({str(t.dtype) for t in made}, torch.zeros(1).half().dtype, torch.tensor(array, requires_grad=True).is_leaf)
    """
    assert script(text, "--float64") == "{'torch.float64'} torch.float16 True\n"
    assert "torch.float32" in script(text)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_loader_processes_know_torch(script, method: str) -> None:
    said = script(f"""
        import torch
        from torch.utils.data import DataLoader, Dataset
        class Numbers(Dataset):
            def __len__(self):
                return 8
            def __getitem__(self, i):
                return torch.full((2,), i, dtype=torch.float32)
        if __name__ == "__main__":
            batches = list(DataLoader(Numbers(), batch_size=4, num_workers=2, multiprocessing_context="{method}"))
            print([b.sum().item() for b in batches], batches[0].dtype)
    """, "--float64")
    assert said == "[12.0, 44.0] torch.float64\n"


def test_a_compiled_step_under_the_name_torch(script) -> None:
    script("""
        import torch
        import torch.nn.functional as F
        model = torch.nn.Linear(3, 2)
        step = torch.compile(lambda x: F.relu(model(x)).sum() * torch.tensor(2.0) + torch.ones(1, dtype=torch.float32))
        x = torch.randn(4, 3)
        assert torch.allclose(step(x), F.relu(model(x)).sum() * 2 + 1)
        assert len(step.breaks) == 0
    """)


def test_pytest_takes_it_as_a_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text("import torch\n\ndef test_sum():\n    assert torch.ones(3).sum().item() == 3\n")
    assert "1 passed" in python("-m", "pytest", "-q", "-p", "pellucid.torch_alias", "test_theirs.py", cwd=tmp_path)


def test_dynamo_is_imported_as_scripts_do(script) -> None:
    assert script("""
        import torch._dynamo, torch._dynamo.config
        from torch._dynamo import OptimizedModule, config
        from torch._dynamo.testing import CompileCounter
        torch._dynamo.config.suppress_errors = True
        print(config.suppress_errors, isinstance(torch.compile(torch.nn.Linear(1, 1)), OptimizedModule), CompileCounter().frame_count)
    """) == "True True 0\n"
