"""Gradients, norms and clipped sums derived from every rule, by every contraction order, against the oracle.

The samples of a rule are traced in one module. Where a parameter can enter the op it does, at each operand
alone and at all together; the ops that no parameter enters stand behind a trained factor. The examples lie in
each dim that the rule allows, alone and merged with other axes: in turn in the ordinary suite, all in the slow one.
"""

from __future__ import annotations

import copy

import pytest
import torch
from all_samples import RULES, samples_of
from bench import variants_of
from laboratory import Laboratory
from placing import COMPOSITIONS, allowed
from sampling import Size, n

from clipcompiler.axes.layout import EXAMPLES, Axis

#: An order more than these is tried in the slow suite.
MOST_ORDERS = 12


def is_drawn(sample):
    """Whether the op draws its elements, other ones in the oracle's passes."""
    return torch.Tag.nondeterministic_seeded in sample.op.tags or "empty" in str(sample.op)


def ordinary(rule):
    """All variants of the first sample of each op; one of each other sample, the compositions of dims in turn."""
    found, seen = [], set()
    for k, sample in enumerate(s for s in samples_of(rule) if not is_drawn(s)):
        first = sample.op not in seen
        places = allowed(sample, COMPOSITIONS if first else (COMPOSITIONS[k % len(COMPOSITIONS)],))
        usable = [variants_of(placed) for placed in places]
        seen |= {sample.op} if any(usable) else set()
        if first:
            found += [v for variants in usable[:2] for v in variants] + [vs[-1] for vs in usable[2:] if vs]
        else:
            found += [vs[-1] for vs in usable[k % 2 : k % 2 + 1] or usable[:1] if vs]
    return found


def everything(rule):
    """Every variant of every placement of every sample."""
    samples = [s for s in samples_of(rule) if not is_drawn(s)]
    return [v for sample in samples for placed in allowed(sample) for v in variants_of(placed)]


def with_variants(rules):
    """The rules that have any."""
    return [pytest.param(rule, id=rule.name) for rule in rules if ordinary(rule)]


@pytest.fixture(scope="module", params=with_variants(RULES.values()))
def laboratory(request):
    return Laboratory.of(ordinary(request.param), MOST_ORDERS)


def assert_all_agree(laboratory, batch, truth, tolerance, bench=None):
    """Every order's norms and sums are the oracle's."""
    for step in laboratory.steps(bench):
        assert laboratory.disagreement(step, batch, truth, tolerance) == ""


@pytest.mark.parametrize("examples", [1, 2, 3])
def test_every_order_in_double_precision(laboratory, examples):
    batch = laboratory.bench.batch(examples)
    assert_all_agree(laboratory, batch, laboratory.truth(batch), 1e-10)


def test_every_order_in_single_precision(laboratory):
    batch = laboratory.bench.batch(3)
    single = copy.deepcopy(laboratory.bench).float()
    floats = tuple(x.float() if x.is_floating_point() else x for x in batch)
    assert_all_agree(laboratory, floats, laboratory.truth(batch), 1e-5, single)
