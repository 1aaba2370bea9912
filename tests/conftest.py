"""What every test of the project shares: fast and full mode, and the seed of what is sampled.

Fast mode (the default, `make test`) leaves out the tests marked `slow` and `alone`, and lets large matrices of cases be
sampled by the seed that the header prints. `pytest --full` (`make test-full`) runs everything.
"""

from __future__ import annotations

import os
import random

import pytest

FULL = "PELLUCID_TEST_FULL"
SEED = "PELLUCID_TEST_SEED"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the slow tests too, and every case of sampled matrices")


def pytest_configure(config: pytest.Config) -> None:
    """Settle mode and seed once, in the environment, so that xdist's workers and subprocesses see the same."""
    if config.getoption("--full"):
        os.environ[FULL] = "1"
    os.environ.setdefault(SEED, str(random.SystemRandom().randrange(10**6)))


def pytest_report_header(config: pytest.Config) -> str:
    mode = "full" if os.environ.get(FULL) == "1" else "fast (slow tests left out; --full runs them)"
    return f"pellucid: {mode}, sampled with {SEED}={os.environ[SEED]}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get(FULL) == "1":
        return
    left_out = [item for item in items if item.get_closest_marker("slow") or item.get_closest_marker("alone")]
    if left_out and not config.option.markexpr:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
