"""Every optimiser walks PyTorch's path: against recorded float64 values, and against torch itself where it is installed.

`python test_trajectories.py` records `trajectories.json` from torch.
"""

from __future__ import annotations

import importlib
import json
import pathlib

import numpy as np
import pytest

RECORDED = pathlib.Path(__file__).with_name("trajectories.json")
STEPS = 8

CASES: list[tuple[str, dict]] = [
    ("SGD", {}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.01, "maximize": True, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.05, "fused": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.01, "betas": (0.2, 0.5), "maximize": True, "foreach": True}),
    ("Adam", {"lr": 0.0}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.3, "maximize": True, "fused": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.1, "initial_accumulator_value": 0.1, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.95, "weight_decay": 0.9, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"weight_decay": 0.1, "betas": (0.3, 0.9), "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"weight_decay": 0.1, "momentum_decay": 0.006, "maximize": True}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.9, 0.6)}),
    ("RMSprop", {}),
    ("RMSprop", {"weight_decay": 0.1, "centered": True}),
    ("RMSprop", {"weight_decay": 0.1, "centered": True, "momentum": 0.1, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"etas": (0.4, 1.5), "step_sizes": (0.01, 0.5), "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"t0": 3, "lr": 0.05, "weight_decay": 0.1, "lambd": 0.1, "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.1, "d": 1.5, "weight_decay": 0.1, "eps": (1e-3, 1e-2), "beta2_decay": -0.3, "maximize": True}),
    ("LBFGS", {"lr": 0.1, "max_iter": 3}),
    ("LBFGS", {"line_search_fn": "strong_wolfe", "history_size": 3, "max_iter": 2}),
]
IDS = [f"{name}-{','.join(f'{k}={v}' for k, v in options.items())}" for name, options in CASES]


def start() -> list[np.ndarray]:
    """Three parameters: a matrix, a vector, a number."""
    wave = np.sin(np.arange(17.0) * 1.7 + 0.3)
    return [wave[:12].reshape(4, 3), wave[12:16] * 0.5, np.asarray(wave[16])]


def loss_and_grads(params: list[np.ndarray]) -> tuple[float, list[np.ndarray]]:
    """A smooth, not quadratic function, and its gradient."""
    loss, grads = 0.0, []
    for i, p in enumerate(params):
        target = np.cos(np.arange(p.size) + i).reshape(p.shape)
        loss += float(((p - target) ** 2).sum() + 0.25 * (p**4).sum())
        grads.append(2 * (p - target) + p**3)
    return loss, grads


def walk(lib, name: str, options: dict, dtype: str = "float64", steps: int = STEPS) -> list[np.ndarray]:
    """The parameters after `steps` steps of an optimiser of `lib` (pellucid or torch)."""
    params = [lib.tensor(a.astype(dtype)).requires_grad_() for a in start()]
    optimizer = getattr(lib.optim, name)(params, **options)

    def closure():
        loss, grads = loss_and_grads([p.detach().numpy() for p in params])
        for p, g in zip(params, grads):
            p.grad = lib.tensor(np.asarray(g).astype(dtype))
        return lib.tensor(loss, dtype=getattr(lib, dtype))

    for _ in range(steps):
        if name == "LBFGS":
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    return [p.detach().numpy().copy() for p in params]


@pytest.mark.parametrize("i", range(len(CASES)), ids=IDS)
def test_recorded_float64_path(i):
    import pellucid

    recorded = json.loads(RECORDED.read_text())
    name, options = CASES[i]
    for got, want in zip(walk(pellucid, name, options), recorded[IDS[i]]):
        np.testing.assert_allclose(got, np.array(want), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("i", range(len(CASES)), ids=IDS)
def test_torch_float32_path(i):
    torch = pytest.importorskip("torch")
    import pellucid

    name, options = CASES[i]
    # L-BFGS divides differences of nearly equal numbers, so its float32 path is only roughly determined.
    tolerance = 1e-3 if name == "LBFGS" else 2e-6
    for got, want in zip(walk(pellucid, name, options, "float32"), walk(torch, name, options, "float32")):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adagrad", "RMSprop", "ASGD", "NAdam", "Adamax", "Adadelta", "RAdam", "Rprop", "Adafactor"])
def test_torch_tensor_learning_rate(name):
    torch = pytest.importorskip("torch")
    import pellucid

    ours = walk(pellucid, name, {"lr": pellucid.tensor(0.01)})
    theirs = walk(torch, name, {"lr": torch.tensor(0.01)})
    for got, want in zip(ours, theirs):
        np.testing.assert_allclose(got, want, rtol=1e-6)  # the rate's float32 arithmetic may differ by an ulp


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "NAdam", "Adagrad"])
def test_torch_bfloat16_rounds_after_every_operation(name):
    torch = pytest.importorskip("torch")
    import pellucid

    def bits(lib):
        p = lib.tensor(start()[0].astype(np.float32)).to(lib.bfloat16).requires_grad_()
        optimizer = getattr(lib.optim, name)([p], lr=0.01, weight_decay=0.1)
        for k in range(6):
            p.grad = lib.tensor(np.cos(start()[0] * k).astype(np.float32)).to(lib.bfloat16)
            optimizer.step()
        return p.detach().to(lib.float32).numpy()

    np.testing.assert_array_equal(bits(pellucid), bits(torch))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "ASGD"])
def test_torch_complex_parameters(name):
    torch = pytest.importorskip("torch")
    import pellucid

    def path(lib):
        first = start()[0]
        p = lib.tensor(first + 1j * np.cos(first)).requires_grad_()
        optimizer = getattr(lib.optim, name)([p], lr=0.01)
        for k in range(5):
            p.grad = lib.tensor(np.cos(first * k) + 1j * np.sin(first + k))
            optimizer.step()
        return p.detach().numpy()

    np.testing.assert_allclose(path(pellucid), path(torch), rtol=1e-12)


if __name__ == "__main__":
    torch = importlib.import_module("torch")
    paths = {i: [p.tolist() for p in walk(torch, name, options)] for i, (name, options) in zip(IDS, CASES)}
    RECORDED.write_text(json.dumps(paths, indent=0) + "\n")
