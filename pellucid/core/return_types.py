"""Named results of operators that return several tensors: `r.values`, `r.indices`, and still a plain tuple.

`result_type("max")` makes (or finds) the type; operators call it on their tuple. The types appear here by name, as in
`torch.return_types`.
True always: a result equals, unpacks and compares as the tuple of its parts.
"""
from __future__ import annotations

import operator

FIELDS = {
    **dict.fromkeys(("cummax", "cummin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "sort", "topk"), "values indices"),
    "aminmax": "min max", "frexp": "mantissa exponent", "geqrf": "a tau", "histogram": "hist bin_edges", "histogramdd": "hist bin_edges",
    "linalg_cholesky_ex": "L info", "linalg_eig": "eigenvalues eigenvectors", "linalg_eigh": "eigenvalues eigenvectors",
    "linalg_inv_ex": "inverse info", "linalg_ldl_factor": "LD pivots", "linalg_ldl_factor_ex": "LD pivots info",
    "linalg_lstsq": "solution residuals rank singular_values", "linalg_lu": "P L U", "linalg_lu_factor": "LU pivots",
    "linalg_lu_factor_ex": "LU pivots info", "linalg_qr": "Q R", "linalg_slogdet": "sign logabsdet", "linalg_solve_ex": "result info",
    "linalg_svd": "U S Vh", "lu_unpack": "P L U", "qr": "Q R", "slogdet": "sign logabsdet", "svd": "U S V",
    "triangular_solve": "solution cloned_coefficient",
}
__all__ = list(FIELDS)


class NamedResult(tuple):
    """Base of the result types: a tuple made from one iterable, whose items have names."""

    __slots__ = ()
    _names: tuple[str, ...] = ()

    def __new__(cls, items):
        self = tuple.__new__(cls, items)
        if len(self) != len(cls._names):
            raise TypeError(f"{cls.__name__}() takes a {len(cls._names)}-sequence ({len(self)}-sequence given)")
        return self

    def __reduce__(self):
        return _remake, (type(self).__name__, tuple(self))

    def __repr__(self) -> str:
        inner = ",\n".join(f"{name}={value!r}" for name, value in zip(self._names, self))
        return f"torch.return_types.{type(self).__name__}(\n{inner})"


def result_type(name: str) -> type[NamedResult]:
    """The result type of an operator, made when it is first asked for. Raises KeyError for a name without fields."""
    known = globals().get(name)
    if known is not None:
        return known
    names = tuple(FIELDS[name].split())
    space = {"__slots__": (), "_names": names, "__module__": "pellucid.return_types",
             "n_fields": len(names), "n_sequence_fields": len(names), "n_unnamed_fields": 0}
    space.update((f, property(operator.itemgetter(i), doc=f"Item {i}.")) for i, f in enumerate(names))
    cls = globals()[name] = type(name, (NamedResult,), space)
    return cls


def __getattr__(name: str) -> type[NamedResult]:
    if name not in FIELDS:
        raise AttributeError(f"module 'pellucid.return_types' has no attribute {name!r}")
    return result_type(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *FIELDS})


def _remake(name: str, items: tuple):
    return result_type(name)(items)
