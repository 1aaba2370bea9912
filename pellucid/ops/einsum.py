"""`einsum`: sums of products of tensors, written with one letter per dimension.

In: an equation such as "bij,bjk->bik" (or lists of labels) and operands. Out: a composite of permutations, matrix products
and sums. Operands are combined from left to right; a label is summed away as soon as nobody needs it any more.
"""
from __future__ import annotations

from ._common import describe, fail, is_tensor
from .op import F, composite


def from_lists(args: tuple) -> tuple[str, list]:
    """The equation for `einsum(a, [0, 1], b, [1, 2], [0, 2])`; numbers below 26 are capitals, as in PyTorch."""
    def subscript(labels):
        out = ""
        for label in labels:
            if label is Ellipsis:
                out += "..."
            elif 0 <= label < 52:
                out += chr(ord("A") + label) if label < 26 else chr(ord("a") + label - 26)
            else:
                fail(ValueError, "P847", f"einsum(): subscript {label} is not within the valid range [0, 52)")
        return out

    operands = list(args[0:len(args) - len(args) % 2:2])
    equation = ",".join(subscript(labels) for labels in args[1::2])
    if len(args) % 2:
        equation += "->" + subscript(args[-1])
    return equation, operands


def parse(equation: str, operands: list) -> tuple[list[list], list]:
    """Labels per operand and of the output. Dimensions under an ellipsis have the numbers -n..-1 as labels."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        few = "fewer" if len(operands) < len(terms) else "more"
        fail(RuntimeError, "P848", f"einsum(): {few} operands were provided than specified in the equation",
             got=f"{len(operands)} operands for {equation!r}", fix="every operand has its subscripts, separated by commas")
    all_labels = []
    covered = 0
    for i, (term, operand) in enumerate(zip(terms, operands)):
        before, dots, after = letters(term, f"operand {i}", equation, sum(map(len, terms[:i])) + i)
        named, ndim = len(before) + len(after), operand.ndim
        if named > ndim if dots else named != ndim:
            relation = "is more than the number of dimensions" if dots else "does not match the number of dimensions"
            fail(RuntimeError, "P849", f"einsum(): the number of subscripts in the equation ({named}) {relation} ({ndim}) for operand "
                 f"{i} and no ellipsis was given" if not dots else f"einsum(): the number of subscripts in the equation ({named}) "
                 f"{relation} ({ndim}) for operand {i}", got=f"{equation!r} with {describe(*operands)}",
                 fix="write one letter per dimension, or ... for those that are not named")
        hidden = ndim - named
        covered = max(covered, hidden)
        all_labels.append(before + list(range(-hidden, 0)) + after)
    ellipsis = list(range(-covered, 0))
    if not arrow:
        counts: dict = {}
        for labels in all_labels:
            for label in labels:
                counts[label] = counts.get(label, 0) + 1
        return all_labels, ellipsis + sorted(x for x, n in counts.items() if isinstance(x, str) and n == 1)
    before, dots, after = letters(right, "output", equation, len(left) + 2)
    output = before + (ellipsis if dots else []) + after
    known = {x for labels in all_labels for x in labels}
    for label in output:
        if isinstance(label, str) and output.count(label) > 1:
            fail(RuntimeError, "P850", f"einsum(): output subscript {label} appears more than once in the output",
                 got=f"{equation!r} with {describe(*operands)}", fix="each letter may appear once after ->")
        if isinstance(label, str) and label not in known:
            fail(RuntimeError, "P851", f"einsum(): output subscript {label} does not appear in the equation for any input operand",
                 got=f"{equation!r} with {describe(*operands)}", fix="letters after -> must appear before it")
    return all_labels, output


def letters(term: str, whose: str, equation: str, start: int) -> tuple[list[str], bool, list[str]]:
    """The subscripts before and after the ellipsis of one term, and whether there is one. `start` is the term's place."""
    before: list[str] = []
    after: list[str] = []
    dots, i = False, 0
    while i < len(term):
        c = term[i]
        if c == ".":
            if dots:
                fail(RuntimeError, "P852", f"einsum(): found '.' for {whose} "
                     f"{'but an ellipsis (...) was already found' if whose == 'output' else 'for which an ellipsis was already found'}", got=repr(equation))
            if term[i:i + 3] != "...":
                fail(RuntimeError, "P853", f"einsum(): found '.' for {whose} that is not part of any ellipsis"
                     f"{' (...)' if whose == 'output' else ''}", got=repr(equation))
            dots = True
            i += 2
        elif c.isascii() and c.isalpha():
            (after if dots else before).append(c)
        elif c != " ":
            fail(RuntimeError, "P854", f"einsum(): invalid subscript given at index {start + i} in the equation string, subscripts must be in "
                 "[a-zA-Z]", got=repr(equation), fix="use letters, commas, -> and ... only")
        i += 1
    return before, dots, after


def take_diagonals(i: int, x, labels: list):
    """`x` with every label once: repeated ones become the diagonal."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            a = labels.index(label)
            b = labels.index(label, a + 1)
            if x.shape[a] != x.shape[b]:
                fail(RuntimeError, "P855", f"einsum(): subscript {label} is repeated for operand {i} but the sizes don't match, "
                     f"{x.shape[b]} != {x.shape[a]}", got=describe(x), fix="a repeated letter takes the diagonal: the sizes must be equal")
            x = F.diagonal(x, 0, a, b)
            labels = [y for k, y in enumerate(labels) if k not in (a, b)] + [label]
    return x, labels


def check_sizes(operands: list, all_labels: list[list]) -> dict:
    """The size of each label; sizes of 1 are broadcast."""
    sizes: dict = {}
    for i, (x, labels) in enumerate(zip(operands, all_labels)):
        for label, n in zip(labels, x.shape):
            seen = sizes.setdefault(label, n)
            if seen == 1:
                sizes[label] = n
            elif n not in (1, seen):
                name = f"subscript {label}" if isinstance(label, str) else "dimension covered by ellipsis"
                fail(RuntimeError, "P856", f"einsum(): {name} has size {n} for operand {i} which does not broadcast with previously seen size {seen}",
                     got=describe(*operands), fix="dimensions with the same letter need the same size, or 1")
    return sizes


def drop(x, labels: list, gone: list):
    """`x` summed over the labels in `gone`."""
    dims = [k for k, label in enumerate(labels) if label in gone]
    return (F.sum(x, dims) if dims else x), [label for label in labels if label not in gone]


def pair(a, la: list, b, lb: list, keep: set):
    """The product of two operands, summed over the labels that only they have and nobody keeps."""
    # A size of 1 against a larger one is broadcast: that operand simply lacks the label.
    for label in [x for x in la if x in lb]:
        n, m = a.shape[la.index(label)], b.shape[lb.index(label)]
        if n == 1 and m != 1:
            a, la = drop(a, la, [label])
        elif m == 1 and n != 1:
            b, lb = drop(b, lb, [label])
    a, la = drop(a, la, [x for x in la if x not in lb and x not in keep])
    b, lb = drop(b, lb, [x for x in lb if x not in la and x not in keep])

    both = [x for x in la if x in lb]
    summed = [x for x in both if x not in keep]
    batch = [x for x in both if x in keep]
    only_a, only_b = [x for x in la if x not in both], [x for x in lb if x not in both]
    size = {**dict(zip(lb, b.shape)), **dict(zip(la, a.shape))}
    count = lambda labels: product(size[x] for x in labels)  # noqa: E731
    labels = batch + only_a + only_b
    if not summed:                                           # nothing to sum: an elementwise product
        a = F.reshape(arrange(a, la, batch + only_a), [size[x] for x in batch + only_a] + [1] * len(only_b))
        b = F.reshape(arrange(b, lb, batch + only_b), [size[x] for x in batch] + [1] * len(only_a) + [size[x] for x in only_b])
        return F.mul(a, b), labels
    left = F.reshape(arrange(a, la, batch + only_a + summed), (count(batch), count(only_a), count(summed)))
    right = F.reshape(arrange(b, lb, batch + summed + only_b), (count(batch), count(summed), count(only_b)))
    if batch:
        r = F.bmm(left, right)
    else:
        r = F.mm(F.reshape(left, left.shape[1:]), F.reshape(right, right.shape[1:]))
    return F.reshape(r, [size[x] for x in labels]), labels


def product(numbers) -> int:
    n = 1
    for x in numbers:
        n *= x
    return n


def arrange(x, labels: list, order: list):
    """`x` with its dimensions in the given order of labels."""
    return x if labels == order else F.permute(x, [labels.index(label) for label in order])


def samples_einsum(m):
    return [(("ij,jk->ik", m.t(2, 3), m.t(3, 4)), {}), (("i,i->", m.t(4), m.t(4)), {}), (("bij,bjk", m.t(2, 3, 4), m.t(2, 4, 2)), {}),
            (("ii->i", m.t(3, 3)), {}), (("...ij->...ji", m.t(2, 3, 4)), {}), (("ij,j,jk->i", m.t(2, 3), m.t(3), m.t(3, 2)), {}),
            (("ij,jk->ik", m.t(0, 3), m.t(3, 4)), {})]


@composite(samples=samples_einsum)
def einsum(*args):
    """The sum of products described by an equation: `einsum("bij,bjk->bik", x, y)`.

    Letters name dimensions; "..." stands for dimensions that are broadcast; without "->" the output has the letters that
    occur once, in alphabetical order. Lists of numbers work in place of letters: `einsum(x, [0, 1], y, [1, 2], [0, 2])`."""
    if not args or (isinstance(args[0], str) and len(args) < 2):
        fail(ValueError if len(args) < 2 else RuntimeError, "P857", "einsum(): must specify the equation string and at least one "
             "operand, or at least one operand and its subscripts list")
    if isinstance(args[0], str):
        equation, operands = args[0], args[1:]
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = operands[0]
        operands = list(operands)
        if not operands:
            fail(ValueError, "P858", "einsum(): must provide at least one operand", got=repr(equation))
    elif is_tensor(args[0]):
        equation, operands = from_lists(args)
    else:
        fail(TypeError, "P859", f"einsum(): argument 'equation' (position 1) must be str, not {type(args[0]).__name__}")

    all_labels, output = parse(equation, operands)
    for i, labels in enumerate(all_labels):
        operands[i], all_labels[i] = take_diagonals(i, operands[i], labels)
    sizes = check_sizes(operands, all_labels)
    x, labels = operands[0], all_labels[0]
    for i in range(1, len(operands)):
        later = {label for rest in all_labels[i + 1:] for label in rest}
        x, labels = pair(x, labels, operands[i], all_labels[i], later | set(output))
    x, labels = drop(x, labels, [label for label in labels if label not in output])
    missing = [label for label in output if label not in labels]       # under an ellipsis, of size 1 everywhere
    if missing:
        x = F.reshape(x, tuple(x.shape) + (1,) * len(missing))
        labels = labels + missing
    x = arrange(x, labels, output)
    want = tuple(sizes[label] for label in output)
    return x if tuple(x.shape) == want else F.expand(x, want)
