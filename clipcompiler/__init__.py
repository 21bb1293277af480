"""Per-example gradient clipping in PyTorch, compiled: ``step = cc.compile(model, loss_fn, max_grad_norm=1.0)``."""

from importlib import import_module as _import_module

from clipcompiler.clipping import (
    PSAC,
    AdaptiveQuantile,
    Automatic,
    Clipping,
    Flat,
    Normalize,
    PerGroup,
    PerLayer,
    Sensitivity,
)
from clipcompiler.compile import compile
from clipcompiler.dsl import OpRule, RuleSet, op_rule
from clipcompiler.errors import (
    CompileError,
    ExamplesMixed,
    InvalidBatch,
    MemoryBudgetTooSmall,
    NonFiniteExamples,
    NoRule,
    UnsupportedLoss,
    UntraceableModel,
)
from clipcompiler.plan import Plan
from clipcompiler.runtime import Audit, ClippedGradients, CompiledStep
from clipcompiler.verify import VerificationError
from clipcompiler.version import __version__

default_rules: RuleSet = _import_module("clipcompiler.rules").default_rules

__all__ = [
    "PSAC",
    "AdaptiveQuantile",
    "Audit",
    "Automatic",
    "ClippedGradients",
    "Clipping",
    "CompileError",
    "CompiledStep",
    "ExamplesMixed",
    "Flat",
    "InvalidBatch",
    "MemoryBudgetTooSmall",
    "NoRule",
    "NonFiniteExamples",
    "Normalize",
    "OpRule",
    "PerGroup",
    "PerLayer",
    "Plan",
    "RuleSet",
    "Sensitivity",
    "UnsupportedLoss",
    "UntraceableModel",
    "VerificationError",
    "__version__",
    "compile",
    "default_rules",
    "op_rule",
]
