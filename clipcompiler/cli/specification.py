"""``3x32x32:float32``, ``mask=16:int64<2`` → random tensors of N examples."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["GRAMMAR", "Specification", "length", "specification"]

GRAMMAR = """\
SPEC is [NAME=][SHAPE][:DTYPE][<BOUND], the shape that of one example:
  3x32x32           float images in the dtype of the model, drawn from a normal distribution
  16:int64<1000     16 token ids below 1000
  int64<10          one class below 10 for each example
  mask=16:bool      a keyword argument of the model: 16 truths, true with probability one half"""
FORM = re.compile(
    r"(?:(?P<name>[^\W\d]\w*)=)?(?P<shape>\d+(?:x\d+)*)?(?::?(?P<dtype>[a-z]\w*))?(?:<(?P<bound>\d+))?", re.ASCII
)

LENGTH = re.compile(r"(?P<name>[^\W\d]\w*):(?P<dim>\d+)=(?P<letter>[^\W\d]\w*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Specification:
    """A tensor of the batch, by what it is drawn from.

    Attributes:
        name: the keyword under which the model takes it; empty for a positional argument.
        shape: the extents of one example.
        dtype: of the elements; ``None`` for that of the model.
        bound: what integers are below.
    """

    name: str = ""
    shape: tuple[int, ...] = ()
    dtype: torch.dtype | None = None
    bound: int | None = None

    def draw(self, examples: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """A tensor [N, *shape]; ``dtype`` where the specification names none."""
        own, size = self.dtype or dtype, (examples, *self.shape)
        if own is torch.bool:
            return torch.rand(size, device=device) < 0.5
        if own.is_floating_point or own.is_complex:
            return torch.randn(size, dtype=own, device=device)
        return torch.randint(2 if self.bound is None else self.bound, size, dtype=own, device=device)


def specification(text: str) -> Specification:
    """Reads a specification.

    Raises:
        ValueError: where it is none.
    """
    found = FORM.fullmatch(text.strip())
    if not text.strip() or found is None:
        raise ValueError(f"{text!r} is no SPEC. {GRAMMAR}")
    sizes, bound = found["shape"], found["bound"]
    shape = tuple(map(int, sizes.split("x"))) if sizes else ()
    dtype = dtype_of(found["dtype"], text) if found["dtype"] else None
    whole = dtype is not None and not (dtype.is_floating_point or dtype.is_complex or dtype is torch.bool)
    if whole != (bound is not None):
        wanted = "integers take a bound, as in int64<10" if whole else "only integers take a bound, as in int64<10"
        raise ValueError(f"{text!r}: {wanted}")
    return Specification(found["name"] or "", shape, dtype, int(bound) if bound else None)


def length(text: str) -> tuple[str, int, str]:
    """``tokens:1=T`` → the input, its dim and the letter of its size.

    Raises:
        ValueError: where it is none.
    """
    found = LENGTH.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"--dynamic {text}: say NAME:DIM=T, as in tokens:1=T, the first dim being 0")
    return found["name"], int(found["dim"]), found["letter"]


def dtype_of(name: str, text: str = "") -> torch.dtype:
    """``float32`` → ``torch.float32``

    Raises:
        ValueError: for another word.
    """
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{text or name!r}: {name} is no dtype of torch; say float32, bfloat16, int64, bool, …")
    return dtype
