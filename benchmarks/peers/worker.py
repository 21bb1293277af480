"""One model by one method, in this process → one record."""

from __future__ import annotations

import copy
import json
import resource
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.exactness import Problem, errors_of, is_right, median_norm
from benchmarks.peers.memory import peak_of
from benchmarks.peers.methods import Method, NotOffered, methods
from benchmarks.peers.models import cases
from benchmarks.peers.pairs import paired
from clipcompiler.errors import CompileError

__all__ = ["Task", "done"]

OURS = "clipcompiler"


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is to do.

    Attributes:
        model: the name of the model.
        method: the name of the method.
        measure: "time", with the error against the loop, or "memory".
        batch: the examples of a batch.
        small: whether the model is a tiny one.
        device: "cpu" or "cuda".
        threads: threads of torch.
        repeats: timed pairs.
        seconds: about how long timing may take.
        gigabytes: the most address space on a CPU; 0 is no limit.
        fastdp: where fastDP is.
    """

    model: str
    method: str
    measure: str = "time"
    batch: int = 4
    small: bool = False
    device: str = "cpu"
    threads: int = 1
    repeats: int = 20
    seconds: float = 60.0
    gigabytes: float = 0.0
    fastdp: str | None = None

    def text(self) -> str:
        """The task as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Task:
        """The task of a JSON text."""
        return cls(**json.loads(text))


def done(task: Task) -> dict[str, Any]:
    """The record of a task: a status, and numbers or a reason."""
    prepare_process(task)
    problem = built(task)
    try:
        return peak(task, problem) if task.measure == "memory" else timed(task, problem)
    except Exception as error:  # whatever a library raises is a result
        return {"status": status_of(error), "reason": reason_of(error)}


def prepare_process(task: Task) -> None:
    """Threads, memory, and full float32 on a GPU."""
    if task.gigabytes and task.device == "cpu":
        limit = int(task.gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    torch.set_num_threads(task.threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(0)


def built(task: Task) -> Problem:
    """The model and a batch on the device."""
    case, device = cases(small=task.small)[task.model], torch.device(task.device)
    model = case.build().to(device)
    x, y = (t.to(device) for t in case.batch(task.batch))
    return Problem(model, case.loss_fn, x, y)


def prepared(task: Task, problem: Problem, max_grad_norm: float) -> Method:
    """The method on a copy of the model."""
    prepare = methods(Path(task.fastdp) if task.fastdp else None)[task.method]
    return prepare(copy.deepcopy(problem.model), problem.loss_fn, problem.x, problem.y, max_grad_norm)


def timed(task: Task, problem: Problem) -> dict[str, Any]:
    """Error against the loop, then times by turns with an ordinary step."""
    norms = problem.norms()
    bound = median_norm(norms)
    method = prepared(task, problem, bound)
    ordinary = methods()["ordinary"](problem.model, problem.loss_fn, problem.x, problem.y, bound)
    loop = prepared(replace(task, method="loop"), problem, bound) if task.method == OURS else ordinary
    record: dict[str, Any] = {"status": "exact", "max_grad_norm": bound, "note": method.note}
    record["parameters"] = sum(p.numel() for p in problem.model.parameters())
    if task.method != "ordinary":
        record |= judged(task, problem, method, norms, bound)

    def fresh() -> None:
        for own in (problem, method, loop):
            without_gradients(own.model)

    wait = torch.cuda.synchronize if task.device == "cuda" else lambda: None
    times = paired(
        ordinary.step, method.step, repeats=task.repeats, limit_s=task.seconds, fresh=fresh, synchronize=wait
    )
    if task.method == OURS:  # processes differ by some percent: what is close to the loop is timed by turns with it
        own = paired(loop.step, method.step, repeats=task.repeats, limit_s=task.seconds, fresh=fresh, synchronize=wait)
        times["against the loop"] = own["ratio"]
    return record | {"times": times}


def judged(task: Task, problem: Problem, method: Method, norms: Tensor, bound: float) -> dict[str, Any]:
    """Right or wrong, and the errors.

    A batch rounds otherwise than one example, and a ReLU or a maximum may then take another side, by chance: what is
    wrong in float32 is judged by its errors in float64.
    """
    errors = errors_of(method, problem, norms, bound)
    if is_right(errors):
        return {"status": "exact", "errors": errors}
    double = problem.double()
    try:
        precise = errors_of(prepared(task, double, bound), double, double.norms(), bound)
    except Exception:  # it does float32 alone
        return {"status": "wrong", "errors": errors}
    return {"status": "exact" if is_right(precise) else "wrong", "errors": errors, "errors_in_float64": precise}


def peak(task: Task, problem: Problem) -> dict[str, Any]:
    """The peak memory of one step. The value of C does not change it."""
    method = prepared(task, problem, 1.0)
    found = peak_of(method.step, lambda: without_gradients(method.model), torch.device(task.device))
    return {"status": "exact", "memory": found}


def without_gradients(model: nn.Module) -> None:
    """p → p without p.grad, for every parameter."""
    for p in model.parameters():
        p.grad = None


def status_of(error: Exception) -> str:
    """An exception → "refuses" where the library says that it cannot, "fails" where it breaks."""
    own_refusals = {"UnsupportedModuleError", "ShouldReplaceModuleError", "IllegalModuleConfigurationError"}
    said = isinstance(error, (CompileError, NotOffered, NotImplementedError)) or type(error).__name__ in own_refusals
    return "refuses" if said else "fails"


def reason_of(error: Exception) -> str:
    """The type and the first line of an exception."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {' '.join(lines[0].split())}"[:300]
