"""Edges of the functions that make tensors, as PyTorch's own tests have them."""
from __future__ import annotations

import numpy as np
import pytest

import pellucid as torch


def test_ranges_fill_an_out_of_any_shape() -> None:
    for make, values in ((lambda out: torch.arange(4, out=out), [0, 1, 2, 3]), (lambda out: torch.range(0, 3, out=out), [0, 1, 2, 3]),
                         (lambda out: torch.linspace(0, 3, 4, out=out), [0, 1, 2, 3]),
                         (lambda out: torch.logspace(0, 3, 4, 2, out=out), [1, 2, 4, 8])):
        x = torch.zeros(2, 3)
        make(x.narrow(1, 1, 2))
        assert x[:, 1:].reshape(-1).tolist() == values and not x[:, 0].any()
        assert make(torch.empty(0)).tolist() == values
    for bad, text in ((lambda: torch.range(3, 0), "inconsistent with step sign"), (lambda: torch.range(0, 3, 0), "step must be nonzero"),
                      (lambda: torch.range(0, float("inf")), "unsupported range"),
                      (lambda: torch.logspace(0, 1j, 5, dtype=torch.float32), r"torch.logspace\(\): inferred dtype")):
        with pytest.raises(RuntimeError, match=text):
            bad()


def test_an_out_means_the_same_whoever_watches() -> None:
    def check() -> None:
        assert torch.arange(4, out=torch.zeros(2, 2)).tolist() == [[0, 1], [2, 3]]
        wide = torch.full((1,), 0.1, out=torch.empty(1, dtype=torch.float64))
        assert wide.item() == 0.1                                                      # not float32's
        with pytest.raises(RuntimeError, match="does not match dtype of out parameter"):
            torch.zeros(2, dtype=torch.int64, out=torch.empty(2))
    check()
    with torch.profiler.profile():
        check()


def test_a_compiled_range_has_the_shape_of_its_out() -> None:
    @torch.compile(fullgraph=True)
    def f(out):
        return torch.arange(4, out=out) + 1
    out = torch.zeros(2, 2)
    assert f(out).tolist() == [[1, 2], [3, 4]] and out.tolist() == [[0, 1], [2, 3]]


def test_numbers_beyond_64_bits_become_floats() -> None:
    assert torch.tensor([2**64, 1], dtype=torch.float32).tolist() == [2.0**64, 1.0]
    assert torch.tensor(2**64, dtype=torch.float64).item() == 2.0**64
    with pytest.raises(ValueError, match="Overflow when unpacking long long"):
        torch.tensor(2**64)


def test_what_no_tensor_can_be_made_of() -> None:
    with pytest.raises(TypeError, match="invalid data type 'str'"):
        torch.tensor([0, "torch"])
    with pytest.raises(ValueError, match="too many dimensions 'str'"):
        torch.tensor(["torch", 0])
    with pytest.raises(RuntimeError, match="can't alias NumPy scalars"):
        torch.asarray(np.float64(0.5), copy=False)


def test_complex_elements_as_python_numbers() -> None:
    assert float(torch.tensor(1.5 + 0j)) == 1.5 and complex(torch.tensor(1.5j)) == 1.5j
    for convert in (float, int):
        with pytest.raises(RuntimeError, match="without overflow"):
            convert(torch.tensor(1.5j))
    with pytest.raises(RuntimeError, match="Expected object of scalar type ComplexFloat but got scalar type Float for argument 'out'"):
        torch.polar(torch.ones(2), torch.ones(2), out=torch.zeros(2))


def test_shapes_of_small_inputs() -> None:
    assert torch.combinations(torch.empty(0)).shape == (0, 2) and torch.combinations(torch.arange(3), 5).shape == (0, 5)
    with pytest.raises(RuntimeError, match="must align"):
        torch.zeros(2, 4).roll((1,), (1, 2))
    for bad in (lambda: torch.repeat_interleave(torch.ones(2, 2, dtype=torch.int64)), lambda: torch.repeat_interleave(torch.ones(2)),
                lambda: torch.repeat_interleave(torch.ones(4), torch.ones(2, 2, dtype=torch.int64))):
        with pytest.raises(RuntimeError, match="repea"):
            bad()


def test_a_mapped_storage_knows_its_file(tmp_path) -> None:
    path = str(tmp_path / "values")
    shared = torch.from_file(path, shared=True, size=4)
    assert shared.untyped_storage().filename == path
    assert torch.from_file(path, shared=False, size=4).untyped_storage().filename is None
    assert torch.ones(2).untyped_storage().filename is None
    with pytest.raises(RuntimeError, match="number of sizes provided"):
        torch.zeros(2).map_(torch.zeros(3, 2), lambda a, b: a + b)
