"""A generated program."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Program"]


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
    """

    source: str
    parameters: tuple[str, ...]
    gradients: tuple[str, ...]
    unreached: tuple[str, ...]
    buffers: tuple[str, ...]
    inputs: tuple[str, ...]

    def __str__(self) -> str:
        return self.source
