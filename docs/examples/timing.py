"""Compare the times of several functions fairly: by turns, after a warm-up, by the median."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds a call: the lower quartile, the median and the upper quartile of `repeats` calls."""

    lower: float
    median: float
    upper: float
    repeats: int

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        """Summarise the times of single calls."""
        if len(seconds) == 1:
            return cls(seconds[0], seconds[0], seconds[0], 1)
        lower, median, upper = statistics.quantiles(seconds, n=4, method="inclusive")
        return cls(lower, median, upper, len(seconds))


def interleave(
    functions: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 20,
    warmup: int = 2,
    limit_s: float = float("inf"),
    synchronize: Callable[[], object] | None = None,
) -> dict[str, Timing]:
    """Time each function `repeats` times, by turns, so that a disturbance of the machine meets all of them.

    Args:
        functions: what to call, by name; the calls take no arguments.
        repeats: timed calls of each function.
        warmup: untimed calls of each function before.
        limit_s: about how long one function's calls may take in all, warm-up included. A slow function gets
            less warm-up and fewer turns, spread over the others', but at least 3 of the `repeats`.
        synchronize: waits for the device before a clock is read, as `torch.cuda.synchronize` does.
    """
    turns = {name: _turns(function, repeats, warmup, limit_s, synchronize) for name, function in functions.items()}
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats):
        for name, function in functions.items():
            if turn * turns[name] // repeats != (turn + 1) * turns[name] // repeats:
                seconds[name].append(_time(function, synchronize))
    return {name: Timing.of(times) for name, times in seconds.items()}


def table(timings: Mapping[str, Timing]) -> str:
    """One row a function, with its median as a multiple of the first function's."""
    first, *_ = timings.values()
    lines = [f"{'step':<30}{'median':>13}{'quartiles':>26}{'calls':>8}{'ratio':>8}"]
    for name, t in timings.items():
        quartiles = f"{t.lower * 1e3:,.1f} to {t.upper * 1e3:,.1f} ms"
        ratio = t.median / first.median
        lines.append(f"{name:<30}{t.median * 1e3:>10,.1f} ms{quartiles:>26}{t.repeats:>8}{ratio:>8.2f}")
    return "\n".join(lines)


def _turns(
    function: Callable[[], object],
    repeats: int,
    warmup: int,
    limit_s: float,
    synchronize: Callable[[], object] | None,
) -> int:
    """Warm the function up, and say how many of its calls fit into what is left of `limit_s`."""
    spent = last = 0.0
    for _ in range(warmup):
        if spent + last > limit_s / 4:
            break
        last = _time(function, synchronize)
        spent += last
    if last == 0.0 or limit_s == float("inf"):
        return repeats
    return min(repeats, max(3, int((limit_s - spent) / last)))


def _time(function: Callable[[], object], synchronize: Callable[[], object] | None) -> float:
    """Seconds of one call."""
    if synchronize is not None:
        synchronize()
    start = time.perf_counter()
    function()
    if synchronize is not None:
        synchronize()
    return time.perf_counter() - start
