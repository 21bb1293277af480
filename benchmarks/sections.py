"""Where the time of a generated step goes: seconds in each of its sections, and in each stage of compiling it."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from clipcompiler import default_rules
from clipcompiler.axes import analyse
from clipcompiler.codegen import Program, generate
from clipcompiler.derive import derive
from clipcompiler.plan import plan
from clipcompiler.runtime import CompiledStep
from clipcompiler.trace import trace

__all__ = ["seconds_by_section", "seconds_by_stage"]

TITLE = re.compile(r"^( +)# ── ([^:─]+).*$", re.MULTILINE)


def seconds_by_section(step: CompiledStep, batch: tuple[Tensor, ...], repeats: int) -> dict[str, float]:
    """The median seconds in each section of the program, a clock read at every section's title."""
    marked = TITLE.sub(lambda match: f"{match.group(1)}_mark({match.group(2).strip()!r})", step.source)
    end = "        return losses.detach(), norms, clip_factors\n"
    marked = marked.replace(end, f"        _mark('')\n{end}")
    marks: list[tuple[str, float]] = []
    scope: dict[str, Any] = {"__name__": "marked", "_mark": lambda title: marks.append((title, time.perf_counter()))}
    exec(compile(marked, "<marked>", "exec"), scope)
    parameters = dict(step.model.named_parameters())
    buffers = dict(step.model.named_buffers())
    found: dict[str, list[float]] = {}
    for _ in range(repeats + 2):
        marks.clear()
        scope["clipped_gradients"](parameters, buffers, *batch, max_grad_norm=step.max_grad_norm)
        seconds: dict[str, float] = {}
        for (title, start), (_, end) in pairwise(marks):
            seconds[title] = seconds.get(title, 0.0) + end - start
        for title, took in seconds.items():
            found.setdefault(title, []).append(took)
    return {title: statistics.median(times[2:]) for title, times in found.items() if title}


def seconds_by_stage(model: nn.Module, loss_fn: Any, batch: tuple[Tensor, ...]) -> dict[str, float]:
    """Seconds in each stage of the pipeline, once."""
    seconds: dict[str, float] = {}

    def timed(stage: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        value = run()
        seconds[stage] = time.perf_counter() - start
        return value

    traced = timed("trace", lambda: trace(model, loss_fn, batch))
    axes = timed("axes", lambda: analyse(traced, default_rules))
    derived = timed("derive", lambda: derive(axes))
    planned = timed("plan", lambda: plan(derived))
    program: Program = timed("generate", lambda: generate(planned))
    timed("load", lambda: compile(program.source, "<program>", "exec"))
    return seconds
