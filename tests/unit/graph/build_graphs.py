"""Graphs made by hand for the tests of this folder."""
from __future__ import annotations

import numpy as np

from pellucid.core import dtype as dt
from pellucid.core.spec import Spec
from pellucid.graph.build import emit, outs_of
from pellucid.graph.ir import Graph


class Maker:
    """`m.add(x, y)` appends the operator; `m.input(...)`, `m.const(...)`; `m.graph(outputs)` ends."""

    def __init__(self, name="graph"):
        self.g = Graph(name)

    def input(self, *shape, dtype=dt.float32, name="x", role="argument"):
        return self.g.input(Spec(shape, dtype), name, role)

    def const(self, array):
        array = np.asarray(array)
        return self.g.const(array, Spec(array.shape, dt.of(array.dtype)))

    def outs(self, op, *args, **attrs):
        return outs_of(self.g, op, args, attrs)

    def __getattr__(self, name):
        return lambda *args, **attrs: emit(self.g, name, *args, **attrs)

    def end(self, *outputs, writes=()):
        self.g.outputs = list(outputs)
        self.g.writebacks = list(writes)
        return self.g


def arrays_for(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Random arrays for a graph's inputs."""
    rng = np.random.default_rng(seed)
    made = []
    for v in graph.inputs:
        if v.dtype.category == dt.FLOAT:
            made.append(np.asarray(rng.standard_normal(v.shape)).astype(v.dtype.np))
        elif v.dtype is dt.bool_:
            made.append(np.asarray(rng.integers(0, 2, v.shape) > 0))
        else:
            made.append(np.asarray(rng.integers(0, 4, v.shape)).astype(v.dtype.np))
    return made


def same(a, b, exact: bool = True, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Lists of arrays are equal: to the bit (NaN equals NaN), or within tolerances."""
    assert len(a) == len(b)
    for x, y in zip(a, b):
        assert x.shape == y.shape and x.dtype == y.dtype, (x.shape, y.shape, x.dtype, y.dtype)
        x, y = (z.astype(np.float64) if z.dtype.kind == "V" else z for z in (x, y))
        if exact:
            assert x.tobytes() == y.tobytes() or np.array_equal(x, y, equal_nan=x.dtype.kind in "fc"), (x, y)
            if x.dtype.kind == "f":
                assert np.array_equal(np.signbit(x[~np.isnan(x)]), np.signbit(y[~np.isnan(y)])), (x, y)
        else:
            np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)
