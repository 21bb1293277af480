"""What a rule states, evaluated: an equation is the op; a regrouping keeps the elements and their order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from all_samples import SAMPLES
from equation_value import value_of
from placing import form_of, outputs, values_of
from sampling import of, real

from clipcompiler.dsl import Created, Equation, Regrouped, aten

FORMS = [(sample, form_of(sample)) for sample in SAMPLES]
EQUATIONS = [(sample, form) for sample, form in FORMS if isinstance(form, Equation)]
REGROUPED = [(sample, form) for sample, form in FORMS if isinstance(form, Regrouped) and not sample.mixed]
#: Ops whose elements are drawn, or left as they are in memory.
DRAWN = (
    aten.rand.default, aten.randn.default, aten.randint.default, aten.randint.low, aten.randperm.default,
    aten.empty.memory_format, aten.new_empty.default,
)  # fmt: skip
CREATED = [sample for sample, form in FORMS if isinstance(form, Created) and sample.op not in DRAWN]


def ids(forms):
    return [str(sample) for sample, _ in forms]


@pytest.mark.parametrize(("sample", "form"), EQUATIONS, ids=ids(EQUATIONS))
def test_an_equation_evaluates_to_the_op(sample, form):
    values = values_of(sample)
    expected = sample(values, 3)
    found = value_of(form, values, tuple(expected.shape))
    torch.testing.assert_close(found, expected.double(), rtol=1e-12, atol=1e-12)


def test_a_wrong_equation_is_noticed():
    sample = of(aten.conv1d.default, real(4, 2, 7), real(3, 2, 3), real(3), [2], [1])
    values = values_of(sample)
    right, expected = form_of(sample), sample(values)
    unpadded = form_of(of(aten.conv1d.default, real(4, 2, 7), real(3, 2, 3), real(3), [2], [0]))
    for wrong in (unpadded, replace(right, value=right.value.args[0]), replace(right, value=right.value.args[1])):
        assert not torch.allclose(value_of(wrong, values, tuple(expected.shape)), expected)


@pytest.mark.parametrize(("sample", "form"), REGROUPED, ids=ids(REGROUPED))
def test_a_regrouping_keeps_the_elements_in_their_order(sample, form):
    values = values_of(sample)
    assert torch.equal(sample(values, 3).flatten(), values[form.operand].flatten())


@pytest.mark.parametrize("sample", CREATED, ids=str)
def test_a_created_value_reads_no_tensor(sample):
    first, second = (sample(values_of(sample, seed=seed), 3) for seed in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(outputs(first), outputs(second), strict=True))
