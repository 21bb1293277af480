"""g[n,o,c,k] = Σ_u ȳ[n,o,u] x[n, c, stride·u + dilation·k − padding] → one convolution's weight gradient.

With the examples folded into the groups it gives every g[n]; with them in the batch, and ȳ scaled, it gives
the clipped sum. A transposed convolution is the same with ȳ and x exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy

from clipcompiler.algebra import Affine, Factor, Letter, Network
from clipcompiler.codegen.calls import literal
from clipcompiler.codegen.laid import Laid, atom
from clipcompiler.derive.bind import EXAMPLE

__all__ = ["WeightGradient", "recognise"]


@dataclass(frozen=True, slots=True)
class WeightGradient:
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
    def kernel(self) -> tuple[Letter, ...]:
        """The letters k."""
        return tuple(e.terms[1][1] for e in self.places)

    def each(self, image: str, filter: str, sizes: tuple[Any, ...]) -> Laid:
        """Every g[n]: the examples are groups."""
        count = sympy.prod([x.extent for x in self.groups])
        folded_image = self.fold(image, len(self.image.index) - 2)
        folded_filter = self.fold(filter, len(self.filter.index) - 2)
        shape = (sympy.Symbol("N") * count * product(self.rows), product(self.columns), *extents(self.kernel))
        text = self.call(folded_image, folded_filter, shape, f"N * {count}" if count != 1 else "N", sizes)
        letters = (EXAMPLE, *self.groups, *self.rows, *self.columns, *self.kernel)
        return Laid(f"{text}.reshape({', '.join(map(literal, extents(letters)))})", letters)

    def total(self, image: str, filter: str, sizes: tuple[Any, ...]) -> Laid:
        """Σ_n over the first dim."""
        count = sympy.prod([x.extent for x in self.groups])
        shape = (count * product(self.rows), product(self.columns), *extents(self.kernel))
        text = self.call(image, filter, shape, str(count), sizes)
        return Laid(text, (*self.groups, *self.rows, *self.columns, *self.kernel))

    def fold(self, name: str, spatial: int) -> str:
        """[n·t, c, u] → [t, n·c, u]."""
        index = self.image.index[0]
        assert isinstance(index, tuple)
        if not self.positions:
            return f"{atom(name)}.flatten(0, 1)[None]"
        place = index.index(EXAMPLE)
        split = f"{atom(name)}.unflatten(0, ({', '.join(map(str, extents(index)))}))"
        return f"{split}.movedim({place}, {len(index) - 1}).flatten(0, {len(index) - 2}).flatten(1, 2)"

    def call(self, image: str, filter: str, shape: tuple[Any, ...], groups: str, sizes: tuple[Any, ...]) -> str:
        """``weight_gradient.conv2d_weight(image, shape, filter, stride, padding, dilation, groups)``."""
        padding, image = self.padding(image, sizes)
        stride = tuple(e.terms[0][0] for e in self.places)
        dilation = tuple(e.terms[1][0] for e in self.places)
        weight = ", ".join(map(literal, shape))
        name = f"weight_gradient.conv{len(stride)}d_weight"
        return (
            f"{name}({image}, ({weight}), {filter}, "
            f"stride={stride}, padding={padding}, dilation={dilation}, groups={groups})"
        )

    def padding(self, image: str, sizes: tuple[Any, ...]) -> tuple[tuple[int, ...], str]:
        """The padding for the convolution; where front and back differ, the image is padded (or cut) before."""
        fronts = tuple(-e.offset for e in self.places)
        backs: list[int] = []
        exact = True
        for e, size in zip(self.places, sizes, strict=True):
            (stride, u), (dilation, k) = e.terms
            reach = (u.extent - 1) * stride + (k.extent - 1) * dilation + 1
            backs.append(reach - size + e.offset)
            span = (k.extent - 1) * dilation + 1
            exact &= -e.offset >= 0 and (size - 2 * e.offset - span) // stride + 1 == u.extent
        if exact:
            return fronts, image
        flat = [v for pair in reversed(list(zip(fronts, backs, strict=True))) for v in pair]
        return (0,) * len(fronts), f"F.pad({image}, {tuple(flat)})"


def recognise(network: Network) -> WeightGradient | None:
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
    if EXAMPLE not in first or other.index[0] != first or len(places) > 3:
        return None
    if not all(isinstance(e, Affine) and len(e.terms) == 2 for e in places):
        return None
    at = tuple((e.terms[0][1],) for e in places if isinstance(e, Affine))
    channels = other.index[1]
    if isinstance(channels, Affine) or other.index[2:] != at:
        return None
    groups = tuple(x for x in channels if x in second)
    rows, columns = (tuple(x for x in part if x not in groups) for part in (channels, second))
    return WeightGradient(image, other, tuple(x for x in first if x != EXAMPLE), groups, rows, columns)


def product(letters: tuple[Letter, ...]) -> Any:
    """The number of elements over some letters."""
    return sympy.prod([x.extent for x in letters])


def extents(letters: tuple[Letter, ...]) -> list[Any]:
    """The extents of some letters, as they are written in a program."""
    return [x.extent for x in letters]
