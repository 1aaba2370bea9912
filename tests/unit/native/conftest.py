"""Executables of traced functions, for the native layer's tests."""
from __future__ import annotations

import numpy as np
import pytest

from pellucid.graph import interp
from pellucid.native import build
from pellucid.tensor.tracing import trace


class Compiled:
    """A traced function, its executable, and arrays to call it with."""

    def __init__(self, fn, args, **options):
        self.traced = trace(fn, args)
        self.graph = self.traced.graph
        self.exe = build.compile_graph(self.graph, options={"cache": False, **options})
        self.arrays = [t.detach().numpy() for t in self.traced.tensors()]

    def reference(self, arrays=None):
        """What the operators' references make of (copies of) the arrays: outputs, and the inputs afterwards."""
        arrays = [a.copy() for a in (self.arrays if arrays is None else arrays)]
        return interp.run(self.graph, arrays), arrays

    def check(self, arrays=None, tolerance=1e-5):
        """Run both ways and compare outputs and write-backs."""
        arrays = self.arrays if arrays is None else arrays
        expected, after = self.reference(arrays)
        outs = self.exe(list(arrays))
        for a, b in zip([*outs, *arrays], [*expected, *after]):
            assert a.shape == b.shape and a.dtype == b.dtype
            a, b = a.astype(np.float64), b.astype(np.float64)
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max(initial=0.0)))
        return outs


@pytest.fixture
def compiled():
    return lambda fn, *args, **options: Compiled(fn, args, **options)
