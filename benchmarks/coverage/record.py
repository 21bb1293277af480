"""One case → one line of results."""

from __future__ import annotations

import re
import subprocess
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.coverage.case import Built, Case, NotBuilt
from clipcompiler.cli.verdict import Verdict, examine
from clipcompiler.errors import CompileError, UntraceableModel
from clipcompiler.verify import Unrounded

__all__ = ["TOLERANCE", "recorded"]

#: The largest relative error in float64 of what counts as exact.
TOLERANCE = 1e-8


def recorded(case: Case, *, freeze_embeddings: bool) -> dict[str, Any]:
    """Builds and examines a model; what came of it, as JSON."""
    record: dict[str, Any] = {"name": case.name, "frozen_embeddings": freeze_embeddings}
    start = time.perf_counter()
    try:
        built = case.build()
    except NotBuilt as error:
        return {**record, "status": "not built", "reason": str(error)}
    record |= {"notes": built.notes, "parameters": sum(p.numel() for p in built.model.parameters())}
    if freeze_embeddings:
        freeze(built.model)
    building = time.perf_counter() - start
    verdict = examined(built)
    record |= described(verdict)
    record["seconds"] = {"build": round(building, 2), **record["seconds"]}
    if isinstance(verdict.problem, UntraceableModel) and built.model.training:
        built.model.eval()  # what torch cannot trace in training mode it may in this one
        record["in_eval_mode"] = examined(built).status.value
    return record


def examined(built: Built) -> Verdict:
    """The verdict of a model in float64, with the casts of its own forward left out."""
    model = built.model.double()
    batch = [t.double() if t.is_floating_point() else t for t in built.batch]
    with Unrounded():
        return examine(model, built.loss_fn, batch, tolerance=TOLERANCE)


def freeze(model: nn.Module) -> None:
    """Leaves the tables of embeddings as they are."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.requires_grad_(False)


def described(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON."""
    found: dict[str, Any] = {
        "status": verdict.status.value,
        "reason": " ".join(verdict.reason.split()),
        "error": verdict.error,
        "seconds": {k: round(v, 2) for k, v in verdict.seconds.items()},
    }
    problem = verdict.problem
    if problem is not None:
        found["kind"] = type(problem).__name__
    if isinstance(problem, CompileError) and problem.origin is not None:
        origin = problem.origin
        found |= {"op": origin.op, "source": f"{below_packages(origin.file)}:{origin.line}", "code": origin.code}
    elif problem is not None:
        frames = traceback.extract_tb(problem.__traceback__)
        own = [f for f in frames if "clipcompiler" in f.filename or "<" in f.filename] or frames
        found |= {"source": f"{below_packages(own[-1].filename)}:{own[-1].lineno}", "code": own[-1].line}
        found["traceback"] = "".join(traceback.format_exception(problem))[-4000:]
    return found


def below_packages(file: str) -> str:
    """A path below site-packages, or below the checkout."""
    return re.sub(r"^.*/(?=(site-packages|clipcompiler|rules)/)(site-packages/)?", "", file)


def versions() -> dict[str, str]:
    """The commit of clipcompiler, and the versions of what the models come from."""
    from importlib.metadata import version

    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    known = {"clipcompiler": commit or version("clipcompiler"), "torch": torch.__version__}
    return known | {name: version(name) for name in ("transformers", "timm")}
