"""Stage 1, trace: module + loss → ``TracedLoss``, a functional ATen graph with its placeholders told apart."""

from clipcompiler.trace.export import trace
from clipcompiler.trace.traced import N, Parameter, TracedLoss

__all__ = ["N", "Parameter", "TracedLoss", "trace"]
