"""torchvision without its compiled ops, which a torch for the CPU may not load; others only import it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import torch

__all__ = ["declare_ops"]

DECLARED = re.compile(r'register_(?:meta|fake)\("(?:torchvision::)?(\w+)"')


def declare_ops() -> torch.library.Library | None:
    """Declares the ops of torchvision by name, in a library to be kept alive; ``None`` without torchvision."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    registrations = Path(found.origin).parent / "_meta_registrations.py"
    for name in sorted(set(DECLARED.findall(registrations.read_text(encoding="utf-8")))):
        library.define(f"{name}(Tensor input) -> Tensor")
    return library
