"""The ways to clip that are measured, by name. A library is imported when its method is prepared, and not before."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

from benchmarks.peers.methods import backpack, clipcompiler, fastdp, loop, opacus_ghost, opacus_hooks, ordinary, vmap
from benchmarks.peers.methods.method import Method, NotOffered, Prepare

__all__ = ["NAMES", "NEEDS", "Method", "NotOffered", "installed", "methods"]

#: The names, in the order of the tables. "fastdp" needs a path.
NAMES = ("ordinary", "loop", "vmap", "opacus_hooks", "opacus_ghost", "backpack", "fastdp", "clipcompiler")

#: The package that a method imports.
NEEDS = {"opacus_hooks": "opacus", "opacus_ghost": "opacus", "backpack": "backpack"}


def installed(name: str) -> bool:
    """Whether a method's package is there; it is not imported."""
    return name not in NEEDS or importlib.util.find_spec(NEEDS[name]) is not None


def methods(fastdp_path: Path | None = None) -> dict[str, Prepare]:
    """Every method by name; fastDP where its path is given."""
    every: dict[str, Prepare] = {
        "ordinary": ordinary.prepare,
        "loop": loop.prepare,
        "vmap": vmap.prepare,
        "opacus_hooks": opacus_hooks.prepare,
        "opacus_ghost": opacus_ghost.prepare,
        "backpack": backpack.prepare,
        "clipcompiler": clipcompiler.prepare,
    }
    if fastdp_path is not None:
        every["fastdp"] = partial(fastdp.prepare, path=fastdp_path)
    return {name: every[name] for name in NAMES if name in every}
