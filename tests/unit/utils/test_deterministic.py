"""Memory that nobody wrote to, under deterministic algorithms."""
from __future__ import annotations

import pytest

import pellucid as torch
from pellucid.utils import deterministic, dlpack


@pytest.fixture
def asked():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    deterministic.fill_uninitialized_memory = True


@pytest.mark.parametrize("make", [lambda d: torch.empty(3, 2, dtype=d), lambda d: torch.empty_like(torch.zeros(3, 2, dtype=d)),
                                  lambda d: torch.empty_strided((3, 2), (1, 4), dtype=d), lambda d: torch.empty_permuted((3, 2), (1, 0), dtype=d),
                                  lambda d: torch.zeros(1, dtype=d).new_empty(3, 2), lambda d: torch.empty(3, 2, out=torch.zeros(0, dtype=d)),
                                  lambda d: torch.zeros(0, dtype=d).resize_(3, 2), lambda d: torch.compile(lambda: torch.empty(3, 2, dtype=d) + 0)()])
@pytest.mark.parametrize("dtype, value", [(torch.float32, None), (torch.bfloat16, None), (torch.complex64, None), (torch.int16, 32767),
                                          (torch.uint8, 255)])
def test_filled(asked, make, dtype, value):
    t = make(dtype)
    assert t.isnan().all() if value is None else (t == value).all()


def test_what_was_there_stays(asked):
    t = torch.zeros(4).resize_(6)
    assert t[:4].tolist() == [0.0] * 4 and t[4:].isnan().all()
    assert torch.empty(2, dtype=torch.bool).all()


def test_switches():
    f = torch.compile(lambda: torch.empty(64) + 1)
    f()
    torch.use_deterministic_algorithms(True)
    try:
        assert f().isnan().all()
        deterministic.fill_uninitialized_memory = False
        assert not deterministic.fill_uninitialized_memory and torch.zeros(2).resize_(5).tolist() == [0.0] * 5
    finally:
        deterministic.fill_uninitialized_memory = True
        torch.use_deterministic_algorithms(False)
    for mode, n in (("warn", 1), (2, 2), ("default", 0)):
        torch.set_deterministic_debug_mode(mode)
        assert torch.get_deterministic_debug_mode() == n and torch.are_deterministic_algorithms_enabled() == (n > 0)
    with pytest.raises(RuntimeError, match="invalid value of debug_mode"):
        torch.set_deterministic_debug_mode("always")


def test_dlpack():
    x = torch.arange(3.0)
    y = dlpack.from_dlpack(dlpack.to_dlpack(x))
    y[0] = 5
    assert x.tolist() == [5.0, 1.0, 2.0]
