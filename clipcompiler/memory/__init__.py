"""Beside stage 6: ``Program`` + a batch → the bytes that it holds at its peak, and how many examples fit into a budget."""

from clipcompiler.memory.budget import Memory, within
from clipcompiler.memory.liveness import peak_of

__all__ = ["Memory", "peak_of", "within"]
