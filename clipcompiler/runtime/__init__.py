"""Stage 6, run: ``Program`` → ``CompiledStep``, an nn.Module that adds clipped sums to ``.grad``."""

from clipcompiler.runtime.findings import Audit, Finding
from clipcompiler.runtime.lowered import Backend
from clipcompiler.runtime.result import ClippedGradients
from clipcompiler.runtime.step import CompiledStep, Tools

__all__ = ["Audit", "Backend", "ClippedGradients", "CompiledStep", "Finding", "Tools"]
