"""Stage 6, run: ``Program`` → ``CompiledStep``, an nn.Module that adds clipped sums to ``.grad``."""

from clipcompiler.runtime.findings import Audit, Finding
from clipcompiler.runtime.result import ClippedGradients
from clipcompiler.runtime.step import CompiledStep, Tools

__all__ = ["Audit", "ClippedGradients", "CompiledStep", "Finding", "Tools"]
