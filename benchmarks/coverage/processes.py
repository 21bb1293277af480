"""Each case in a process of its own, within a time and a memory."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any

import torch

from benchmarks.coverage.case import Case

__all__ = ["Limits", "run_each"]

FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one case may take: seconds, and bytes of address space."""

    seconds: float
    bytes: int


@dataclass(slots=True)
class Running:
    """A case under way."""

    case: Case
    process: ForkProcess
    results: Connection
    start: float


def run_each(
    cases: Sequence[Case], work: Callable[[Case], dict[str, Any]], limits: Limits, jobs: int
) -> Iterator[dict[str, Any]]:
    """The record of each case, as it ends. What the parent has imported, the children share."""
    waiting, running = list(reversed(cases)), list[Running]()
    while waiting or running:
        while waiting and len(running) < jobs:
            running.append(started(waiting.pop(), work, limits))
        soonest = min(r.start for r in running) + limits.seconds - time.monotonic()
        wait([r.results for r in running], timeout=max(soonest, 0.1))
        for r in list(running):
            record = ended(r, limits)
            if record is not None:
                running.remove(r)
                yield record


def started(case: Case, work: Callable[[Case], dict[str, Any]], limits: Limits) -> Running:
    """A process that sends the record of one case."""
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=limited, args=(case, work, limits, sender), daemon=True)
    process.start()
    sender.close()
    return Running(case, process, receiver, time.monotonic())


def limited(case: Case, work: Callable[[Case], dict[str, Any]], limits: Limits, sender: Connection) -> None:
    """Does the work of one case within the memory."""
    resource.setrlimit(resource.RLIMIT_AS, (limits.bytes, limits.bytes))
    torch.set_num_threads(1)
    sender.send(work(case))


def ended(running: Running, limits: Limits) -> dict[str, Any] | None:
    """The record of a case that is done, died, or took too long; ``None`` while it runs."""
    name, seconds = running.case.name, time.monotonic() - running.start
    if running.results.poll():
        try:
            record: dict[str, Any] = running.results.recv()
        except EOFError:
            running.process.join()
            record = {"name": name, "status": "unfinished", "reason": f"died: exit code {running.process.exitcode}"}
    elif seconds >= limits.seconds:
        running.process.kill()
        record = {"name": name, "status": "unfinished", "reason": f"took more than {limits.seconds:g} s"}
    else:
        return None
    running.process.join()
    return {**record, "wall_seconds": round(seconds, 1)}
