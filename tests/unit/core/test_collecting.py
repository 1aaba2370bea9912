"""The collector of cycles rests where it should, and works again afterwards."""
import gc

import pytest

from pellucid.core.collecting import uncollected


def test_the_collector_rests_inside_and_is_as_it_was_afterwards():
    assert gc.isenabled() and uncollected(gc.isenabled)() is False and gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        uncollected(lambda: 1 / 0)()
    assert gc.isenabled()
    gc.disable()
    try:
        uncollected(lambda: None)()
        assert not gc.isenabled()
    finally:
        gc.enable()
