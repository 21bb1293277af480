"""What a rule says of dims, tried out: picking examples from the operands picks the same from the output.

For a dim of the output and the dims aligned with it, f(x[picked]) = f(x)[picked] for any choice and order: an
example's output reads no other example, nor its place among them, nor their number.
"""

from __future__ import annotations

import pytest
import torch
from all_samples import RULES, SAMPLES, samples_of
from placing import form_of, is_product, outputs, rows_of, values_of
from sampling import drawn, n

from clipcompiler.dsl import Aligned, Equation, Inside, aten

#: Rules of ops that read no element.
INSENSITIVE = {"create_like"}


def is_drawn(sample):
    """Whether the op draws its elements."""
    return torch.Tag.nondeterministic_seeded in sample.op.tags


def stated(sample):
    """The rows of a rule that aligns dims, else None."""
    form = form_of(sample)
    return rows_of(form) if isinstance(form, (Aligned, Equation, Inside)) and not sample.mixed else None


ALIGNED = [sample for sample in SAMPLES if stated(sample) is not None and "empty" not in str(sample.op)]
#: The draws of other examples shift when some are left out.
PICKED = [sample for sample in ALIGNED if not is_drawn(sample)]
#: The number of draws for one element depends on its value.
CHANGED = [sample for sample in ALIGNED if sample.op is not aten.poisson.default]


def aligned_outputs(sample, values, rows, examples):
    """The outputs that the rows speak of: those of as many dims."""
    torch.manual_seed(0)
    found = [y for y in outputs(sample(values, examples)) if y.dim() == len(rows)]
    assert found, f"no output has the {len(rows)} dims that the rule gives it"
    return found


@pytest.mark.parametrize("sample", PICKED, ids=str)
def test_picking_examples_picks_outputs(sample):
    rows, values = stated(sample), values_of(sample, 4)
    whole = aligned_outputs(sample, values, rows, 4)
    for j in range(len(rows)):
        carriers, extent = carriers_of(sample, j, whole[0].shape[j], values), whole[0].shape[j]
        if not carriers:
            continue
        picked = torch.tensor([extent - 1, 0][: min(extent, 2)])
        some = {**values, **pick(values, carriers, picked)}
        for part, full in zip(aligned_outputs(sample, some, rows, len(picked)), whole, strict=True):
            expected = full.index_select(j, picked)
            torch.testing.assert_close(part, expected, rtol=1e-10, atol=1e-12, equal_nan=True)


def carriers_of(sample, j, extent, values):
    """The dims of operands in which the examples of the output's dim j lie; none where j holds other axes too."""
    if sample.placed:
        specs = sample.operands.items()
        return [(k, spec.carrying) for k, spec in specs if spec.carrying is not None] if sample.out[j] == n else []
    if is_product(form_of(sample), j):
        return []
    return [(name, d) for name, d in stated(sample)[j] if values[name].shape[d] == extent]


def pick(values, carriers, picked):
    """The operands with some examples picked; an operand may be named for one of its dims only."""
    return {name: values[name].index_select(d, picked) for name, d in carriers}


@pytest.mark.parametrize("sample", CHANGED, ids=str)
def test_a_change_at_one_place_stays_there(sample):
    rows, values = stated(sample), values_of(sample, 4)
    before = aligned_outputs(sample, values, rows, 4)
    for j, row in enumerate(rows):
        for name, d in row:
            if values[name].shape[d] < 2:
                continue
            after = aligned_outputs(sample, {**values, name: changed(sample, name, values, d)}, rows, 4)
            for x, y in zip(before, after, strict=True):
                places = torch.nonzero(different(x, y))[:, j].unique().tolist()
                assert places in ([], [1]), f"{name} at 1 of dim {d} changes {places} of dim {j}"


def changed(sample, name, values, dim):
    """An operand with other elements at place 1 of a dim; the signs stay, on which the number of draws may depend."""
    value = values[name]
    other = drawn(sample.operands[name], tuple(value.shape), torch.Generator().manual_seed(5))
    if value.is_floating_point():
        other = value * (0.5 + 0.4 * torch.rand(value.shape, generator=torch.Generator().manual_seed(5)))
    at = torch.zeros(value.shape[dim], dtype=torch.bool)
    at[1] = True
    at = at.reshape([-1 if d == dim else 1 for d in range(value.dim())])
    return torch.where(at, other, value)


def different(x, y):
    """Where two values differ; NaN is NaN."""
    return (x != y) & ~((x != x) & (y != y))


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES.values() if rule.name not in INSENSITIVE], ids=lambda r: r.name
)
def test_the_changes_tried_are_noticed(rule):
    tried = [sample for sample in samples_of(rule) if sample in ALIGNED and any(stated(sample))]
    if not tried:
        pytest.skip("the rule aligns no dims")
    assert any(notices(sample) for sample in tried)


def notices(sample):
    """Whether some change of an aligned operand changes the output."""
    rows, values = stated(sample), values_of(sample, 4)
    before = aligned_outputs(sample, values, rows, 4)
    for name, d in {source for row in rows for source in row}:
        if values[name].shape[d] > 1:
            after = aligned_outputs(sample, {**values, name: changed(sample, name, values, d)}, rows, 4)
            if any(different(x, y).any() for x, y in zip(before, after, strict=True)):
                return True
    return False
