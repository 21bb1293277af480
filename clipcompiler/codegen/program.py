"""A generated program."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

__all__ = ["Program"]

#: The line of a program that says how many examples it takes at a time.
CHUNK = re.compile(r"^CHUNK = .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Program:
    """The source of a clipped-gradient step, and what it is called with.

    Attributes:
        source: a Python module; it needs torch alone.
        parameters: the names of the parameters it reads.
        gradients: the names of the parameters it returns a clipped sum for, in order.
        unreached: the names of trainable parameters whose gradient is zero.
        buffers: the names of the buffers and constants it reads.
        inputs: the names of the batch's tensors, in the order of the call.
        chunk: the examples that it takes at a time, where it is not said otherwise; ``None`` for all.
    """

    source: str
    parameters: tuple[str, ...]
    gradients: tuple[str, ...]
    unreached: tuple[str, ...]
    buffers: tuple[str, ...]
    inputs: tuple[str, ...]
    chunk: int | None = None

    def in_chunks(self, chunk: int | None, why: str) -> Program:
        """The same program, taking some examples at a time."""
        line = f"CHUNK = {chunk}  # examples at a time: {why}"
        return replace(self, source=CHUNK.sub(lambda _: line, self.source, count=1), chunk=chunk)

    def chunked_like(self, other: Program) -> Program:
        """The same program, taking as many examples at a time as another, for the same reason."""
        found = CHUNK.search(other.source)
        line = found.group() if found else ""
        return replace(self, source=CHUNK.sub(lambda _: line, self.source, count=1), chunk=other.chunk)

    def __str__(self) -> str:
        return self.source
