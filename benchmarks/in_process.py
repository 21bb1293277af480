"""Some work in a process of its own: nothing of one measurement is left in memory for the next."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import clipcompiler as cc
from benchmarks.peers.results import Record

__all__ = ["in_a_process"]


def in_a_process(work: Callable[[Record], Record], head: Record) -> Record:
    """What some work makes of the head of a record; where it fails, a record that says why."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(work, head).result()
        except (BrokenProcessPool, RuntimeError, MemoryError, cc.CompileError, cc.MemoryBudgetTooSmall) as error:
            return head | {"status": "failed", "reason": f"{type(error).__name__}: {error}".splitlines()[0]}
