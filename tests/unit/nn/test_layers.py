"""Every layer class against what PyTorch did with the same text (recorded by record_layers.py).

The oracle is layers_recorded.json: repr, state_dict, initial values for seed 7, outputs and gradients.
"""
from __future__ import annotations

import importlib.util
import json
import pathlib
import warnings

import numpy as np
import pellucid
import pytest

HERE = pathlib.Path(__file__).parent
_spec = importlib.util.spec_from_file_location('record_layers', HERE / 'record_layers.py')
recorder = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(recorder)
RECORDED = json.loads((HERE / 'layers_recorded.json').read_text())
nn = pellucid.nn


def assert_close(name: str, got: list | None, want: list | None, rtol: float, atol: float) -> None:
    if want is None:
        assert got is None or got[3] == 0, f'{name} should have no gradient'
        return
    assert got is not None, f'{name} has no gradient'
    assert got[:2] == want[:2], f'{name}: dtype and shape {got[:2]} != {want[:2]}'
    np.testing.assert_allclose(got[2], want[2], rtol=rtol, atol=atol, err_msg=name)
    scale = max(1, int(np.prod(want[1]))) ** 0.5
    np.testing.assert_allclose(got[3], want[3], rtol=rtol, atol=atol * scale, err_msg=f'sum of {name}')


def test_every_case_is_recorded():
    assert list(RECORDED) == recorder.CASES


@pytest.mark.parametrize('case', recorder.CASES)
def test_like_pytorch(case):
    want = RECORDED[case]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the cases include calls PyTorch warns about
        got = recorder.values(case, pellucid, lambda t: t.numpy())
    assert got['repr'] == want['repr']
    assert list(got['init']) == list(want['init'])
    for key, value in want['init'].items():
        assert_close(key, got['init'][key], value, rtol=2e-7, atol=0)
    assert list(got['state']) == list(want['state'])
    for key, value in want['state'].items():
        assert_close(key, got['state'][key], value, rtol=1e-5, atol=1e-6)
    assert len(got['out']) == len(want['out'])
    for i, value in enumerate(want['out']):
        assert_close(f'out[{i}]', got['out'][i], value, rtol=1e-5, atol=2e-6)
    assert len(got['grad']) == len(want['grad'])
    for i, value in enumerate(want['grad']):
        assert_close(f'grad[{i}]', got['grad'][i], value, rtol=2e-5, atol=1e-5)


def test_every_layer_class_has_a_case():
    tried = {case.split('(')[0] for case in recorder.CASES}
    elsewhere = {  # containers and bases have tests of their own
        'Module', 'Container', 'Sequential', 'ModuleList', 'ModuleDict', 'ParameterList', 'ParameterDict',
        'RNNBase', 'RNNCellBase', 'NLLLoss2d'}
    public = {name for name in nn.modules.__all__ if issubclass(getattr(nn, name), nn.Module)}
    assert public - tried - elsewhere == set()
