"""Random programs: every stage on the way down agrees with eager. 300 of them, 5,000 in full mode."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from .generate import generate
from .minimise import minimise
from .programs import Input, Program, Step
from .stages import Failure, Run, check

FULL = os.environ.get("PELLUCID_TEST_FULL") == "1"
CHUNK = 20


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, 5000 if FULL else 300, CHUNK))
def test_all_stages_agree(first):
    """The programs of the seeds first, first + 1, ...; a failure is made smaller and printed as a script."""
    for seed in range(first, first + CHUNK):
        program = generate(seed)
        failure = check(program)
        if failure is not None:
            small, found = minimise(program, failure)
            pytest.fail(f"seed {seed}: {found.stage}: {found.what}\n\n{small.script(found.stage)}", pytrace=False)


def test_the_same_seed_gives_the_same_program():
    assert generate(11) == generate(11)
    kinds = {step.text for seed in range(40) for step in generate(seed).steps}
    assert len(kinds) > 80


def test_a_difference_is_seen_and_made_smaller(monkeypatch):
    """With one stage broken (tanh is off by a thousandth), the program that is left consists of tanh."""
    stage = Run.stage

    def broken(self, name):
        found = stage(self, name)
        return [a * np.float32(1.001) if any("tanh" in s.text for s in self.program.steps) and a.dtype.kind == "f" else a for a in found]

    monkeypatch.setattr(Run, "stage", broken)
    steps = Step("({0} + {1})", (0, 1)), Step("{0}.tanh()", (2,)), Step("{0}.sum(0)", (3,)), Step("{0}.exp()", (4,))
    program = Program((Input((3, 4)), Input((4,))), steps, (5,), (0, 1))
    failure = check(program, ("traced",))
    assert failure is not None and failure.stage == "traced"
    small, found = minimise(program, failure)
    assert [s.text for s in small.steps] == ["{0}.tanh()"] and not small.wrt and isinstance(found, Failure)


def test_rounding_is_no_difference():
    program = Program((Input((3, 4)),), (Step("{0}.tanh()", (0,)),), (1,))
    run = Run(program)
    exact = run.expected[0].astype(np.float64)
    assert run.difference([(exact * (1 + 1e-7)).astype(np.float32), run.expected[1]]) is None
    assert "instead of" in run.difference([(exact * (1 + 1e-3)).astype(np.float32), run.expected[1]])
    assert "float64" in run.difference([exact, run.expected[1]])


def test_a_failure_prints_a_script_that_runs(capsys):
    program = replace(generate(3), notes={})
    space: dict = {}
    exec(program.script("native"), space)
    assert "native: as eager" in capsys.readouterr().out
