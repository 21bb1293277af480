"""Every sample, by rule. A rule in rules/<family>.py finds its samples in samples_<family>.py beside this file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch
from sampling import Sample

from clipcompiler.dsl import OpRule
from clipcompiler.rules import default_rules

__all__ = ["FAMILIES", "OVERLOADS", "RULES", "SAMPLES", "samples_of"]

FAMILIES: dict[str, list[Sample]] = {
    path.stem.removeprefix("samples_"): import_module(path.stem).SAMPLES
    for path in sorted(Path(__file__).parent.glob("samples_*.py"))
}
SAMPLES: list[Sample] = [sample for family in FAMILIES.values() for sample in family]
OVERLOADS = [op for op in default_rules.rules if not isinstance(op, torch.Tag)]
RULES: dict[str, OpRule] = {rule.name: rule for rule in default_rules}


def samples_of(rule: OpRule) -> list[Sample]:
    """The samples of the ops that a rule speaks of, by their own names or by a tag."""
    return [sample for sample in SAMPLES if default_rules.find(sample.op) is rule]
