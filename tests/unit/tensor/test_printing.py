"""Tensors print as PyTorch prints them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import pellucid as torch

LITERAL = [
    (lambda: torch.tensor([1.0, 2.5]), "tensor([1.0000, 2.5000])"),
    (lambda: torch.tensor([1.0, 2.0]), "tensor([1., 2.])"),
    (lambda: torch.tensor([[1, 2], [30, 4]]), "tensor([[ 1,  2],\n        [30,  4]])"),
    (lambda: torch.tensor(3), "tensor(3)"),
    (lambda: torch.tensor([True, False]), "tensor([ True, False])"),
    (lambda: torch.tensor([]), "tensor([])"),
    (lambda: torch.zeros(2, 0), "tensor([], size=(2, 0))"),
    (lambda: torch.zeros(0, dtype=torch.int64), "tensor([], dtype=torch.int64)"),
    (lambda: torch.tensor([1e-5, 1.0]), "tensor([1.0000e-05, 1.0000e+00])"),
    (lambda: torch.tensor([math.nan, math.inf, 1.0]), "tensor([nan, inf, 1.])"),
    (lambda: torch.tensor([1 + 2j]), "tensor([1.+2.j])"),
    (lambda: torch.tensor([1 - 2.5j]), "tensor([1.-2.5000j])"),
    (lambda: torch.ones(2, dtype=torch.float64), "tensor([1., 1.], dtype=torch.float64)"),
    (lambda: torch.ones(2, dtype=torch.bfloat16), "tensor([1., 1.], dtype=torch.bfloat16)"),
    (lambda: torch.ones(1, requires_grad=True), "tensor([1.], requires_grad=True)"),
    (lambda: torch.ones(1, requires_grad=True) * 2, "tensor([2.], grad_fn=<MulBackward0>)"),
    (lambda: torch.arange(1001), "tensor([   0,    1,    2,  ...,  998,  999, 1000])"),
    (lambda: torch.arange(8).reshape(2, 2, 2), "tensor([[[0, 1],\n         [2, 3]],\n\n        [[4, 5],\n         [6, 7]]])"),
]


@pytest.mark.parametrize("make, expected", LITERAL, ids=[text.split("\n")[0] for _, text in LITERAL])
def test_repr(make, expected: str) -> None:
    assert repr(make()) == str(make()) == expected


def cases():
    rng = np.random.default_rng(3)
    for shape in [(), (1,), (5,), (2, 3), (30,), (2, 3, 4), (0,), (0, 3), (1200,), (40, 40), (3, 20, 30), (1, 1, 1, 1), (7, 300)]:
        for scale in (1, 1e-5, 1e5, 1e9, 1e-3):
            yield np.asarray(rng.standard_normal(shape) * scale, "f4")
        yield np.asarray(rng.integers(-1000, 1000, shape))
        yield np.asarray(rng.integers(0, 2, shape)).astype(bool)
        yield np.asarray(rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype("c8")
        yield np.asarray(rng.integers(0, 9, shape)).astype("f8")
        yield np.asarray(rng.standard_normal(shape)).astype("f2")
    for values in ([math.nan, 1], [-math.inf, 2], [math.nan], [1e10, 1], [-0.0, 1], [1e-45], [1e38, 1], [123456.0, 1e8], [1.0, 1000.0],
                   [1.0, 1001.0], [0.1, 100.0], [0.1, 101.0], [1e8], [1e8 + 8]):
        yield np.array(values, "f4")
        yield np.array([complex(v, -v) for v in values], "c8")


OPTIONS = [{}, {"precision": 2}, {"threshold": 5}, {"threshold": 5, "edgeitems": 1}, {"linewidth": 40}, {"profile": "short"}, {"profile": "full"},
           {"sci_mode": True}, {"sci_mode": False}, {"edgeitems": 0, "threshold": 2}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_as_pytorch_prints(options: dict) -> None:
    peer = pytest.importorskip("torch")
    every = 1 if not options else 7
    peer.set_printoptions(**options)
    try:
        with torch.printoptions(**options):
            for a in [*cases()][::every]:
                assert repr(torch.from_numpy(a)) == repr(peer.from_numpy(a))
                assert repr(torch.from_numpy(a).bfloat16()) == repr(peer.from_numpy(a).bfloat16()) if a.dtype == np.float32 else True
    finally:
        peer.set_printoptions(profile="default")


def test_options_are_restored() -> None:
    before = torch.get_printoptions()
    with pytest.raises(ZeroDivisionError), torch.printoptions(precision=1):
        assert repr(torch.tensor(1.25)) == "tensor(1.2)" and torch.get_printoptions()["precision"] == 1
        raise ZeroDivisionError
    assert torch.get_printoptions() == before
    with pytest.raises(ValueError, match="profile must be"):
        torch.set_printoptions(profile="tiny")


def test_large_tensors_print_at_once() -> None:
    big = torch.zeros(1).expand(10**9)
    assert repr(big) == "tensor([0., 0., 0.,  ..., 0., 0., 0.])"


def test_given_contents_and_format() -> None:
    assert torch.tensor(2.0).__repr__(tensor_contents="...") == "tensor(...)"
    assert f"{torch.tensor(2.5):.3f}" == "2.500" and f"{torch.ones(2)}" == "tensor([1., 1.])"
