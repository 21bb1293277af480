"""The vocabulary in which rules are written. A rule file imports this package and nothing else of ours."""

import torch

from clipcompiler.dsl.equation import Equation, equation, expands, pointwise
from clipcompiler.dsl.forms import (
    Aligned,
    Created,
    Regrouped,
    aligned,
    copies,
    created,
    mixes,
    moves,
    reduces,
    regroups,
)
from clipcompiler.dsl.indices import Star, at, index_family, indices
from clipcompiler.dsl.inside import Inside, inside
from clipcompiler.dsl.layers import layers
from clipcompiler.dsl.operand import ABSENT, Absent, Auxiliary, Operand, auxiliary, out
from clipcompiler.dsl.ruleset import Form, OpRule, RuleSet, op_rule

aten = torch.ops.aten

__all__ = [
    "ABSENT",
    "Absent",
    "Aligned",
    "Auxiliary",
    "Created",
    "Equation",
    "Form",
    "Inside",
    "OpRule",
    "Operand",
    "Regrouped",
    "RuleSet",
    "Star",
    "aligned",
    "at",
    "aten",
    "auxiliary",
    "copies",
    "created",
    "equation",
    "expands",
    "index_family",
    "indices",
    "inside",
    "layers",
    "mixes",
    "moves",
    "op_rule",
    "out",
    "pointwise",
    "reduces",
    "regroups",
]
