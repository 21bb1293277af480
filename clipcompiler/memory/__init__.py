"""Beside stage 6: ``Program`` + a batch → the bytes it holds at its peak, and the examples that fit into a budget."""

from clipcompiler.memory.budget import Memory, parsed, rounded, within
from clipcompiler.memory.chunks import Subject, in_chunks
from clipcompiler.memory.liveness import peak_of

__all__ = ["Memory", "Subject", "in_chunks", "parsed", "peak_of", "rounded", "within"]
