"""The backends that compiled functions are tested with."""

from __future__ import annotations

import pytest

import pellucid


@pytest.fixture(params=["eager", "python", "llvm"])
def backend(request):
    return request.param


@pytest.fixture(autouse=True)
def same_random_numbers():
    pellucid.manual_seed(0)
