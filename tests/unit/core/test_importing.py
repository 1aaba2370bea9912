"""What `import pellucid` does, and leaves for later."""
from __future__ import annotations

import gc
import subprocess
import sys
import threading

import pytest

import pellucid
from pellucid.core.late import late
from pellucid.ops import REGISTRY, F


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


FROZEN = int(run("import gc; print(gc.get_freeze_count())"))        # Python 3.12 begins with some

def test_what_few_programs_need_is_not_imported() -> None:
    """Beside what NumPy imports."""
    late_ones = {"dataclasses", "importlib.metadata", "importlib.util", "llvmlite", "logging", "pkgutil", "shutil", "subprocess", "tempfile",
                 "traceback", "urllib.parse", "pellucid.nn", "pellucid.distributed", "pellucid.graph.layout", "pellucid.graph.printer", "pellucid.native.build",
                 "pellucid.optim", "pellucid.utils"}
    code = "import sys, numpy, ml_dtypes; before = set(sys.modules); import pellucid; print(*sorted(set(sys.modules) - before))"
    assert not late_ones & set(run(code).split())


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_left_as_it_was(on: bool) -> None:
    code = f"import gc; gc.enable() if {on} else gc.disable(); import pellucid; pellucid.nn; print(gc.isenabled(), gc.get_freeze_count())"
    assert run(code).split() == [str(on), str(FROZEN)]


def test_what_the_user_has_frozen_stays_frozen() -> None:
    code = "import gc; gc.freeze(); n = gc.get_freeze_count(); import pellucid; print(n > 0, 0.9 * n < gc.get_freeze_count() < 1.1 * n)"
    assert run(code).split() == ["True", "True"]


@pytest.mark.skipif(FROZEN > 0, reason="this Python freezes objects itself, and what is frozen is left alone")
def test_what_was_made_during_the_import_is_not_looked_through_at_once() -> None:
    """It counts as old: collecting the young takes no time afterwards."""
    code = "import gc; import pellucid; print(len(gc.get_objects(0)), len(gc.get_objects(1)), len(gc.get_objects(2)))"
    young, middle, old = map(int, run(code).split())
    assert young + middle < 2000 < 20_000 < old


def test_cycles_made_before_the_import_are_still_collected() -> None:
    code = """if True:
        import gc, weakref
        class Node: pass
        a = Node(); a.me = a; gone = weakref.ref(a)
        import pellucid
        del a; gc.collect(); print(gone())"""
    assert run(code).split() == ["None"]


def test_entry_points_are_made_once() -> None:
    name = next(n for n, op in REGISTRY.items() if not op.ns and n not in vars(F))
    found, begin = [], threading.Barrier(4)

    def ask() -> None:
        begin.wait()
        found.append(getattr(F, name))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 4 and {id(f) for f in found} == {id(getattr(F, name))}
    assert F.add is pellucid.add is pellucid.Tensor.add and F.add.op is REGISTRY["add"]
    with pytest.raises(AttributeError, match="no operator 'add_nothing' is registered"):
        F.add_nothing


def test_an_operator_does_not_change() -> None:
    op = REGISTRY["exp"]
    with pytest.raises(AttributeError, match=r"__replace__\(doc="):
        op.doc = "another"
    with pytest.raises(AttributeError):
        del op.doc
    other = op.__replace__(doc="another")
    assert other.doc == "another" and op.doc != "another" and other.ref is op.ref and other.signature == op.signature
    assert late.entry(other)(pellucid.zeros(1)).item() == 1
    with pytest.raises(TypeError, match="an operator has no docs: exp"):
        op.__replace__(docs="another")


def test_the_collector_waits_while_modules_load() -> None:
    """Those that load on first use."""
    code = """if True:
        import gc, pellucid
        began = []
        gc.callbacks.append(lambda phase, info: began.append(info) if phase == "start" else None)
        pellucid.optim
        print(len(began))"""
    assert int(run(code)) <= 3 and gc.isenabled()
