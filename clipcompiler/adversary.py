"""An example → the same example made extreme: scaled, shifted, constant, huge, tiny, not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

__all__ = ["Example", "adversaries", "affine"]

#: The leaves of a batch of one.
Example = tuple[Any, ...]

#: The powers of ten that floating inputs are multiplied by.
POWERS = range(-30, 31, 3)
#: What is added to floating inputs: a large part common to all positions makes a Gram matrix cancel.
OFFSETS = (1.0, 30.0, 1e3, 3e3, 1e4, 1e5, 1e6)


def adversaries(one: Example, batch: Sequence[Any], random: torch.Generator) -> Iterator[tuple[str, Example]]:
    """Every extreme form of one example, with what was done to it.

    Each form is tried on every floating tensor by itself and, where there are several, on all of them at once.
    Integer tensors take only values that the batch has, for another one may mean nothing to the model.
    """
    floating = [k for k, leaf in enumerate(one) if is_floating(leaf)]
    places = [(k,) for k in floating] + ([tuple(floating)] if len(floating) > 1 else [])
    for place in places:
        where = "all tensors" if len(place) > 1 else f"tensor {place[0]}"
        for what, change in changes(parts_of(one[place[0]]), random):
            yield f"{where} {what}", tuple(of_parts(change, x) if k in place else x for k, x in enumerate(one))
    for k, leaf in enumerate(one):
        if isinstance(leaf, Tensor) and not leaf.is_floating_point() and not leaf.is_complex():
            for what, value in reorderings(leaf, batch[k], random):
                yield f"tensor {k} {what}", (*one[:k], value, *one[k + 1 :])


def changes(like: Tensor, random: torch.Generator) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """What is done to floating tensors."""
    for power in POWERS:
        yield f"× 1e{power}", partial(shifted, scale=10.0**power)
    for power in (-12, 0, 12):
        yield f"× ±1e{power}, random signs", partial(signed, scale=10.0**power, random=random)
    for offset in OFFSETS:
        yield f"{offset:+g}", partial(shifted, offset=offset)
        yield f"{-offset:+g}", partial(shifted, offset=-offset)
        yield f"× 1e-3 {offset:+g}", partial(shifted, scale=1e-3, offset=offset)
        yield f"= {offset:g} ± its rounding", partial(jittered, value=offset, random=random)
    for dim in range(1, like.dim()):
        if like.shape[dim] > 1:
            yield f"equal along dim {dim}", partial(equal_along, dim=dim)
    limits = torch.finfo(like.dtype)
    extremes = {
        "zeros": 0.0,
        "ones": 1.0,
        "the smallest denormal": limits.smallest_normal * limits.eps,
        "the smallest normal": limits.smallest_normal,
        "√ of the largest": float(limits.max) ** 0.5,
        "the largest": limits.max,
        "the least": limits.min,
        "inf": float("inf"),
        "-inf": -float("inf"),
        "nan": float("nan"),
    }
    for name, value in extremes.items():
        yield f"= {name}", partial(torch.full_like, fill_value=value)
        yield f"with one element {name}", partial(with_one, value=value)
    yield "with one element 1e6", partial(with_one, value=1e6)


def reorderings(leaf: Tensor, batch: Tensor, random: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """Integers: the smallest and the largest of the batch, and the example's own in another order."""
    if batch.numel() == 0:
        return
    yield "= the batch's smallest", batch.amin().expand_as(leaf).clone()
    yield "= the batch's largest", batch.amax().expand_as(leaf).clone()
    if leaf[0].numel() > 1:
        order = torch.randperm(leaf[0].numel(), generator=random).to(leaf.device)
        yield "in another order", leaf.flatten(1)[:, order].view(leaf.shape)


def affine(one: Example, scale: float, offset: float) -> Example:
    """scale·x + offset for every floating tensor."""
    change = partial(shifted, scale=scale, offset=offset)
    return tuple(of_parts(change, leaf) if is_floating(leaf) else leaf for leaf in one)


def is_floating(leaf: Any) -> bool:
    """Whether a leaf is a tensor of floating-point numbers, or of pairs of them."""
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def parts_of(x: Tensor) -> Tensor:
    """Complex numbers as their real and imaginary parts."""
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def of_parts(change: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A change of real numbers, made to the parts of complex ones."""
    return torch.view_as_complex(change(parts_of(x)).contiguous()) if x.is_complex() else change(x)


def shifted(x: Tensor, scale: float = 1.0, offset: float = 0.0) -> Tensor:
    """scale·x + offset, rounded once."""
    return (x.double() * scale + offset).to(x.dtype)


def signed(x: Tensor, scale: float, random: torch.Generator) -> Tensor:
    """± scale·x, with the sign of each element at random."""
    return (x.double() * signs(x, random) * scale).to(x.dtype)


def jittered(x: Tensor, value: float, random: torch.Generator) -> Tensor:
    """value, or a neighbour of it in the dtype of x, at random."""
    return (value * (1 + signs(x, random).double() * torch.finfo(x.dtype).eps)).to(x.dtype)


def signs(x: Tensor, random: torch.Generator) -> Tensor:
    """−1 or 1 at random, in the shape of x."""
    return (2 * torch.randint(0, 2, x.shape, generator=random) - 1).to(x.device)


def equal_along(x: Tensor, dim: int) -> Tensor:
    """x with its first place everywhere along a dim, where it has that dim."""
    return x.narrow(dim, 0, 1).expand_as(x).clone() if dim < x.dim() and x.shape[dim] else x


def with_one(x: Tensor, value: float) -> Tensor:
    """x with its last element replaced."""
    changed = x.flatten().clone()
    changed[-1:] = value
    return changed.view(x.shape)
