"""The allocator keeps freed memory for the next tensors, and leaves it alone when told."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import resource
import pellucid
from pellucid.core.storage import keep_freed_memory
print(keep_freed_memory())
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    pellucid.ones(512, 1024)
before = faults()
for _ in range(50):
    pellucid.ones(512, 1024)
print(faults() - before)
"""


def run(**env) -> tuple[str, int]:
    out = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env={**os.environ, **env}).stdout.split()
    return out[0], int(out[1])


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_used_again():
    took, faults = run()
    if took != "True":
        pytest.skip("this C library does not take the advice")
    assert faults < 2000                                    # 50 tensors of 512 pages each, without it


def test_the_allocator_is_left_alone_when_told():
    took, _ = run(PELLUCID_KEEP_MEMORY="0")
    assert took == "False"
