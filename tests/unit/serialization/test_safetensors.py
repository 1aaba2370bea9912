"""safetensors both ways, against the safetensors package."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import pellucid
from pellucid.core.dtype import ALL
from pellucid.serialization import CheckpointError, load
from pellucid.serialization import safetensors as st

KINDS = [d for d in ALL if d is not pellucid.complex128]


def sample() -> dict:
    tensors = {d.name: pellucid.tensor([0, 1, 2]).to(d) for d in KINDS}
    return {**tensors, "matrix": pellucid.arange(6.0).reshape(2, 3), "scalar": pellucid.tensor(2.5), "empty": pellucid.zeros(2, 0), 'é"\n': pellucid.ones(1)}


def same(a: dict, b: dict) -> bool:
    return set(a) == set(b) and all(a[k].dtype is b[k].dtype and a[k].shape == b[k].shape and a[k]._a.tobytes() == b[k]._a.tobytes() for k in a)


def test_round_trip(tmp_path: Path) -> None:
    tensors = sample()
    assert same(st.load(st.save(tensors)), tensors) and st.load(st.save({})) == {}
    path = tmp_path / "x.safetensors"
    st.save_file(tensors, path, {"note": "ü"})
    assert same(st.load_file(path), tensors) and same(load(path), tensors) and os.listdir(tmp_path) == ["x.safetensors"]
    with st.safe_open(path, framework="pt", device="cpu") as file:
        assert file.metadata() == {"note": "ü"} and set(file.keys()) == set(tensors) == set(file) and len(file) == len(tensors)
        assert file.get_tensor("matrix").tolist() == [[0, 1, 2], [3, 4, 5]]
        with pytest.raises(KeyError, match="holds no tensor 'nope'"):
            file.get_tensor("nope")
    with st.safe_open(path, framework="np") as file:
        assert isinstance(file.get_tensor("matrix"), np.ndarray)
    with pytest.raises(ValueError, match="framework 'jax' is not known"):
        st.safe_open(path, framework="jax")


def test_files_are_those_of_the_safetensors_package() -> None:
    theirs = pytest.importorskip("safetensors.numpy")
    arrays = {"b": np.ones(3, "f4"), "a": np.ones((2, 2), "i8"), "z": np.zeros(0, "u1"), "s": np.array(True), "h": np.ones(1, "f2"),
              "a2": np.ones(1, "i8"), "c": np.ones(2, "i1"), "u": np.ones(2, "u4"), "d": np.ones(2), "x": np.ones(2, "c8")}
    ours = {name: pellucid.from_numpy(a) for name, a in arrays.items()}
    assert st.save(ours, {"k": "v"}) == theirs.save(arrays, {"k": "v"}) and st.save({}) == theirs.save({})
    back = theirs.load(st.save(ours))
    assert all(back[k].dtype == a.dtype and np.array_equal(back[k], a) for k, a in arrays.items())
    assert same(st.load(theirs.save(arrays, {"k": "v"})), ours)


def test_with_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")
    tensors = sample()
    st.save_file(tensors, tmp_path / "x.safetensors")
    found = theirs.load_file(tmp_path / "x.safetensors")
    assert {k: str(v.dtype) for k, v in found.items()} == {k: str(v.dtype) for k, v in tensors.items()}
    theirs.save_file(found, tmp_path / "y.safetensors")
    assert (tmp_path / "y.safetensors").read_bytes() == (tmp_path / "x.safetensors").read_bytes()
    assert torch.equal(found["matrix"], torch.arange(6.0).reshape(2, 3))


def test_what_is_not_written(tmp_path: Path) -> None:
    x = pellucid.ones(2, 2)
    path = tmp_path / "x.safetensors"
    for bad, error, text in (
        ({"a": pellucid.arange(6).reshape(2, 3).t()}, ValueError, "You are trying to save a non contiguous tensor: `a`"),
        ({"a": x, "b": x}, RuntimeError, r"Some tensors share memory.*\['a', 'b'\]"),
        ({"a": x, "b": x[1], "c": pellucid.ones(1)}, RuntimeError, "Some tensors share memory"),
        ({"a": 1}, ValueError, "Key `a` is invalid, expected torch.Tensor but received <class 'int'>"),
        ([x], ValueError, "Expected a dict"), ({1: x}, TypeError, "names must be strings"),
        ({"__metadata__": x}, ValueError, "reserved"), ({"a": x.to(pellucid.complex128)}, ValueError, "which safetensors has no form for"),
    ):
        with pytest.raises(error, match=text):
            st.save_file(bad, path)
    with pytest.raises(TypeError, match="metadata must be a dict of strings"):
        st.save({"a": x}, {"a": 1})
    assert os.listdir(tmp_path) == []
    assert same(st.load(st.save({"a": x[0], "b": x[1]})), {"a": x[0], "b": x[1]})      # parts that do not overlap


def test_arguments_of_load(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    st.save_file({"a": pellucid.ones(1)}, path)
    assert load(path, map_location="cpu")["a"].tolist() == [1]
    with pytest.raises(RuntimeError, match="dict or callable map_location is not supported"):
        load(path, map_location={})
    with pytest.raises(RuntimeError, match="cuda"):
        st.load_file(path, device="cuda")
    with pytest.raises(FileNotFoundError):
        st.load_file(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="length of the header"):
        st.load(b"")
