"""A device → its ``Machine``: measured once, in a few seconds, and kept on disk.

Each figure is the median of several runs. What is kept is found again by device, threads and torch's version.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from clipcompiler import kernels
from clipcompiler.plan.machine import Machine

__all__ = ["machine_of", "measured"]

log = logging.getLogger(__name__)

#: "nominal" for the figures of ``Machine()``, or a file to read and write instead of one in the user's cache.
VARIABLE = "CLIPCOMPILER_MACHINE"
MEBI = 2**20


def machine_of(device: torch.device) -> Machine:
    """The machine of a device: as it was measured before, or measured now.

    The environment variable ``CLIPCOMPILER_MACHINE`` names a JSON file to use, or ``nominal`` for fixed figures, by
    which a plan is the same everywhere.
    """
    given = os.environ.get(VARIABLE, "")
    if given == "nominal":
        return Machine()
    path = Path(given) if given else folder() / f"{key_of(device)}.json"
    if path.exists():
        return Machine(**json.loads(path.read_text(encoding="utf-8")))
    log.info("measuring %s once, for the planner: a few seconds", device)
    machine = measured(device)
    keep(machine, path)
    return machine


def folder() -> Path:
    """Where measured machines are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clipcompiler" / "machines"


def key_of(device: torch.device) -> str:
    """What a measurement holds for, as the name of a file."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}-{cores()}"
    text = f"{kind}-{torch.get_num_threads()}-threads-torch-{torch.__version__}"
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in text)


def cores() -> str:
    """The name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "cpu"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "cpu")


def keep(machine: Machine, path: Path) -> None:
    """Writes a machine so that a reader finds all of it or nothing; a folder that cannot be written keeps nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump(asdict(machine), file, indent=1)
        os.replace(file.name, path)
    except OSError as error:
        log.warning("the measured machine could not be kept in %s: %s", path, error)


@torch.no_grad()
def measured(device: torch.device) -> Machine:
    """Times a matrix product, a copy, a small op, and the filling of new tensors of growing size."""
    clock = Clock(device)
    size = 1024 if device.type == "cpu" else 4096
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    product = clock.seconds(lambda: torch.mm(a, b))
    one = torch.zeros(8, device=device)
    call = clock.seconds(lambda: one.add(1), calls=200)
    bytes_a_second = rate_of_copies(clock, device)
    rates = {mib: mib * MEBI / clock.seconds(lambda n=mib: torch.ones(n * MEBI // 4, device=device)) for mib in SIZES}  # type: ignore[misc]
    fresh = rates[SIZES[-1]]
    reused = max((mib for mib in SIZES if rates[mib] > 1.5 * fresh), default=0)
    if device.type == "cuda":  # its allocator keeps what it has handed out once
        fresh, reused = bytes_a_second, SIZES[-1] * 1024
    when = time.strftime("%Y-%m-%d")
    return Machine(
        flops=2 * size**3 / product,
        bytes=bytes_a_second,
        call=call,
        fresh=fresh,
        reused=float(reused * MEBI),
        cache=float(cache_of(device)),
        fused=fused_of(clock, device, 2 * size**3 / product),
        name=f"{key_of(device)}, {when}",
    )


def fused_of(clock: Clock, device: torch.device, flops: float) -> float:
    """The share of the rate of matrix products at which a kernel instantiates gradients; 0 where none runs."""
    if device.type != "cuda" or not kernels.HAS_TRITON:
        return 0.0
    y, x = torch.randn(4, 1024, 2048, device=device), torch.randn(4, 1024, 2048, device=device)
    seconds = clock.seconds(lambda: kernels.instantiate_sqnorm(y, x, False))
    return 2 * 4 * 1024 * 2048 * 2048 / seconds / flops


def rate_of_copies(clock: Clock, device: torch.device) -> float:
    """Bytes a second, read and written, of a copy of 128 MiB."""
    large = torch.randn(32 * MEBI, device=device)
    into = torch.empty_like(large)
    return 2 * 4 * large.numel() / clock.seconds(lambda: into.copy_(large))


#: Sizes of new tensors that are filled, in MiB.
SIZES = (1, 2, 4, 8, 16, 30, 60, 120)


class Clock:
    """Median seconds of a call on a device."""

    def __init__(self, device: torch.device) -> None:
        self.wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def seconds(self, function: Callable[[], object], *, calls: int = 1, limit: float = 0.5) -> float:
        """The median of up to 9 timings after two calls that are not counted, of about ``limit`` seconds in all."""
        function(), function()
        found: list[float] = []
        begun = time.perf_counter()
        while len(found) < 9 and (len(found) < 3 or time.perf_counter() - begun < limit):
            self.wait()
            start = time.perf_counter()
            for _ in range(calls):
                function()
            self.wait()
            found.append((time.perf_counter() - start) / calls)
        return statistics.median(found)


def cache_of(device: torch.device) -> int:
    """The bytes of the last cache that a core of its own has, and a share of those that cores have together."""
    if device.type == "cuda":
        return int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0))
    found = 0
    for level in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            text = (level / "size").read_text().strip()
            shared = (level / "shared_cpu_list").read_text().strip()
        except OSError:
            continue
        size = int(text.rstrip("KM")) * {"K": 1024, "M": MEBI}.get(text[-1], 1)
        found = max(found, size if shared in ("0", "") else size // 2)
    return found or int(Machine().cache)
