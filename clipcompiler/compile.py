"""compile(model, loss) → CompiledStep: the pipeline, one line a stage."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from clipcompiler.audit import audit
from clipcompiler.axes import analyse
from clipcompiler.codegen import Program, generate
from clipcompiler.derive import derive
from clipcompiler.dsl import RuleSet
from clipcompiler.plan import Plan, plan
from clipcompiler.runtime import CompiledStep
from clipcompiler.trace import trace
from clipcompiler.verify import verify

__all__ = ["compile"]


def compile(
    model: nn.Module,
    loss_fn: Callable[..., Tensor] | None = None,
    *,
    max_grad_norm: float = 1.0,
    rules: RuleSet | None = None,
    nonfinite: str = "raise",
    example_inputs: tuple[Any, ...] | None = None,
) -> CompiledStep:
    """Compiles a model and a loss into a step that computes clipped per-example gradients.

    Args:
        model: any module that ``torch.export`` can trace.
        loss_fn: ``loss_fn(output, target)``, N losses, or their plain sum or mean. Without it ``model(*batch)``
            returns the losses itself.
        max_grad_norm: C, the bound on the norm of every example's gradient over all trainable parameters.
        rules: the rules of the ops; ``cc.default_rules | cc.RuleSet([my_rule])`` adds one's own.
        nonfinite: what becomes of examples whose loss or gradient is not finite: ``"raise"`` names them in a
            ``NonFiniteExamples`` and leaves ``.grad`` as it was, ``"drop"`` gives them a contribution of zero.
        example_inputs: a batch (inputs, then the target) to trace with at once; without it the step is traced
            at its first call.

    Returns:
        A module: ``step(x, target)`` adds Σ_n min(1, C/‖∇ℓ_n‖) ∇ℓ_n to ``.grad``.

    Raises:
        ValueError: where ``max_grad_norm`` is NaN or negative, or ``nonfinite`` another word.
        CompileError: with ``example_inputs``, where no exact clipped gradient can be promised; without them
            the first call raises it.
    """
    known: RuleSet = import_module("clipcompiler.rules").default_rules if rules is None else rules

    def pipeline(
        model: nn.Module, loss_fn: Callable[..., Tensor] | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Plan, Program]:
        traced = trace(model, loss_fn, args, kwargs)
        axes = analyse(traced, known)
        derived = derive(axes)
        planned = plan(derived)
        return planned, generate(planned)

    step = CompiledStep(model, loss_fn, max_grad_norm, pipeline, verify, audit, nonfinite)
    if example_inputs is not None:
        step.prepare(*example_inputs)
    return step
