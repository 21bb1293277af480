"""g[n,o,c,k] = Σ_u ȳ[n,o,u] x[n, c, stride·u + dilation·k − padding] → the parts of a convolution.

A transposed convolution is the same with ȳ and x exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy

from clipcompiler.algebra.network import Affine, Factor, Letter, Network

__all__ = ["Convolution", "convolution"]


@dataclass(frozen=True, slots=True)
class Convolution:
    """A network as the weight gradient of a convolution.

    Attributes:
        image: the factor read at affine places.
        filter: the other factor, whose places are the letters u.
        positions: letters beside n in the first dim, such as frames, which are summed too.
        groups: the letter of the groups, if there are groups.
        rows: the letters of the channels of ``filter`` within a group.
        columns: the letters of the channels of ``image`` within a group.
    """

    image: Factor
    filter: Factor
    positions: tuple[Letter, ...]
    groups: tuple[Letter, ...]
    rows: tuple[Letter, ...]
    columns: tuple[Letter, ...]

    @property
    def places(self) -> list[Affine]:
        """The affine dims."""
        return [e for e in self.image.index if isinstance(e, Affine)]

    @property
    def example(self) -> Letter:
        """The letter of the examples, or of units of them."""
        return next(x for x in self.image.letters if x.examples)

    @property
    def kernel(self) -> tuple[Letter, ...]:
        """The letters k."""
        return tuple(e.terms[1][1] for e in self.places)

    def steps(self, term: int) -> tuple[int, ...]:
        """The strides (term 0) or the dilations (term 1) of the places."""
        return tuple(e.terms[term][0] for e in self.places)

    def pads(self, sizes: tuple[Any, ...]) -> tuple[tuple[int, Any], ...]:
        """Zeros in front of and behind each place, so that every window lies inside; negative where it is cut."""
        found = []
        for e, size in zip(self.places, sizes, strict=True):
            (stride, u), (dilation, k) = e.terms
            reach = (u.extent - 1) * stride + (k.extent - 1) * dilation + 1
            found.append((-e.offset, whole(reach - size + e.offset)))
        return tuple(found)


def convolution(network: Network) -> Convolution | None:
    """The convolution whose weight gradient a network is, if it is one."""
    affine = [f for f in network.factors if f.is_affine]
    if len(network.factors) != 2 or len(affine) != 1 or network.coefficient != 1:
        return None
    (image,) = affine
    other = next(f for f in network.factors if f is not image)
    first, second = image.index[0], image.index[1]
    places = image.index[2:]
    if isinstance(first, Affine) or isinstance(second, Affine) or len(other.index) != len(image.index):
        return None
    if not any(x.examples for x in first) or other.index[0] != first or len(places) > 3:
        return None
    if not all(isinstance(e, Affine) and len(e.terms) == 2 for e in places):
        return None
    at = tuple((e.terms[0][1],) for e in places if isinstance(e, Affine))
    channels = other.index[1]
    if isinstance(channels, Affine) or other.index[2:] != at:
        return None
    groups = tuple(x for x in channels if x in second)
    rows, columns = (tuple(x for x in part if x not in groups) for part in (channels, second))
    return Convolution(image, other, tuple(x for x in first if not x.examples), groups, rows, columns)


def whole(size: Any) -> Any:
    """A size as a number, where no length of the batch is in it."""
    return int(size) if sympy.sympify(size).is_Integer else size
