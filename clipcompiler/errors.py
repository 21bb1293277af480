"""The refusals: every one names the op, the module, the user's source line and what to do."""

from __future__ import annotations

from clipcompiler.origin import Origin

__all__ = [
    "CompileError",
    "ExamplesMixed",
    "InvalidBatch",
    "MemoryBudgetTooSmall",
    "NoRule",
    "NonFiniteExamples",
    "UnsupportedLoss",
    "UntraceableModel",
]


class CompileError(Exception):
    """A model, a loss or a batch for which no exact clipped gradient can be promised.

    Attributes:
        reason: what is wrong, in one sentence.
        origin: the op, module path and source line it concerns; ``None`` where no op is concerned.
        remedy: what the user can do about it.
        path: the ops through which the value reaches the loss, as ``mean → sub → linear (fc)``; empty where unknown.
    """

    def __init__(self, reason: str, *, origin: Origin | None = None, remedy: str = "", path: str = "") -> None:
        self.reason = reason
        self.origin = origin
        self.remedy = remedy
        self.path = path
        lines = [reason]
        if origin is not None:
            lines += [f"  {line}" for line in str(origin).splitlines()]
        if path:
            lines.append(f"  to the loss: {path}")
        if remedy:
            lines.append(f"  remedy: {remedy}")
        super().__init__("\n".join(lines))


class ExamplesMixed(CompileError):
    """An op reads several examples at once, so that no gradient belongs to one example."""

    def along(self, path: str) -> ExamplesMixed:
        """The same refusal, with the path from the op to the loss."""
        return ExamplesMixed(self.reason, origin=self.origin, remedy=self.remedy, path=path)


class NoRule(CompileError):
    """An op for which no rule says where its examples lie or how a parameter enters it."""


class UntraceableModel(CompileError):
    """``torch.export`` cannot express the model as one graph for every batch size."""


class UnsupportedLoss(CompileError):
    """The loss is neither N losses nor a plain sum or mean of N losses."""


class InvalidBatch(CompileError, ValueError):
    """The tensors of one call do not form a batch: no batch dimension, or several batch sizes."""


class MemoryBudgetTooSmall(MemoryError):
    """A memory budget that cannot be kept, not even with one example at a time.

    Attributes:
        budget: the bytes that were allowed.
        least: the bytes that the step needs at the least, as predicted.
    """

    def __init__(self, budget: int, least: int) -> None:
        self.budget, self.least = budget, least
        super().__init__(
            f"the step cannot be run within {budget / 2**20:,.1f} MiB: with one example at a time it needs "
            f"{least / 2**20:,.1f} MiB beside the model and the batch. Give memory={least:_} or more"
        )


class NonFiniteExamples(FloatingPointError):
    """Examples whose loss or gradient is infinite or NaN: their contribution could not be bounded.

    Attributes:
        examples: their places in the batch.
    """

    def __init__(self, examples: list[int], size: int) -> None:
        self.examples = examples
        shown = ", ".join(map(str, examples[:20])) + (", …" if len(examples) > 20 else "")
        super().__init__(
            f"{len(examples)} of {size} examples have a loss or gradient that is not finite: {shown}; "
            ".grad is left as it was. Leave these examples out, as cc.compile(..., nonfinite='drop') does, "
            "or lower the learning rate"
        )
