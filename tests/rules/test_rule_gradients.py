"""Gradients, norms and clipped sums derived from every rule, by every contraction order, against the oracle.

The samples of a rule are traced in one module. Where a parameter can enter the op it does, at each operand
alone and at all together; the ops that no parameter enters stand behind a trained factor. The examples lie in
each dim that the rule allows, alone and merged with other axes: in turn in the ordinary suite, all in the slow one.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from all_samples import RULES, samples_of
from bench import variants_of
from laboratory import Laboratory, cast
from layouts import layouts_of, strided
from placing import COMPOSITIONS, allowed, outputs, values_of
from sampling import Size, n

from clipcompiler.dsl import aten

#: An order more than these is tried in the slow suite.
MOST_ORDERS = 4
#: One in so many further samples of an op is in the ordinary suite.
FURTHER = 4
#: Ops that appear in graphs in place of others, and have no derivative when called by themselves.
WITHOUT_DERIVATIVE = {aten.copy.default, aten.detach_.default}


def usable(rule):
    """The samples of a rule whose gradients can be told: those that draw differ in the oracle's passes.

    The bench has real numbers; gradients of complex ones are held against the oracle in soundness/test_complex.py.
    """
    drawn = torch.Tag.nondeterministic_seeded
    left_out = [aten.empty.memory_format, aten.new_empty.default, aten.empty_like.default, *WITHOUT_DERIVATIVE]
    known = [s for s in samples_of(rule) if drawn not in s.op.tags and s.op not in left_out]
    return [s for s in known if all(spec.draw != "complex" for spec in s.operands.values())]


def states_equations(rule):
    """Whether a rule has been written out: those of a tag are one rule for many ops."""
    return torch.Tag.pointwise not in rule.ops


@cache
def ordinary(rule):
    """The choice of variants for the ordinary suite.

    Of the first sample of each op all that can be trained, with the examples first; with the examples at other
    places and at one place of every third other sample all operands at once, the compositions of dims in turn. Where
    no parameter enters, the first sample alone.
    """
    found, seen = [], set()
    for k, sample in enumerate(usable(rule)):
        places = [
            variants_of(placed)
            for placed in allowed(sample, (COMPOSITIONS[k % 4],) if sample.op in seen else (n, 2 * n))
        ]
        places = [variants for variants in places if variants]
        if not places:
            continue
        trainable = states_equations(rule) and not places[0][0].upstream
        if sample.op not in seen:
            found += [*places[0], *in_other_layouts(places[0][-1])] if trainable else places[0][-1:]
            found += [variants[-1] for variants in places[1 : 3 if trainable else 1]]
        elif trainable and k % FURTHER == 0:
            found.append(places[k % len(places)][-1])
        seen.add(sample.op)
    return found


def in_other_layouts(variant):
    """The same with the operands that carry examples laid out in other ways."""
    specs = [spec for spec in variant.placed.sample.operands.values() if spec.carrying is not None]
    return [replace(variant, layout=layout) for layout in dict.fromkeys(v for s in specs for v in layouts_of(s))]


def everything(rule):
    """Every variant of every placement of every sample."""
    placements = [placed for sample in usable(rule) for placed in allowed(sample) if one_function(placed)]
    return [v for placed in placements for v in variants_of(placed)]


def one_function(placed):
    """Whether torch computes the same for every number of examples: squeeze drops the dim of one example, cdist
    chooses its algorithm by a number of rows, and solve tells vectors from matrices by the extents of batch dims,
    which no export expresses."""
    sample = placed.sample
    if sample.op is aten.linalg_solve.default:
        matrix, right = sample.operands.values()
        return len(right.shape) != len(matrix.shape) - 1
    if sample.op is aten.cdist.default:
        return any(isinstance(size, Size) for size in placed.out[:-2])
    ranks = {outputs(sample(values_of(sample, k), k))[0].dim() for k in (1, 3)}
    return len(ranks) == 1


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


@pytest.mark.parametrize("rule", [p for p in with_variants(RULES.values()) if states_equations(p.values[0])])
def test_every_order_in_single_precision(rule):
    """Programs of their own, traced in float32, against the oracle in float64: one variant of each op."""
    firsts = {v.placed.sample.op: v for v in reversed(ordinary(rule)) if not (v.upstream or v.layout)}
    if not firsts:
        pytest.skip("no parameter enters these ops")
    laboratory = Laboratory.of(list(firsts.values()), MOST_ORDERS, torch.float32)
    batch = cast(laboratory.bench.batch(3), torch.float32)
    assert_all_agree(laboratory, batch, laboratory.truth(batch), 1e-5)


def test_layouts_of_the_batch_and_of_parameters(laboratory):
    """Strided, and one example expanded to several; the operands' own layouts are variants of the bench."""
    batch, bench = laboratory.bench.batch(3), copy.deepcopy(laboratory.bench)
    for parameter in bench.parameters():
        parameter.data = strided(parameter.data)
    assert_all_agree(laboratory, tuple(map(strided, batch)), laboratory.truth(batch), 1e-10, bench)
    expanded = tuple(x[:1].expand(3, *x.shape[1:]) for x in batch)
    assert_all_agree(laboratory, expanded, laboratory.truth(tuple(map(torch.clone, expanded))), 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("rule", with_variants(RULES.values()))
def test_every_placement_by_every_order(rule):
    """The whole cross product: samples, placements, compositions, what is trained, orders."""
    variants = everything(rule)
    for k in range(0, len(variants), 40):
        laboratory = Laboratory.of(variants[k : k + 40], 10**6)
        batch = laboratory.bench.batch(3)
        assert_all_agree(laboratory, batch, laboratory.truth(batch), 1e-10)
