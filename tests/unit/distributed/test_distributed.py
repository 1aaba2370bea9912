"""A world of one process: groups, collectives, and modules over them, with PyTorch's checks."""
from __future__ import annotations

from datetime import timedelta

import pytest

import pellucid as torch
from pellucid import distributed as dist
from pellucid import nn
from pellucid.nn.parallel import DistributedDataParallel

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.fixture
def world():
    dist.init_process_group("gloo", init_method="tcp://localhost:29500", rank=0, world_size=1)


def test_what_there_is(monkeypatch):
    assert dist.is_available() and dist.is_gloo_available() and dist.is_backend_available("GLOO")
    assert not (dist.is_nccl_available() or dist.is_mpi_available() or dist.is_backend_available("nccl") or dist.is_torchelastic_launched())
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert dist.is_torchelastic_launched()
    assert dist.Backend("GLOO") == dist.Backend.GLOO == "gloo" and dist.default_pg_timeout == timedelta(minutes=30)
    with pytest.raises(ValueError, match="string-ish"):
        dist.Backend(3)


def test_before_there_is_a_group():
    assert not dist.is_initialized() and dist.group.WORLD is None and dist.GroupMember.WORLD is None
    for ask in (dist.get_rank, dist.get_world_size, dist.get_backend, dist.barrier, dist.new_group, lambda: dist.all_reduce(torch.ones(1)),
                lambda: dist.get_process_group_ranks(None), lambda: DistributedDataParallel(nn.Linear(1, 1))):
        with pytest.raises(ValueError, match="Default process group has not been initialized"):
            ask()
    with pytest.raises(AssertionError, match="cannot be None"):
        dist.destroy_process_group()


def test_a_world(world):
    g = dist.group.WORLD
    assert dist.is_initialized() and g is dist.GroupMember.WORLD and isinstance(g, dist.ProcessGroup)
    assert (dist.get_rank(), dist.get_world_size(), dist.get_backend(), dist.get_process_group_ranks(g)) == (0, 1, "gloo", [0])
    assert (g.rank(), g.size(), g.name(), g.group_name) == (0, 1, "gloo", "0")
    with pytest.raises(ValueError, match="twice"):
        dist.init_process_group("gloo", rank=0, world_size=1)
    dist.destroy_process_group()
    assert not dist.is_initialized()
    dist.init_process_group(init_method="file:///tmp/x?rank=0&world_size=1")
    assert dist.get_backend() == "undefined"


def test_the_environment(monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "1")):
        with pytest.raises(ValueError, match=f"environment variable {name} expected"):
            dist.init_process_group("gloo")
        monkeypatch.setenv(name, value)
    dist.init_process_group("cpu:gloo")
    assert dist.get_backend() == "gloo"
    with pytest.raises(RuntimeError, match="LOCAL_RANK"):
        dist.get_node_local_rank()
    assert dist.get_node_local_rank(3) == 3
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert dist.get_node_local_rank() == 2


@pytest.mark.parametrize("kwargs, kind, text", [
    ({"rank": 0, "world_size": 2}, RuntimeError, r"a world of 2 processes[\s\S]*fix:.*world_size=1"),
    ({"rank": 1, "world_size": 1}, ValueError, "Invalid rank 1"),
    ({"backend": "nccl"}, RuntimeError, "doesn't have NCCL built in"),
    ({"backend": "foo"}, AssertionError, "Unknown backend type foo"),
    ({"rank": 0}, ValueError, "tcp:// rendezvous: world size parameter missing"),
    ({"world_size": 1}, ValueError, "tcp:// rendezvous: rank parameter missing"),
    ({"init_method": "tcp://host", "rank": 0, "world_size": 1}, ValueError, "port number missing"),
    ({"init_method": "file://", "rank": 0, "world_size": 1}, ValueError, "path missing"),
    ({"init_method": "foo://"}, RuntimeError, "No rendezvous handler for foo://"),
    ({"timeout": 5}, TypeError, "datetime.timedelta, got 5"),
    ({"store": object()}, AssertionError, "both init_method and store"),
    ({"store": object(), "init_method": None}, AssertionError, "world_size must be positive"),
    ({"store": object(), "init_method": None, "world_size": 1}, AssertionError, "rank must be non-negative"),
])
def test_worlds_that_are_refused(kwargs, kind, text):
    with pytest.raises(kind, match=text):
        dist.init_process_group(**{"backend": "gloo", "init_method": "tcp://localhost:1", **kwargs})
    assert not dist.is_initialized()


def test_groups(world):
    g = dist.new_group([0])
    assert g is not dist.group.WORLD and (dist.get_rank(g), dist.get_world_size(g), dist.get_backend(g)) == (0, 1, "gloo")
    assert dist.get_group_rank(g, 0) == dist.get_global_rank(g, 0) == 0
    for ask in (dist.get_group_rank, dist.get_global_rank):
        with pytest.raises(ValueError, match="not part of group"):
            ask(g, 1)
    for ranks, text in (([0, 1], "less or equal"), ([1], "out of range"), ([0, 0], "duplicate"), ([], "at least one")):
        with pytest.raises(ValueError, match=text):
            dist.new_group(ranks)
    with pytest.raises(TypeError, match="timedelta"):
        dist.new_group(timeout=3)
    dist.destroy_process_group(g)
    for ask in (dist.get_rank, dist.get_world_size, dist.barrier):
        with pytest.raises(ValueError, match="is not registered"):
            ask(g)
    with pytest.raises(ValueError, match="Invalid process group"):
        dist.destroy_process_group(g)
    outside = dist.GroupMember.NON_GROUP_MEMBER
    assert dist.get_rank(outside) == dist.get_world_size(outside) == -1 and dist.barrier(outside) is None
    dist.destroy_process_group(outside)
    x = torch.ones(1)
    assert all(f is None for f in (dist.all_reduce(x, group=outside, async_op=True), dist.broadcast(x, 5, group=outside)))


def values():
    return torch.arange(4.0), torch.zeros(4)


COLLECTIVES = {
    "all_gather": lambda x, out, **kw: dist.all_gather([out], x, **kw),
    "all_gather_into_tensor": lambda x, out, **kw: dist.all_gather_into_tensor(out, x, **kw),
    "gather": lambda x, out, **kw: dist.gather(x, [out], **kw),
    "scatter": lambda x, out, **kw: dist.scatter(out, [x], **kw),
    "reduce_scatter": lambda x, out, **kw: dist.reduce_scatter(out, [x], **kw),
    "reduce_scatter_tensor": lambda x, out, **kw: dist.reduce_scatter_tensor(out, x, **kw),
    "all_to_all": lambda x, out, **kw: dist.all_to_all([out], [x], **kw),
    "all_to_all_single": lambda x, out, **kw: dist.all_to_all_single(out, x, [4], [4], **kw),
}


@pytest.mark.parametrize("name", COLLECTIVES)
def test_collectives_that_hand_on(world, name):
    call = COLLECTIVES[name]
    x, out = values()
    assert call(x, out) is None and torch.equal(out, x)
    x, out = torch.arange(4.0, requires_grad=True), torch.zeros(4, requires_grad=True)
    work = call(x, out, async_op=True, group=dist.new_group())
    assert isinstance(work, dist.Work) and work.wait() and work.is_completed() and work.is_success() and torch.equal(out, x)
    assert work.result()[0] is out and out.is_leaf
    with pytest.raises((ValueError, RuntimeError), match="dtype"):
        call(torch.zeros(4, dtype=torch.int64), values()[1])
    with pytest.raises(RuntimeError, match=r"size at index 0 \(expected \(4,\), got \(1, 4\)\)|Split sizes"):
        call(values()[0], torch.zeros(1, 4))
    with pytest.raises(TypeError, match="Invalid function argument. Expected parameter"):
        call(values()[0], 3)


def test_collectives_that_leave_it_as_it_is(world):
    x = torch.arange(4.0)
    for call in (dist.all_reduce, lambda x, **kw: dist.broadcast(x, 0, **kw), lambda x, **kw: dist.broadcast(x, group_src=0, **kw),
                 lambda x, **kw: dist.reduce(x, 0, **kw), lambda x, **kw: dist.all_reduce(x, dist.ReduceOp.AVG, **kw)):
        assert call(x) is None and call(x, async_op=True).wait() and torch.equal(x, torch.arange(4.0))
        with pytest.raises(TypeError, match="parameter `tensor` of type torch.Tensor"):
            call([x])
    assert dist.barrier() is None and dist.barrier(async_op=True).wait() and dist.monitored_barrier() is None


def test_checks(world):
    x, out = values()
    for call in (lambda: dist.broadcast(x, 1), lambda: dist.reduce(x, 1), lambda: dist.scatter(out, src=1), lambda: dist.gather(x, dst=1),
                 lambda: dist.broadcast_object_list([1], 1)):
        with pytest.raises(RuntimeError, match="invalid root rank: 1"):
            call()
    for call, text in ((lambda: dist.broadcast(x), "Must specify"), (lambda: dist.broadcast(x, 0, group_src=0), "both group_rank"),
                       (lambda: dist.gather(x), "``gather_list`` must be specified"), (lambda: dist.scatter(out), "``scatter_list`` must be"),
                       (lambda: dist.gather(x, [out], dst=1), "must NOT be specified")):
        with pytest.raises(ValueError, match=text):
            call()
    for call in (lambda: dist.all_gather([out, out], x), lambda: dist.gather(x, [out, out]), lambda: dist.scatter(out, [x, x]),
                 lambda: dist.reduce_scatter(out, [x, x]), lambda: dist.all_to_all([out, out], [x])):
        with pytest.raises(RuntimeError, match="list size"):
            call()
    with pytest.raises(RuntimeError, match="splits not equal"):
        dist.all_to_all_single(out, x, [2, 2])
    for call in (lambda: dist.all_gather(out, x), lambda: dist.all_gather([1], x)):
        with pytest.raises(TypeError, match="of type List"):
            call()
    for call in (dist.send, dist.recv, dist.isend, dist.irecv):
        with pytest.raises(ValueError, match="should not be the same as the rank of the current process"):
            call(x, 0)
        with pytest.raises(ValueError, match="there is no rank 1"):
            call(x, 1)


def test_reductions(world):
    op = dist.ReduceOp
    assert repr(op.SUM) == "<RedOpType.SUM: 0>" and str(op.MAX) == "RedOpType.MAX" and op(op.MIN) is op.MIN is op.RedOpType.MIN
    for each in (op.SUM, op.AVG, op.PRODUCT, op.MIN, op.MAX, op.BAND, op.BOR, op.BXOR):
        dist.all_reduce(torch.tensor([3]), each)
    dist.all_reduce(torch.ones(1, dtype=torch.complex64), op.SUM)
    with pytest.raises(ValueError, match="all_reduce does not support RedOpType.MAX on complex"):
        dist.all_reduce(torch.ones(1, dtype=torch.complex64), op.MAX)
    with pytest.raises(RuntimeError, match="Cannot use ReduceOp.BAND with non-integral dtype"):
        dist.all_reduce(torch.ones(1), op.BAND)
    with pytest.raises(TypeError, match="must be a ReduceOp"):
        dist.all_reduce(torch.ones(1), "sum")


def test_objects(world):
    given, got = {"a": [1]}, [None]
    dist.all_gather_object(got, given)
    assert got == [given] and got[0] is not given
    dist.gather_object(given, got := [None])
    assert got == [given] and got[0]["a"] is not given["a"]
    dist.scatter_object_list(got := [None], [given])
    assert got == [given]
    dist.broadcast_object_list(got, 0)
    assert got == [given]
    for call in (lambda: dist.gather_object(1), lambda: dist.scatter_object_list(got, None), lambda: dist.scatter_object_list([], [1])):
        with pytest.raises(ValueError):
            call()


def test_data_parallel_modules(world):
    inner = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    for module in (DistributedDataParallel(inner), nn.DataParallel(inner), nn.parallel.DataParallel(inner)):
        assert list(module.state_dict()) == ["module.0.weight", "module.0.bias"] and module.module is inner
        assert not module.eval().module.training
        x = torch.randn(4, 3)
        inner.zero_grad()
        module(x).sum().backward()
        assert torch.equal(module(x), inner(x)) and torch.allclose(inner[0].weight.grad[0], x.sum(0), atol=1e-6)
        assert torch.allclose(torch.compile(module, backend="eager")(x), inner(x))
    ddp = DistributedDataParallel(inner, process_group=dist.new_group())
    with ddp.no_sync():
        assert not ddp.require_backward_grad_sync
    assert ddp.require_backward_grad_sync
    with ddp.join():
        ddp(torch.ones(1, 3))
    with pytest.raises(RuntimeError, match="any parameter that requires a gradient"):
        DistributedDataParallel(nn.ReLU())
    with pytest.raises(RuntimeError, match="uninitialized parameters"):
        DistributedDataParallel(nn.LazyLinear(3))
    for kwargs in ({"device_ids": [0]}, {"output_device": 0}):
        with pytest.raises(ValueError, match="device_ids and output_device arguments only work"):
            DistributedDataParallel(inner, **kwargs)
    with pytest.raises(RuntimeError):
        nn.DataParallel(inner, device_ids=["cuda:0"])


def test_compiled_functions_know_the_groups():
    def fn(x, g=None):
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(x, group=g)
            out = [torch.zeros_like(x)]
            dist.all_gather(out, x, group=g)
            return out[0] * (dist.get_world_size() + 1)
        return x - 1
    compiled = torch.compile(fn, fullgraph=True)
    x = torch.arange(3.0)
    assert torch.equal(compiled(x), x - 1)
    dist.init_process_group("gloo", init_method="tcp://localhost:1", rank=0, world_size=1)
    assert torch.equal(compiled(x), x * 2)
    dist.destroy_process_group()
    assert torch.equal(compiled(x), x - 1)


def test_compiled_functions_know_when_a_group_has_ended(world):
    g = dist.new_group()

    @torch.compile(backend="eager")
    def fn(x):
        return x + dist.get_world_size(g)
    assert fn(torch.ones(1)) == 2
    dist.destroy_process_group(g)
    with pytest.raises(ValueError, match="is not registered"):
        fn(torch.ones(1))


def test_a_world_made_inside():
    @torch.compile(backend="eager")
    def fn(x):
        dist.init_process_group("gloo", init_method="tcp://localhost:1", rank=0, world_size=1)
        try:
            return x + dist.get_world_size()
        finally:
            dist.destroy_process_group()
    assert fn(torch.ones(1)) == fn(torch.ones(1)) == 2 and not dist.is_initialized()


def test_the_backend_of_a_device():
    assert dist.get_default_backend_for_device("cpu") == dist.get_default_backend_for_device(torch.device("cpu")) == "gloo"
    assert dist.get_default_backend_for_device("cuda:1") == "nccl" and not dist.is_backend_available("nccl")
    with pytest.raises(ValueError, match="Default backend not registered for device : meta"):
        dist.get_default_backend_for_device("meta")
