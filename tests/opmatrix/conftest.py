"""The operator matrix: every operator over its samples. The fast mode takes some of each operator's samples by the suite's
printed seed, at least one per operator and stage; `--full` runs them all."""
from __future__ import annotations

import os
import random

import pytest

import pellucid


def chosen(samples: list, name: str, stage: str, limit: int = 4) -> list:
    """The samples to run: all in full mode, `limit` of them by the seed otherwise."""
    if os.environ.get("PELLUCID_TEST_FULL") == "1" or len(samples) <= limit:
        return samples
    rng = random.Random(f"{os.environ['PELLUCID_TEST_SEED']} {name} {stage}")
    return [samples[i] for i in sorted(rng.sample(range(len(samples)), limit))]


@pytest.fixture(autouse=True)
def same_random_numbers():
    pellucid.manual_seed(0)
    yield


@pytest.fixture
def references():
    """Eager without kernels: exactly what operators' references compute."""
    from pellucid.tensor import kernels
    kernels.switch(False)
    yield
    kernels.switch(True)
