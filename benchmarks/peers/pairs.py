"""Two steps by turns → the seconds of each, and of their pairs the ratios."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

from timing import Timing

__all__ = ["paired"]

Run = Callable[[], object]


def paired(
    ordinary: Run,
    method: Run,
    *,
    repeats: int,
    limit_s: float,
    fresh: Run = lambda: None,
    synchronize: Run = lambda: None,
) -> dict[str, dict[str, float]]:
    """Medians and quartiles of ``repeats`` pairs of calls, in turn the one and the other first.

    Args:
        ordinary: what the method is measured against.
        method: what is measured.
        repeats: timed pairs.
        limit_s: about how long all may take; a slow pair is timed less often, but at least three times.
        fresh: is called before each call, outside of the clock.
        synchronize: waits for the device before a clock is read.
    """

    def seconds(run: Run) -> float:
        fresh()
        synchronize()
        start = time.perf_counter()
        run()
        synchronize()
        return time.perf_counter() - start

    for _ in range(2):  # what is allocated or compiled at a first call is not measured
        warm = seconds(ordinary) + seconds(method)
    turns = max(min(3, repeats), min(repeats, int(limit_s / warm) - 2))
    times: dict[str, list[float]] = {"ordinary": [], "method": []}
    for turn in range(turns):
        pair = [("ordinary", ordinary), ("method", method)]
        for name, run in pair if turn % 2 == 0 else reversed(pair):
            times[name].append(seconds(run))
    ratios = [b / a for a, b in zip(times["ordinary"], times["method"], strict=True)]
    return {name: asdict(Timing.of(values)) for name, values in {**times, "ratio": ratios}.items()}
