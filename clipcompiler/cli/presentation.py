"""A verdict → text, or JSON."""

from __future__ import annotations

import platform
import traceback
from typing import Any

import torch
from torch import Tensor, nn

from clipcompiler.cli.verdict import Status, Verdict
from clipcompiler.errors import CompileError
from clipcompiler.version import __version__

__all__ = ["as_json", "as_text", "tensors_of"]


def as_text(verdict: Verdict, model: nn.Module, batch: dict[str, Tensor]) -> str:
    """What is checked, how each parameter is computed, and the verdict with its reason."""
    lines = [heading(model, batch), ""]
    if verdict.step is not None:
        lines += [str(verdict.step.plan), ""]
    return "\n".join([*lines, conclusion(verdict)])


def heading(model: nn.Module, batch: dict[str, Tensor]) -> str:
    """The model, its parameters, its mode, and the batch."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    numbers = sum(p.numel() for p in trainable)
    mode = "training" if model.training else "eval"
    tensors = [f"{name} {list(t.shape)} {short(t.dtype)}" for name, t in batch.items()]
    what = f"{len(trainable)} trainable parameters ({numbers:,} numbers), {mode} mode"
    return f"{type(model).__name__}: {what}\nbatch: {', '.join(tensors)}"


def conclusion(verdict: Verdict) -> str:
    """The verdict; the refusal or the traceback whole."""
    mode = ", compared in eval mode because the model draws at random" if verdict.in_eval_mode else ""
    if verdict.status is Status.EXACT:
        mode += "".join(f", at {letter} = {long} and {short}" for letter, (long, short) in verdict.lengths.items())
        found = f"largest relative error {verdict.error:.2g} of norms and clipped sums"
        return f"exact: {found}, against one backward pass an example in float64{mode}"
    if verdict.status is Status.REFUSED:
        return f"refused: {type(verdict.problem).__name__}: {verdict.problem}"
    if verdict.status is Status.FAILED and verdict.problem is not None:
        return f"failed:\n{''.join(traceback.format_exception(verdict.problem)).rstrip()}"
    return f"{verdict.status.value}: {verdict.reason}{mode}"


def as_json(verdict: Verdict, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Any]:
    """The same as JSON; ``docs/check.md`` says what the keys mean."""
    tensors = [{"name": name, "shape": list(t.shape), "dtype": short(t.dtype)} for name, t in batch.items()]
    return {
        "status": verdict.status.value,
        "reason": verdict.reason,
        "error": verdict.error,
        "lengths": verdict.lengths,
        "compared_in_eval_mode": verdict.in_eval_mode,
        "model": type(model).__name__,
        "training": model.training,
        "batch": tensors,
        "parameters": parameters(verdict),
        "problem": problem(verdict),
        "seconds": {name: round(value, 3) for name, value in verdict.seconds.items()},
        "versions": {"clipcompiler": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def parameters(verdict: Verdict) -> list[dict[str, Any]]:
    """A record for every parameter, and for every value that is computed from parameters, of the plan."""
    if verdict.step is None:
        return []
    plan = verdict.step.plan
    rows: list[dict[str, Any]] = [
        {
            "name": choice.name,
            "rules": list(dict.fromkeys(term.rule.name for term in choice.terms)),
            "gradient": " + ".join(str(term.each) for term in choice.terms),
            "order": choice.order.value,
            "why": choice.why,
        }
        for choice in plan.choices
    ]
    unreached = "the loss does not depend on it"
    return rows + [
        {"name": p.name, "rules": [], "gradient": "0", "order": None, "why": unreached} for p in plan.derived.unreached
    ]


def problem(verdict: Verdict) -> dict[str, Any] | None:
    """Why the verdict is no better."""
    error = verdict.problem
    if error is None:
        return None
    found: dict[str, Any] = {"kind": type(error).__name__, "message": str(error)}
    if isinstance(error, CompileError):
        found |= {"remedy": error.remedy, "to_the_loss": error.path}
        if error.origin is not None:
            o = error.origin
            found |= {"op": o.op, "module": o.module_path, "file": o.file, "line": o.line, "code": o.code}
    elif verdict.status is Status.FAILED:
        found["traceback"] = "".join(traceback.format_exception(error))
    return found


def short(dtype: torch.dtype) -> str:
    """``float32`` for ``torch.float32``"""
    return str(dtype).removeprefix("torch.")


def tensors_of(args: tuple[Any, ...], kwargs: dict[str, Any], *, has_target: bool) -> dict[str, Tensor]:
    """The tensors of a batch by name: ``input``, or ``input 1``, …; ``target``; the keywords. A tuple has no line."""
    inputs, targets = (args[:-1], args[-1:]) if has_target else (args, ())
    names = ["input"] if len(inputs) == 1 else [f"input {k + 1}" for k in range(len(inputs))]
    named = {**dict(zip(names, inputs, strict=True)), **dict(zip(["target"], targets, strict=False)), **kwargs}
    return {name: value for name, value in named.items() if isinstance(value, Tensor)}
