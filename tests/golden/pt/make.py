"""Wrote the checkpoints in this folder, with PyTorch 2.13 (CPU): `python make.py`. The tests read them without PyTorch.

Every value is a small arange, so that the tests can say what each tensor holds.
"""

import collections
import pathlib

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent


def model() -> dict:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    with torch.no_grad():
        for n, p in enumerate(net.parameters()):
            p.copy_(torch.arange(p.numel()).reshape(p.shape) + n)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.25)
    net(torch.arange(6.0).reshape(2, 3)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        for n, p in enumerate(net.parameters()):
            p.copy_(torch.arange(p.numel()).reshape(p.shape) + n)
            optimizer.state[p]["momentum_buffer"] = torch.full_like(p, n)
    return {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "loss": 0.25, "note": "größe"}


def containers(numpy: bool) -> dict:
    base = torch.arange(12.0).reshape(3, 4)
    tied = torch.nn.Parameter(torch.arange(3.0))
    marked = torch.arange(2.0)
    marked.label = {"kind": "marked"}
    out = {
        "base": base, "row": base[1], "column": base[:, 2], "transposed": base.t(), "expanded": base[0].expand(2, 4),
        "every other": base.flatten()[1:10:3], "tied": [tied, tied], "frozen": torch.nn.Parameter(torch.ones(2), requires_grad=False),
        "needs grad": torch.ones(1, requires_grad=True), "marked": marked, "scalar": torch.tensor(7), "empty": torch.zeros(2, 0, 3),
        "dtypes": {str(d)[6:]: torch.tensor([0, 1, 2]).to(d) for d in (
            torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
            torch.float32, torch.float64, torch.complex64, torch.complex128)},
        "conj": torch.tensor([1 + 2j]).conj(), "size": torch.Size([2, 3]), "dtype": torch.bfloat16, "device": torch.device("cpu"),
        "plain": [None, True, False, 0, -1, 255, 65535, 2**31 - 1, 2**31, -(2**63), 2**70, 1.5, float("inf"), "text", "", b"bytes",
                  bytearray(b"array"), 1 + 2j, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {1, 2}, []],
        "ordered": collections.OrderedDict([("b", 1), ("a", 2)]), "counter": collections.Counter("aab"),
        "long list": list(range(1001)), "long dict": {n: str(n) for n in range(1001)},
    }
    if numpy:
        out["numpy"] = [np.float64(1.5), np.int32(-3), np.arange(4).reshape(2, 2), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
                        np.array([1, 2], ">i2"), np.array(["ab", "c"]), np.bool_(True)]
        out["default"] = collections.defaultdict(list, {"k": [1]})
        out["frozen set"] = frozenset({1})
        out["unsigned"] = torch.tensor([1, 2]).to(torch.uint16)
    return out


def main() -> None:
    for name, zipped in (("zip", True), ("legacy", False)):
        torch.manual_seed(0)
        torch.save(model(), HERE / f"model.{name}.pt", _use_new_zipfile_serialization=zipped)
        torch.save(containers(zipped), HERE / f"containers.{name}.pt", _use_new_zipfile_serialization=zipped)
        torch.save(torch.nn.Linear(2, 1), HERE / f"module.{name}.pt", _use_new_zipfile_serialization=zipped)


if __name__ == "__main__":
    main()
