"""An interpreter of equations, independent of the compiler: every letter a dim, every sum written out.

out[index] += Σ value,  the sum of each term running over its letters that are not in the index
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import sympy
import torch
from torch import Tensor

from clipcompiler.dsl import Equation, Operand
from clipcompiler.dsl.indices import At

__all__ = ["value_of"]

#: A grid of whole numbers or elements, one dim a letter.
Grid = Tensor


def value_of(equation: Equation, operands: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """The output of ``shape`` that an equation states, element by element, in float64."""
    tensors = dict(operands)
    for x in equation.where:
        args = [tensors[a.name] if isinstance(a, Operand) else a for a in x.args]
        tensors[x.name] = x.op(*args)
    result = torch.zeros(shape, dtype=torch.float64)
    for part in equation.parts:
        extents = extents_of(part, tensors, shape)
        for term in sympy.Add.make_args(sympy.sympify(part.value)):
            add(result, part.index, term, tensors, extents)
    return result


def extents_of(part: Equation, tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> dict[sympy.Symbol, int]:
    """The number of values of every letter: that of the largest dim it stands in."""
    sides = [(part.index, shape)]
    sides += [(a.indices, tensors[str(a.base.label)].shape) for a in part.value.atoms(sympy.Indexed)]
    found = {letter: int(extent) for letter, extent in part.extents}
    pairs = [(entry, size) for index, sizes in sides for entry, size in zip(index, sizes, strict=False)]
    for entry, size in pairs:
        if entry.is_Symbol:
            found[entry] = max(found.get(entry, 1), size)
    for entry, size in pairs:
        if isinstance(entry, sympy.Tuple):
            unknown = [x for x in entry if x not in found]
            assert len(unknown) <= 1, f"the extents of {unknown} are not known"
            for x in unknown:
                found[x] = size // math.prod(found[k] for k in entry if k is not x)
    return found


def add(
    result: Tensor,
    index: tuple[Any, ...],
    term: sympy.Expr,
    tensors: Mapping[str, Tensor],
    extents: Mapping[sympy.Symbol, int],
) -> None:
    """result[index] += Σ term, in place."""
    own = {x for e in index for x in e.free_symbols}
    letters = sorted((x for x in own | free_letters(term) if x in extents), key=str)
    grids = {x: torch.arange(extents[x]).reshape([-1 if y is x else 1 for y in letters]) for k, x in enumerate(letters)}
    full = [extents[x] for x in letters]
    value = evaluate(term, tensors, grids, extents).to(torch.float64).expand(full)
    places = [place(e, grids, extents).expand(full) for e in index]
    inside = torch.ones(full, dtype=torch.bool)
    for p, size in zip(places, result.shape, strict=True):
        inside &= (p >= 0) & (p < size)
    if result.dim() == 0:
        result += value.sum()
    else:
        result.index_put_(tuple(p[inside] for p in places), value[inside], accumulate=True)


def free_letters(term: sympy.Expr) -> set[sympy.Symbol]:
    """The letters of every access in a term."""
    return {x for a in term.atoms(sympy.Indexed) for e in a.indices for x in e.free_symbols}


def evaluate(
    value: sympy.Expr, tensors: Mapping[str, Tensor], grids: Mapping[sympy.Symbol, Grid], extents: Mapping[Any, int]
) -> Tensor:
    """An expression over the grid of letters."""
    if isinstance(value, sympy.Indexed):
        return element(str(value.base.label), value.indices, tensors, grids, extents)
    if value.is_number:
        return torch.tensor(float(value), dtype=torch.float64)
    parts = [evaluate(a, tensors, grids, extents) for a in value.args]
    combine = {
        sympy.Add: torch.add,
        sympy.Mul: torch.mul,
        sympy.Pow: torch.pow,
        sympy.Max: torch.maximum,
        sympy.Min: torch.minimum,
    }[value.func]
    total = parts[0]
    for part in parts[1:]:
        total = combine(total, part)
    return total


def element(
    name: str,
    index: tuple[Any, ...],
    tensors: Mapping[str, Tensor],
    grids: Mapping[sympy.Symbol, Grid],
    extents: Mapping[Any, int],
) -> Tensor:
    """tensor[index]; 0 outside; a dim of extent 1 is read at its one place."""
    tensor = tensors[name]
    if tensor.dim() == 0:
        return tensor
    places = [
        named(e, tensors, grids, extents, size)
        if isinstance(e, At)
        else place(e, grids, extents) * (size != 1 or not e.is_Symbol)
        for e, size in zip(index, tensor.shape, strict=True)
    ]
    inside = torch.tensor(True)
    for p, size in zip(places, tensor.shape, strict=True):
        inside = inside & (p >= 0) & (p < size)
    found = tensor[tuple(p.clamp(0, size - 1) for p, size in zip(places, tensor.shape, strict=True))]
    return torch.where(inside, found, torch.zeros((), dtype=tensor.dtype))


def named(
    entry: At, tensors: Mapping[str, Tensor], grids: Mapping[sympy.Symbol, Grid], extents: Mapping[Any, int], size: int
) -> Grid:
    """The place that an element of another operand names; −1 is the last where the entry wraps."""
    read, _, wraps = entry.args
    number = element(str(read.base.label), read.indices, tensors, grids, extents)
    return torch.where(number < 0, number + size, number) if wraps else number


def place(entry: Any, grids: Mapping[sympy.Symbol, Grid], extents: Mapping[Any, int]) -> Grid:
    """The place that an entry points at: mixed radix for a product of letters."""
    if isinstance(entry, sympy.Tuple):
        total = torch.tensor(0)
        for x in entry:
            step = extents.get(x, 1)
            total = total * step + place(x, grids, extents)
        return total
    total = torch.tensor(0)
    for symbol, step in entry.as_coefficients_dict().items():
        total = total + int(step) * (grids.get(symbol, 1))
    return total
