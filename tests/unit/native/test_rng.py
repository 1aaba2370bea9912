"""Native draws leave the same numbers and the same state as the generator's own, at every instruction set."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pellucid.core import rng as core
from pellucid.core.rng import Engine
from pellucid.native import rng
from pellucid.native.isa import isa_of


@pytest.fixture(params=["baseline", "avx2", ""])
def draws(request, monkeypatch):
    """Draws for one instruction set; `core.rng` itself draws without native code meanwhile."""
    monkeypatch.setattr(core, "native", lambda n, least=0: None)
    return rng.Draws(isa_of(request.param))


def pair(skip):
    engines = Engine(7), Engine(7)
    for e in engines:
        e.words(skip)
    return engines


def same_state(a, b):
    return np.array_equal(a.get_state(), b.get_state())


@pytest.mark.parametrize("skip", [0, 1, 5, 623, 624])
@pytest.mark.parametrize("n", [0, 1, 2, 623, 624, 625, 5000, 10007])
def test_words_and_masks(draws, n, skip):
    ours, right = pair(skip)
    assert np.array_equal(draws.words(ours._bits, n), right.words(n)) and same_state(ours, right)
    limit = math.ceil(0.9 * 2**53)
    assert np.array_equal(draws.mask(ours._bits, n, limit), right.mask(n, 0.9)) and same_state(ours, right)
    high = np.float32(1.25)
    assert np.array_equal(draws.noise(ours._bits, n, limit, 1.25), right.noise(n, 0.9, high)) and same_state(ours, right)


@pytest.mark.parametrize("n", [1, 17, 4096, 5001])
def test_uniforms(draws, n):
    ours, right = pair(3)
    for low, high in ((0.0, 1.0), (-0.3, 0.7), (2.0, 2.0)):
        found = draws.uniform(ours._bits, n, low, high)
        if found is None:                                 # no fused multiply-add
            return
        assert np.array_equal(found, right.uniform(n, low, high)) and same_state(ours, right)


@pytest.mark.parametrize("n", [16, 4096, 50000])
def test_normals(draws, n):
    ours, right = pair(11)
    for mean, std in ((0.0, 1.0), (0.5, 2.0), (-1.0, 0.0)):
        out = np.empty(n, np.float32)
        if not draws.normal(ours._bits, out, mean, std):
            return
        assert np.array_equal(out, right.normal(n, mean, std)) and same_state(ours, right)


def test_certain_and_impossible_events(draws):
    ours, _ = pair(0)
    assert draws.mask(ours._bits, 1000, 1 << 53).all() and not draws.mask(ours._bits, 1000, 0).any()


def test_the_generator_uses_native_draws_for_many_numbers(monkeypatch):
    monkeypatch.setattr(core._Native, "draws", None)
    monkeypatch.setattr(core._Native, "looked", False)
    monkeypatch.setattr(core._Native, "drawn", 0)
    monkeypatch.setattr(core, "compiler_loaded", lambda: False)
    slow = Engine(9)
    monkeypatch.setattr(core.config, "kernels", False)
    want = [slow.mask((600, 500), 0.3), slow.uniform(core.LOAD + 3), slow.normal(core.LOAD + 5), slow.words64(core.LOAD)]
    monkeypatch.setattr(core.config, "kernels", True)
    quick = Engine(9)
    assert core.native(core.LOAD - core.CALL - 1) is None              # not loaded for so few
    assert core.native(core.NATIVE - 1) is None and core.native(core.NATIVE) is None
    found = [quick.mask((600, 500), 0.3), quick.uniform(core.LOAD + 3), quick.normal(core.LOAD + 5), quick.words64(core.LOAD)]
    assert core._Native.draws is not None and core.native(core.NATIVE) is core._Native.draws
    assert all(np.array_equal(a, b) for a, b in zip(found, want)) and same_state(quick, slow)


@pytest.mark.parametrize("loaded, calls", [(False, core.LOAD // core.CALL), (True, 32)])
def test_many_small_draws_are_native_too(monkeypatch, loaded, calls):
    monkeypatch.setattr(core._Native, "draws", None)
    monkeypatch.setattr(core._Native, "looked", False)
    monkeypatch.setattr(core._Native, "drawn", 0)
    monkeypatch.setattr(core, "compiler_loaded", lambda: loaded)
    engine, slow = Engine(4), Engine(4)
    found = [engine.normal(40) for _ in range(calls - 1)]
    assert not core._Native.looked
    found += [engine.normal(40) for _ in range(2)]
    assert core._Native.looked
    monkeypatch.setattr(core.config, "kernels", False)
    assert all(np.array_equal(a, slow.normal(40)) for a in found)


def test_a_generator_that_keeps_its_state_otherwise_is_noticed():
    class Wrong:
        def words(self, bits, n):
            return np.zeros(n, np.uint32)
    assert not rng.agrees(Wrong())


@pytest.mark.parametrize("n", [32, 33, 100, 127])
def test_some_numbers_are_drawn_natively_only_if_the_compiler_is_there(n, monkeypatch):
    ours, right = pair(3)
    monkeypatch.setattr(core._Native, "looked", True)
    monkeypatch.setattr(core._Native, "draws", rng.Draws(isa_of("")))
    found = ours.mask(n, 0.3), ours.uniform(n, -1, 2), ours.noise(n, 0.4, np.float32(2.5))
    monkeypatch.setattr(core._Native, "draws", None)
    for a, b in zip(found, (right.mask(n, 0.3), right.uniform(n, -1, 2), right.noise(n, 0.4, np.float32(2.5)))):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    assert same_state(ours, right)
    monkeypatch.setattr(core._Native, "looked", False)
    monkeypatch.setattr(core._Native, "drawn", 0)
    monkeypatch.setattr(core, "compiler_loaded", lambda: False)
    ours.mask(n, 0.3)
    assert core._Native.drawn == 0 and not core._Native.looked
