"""Trees of containers, hooks' handles, and exchanging tensors."""

import copy
from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest

import pellucid
from pellucid.utils import _pytree as tree
from pellucid.utils.hooks import RemovableHandle, unserializable_hook, warn_if_has_hooks

Point = namedtuple("Point", "x y")

TREES = [
    3,
    [1, 2, (3, [4])],
    {"b": 1, "a": {"c": [2, None]}},
    OrderedDict(z=1, a=(2,)),
    Point(1, [2, 3]),
    deque([1, 2], maxlen=5),
    defaultdict(list, a=1),
    [],
    (),
]


@pytest.mark.parametrize("value", TREES, ids=str)
def test_flatten_and_back(value):
    leaves, spec = tree.tree_flatten(value)
    assert tree.tree_unflatten(leaves, spec) == value and type(tree.tree_unflatten(leaves, spec)) is type(value)
    assert spec.num_leaves == len(leaves) and spec == tree.tree_structure(copy.deepcopy(value))
    assert tree.tree_leaves(value) == leaves and list(tree.tree_iter(value)) == leaves


@pytest.mark.parametrize("value", [v for v in TREES if not isinstance(v, deque)], ids=str)
def test_leaves_as_in_torch(value):
    pytest.importorskip("torch")
    from torch.utils import _pytree as theirs

    assert tree.tree_leaves(value) == theirs.tree_leaves(value)
    assert tree.tree_map(lambda x: (x,), value) == theirs.tree_map(lambda x: (x,), value)


def test_maps_and_predicates():
    value = {"a": [1, 2.5], "b": "text"}
    assert tree.tree_map(lambda x, y: (x, y), [1, [2]], [3, [4, ]]) == [(1, 3), [(2, 4)]]
    assert tree.tree_map_only(int, lambda x: x + 1, value) == {"a": [2, 2.5], "b": "text"}
    assert tree.tree_map_only((int, float), lambda x: 0, value) == {"a": [0, 0], "b": "text"}
    assert tree.tree_map_only(lambda x: x == "text", lambda x: "!", value)["b"] == "!"
    seen = []
    assert tree.tree_map_(seen.append, value) is value and seen == [1, 2.5, "text"]
    assert tree.tree_map_only_(str, seen.append, value) is value and seen[-1] == "text"
    assert tree.tree_all(lambda x: x, [1, 2]) and tree.tree_any(lambda x: x > 1, [1, 2])
    assert tree.tree_all_only(int, lambda x: x < 2, value) and not tree.tree_any_only(float, lambda x: x > 3, value)
    assert tree.tree_flatten([1, (2, 3)], is_leaf=lambda x: isinstance(x, tuple))[0] == [1, (2, 3)]
    assert tree.LeafSpec().is_leaf() and repr(tree.tree_structure([1, (2,)])) == "TreeSpec(list, None, [*, TreeSpec(tuple, None, [*])])"
    spec = tree.tree_structure([1, (2,)])
    assert spec.num_children == 2 and spec.num_nodes == 4 and spec.unflatten([5, 6]) == [5, (6,)]


def test_tree_errors():
    with pytest.raises(ValueError, match="`leaves` has length 1 but the spec refers to a pytree that holds 2 items"):
        tree.tree_unflatten([1], tree.tree_structure([1, 2]))
    with pytest.raises(ValueError, match="Type mismatch"):
        tree.tree_map(lambda x, y: x, [1], (2,))
    with pytest.raises(ValueError, match="Node arity mismatch"):
        tree.tree_map(lambda x, y: x, [1], [2, 3])
    with pytest.raises(ValueError, match="is already registered as pytree node"):
        tree.register_pytree_node(list, None, None)


def test_registering_a_container():
    class Box:
        def __init__(self, x):
            self.x = x

    tree.register_pytree_node(Box, lambda b: ([b.x], None), lambda xs, _: Box(*xs))
    assert tree.tree_map(lambda x: x + 1, Box([1, 2])).x == [2, 3]


def test_handles():
    hooks, flags = OrderedDict(), OrderedDict()
    first = RemovableHandle(hooks, extra_dict=flags)
    second = RemovableHandle(hooks)
    hooks[first.id], flags[first.id], hooks[second.id] = "a", True, "b"
    assert second.id > first.id
    with first:
        pass
    assert list(hooks.values()) == ["b"] and not flags
    first.remove()
    del hooks
    second.remove()


def test_hooks_that_saving_would_lose():
    x = pellucid.ones(1, requires_grad=True)
    warn_if_has_hooks(x)
    x.register_hook(unserializable_hook(lambda g: g))
    warn_if_has_hooks(x)
    x.register_hook(lambda g: g)
    with pytest.warns(UserWarning, match="on tensor will not be serialized"):
        warn_if_has_hooks(x)


def test_swapping_tensors():
    p = pellucid.nn.Parameter(pellucid.ones(2))
    p.tag = "p"
    t = pellucid.zeros(3, dtype=pellucid.float64)
    view = p.detach()[:1]
    pellucid.utils.swap_tensors(p, t)
    assert type(p) is pellucid.Tensor and p.shape == (3,) and p.dtype is pellucid.float64 and not p.requires_grad
    assert type(t) is pellucid.nn.Parameter and t.tag == "p" and t.requires_grad and not hasattr(p, "tag")
    with pellucid.no_grad():
        t.fill_(5.0)
    assert view.item() == 5.0
    import weakref

    keep = weakref.ref(t)
    with pytest.raises(RuntimeError, match="Cannot swap t1 because it has weakref associated with it"):
        pellucid.utils.swap_tensors(t, p)
    assert keep() is t
