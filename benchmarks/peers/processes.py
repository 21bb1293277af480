"""A task in a process of its own, within a time → its record, whatever becomes of the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.worker import Task

__all__ = ["ROOT", "record_of"]

ROOT = Path(__file__).parents[2]
#: What stands before a record on a worker's output: libraries print there too.
MARK = "record: "
#: The allocator of glibc, by what is measured. For memory, large tensors go back to the system as soon as they are
#: freed: the peak of a process is that of its tensors. For time, it starts as in any process that has freed 32 MiB at
#: once, which glibc takes for a sign to keep freed memory: where one method's process has done so before it is timed
#: and another's has not, an ordinary step is up to a quarter faster in the first, by the page faults that it is spared.
ALLOCATOR = {
    "memory": {"MALLOC_MMAP_THRESHOLD_": str(2**16), "MALLOC_TRIM_THRESHOLD_": str(2**16)},
    "time": {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**26)},
}


def record_of(task: Task, limit_s: float) -> dict[str, Any]:
    """Runs ``python -m benchmarks.peers --worker``; a process that dies or takes too long is a record too."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.peers", "--worker", task.text()]
    environment = {**os.environ, "OMP_NUM_THREADS": str(task.threads), "MKL_NUM_THREADS": str(task.threads)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment |= ALLOCATOR[task.measure]
    try:
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return {"status": "fails", "reason": f"took more than {limit_s:g} s"}
    for line in reversed(ran.stdout.splitlines()):
        if line.startswith(MARK):
            return dict(json.loads(line.removeprefix(MARK)))
    last = (ran.stderr.strip().splitlines() or [""])[-1]
    return {"status": "fails", "reason": f"died: exit code {ran.returncode} {last}".strip()[:300]}
