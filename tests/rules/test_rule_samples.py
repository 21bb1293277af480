"""Whether every rule has samples: what is registered is tested."""

from __future__ import annotations

import pytest
import torch
from all_samples import FAMILIES, OVERLOADS, RULES, SAMPLES, samples_of

from clipcompiler import rules
from clipcompiler.dsl import OpRule
from clipcompiler.rules import default_rules


@pytest.mark.parametrize("op", OVERLOADS, ids=str)
def test_every_overload_has_a_sample(op):
    assert any(sample.op is op for sample in SAMPLES), f"add a sample of {op} to tests/rules/samples_<family>.py"


def test_a_tag_has_a_broad_choice_of_samples():
    tagged = {
        sample.op for sample in SAMPLES if default_rules.find(sample.op) is default_rules.rules[torch.Tag.pointwise]
    }
    assert len(tagged) > 100


def test_every_sample_has_a_rule():
    assert [str(sample) for sample in SAMPLES if default_rules.find(sample.op) is None] == []


def test_names_of_rules_are_their_own():
    assert len(RULES) == len(default_rules)
    assert sum(len(samples_of(rule)) for rule in RULES.values()) == len(SAMPLES)


def test_samples_stand_beside_the_rules_of_their_family():
    for family, samples in FAMILIES.items():
        own = [rule for rule in vars(getattr(rules, family)).values() if isinstance(rule, OpRule)]
        strangers = [str(sample) for sample in samples if default_rules.find(sample.op) not in own]
        assert strangers == []
