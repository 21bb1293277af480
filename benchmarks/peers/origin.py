"""What a record was measured with: commit, versions, device, date."""

from __future__ import annotations

import datetime
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

__all__ = ["commit", "origin"]

#: The distributions that a method stands on, beside torch.
DISTRIBUTIONS = {"opacus_hooks": "opacus", "opacus_ghost": "opacus", "backpack": "backpack-for-pytorch"}

#: What a measurement depends on.
CODE = ("clipcompiler", "rules", "benchmarks", "docs/examples")


@cache
def commit() -> str:
    """The commit of the checkout, with a mark where code differs from it."""
    found = git("rev-parse", "--short", "HEAD")
    if not found:
        return version("clipcompiler")
    return found + ("-dirty" if git("status", "--porcelain", "--", *CODE) else "")


def git(*arguments: str) -> str:
    """What git prints; nothing outside of a checkout."""
    command = ["git", "-C", str(Path(__file__).parents[2]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def origin(method: str, device: str, fastdp: Path | None) -> dict[str, object]:
    """Commit, date, device and versions."""
    versions = {"torch": torch.__version__, "Python": platform.python_version()}
    distribution = DISTRIBUTIONS.get(method)
    if distribution is not None:
        versions[distribution] = installed(distribution)
    if method == "fastdp" and fastdp is not None:
        versions["fastDP"] = fastdp_version(fastdp)
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    return {"date": str(datetime.date.today()), "commit": commit(), "hardware": name, "versions": versions}


def installed(distribution: str) -> str:
    """The version of a distribution, without importing it."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def fastdp_version(path: Path) -> str:
    """The version that the sources state."""
    source = path / "fastDP" / "__init__.py"
    lines = source.read_text(encoding="utf-8").splitlines() if source.exists() else []
    stated = [line.split("=")[1].strip().strip("'\"") for line in lines if line.startswith("__version__")]
    return stated[0] if stated else "not found"
