"""g[n,o,c,k] = Σ_u ȳ[n,o,u] x[n, c, stride·u + dilation·k − padding] → one convolution's weight gradient.

With the cotangent scaled by the clip factors it is the clipped sum; every g[n] comes from the same windows, an
example at a time. A transposed convolution is the same with ȳ and x exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy

from clipcompiler.algebra import Affine, Factor, Letter, Network
from clipcompiler.codegen.calls import literal
from clipcompiler.codegen.helpers import CONVOLUTION_GRADIENTS
from clipcompiler.codegen.laid import Laid, atom

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
    def example(self) -> Letter:
        """The letter of the examples, or of units of them."""
        return next(x for x in self.image.letters if x.examples)

    @property
    def kernel(self) -> tuple[Letter, ...]:
        """The letters k."""
        return tuple(e.terms[1][1] for e in self.places)

    def each(self, image: str, filter: str, sizes: tuple[Any, ...]) -> Laid:
        """Every g[n]. Frames and the like are one more place, of which the kernel has one."""
        pads, stride, dilation = self.pads(sizes), self.steps(0), self.steps(1)
        kernel = tuple(x.extent for x in self.kernel)
        if self.positions:
            image, filter = self.apart(image), self.apart(filter)
            pads, stride, dilation, kernel = ((0, 0), *pads), (1, *stride), (1, *dilation), (1, *kernel)
        text = (
            f"{CONVOLUTION_GRADIENTS}({image}, {filter}, {kernel}, "
            f"stride={stride}, padding={pads}, dilation={dilation}, groups={product(self.groups)})"
        )
        letters = (self.example, *self.groups, *self.rows, *self.columns, *self.kernel)
        if self.groups or self.positions or len(self.rows) != 1 or len(self.columns) != 1:
            text = f"{text}.reshape({', '.join(map(literal, extents(letters)))})"
        return Laid(text, letters)

    def apart(self, name: str) -> str:
        """[t·n, c, u] → [n, c, t, u]"""
        index = self.image.index[0]
        assert isinstance(index, tuple)
        split = f"{atom(name)}.unflatten(0, ({', '.join(map(literal, extents(index)))}))"
        return f"{split}.movedim({index.index(self.example)}, 0).flatten(1, {len(index) - 1}).transpose(1, 2)"

    def total(self, image: str, filter: str, sizes: tuple[Any, ...]) -> Laid:
        """Σ_n over the first dim."""
        count = sympy.prod([x.extent for x in self.groups])
        shape = (count * product(self.rows), product(self.columns), *extents(self.kernel))
        text = self.call(image, filter, shape, str(count), sizes)
        return Laid(text, (*self.groups, *self.rows, *self.columns, *self.kernel))

    def call(self, image: str, filter: str, shape: tuple[Any, ...], groups: str, sizes: tuple[Any, ...]) -> str:
        """``weight_gradient.conv2d_weight(image, shape, filter, stride, padding, dilation, groups)``."""
        padding, image = self.padding(image, sizes)
        weight = ", ".join(map(literal, shape))
        name = f"weight_gradient.conv{len(self.places)}d_weight"
        return (
            f"{name}({image}, ({weight}), {filter}, stride={self.steps(0)}, "
            f"padding={padding}, dilation={self.steps(1)}, groups={groups})"
        )

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

    def padding(self, image: str, sizes: tuple[Any, ...]) -> tuple[tuple[Any, ...], str]:
        """The padding for torch's convolution; where front and back differ, the image is padded (or cut) before."""
        pads = self.pads(sizes)
        if all(front >= 0 and self.fits(e, size) for e, size, (front, _) in zip(self.places, sizes, pads, strict=True)):
            return tuple(front for front, _ in pads), image
        flat = tuple(amount for pair in reversed(pads) for amount in pair)
        return (0,) * len(pads), f"F.pad({image}, {flat})"

    def fits(self, e: Affine, size: Any) -> bool:
        """Whether a convolution padded alike on both sides has as many places as the letter u."""
        (stride, u), (dilation, k) = e.terms
        places = (size - 2 * e.offset - (int(k.extent) - 1) * dilation - 1) // stride + 1
        return bool(places == u.extent)


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
    return WeightGradient(image, other, tuple(x for x in first if not x.examples), groups, rows, columns)


def whole(size: Any) -> Any:
    """A size as a number, where no length of the batch is in it."""
    return int(size) if sympy.sympify(size).is_Integer else size


def product(letters: tuple[Letter, ...]) -> Any:
    """The number of elements over some letters."""
    return sympy.prod([x.extent for x in letters])


def extents(letters: tuple[Letter, ...]) -> list[Any]:
    """The extents of some letters, as they are written in a program."""
    return [x.extent for x in letters]
