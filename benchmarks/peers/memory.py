"""The peak memory of one call, beyond what is held before it."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["peak_of"]

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_of(run: Callable[[], object], fresh: Callable[[], object], device: torch.device) -> int | None:
    """Bytes at the peak of ``run()`` beyond those before it, after two calls to warm up; ``None`` where none can tell.

    On a CPU the peak of the resident pages is reset between, which Linux can.
    """
    for _ in range(2):
        fresh()
        run()
    fresh()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not RESET.exists():
        return None
    ctypes.CDLL(None).malloc_trim(0)
    RESET.write_text("5")
    before = pages("VmRSS")
    run()
    return max(0, pages("VmHWM") - before)


def pages(field: str) -> int:
    """Bytes that /proc tells of this process."""
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
