"""Clipping functions: ‖g[n]‖ → the factor c[n] of an example, and what they promise of the clipped sum."""

from clipcompiler.clipping.adaptive import AdaptiveQuantile
from clipcompiler.clipping.clipping import Clipping
from clipcompiler.clipping.factors import PSAC, Automatic, Flat, Function, Normalize
from clipcompiler.clipping.groups import Group, PerGroup, PerLayer
from clipcompiler.clipping.sensitivity import Sensitivity

__all__ = [
    "PSAC",
    "AdaptiveQuantile",
    "Automatic",
    "Clipping",
    "Flat",
    "Function",
    "Group",
    "Normalize",
    "PerGroup",
    "PerLayer",
    "Sensitivity",
]
