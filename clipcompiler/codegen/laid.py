"""Tensors laid out by letters: one dim a letter, in a known order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from clipcompiler.algebra import Letter

__all__ = ["Laid", "Product", "atom", "cast", "contracted", "diagonal", "permuted", "spread", "summed"]


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product, or that of a vector and a matrix: its two factors, and the dims it has."""

    left: str
    right: str
    rank: int


@dataclass(frozen=True, slots=True)
class Laid:
    """An expression whose value has one dim for each letter, in order.

    Attributes:
        text: the expression.
        letters: the letters of its dims.
        product: the matrix product that it is before its dims are split into letters, if it is one.
    """

    text: str
    letters: tuple[Letter, ...]
    product: Product | None = None


def summed(x: Laid, over: Iterable[Letter]) -> Laid:
    """x.sum over the dims of some letters."""
    gone = [k for k, letter in enumerate(x.letters) if letter in set(over)]
    if not gone:
        return x
    dims = str(gone[0]) if len(gone) == 1 else str(tuple(gone))
    return Laid(f"{atom(x.text)}.sum({dims})", tuple(v for k, v in enumerate(x.letters) if k not in gone))


def permuted(x: Laid, letters: Sequence[Letter]) -> Laid:
    """The same with its dims in another order."""
    if tuple(letters) == x.letters:
        return x
    order = ", ".join(str(x.letters.index(letter)) for letter in letters)
    return Laid(f"{atom(x.text)}.permute({order})", tuple(letters))


def diagonal(x: Laid, pairs: Iterable[tuple[Letter, Letter]]) -> Laid:
    """x[s, s'] → x[s, s] for each pair of letters; the dims kept come last."""
    for kept, gone in pairs:
        dims = x.letters.index(kept), x.letters.index(gone)
        rest = tuple(letter for letter in x.letters if letter not in (kept, gone))
        x = Laid(f"{atom(x.text)}.diagonal(dim1={dims[0]}, dim2={dims[1]})", (*rest, kept))
    return x


def spread(x: Laid, letters: Sequence[Letter]) -> str:
    """The dims of x in the order of ``letters``, with a dim of extent 1 for each letter it lacks."""
    moved = permuted(x, [letter for letter in letters if letter in x.letters])
    missing = [letter not in x.letters for letter in letters]
    while missing and missing[0]:
        missing.pop(0)
    if not any(missing):
        return atom(moved.text)
    return f"{atom(moved.text)}[{', '.join('None' if gap else ':' for gap in missing)}]"


def contracted(a: Laid, b: Laid, output: Sequence[Letter]) -> Laid:
    """Σ a·b over the letters not in ``output``: a matrix product where there is one, else a product and a sum."""
    kept = [x for x in dict.fromkeys((*a.letters, *b.letters)) if x in set(output)]
    own_a = [x for x in a.letters if x not in b.letters]
    own_b = [x for x in b.letters if x not in a.letters]
    both = [x for x in a.letters if x in b.letters and x not in kept]
    if own_a and own_b and both and set(own_a) <= set(kept) and set(own_b) <= set(kept):
        batch = [x for x in a.letters if x in b.letters and x in kept]
        return matrix_product(a, b, batch, own_a, own_b, both)
    union = tuple(dict.fromkeys((*a.letters, *b.letters)))
    product = Laid(f"({spread(a, union)} * {spread(b, union)})", union)
    return summed(product, [x for x in union if x not in kept])


def matrix_product(
    a: Laid, b: Laid, batch: list[Letter], rows: list[Letter], columns: list[Letter], inner: list[Letter]
) -> Laid:
    """a[batch, inner, rows]ᵀ b[batch, inner, columns] → [batch, rows, columns]."""
    result = (*batch, *rows, *columns)
    inner_b = [x for x in b.letters if x in inner]
    left, right = as_matrix(a, batch, inner_b, rows), as_matrix(b, batch, inner_b, columns)
    if left is None or right is None:
        return einsum(a, b, result)
    factors = transposed(left, bool(batch)), plain(right, bool(batch))
    text, product = " @ ".join(factors), None if batch else Product(*factors, rank=2)
    if len(rows) > 1 or len(columns) > 1:
        sizes = ", ".join(str(x.extent) for x in result)
        return Laid(f"({text}).reshape({sizes})", result, product)
    return Laid(text, result, product)


@dataclass(frozen=True, slots=True)
class Matrix:
    """An expression of dims [batch…, inner, outer], or [batch…, outer, inner] where ``flipped``."""

    text: str
    flipped: bool


def as_matrix(x: Laid, batch: list[Letter], inner: list[Letter], outer: list[Letter]) -> Matrix | None:
    """x as one matrix a batch element, if its letters stand in the order for it without moving data."""
    for order, flipped in (([*inner, *outer], False), ([*outer, *inner], True)):
        if x.letters != (*batch, *order):
            continue
        text, start = x.text, len(batch)
        first, second = (outer, inner) if flipped else (inner, outer)
        if len(second) > 1:
            text = f"{atom(text)}.flatten({start + len(first)})"
        if len(first) > 1:
            text = f"{atom(text)}.flatten({start}, {start + len(first) - 1})"
        return Matrix(atom(text), flipped)
    return None


def transposed(x: Matrix, batched: bool) -> str:
    """The matrix [outer, inner]."""
    return x.text if x.flipped else f"{x.text}.{'mT' if batched else 'T'}"


def plain(x: Matrix, batched: bool) -> str:
    """The matrix [inner, outer]."""
    return f"{x.text}.{'mT' if batched else 'T'}" if x.flipped else x.text


def einsum(a: Laid, b: Laid, output: Sequence[Letter]) -> Laid:
    """The product by ``torch.einsum``, letters written a, b, c, … where their own names are taken."""
    signs = signs_of((*a.letters, *b.letters))
    left, right, result = ("".join(signs[x] for x in part) for part in (a.letters, b.letters, output))
    return Laid(f'torch.einsum("{left},{right}->{result}", {a.text}, {b.text})', tuple(output))


def signs_of(letters: Iterable[Letter]) -> dict[Letter, str]:
    """One character for each letter: its own where it is one and free."""
    signs: dict[Letter, str] = {}
    spare = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    for letter in dict.fromkeys(letters):
        own = letter.name if letter.name in spare else None
        signs[letter] = own or next(c for c in spare if c not in {x.name for x in letters})
        spare.remove(signs[letter])
    return signs


def cast(text: str, own: torch.dtype, wanted: torch.dtype) -> str:
    """A tensor in another dtype, if it has another."""
    return text if own == wanted else f"{atom(text)}.to({wanted})"


def atom(text: str) -> str:
    """The text, in brackets where a method call would bind to a part of it."""
    depth = 0
    for c in text:
        depth += (c in "([") - (c in ")]")
        if depth == 0 and c in " +-*/@":
            return f"({text})"
    return text
