"""Nested containers as flat lists, and back.

In: any nesting of lists, tuples, named tuples, dicts and registered containers. Out: the list of its leaves and a
``TreeSpec`` that remembers the containers. What stays true: ``tree_unflatten(*tree_flatten(x)) == x``; dicts keep the
order of their keys.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..core.return_types import NamedResult

__all__ = [
    "PyTree",
    "TreeSpec",
    "LeafSpec",
    "register_pytree_node",
    "tree_flatten",
    "tree_unflatten",
    "tree_leaves",
    "tree_structure",
    "tree_iter",
    "tree_map",
    "tree_map_",
    "tree_map_only",
    "tree_map_only_",
    "tree_all",
    "tree_any",
    "tree_all_only",
    "tree_any_only",
]

PyTree = Any

NodeDef = namedtuple("NodeDef", ["flatten_fn", "unflatten_fn"])

# type -> (flatten: container -> (children, context), unflatten: (children, context) -> container)
SUPPORTED_NODES: dict[type, NodeDef] = {}


def register_pytree_node(
    cls: type,
    flatten_fn: Callable[[Any], tuple[list[Any], Any]],
    unflatten_fn: Callable[[Iterable[Any], Any], Any],
    **_: Any,
) -> None:
    """Make instances of ``cls`` containers.

    Args:
        flatten_fn: gives (list of children, context).
        unflatten_fn: makes a container from (children, context).

    Raises:
        ValueError: ``cls`` is registered already.
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    SUPPORTED_NODES[cls] = NodeDef(flatten_fn, unflatten_fn)


def _is_namedtuple(tree: Any) -> bool:
    return isinstance(tree, tuple) and hasattr(tree, "_fields")


def _flatten_mapping(mapping: Any) -> tuple[list[Any], Any]:
    return list(mapping.values()), list(mapping.keys())


register_pytree_node(list, lambda x: (list(x), None), lambda xs, _: list(xs))
register_pytree_node(tuple, lambda x: (list(x), None), lambda xs, _: tuple(xs))
register_pytree_node(dict, _flatten_mapping, lambda xs, keys: dict(zip(keys, xs)))
register_pytree_node(OrderedDict, _flatten_mapping, lambda xs, keys: OrderedDict(zip(keys, xs)))
register_pytree_node(
    defaultdict,
    lambda x: (list(x.values()), [x.default_factory, list(x.keys())]),
    lambda xs, context: defaultdict(context[0], zip(context[1], xs)),
)
register_pytree_node(deque, lambda x: (list(x), x.maxlen), lambda xs, maxlen: deque(xs, maxlen=maxlen))
register_pytree_node(namedtuple, lambda x: (list(x), type(x)), lambda xs, cls: cls(*xs))


def _get_node_type(tree: Any) -> type:
    """The type under which ``tree`` is registered: all named tuples are one kind, each named result of an operator is its own."""
    if isinstance(tree, NamedResult) and type(tree) not in SUPPORTED_NODES:
        register_pytree_node(type(tree), lambda x: (list(x), type(x)), lambda xs, cls: cls(xs))
    return namedtuple if _is_namedtuple(tree) and type(tree) not in SUPPORTED_NODES else type(tree)


@dataclass(frozen=True)
class TreeSpec:
    """The containers of a tree without its leaves; ``type`` is None for a leaf."""

    type: Any
    context: Any
    children_specs: tuple["TreeSpec", ...]

    @property
    def num_leaves(self) -> int:
        """The number of leaves."""
        return 1 if self.type is None else sum(child.num_leaves for child in self.children_specs)

    @property
    def num_children(self) -> int:
        """The number of immediate children."""
        return len(self.children_specs)

    @property
    def num_nodes(self) -> int:
        """The number of containers and leaves."""
        return 1 + sum(child.num_nodes for child in self.children_specs)

    def is_leaf(self) -> bool:
        """Whether the tree is a single leaf."""
        return self.type is None

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """The tree with these leaves."""
        return tree_unflatten(leaves, self)

    def __repr__(self) -> str:
        if self.type is None:
            return "*"
        name = getattr(self.type, "__name__", str(self.type))
        return f"TreeSpec({name}, {self.context}, [{', '.join(map(repr, self.children_specs))}])"


_LEAF = TreeSpec(None, None, ())


def LeafSpec() -> TreeSpec:
    """The spec of a single leaf."""
    return _LEAF


IsLeaf = Callable[[Any], bool] | None


def tree_flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeSpec]:
    """The leaves of ``tree`` in order, and its spec.

    Args:
        is_leaf: says which containers to take as leaves.
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, is_leaf)


def _flatten(tree: Any, leaves: list[Any], is_leaf: IsLeaf) -> TreeSpec:
    node = SUPPORTED_NODES.get(_get_node_type(tree))
    if node is None or (is_leaf is not None and is_leaf(tree)):
        leaves.append(tree)
        return _LEAF
    children, context = node.flatten_fn(tree)
    return TreeSpec(_get_node_type(tree), context, tuple(_flatten(child, leaves, is_leaf) for child in children))


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> Any:
    """The tree of this spec with these leaves.

    Raises:
        ValueError: the number of leaves is wrong.
    """
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(
            f"tree_unflatten(leaves, treespec): `leaves` has length {len(leaves)} but the spec refers to a pytree "
            f"that holds {treespec.num_leaves} items ({treespec})."
        )
    return _unflatten(iter(leaves), treespec)


def _unflatten(leaves: Any, spec: TreeSpec) -> Any:
    if spec.type is None:
        return next(leaves)
    children = [_unflatten(leaves, child) for child in spec.children_specs]
    return SUPPORTED_NODES[spec.type].unflatten_fn(children, spec.context)


def tree_leaves(tree: Any, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves of ``tree`` in order."""
    return tree_flatten(tree, is_leaf)[0]


def tree_iter(tree: Any, is_leaf: IsLeaf = None) -> Iterable[Any]:
    """An iterator over the leaves."""
    return iter(tree_leaves(tree, is_leaf))


def tree_structure(tree: Any, is_leaf: IsLeaf = None) -> TreeSpec:
    """The spec of ``tree``."""
    return tree_flatten(tree, is_leaf)[1]


def _flatten_up_to(spec: TreeSpec, tree: Any) -> list[Any]:
    """The parts of ``tree`` where ``spec`` has leaves."""
    if spec.type is None:
        return [tree]
    if _get_node_type(tree) is not spec.type:
        raise ValueError(f"Type mismatch; expected {spec.type!r}, but got {type(tree)!r}.")
    children, _ = SUPPORTED_NODES[spec.type].flatten_fn(tree)
    if len(children) != len(spec.children_specs):
        raise ValueError(f"Node arity mismatch; expected {len(spec.children_specs)}, but got {len(children)}.")
    return [part for child, sub in zip(spec.children_specs, children) for part in _flatten_up_to(child, sub)]


def tree_map(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: IsLeaf = None) -> Any:
    """The tree with ``func`` of each leaf (and of the parts of ``rests`` at the same place)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [_flatten_up_to(spec, rest) for rest in rests]
    return tree_unflatten([func(*args) for args in zip(leaves, *others)], spec)


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: IsLeaf = None) -> Any:
    """Call ``func`` on each leaf for its effect; returns ``tree``."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def _only(kind: Any, func: Callable[[Any], Any]) -> Callable[[Any], Any]:
    wanted = kind if callable(kind) and not isinstance(kind, type) else lambda x: isinstance(x, kind)
    return lambda x: func(x) if wanted(x) else x


def tree_map_only(kind: Any, func: Callable[[Any], Any], tree: Any, is_leaf: IsLeaf = None) -> Any:
    """The tree with ``func`` of each leaf that is an instance of ``kind`` (a type, a tuple of types, or a predicate)."""
    return tree_map(_only(kind, func), tree, is_leaf=is_leaf)


def tree_map_only_(kind: Any, func: Callable[[Any], Any], tree: Any, is_leaf: IsLeaf = None) -> Any:
    """Call ``func`` for its effect on each leaf of ``kind``; returns ``tree``."""
    return tree_map_(_only(kind, func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether ``pred`` holds for every leaf."""
    return all(map(pred, tree_leaves(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether ``pred`` holds for some leaf."""
    return any(map(pred, tree_leaves(tree, is_leaf)))


def tree_all_only(kind: Any, pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether ``pred`` holds for every leaf that is an instance of ``kind``."""
    return all(pred(x) for x in tree_leaves(tree, is_leaf) if isinstance(x, kind))


def tree_any_only(kind: Any, pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether ``pred`` holds for some leaf that is an instance of ``kind``."""
    return any(pred(x) for x in tree_leaves(tree, is_leaf) if isinstance(x, kind))
