"""sample → the placements of the examples where the op mixes them: every dim that its rule aligns with nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sympy
from one_op import TRIED
from placing import form_of, rows_of, values_of
from sampling import Sample, Spec, n

from clipcompiler.dsl import Aligned, Equation, Inside

__all__ = ["mixings"]


def mixings(sample: Sample) -> list[Sample]:
    """The placements that a rule must refuse: those the sample states, or one for each dim that is not aligned."""
    if sample.placed:
        return [sample] if sample.mixed else []
    form = form_of(sample)
    if not isinstance(form, (Aligned, Equation, Inside)):
        return []
    aligned = {source for row in rows_of(form) for source in row}
    found = []
    for name, spec in sample.operands.items():
        for dim, size in enumerate(spec.shape):
            if size != 1 and (name, dim) not in aligned:
                found += [s for s in [first_that_runs(together(sample, form, name, dim))] if s is not None]
    return list({str(s): s for s in found}.values())


def first_that_runs(placements: Iterator[Sample]) -> Sample | None:
    """The first placement that the op accepts for any number of examples."""
    return next((s for s in placements if all(runs(s, count) for count in TRIED)), None)


def runs(sample: Sample, examples: int) -> bool:
    """Whether the op accepts a call."""
    try:
        sample(values_of(sample, examples), examples)
    except (RuntimeError, ValueError, IndexError):
        return False
    return True


def together(sample: Sample, form: Aligned | Equation | Inside, name: str, dim: int) -> Iterator[Sample]:
    """The examples in one dim: alone, with the dims of the same letter, of the same place, or of the same extent."""
    specs = sample.operands
    size = specs[name].shape[dim]
    places = [(k, d) for k, spec in specs.items() for d in range(len(spec.shape)) if spec.shape[d] == size]
    every = [(name, dim), *(source for source in places if source[0] != name)]
    groups = [
        [(name, dim)],
        [source for source in every if source in {(name, dim), *same_letter(form, name, dim)}],
        [(k, d) for k, d in every if d == dim],
        [(k, d) for k, d in every if d - len(specs[k].shape) == dim - len(specs[name].shape)],
        every,
    ]
    for group in groups:
        yield placed(sample, group)
    yield with_sizes(placed(sample, every), size)


def same_letter(form: Aligned | Equation | Inside, name: str, dim: int) -> set[tuple[str, int]]:
    """The dims that an equation reads at the same entry."""
    if not isinstance(form, Equation):
        return set()
    accesses = [a for part in form.parts for a in part.value.atoms(sympy.Indexed)]
    entries = {(str(a.base.label), d): e for a in accesses for d, e in enumerate(a.indices)}
    return {source for source, entry in entries.items() if entry == entries.get((name, dim))}


def placed(sample: Sample, group: Sequence[tuple[str, int]]) -> Sample:
    """The sample with the examples in some dims, one of each operand."""
    changed: dict[str, Spec] = {}
    for name, dim in group:
        changed.setdefault(name, sample.operands[name].resized(dim, n))
    return sample.with_operands(changed)


def with_sizes(sample: Sample, size: int) -> Sample:
    """The same with listed sizes equal to an extent made the number of examples, as in ``normalized_shape``."""

    def sized(value: object) -> object:
        if not isinstance(value, (list, tuple)):
            return value
        return type(value)(n if v == size and type(v) is int else v for v in value)

    return Sample(sample.op, tuple(map(sized, sample.args)), {k: sized(v) for k, v in sample.kwargs.items()})
