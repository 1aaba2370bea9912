"""Tensors between processes: the same memory where it is shared; errors of a process are told."""
from __future__ import annotations

import os
import pickle

import pytest

import pellucid
from pellucid import multiprocessing as mp


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_shared_tensors_are_the_same_memory(method):
    shared = pellucid.zeros(2, 2).share_memory_()
    context = mp.get_context(method)
    queue, ready = context.Queue(), context.Event()
    workers = mp.start_processes(_worker, (shared, queue, ready), nprocs=2, join=False, start_method=method)
    got = dict(queue.get(timeout=60) for _ in range(2))
    assert {i: t.tolist() for i, t in got.items()} == {0: [0.0] * 3, 1: [1.0] * 3}
    got[0][0] = 7.0                                 # writable on this side
    ready.set()
    while not workers.join():
        pass
    assert shared.tolist() == [[1.0, 1.0], [2.0, 2.0]] and shared.is_shared()


def _worker(i, shared, queue, ready):
    shared[i] = i + 1.0
    queue.put((i, pellucid.full((3,), float(i))))
    ready.wait(60)                                  # whoever sends memory must live until it has arrived


def test_views_of_shared_memory_stay_together():
    base = pellucid.arange(6.0).share_memory_()
    near, far = mp.Pipe()
    near.send((base[2:4], base.view(2, 3)))
    part, whole = far.recv()
    part += 10
    assert base.tolist() == [0.0, 1.0, 12.0, 13.0, 4.0, 5.0] == whole.flatten().tolist()


def test_parameters_and_plain_tensors_travel():
    near, far = mp.Pipe()
    near.send(pellucid.nn.Linear(2, 1))
    assert isinstance(far.recv().weight, pellucid.nn.Parameter)
    plain = pellucid.ones(3)
    near.send(plain)
    far.recv().add_(1)
    assert plain.tolist() == [1.0, 1.0, 1.0]        # it was copied into shared memory
    near.send(pellucid.empty(0))
    assert far.recv().shape == (0,)


def test_ordinary_pickles_hold_the_values():
    t = pellucid.arange(3.0).share_memory_()
    assert pickle.loads(pickle.dumps(t)).add_(1).tolist() == [1.0, 2.0, 3.0] and t.tolist() == [0.0, 1.0, 2.0]


def test_descriptors_are_given_back():
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(20):
        pellucid.ones(10).share_memory_()
    if before is None:
        pytest.skip("no /proc")
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def _fails(i):
    if i == 1:
        raise ValueError("seven")
    while True:
        pass


def _leaves(i):
    os._exit(3)


def test_errors_of_processes_are_told():
    with pytest.raises(mp.ProcessRaisedException, match="Process 1 terminated(.|\n)*ValueError: seven"):
        mp.start_processes(_fails, nprocs=2, start_method="fork")
    with pytest.raises(mp.ProcessExitedException, match="process 0 terminated with exit code 3") as caught:
        mp.start_processes(_leaves, nprocs=1, start_method="fork")
    assert caught.value.exit_code == 3 and caught.value.error_index == 0
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.exit_code == 3 and str(again) == str(caught.value)


def test_names_of_multiprocessing_and_strategies():
    assert mp.cpu_count() >= 1 and mp.get_all_sharing_strategies() == {"file_descriptor"}
    mp.set_sharing_strategy("file_descriptor")
    with pytest.raises(AssertionError):
        mp.set_sharing_strategy("pigeon")
