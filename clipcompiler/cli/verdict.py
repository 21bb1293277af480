"""model, loss, batch → exact, refused, unverified, wrong or failed: what clipcompiler makes of a model, and why."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from torch import Tensor, nn

from clipcompiler.compile import compile as compile_step
from clipcompiler.errors import CompileError
from clipcompiler.runtime import CompiledStep
from clipcompiler.trace.lengths import Declared, cut_to
from clipcompiler.verify import VerificationError, draws

__all__ = ["TOLERANCE", "Status", "Verdict", "examine"]

#: The largest relative error in float64 of what counts as exact.
TOLERANCE = 1e-9
#: Shows that a part of the work has begun and ended.
Progress = Callable[[str], AbstractContextManager[None]]


class Status(Enum):
    """What becomes of a model."""

    EXACT = "exact"
    REFUSED = "refused"
    UNVERIFIED = "unverified"
    WRONG = "wrong"
    FAILED = "failed"


@dataclass(slots=True)
class Verdict:
    """What becomes of one model.

    Attributes:
        status: the verdict.
        reason: why it is no better than it is, in one line; empty where it is exact.
        step: the compiled step, where there is one.
        error: the largest relative error of norms and clipped sums against one backward pass an example, in float64.
        lengths: for each letter the sizes that the numbers were compared at.
        in_eval_mode: the numbers were compared in eval mode, because the model draws at random.
        problem: the exception, where there was one.
        seconds: the time of each part.
    """

    status: Status
    reason: str = ""
    step: CompiledStep | None = None
    error: float | None = None
    lengths: dict[str, list[int]] = field(default_factory=dict)
    in_eval_mode: bool = False
    problem: Exception | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def examine(
    model: nn.Module,
    loss_fn: Callable[..., Tensor] | None,
    args: Sequence[Any],
    kwargs: dict[str, Any] | None = None,
    *,
    dynamic: Declared | None = None,
    tolerance: float = TOLERANCE,
    progress: Progress = lambda _: nullcontext(),
) -> Verdict:
    """Compiles a model, then holds norms and clipped sums against one backward pass an example in float64.

    C is the median of the norms, so that some examples are clipped and some are not. Where lengths are ``dynamic``, the
    same program is held against the loop once more, on the first half of the positions.

    A model that draws at random cannot be compared as it is: its loop would draw other numbers. Such a model is
    proven as it is, and compared in eval mode.
    """
    verdict = Verdict(Status.FAILED)
    options = dict(kwargs or {})

    @contextmanager
    def part(name: str) -> Iterator[None]:
        start = time.perf_counter()
        with progress(name):
            yield
        verdict.seconds[name] = verdict.seconds.get(name, 0.0) + time.perf_counter() - start

    try:
        with part("compile"):
            verdict.step = compile_step(model, loss_fn, dynamic=dynamic).prepare(*args, **options)
        verified(verdict, args, options, tolerance, part)
    except CompileError as refusal:
        verdict.status, verdict.reason, verdict.problem = Status.REFUSED, refusal.reason, refusal
    except VerificationError as error:
        verdict.status, verdict.reason, verdict.problem = Status.WRONG, str(error), error
    except Exception as error:  # a fault of the model or of this package: the caller shows it whole
        verdict.reason, verdict.problem = in_one_line(error), error
    return verdict


def verified(verdict: Verdict, args: Sequence[Any], kwargs: dict[str, Any], tolerance: float, part: Progress) -> None:
    """Compares the step of a verdict with the loop over examples."""
    step = verdict.step
    assert step is not None
    if draws(step):
        step, verdict.in_eval_mode = in_eval_mode(step), True
        with part("compile"):
            step.prepare(*args, **kwargs)
        if draws(step):
            verdict.status = Status.UNVERIFIED
            verdict.reason = "the model draws at random, in eval mode too: a loop over examples draws other numbers"
            return
    with part("run"):
        result, _ = step.gradients(*args, **kwargs)
    if (middle := float(result.norms.median())) > 0:
        step.max_grad_norm = middle
    with part("verify"):
        verdict.error = step.verify(*args, tolerance=tolerance, **kwargs)
        if lengths := step.plan.derived.axes.traced.lengths:
            sizes = {x: max(x.least, (x.usual + 1) // 2) for x in lengths}
            args, kwargs = cut_to((tuple(args), kwargs), sizes)
            verdict.error = max(verdict.error, step.verify(*args, tolerance=tolerance, **kwargs))
            verdict.lengths = {str(x.letter): [x.usual, size] for x, size in sizes.items()}
    verdict.status = Status.EXACT


def in_eval_mode(step: CompiledStep) -> CompiledStep:
    """A step of a copy of the model, without dropout."""
    alone = copy.deepcopy(step)
    alone.eval()
    return alone


def in_one_line(error: BaseException) -> str:
    """The kind of an exception and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
