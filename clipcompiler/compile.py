"""compile(model, loss) → CompiledStep: the pipeline, one line a stage."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from clipcompiler.audit import audit
from clipcompiler.axes import analyse
from clipcompiler.axes.function_of_norms import prove_apart
from clipcompiler.clipping import Clipping, Flat, Function
from clipcompiler.derive import derive
from clipcompiler.dsl import RuleSet
from clipcompiler.fit import Fit, Wishes, fitted
from clipcompiler.memory import Subject, parsed
from clipcompiler.plan import STRATEGIES
from clipcompiler.runtime import Backend, CompiledStep, Tools
from clipcompiler.same_losses import prove_same_losses
from clipcompiler.trace import trace
from clipcompiler.trace.autocast import Autocast
from clipcompiler.trace.lengths import Declared, declared, written_with_letters
from clipcompiler.verify import verify

__all__ = ["compile"]


def compile(
    model: nn.Module,
    loss_fn: Callable[..., Tensor] | None = None,
    *,
    max_grad_norm: float = 1.0,
    clipping: Clipping | Callable[[Tensor], Tensor] | None = None,
    examples_per_unit: int = 1,
    rules: RuleSet | None = None,
    nonfinite: str = "raise",
    strategy: str = "auto",
    memory: str | int = "fast",
    chunk_size: int | None = None,
    autotune: bool = False,
    dynamic: Declared | None = None,
    backend: str = "eager",
    mode: str | None = None,
    example_inputs: tuple[Any, ...] | None = None,
) -> CompiledStep:
    """Compiles a model and a loss into a step that computes clipped per-example gradients.

    Args:
        model: any module that ``torch.export`` can trace.
        loss_fn: ``loss_fn(output, target)``, N losses, or their plain sum or mean. Without it ``model(*batch)``
            returns the losses itself.
        max_grad_norm: C, the bound on the norm of every example's gradient over all trainable parameters.
        clipping: what the factors follow from: ``cc.Flat()`` (the default), ``cc.Automatic(gamma)``,
            ``cc.Normalize()``, ``cc.PSAC(r)``, ``cc.PerLayer()``, ``cc.PerGroup({"encoder": 0.5, "*": 1.0})``,
            ``cc.AdaptiveQuantile(…)``, or a function from norms [N] to factors [N].
        examples_per_unit: m, the size of the privacy unit: m consecutive examples of the batch are clipped together,
            and may be mixed with each other (not with those of another unit). The losses are [N] or [N/m]; norms
            and clip factors are [N/m]. For units of unequal size call the step with ``unit_ids=``.
        rules: the rules of the ops; ``cc.default_rules | cc.RuleSet([my_rule])`` adds one's own.
        nonfinite: what becomes of examples whose loss or gradient is not finite: ``"raise"`` names them in a
            ``NonFiniteExamples`` and leaves ``.grad`` as it was, ``"drop"`` gives them a contribution of zero.
        strategy: where the clipped sums come from: ``"bookkeeping"`` contracts cotangents and inputs once more,
            ``"reweight"`` runs a second backward pass of Σ_n c_n ℓ_n (ReweightGP of the paper), ``"auto"`` chooses, and
            may keep per-example gradients too.
        memory: the most that a step may hold at its peak, beside the model and the batch: ``"fast"`` at most 1.25 times
            what an ordinary step of this batch holds, ``"lean"`` no more than that, or a number of bytes. Where all
            examples at once need more, they are run in chunks; norms and sums are the same.
        chunk_size: the examples (with ``examples_per_unit`` the units) that are run at a time, where it is to be no
            choice of the planner's. Units given at call time stay whole: one of more examples is run by itself.
        autotune: whether the orders of each parameter and the examples at a time are measured, on the batch that the
            step is compiled for, instead of predicted; what is measured is shown on stderr. It takes some tens of
            steps. Units given at call time are planned by predictions.
        dynamic: sizes of the batch that vary from call to call, beside the number of examples: for each input by its
            name (``target`` for the target) the dims, and a letter for each: ``{"tokens": {1: "T"}, "target": {1:
            "T"}}``. One program serves every T ≥ 2; what is cheaper for short batches than for long ones is decided
            within it, by the condition that it prints.
        backend: ``"eager"`` runs the generated program as it is written; ``"inductor"`` records one graph (forward,
            backward, norms, clipping and sums), which torch's Inductor compiles at the first call of each kind of
            batch; that is shown on stderr. Where Inductor cannot, one warning says why, and the program is run
            eagerly, as it is with ``unit_ids`` and with a clipping function of one's own, which may change.
        mode: Inductor's: ``"reduce-overhead"`` for CUDA graphs, ``"max-autotune"``, or ``None``.
        example_inputs: a batch (inputs, then the target) to trace with at once; without it the step is traced
            at its first call.

    Returns:
        A module: ``step(x, target)`` adds Σ_n min(1, C/‖∇ℓ_n‖) ∇ℓ_n to ``.grad``.

    Raises:
        TypeError: where ``model`` is no module, or ``clipping`` is no clipping and no function.
        ValueError: where ``max_grad_norm`` is NaN or negative, ``nonfinite``, ``strategy``, ``memory``, ``backend`` or
            ``mode`` another word,
            or where ``clipping`` leaves a parameter without a group; at a call with ``unit_ids`` where ``memory`` in
            bytes was given.
        MemoryBudgetTooSmall: at a call, where the bytes of ``memory`` cannot be kept; it says the least that can.
        CompileError: with ``example_inputs``, where no exact clipped gradient can be promised; without them
            the first call raises it.
    """
    way = clipping_of(clipping)
    wishes = Wishes(way, strategy, parsed(memory), chunk_size, autotune)
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}: give one of {', '.join(map(repr, STRATEGIES))}")
    known: RuleSet = import_module("clipcompiler.rules").default_rules if rules is None else rules

    def pipeline(
        model: nn.Module,
        loss_fn: Callable[..., Tensor] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        units: bool,
        lengths: Declared,
    ) -> Fit:
        prove_apart(way.own_function, known)
        with written_with_letters(lengths):
            traced = trace(
                model, loss_fn, args, kwargs, examples_per_unit, lambda op: known.find(op) is not None, lengths
            )
            with Autocast.off().applied():  # the graph has its casts
                axes = analyse(traced, known)
                return fitted(derive(axes), Subject(model, loss_fn, args, kwargs), wishes, units=units)

    step = CompiledStep(
        model,
        loss_fn,
        max_grad_norm,
        Tools(pipeline, verify, audit, prove_same_losses),
        clipping=way,
        examples_per_unit=examples_per_unit,
        nonfinite=nonfinite,
        dynamic=declared(dynamic),
        backend=Backend(backend, mode),
    )
    if example_inputs is not None:
        step.prepare(*example_inputs)
    return step


def clipping_of(clipping: Clipping | Callable[[Tensor], Tensor] | None) -> Clipping:
    """A clipping function as given, or made of a function of the norms.

    Raises:
        TypeError: where it is neither.
    """
    if clipping is None:
        return Flat()
    if isinstance(clipping, Clipping):
        return clipping
    if isinstance(clipping, type) or not callable(clipping):
        raise TypeError(f"clipping is {clipping!r}: give cc.Flat() or another clipping, or a function of the norms")
    return Function(clipping)
