"""g[n,o,c,k] = Σ_u ȳ[n,o,u] x[n, c, stride·u + dilation·k − padding] → one convolution's weight gradient.

With the cotangent scaled by the clip factors it is the clipped sum; every g[n] comes from the same windows, an
example at a time.
"""

from __future__ import annotations

from typing import Any

import sympy

from clipcompiler.algebra import Affine, Convolution, Letter
from clipcompiler.codegen.calls import literal
from clipcompiler.codegen.helpers import CONVOLUTION_GRADIENTS
from clipcompiler.codegen.laid import Laid, atom

__all__ = ["by_kernel", "each", "total"]


def each(of: Convolution, image: str, filter: str, sizes: tuple[Any, ...]) -> Laid:
    """Every g[n]. Frames and the like are one more place, of which the kernel has one."""
    pads, stride, dilation = of.pads(sizes), of.steps(0), of.steps(1)
    kernel = tuple(x.extent for x in of.kernel)
    if of.positions:
        image, filter = apart(of, image), apart(of, filter)
        pads, stride, dilation, kernel = ((0, 0), *pads), (1, *stride), (1, *dilation), (1, *kernel)
    text = (
        f"{CONVOLUTION_GRADIENTS}({image}, {filter}, {kernel}, "
        f"stride={stride}, padding={pads}, dilation={dilation}, groups={product(of.groups)})"
    )
    letters = (of.example, *of.groups, *of.rows, *of.columns, *of.kernel)
    if of.groups or of.positions or len(of.rows) != 1 or len(of.columns) != 1:
        text = f"{text}.reshape({', '.join(map(literal, extents(letters)))})"
    return Laid(text, letters)


def by_kernel(of: Convolution, image: str, filter: str) -> str:
    """Σ_w g[n,w]², by a kernel that forms no g."""
    kernel, stride, padding, dilation = (
        list(sizes)
        for sizes in ([x.extent for x in of.kernel], of.steps(0), [-e.offset for e in of.places], of.steps(1))
    )
    steps = f"{kernel}, {stride}, {padding}, {dilation}, {product(of.groups)}"
    return f"kernels.convolution_sqnorm({filter}, {image}, {steps}, False)"


def apart(of: Convolution, name: str) -> str:
    """[t·n, c, u] → [n, c, t, u]"""
    index = of.image.index[0]
    assert isinstance(index, tuple)
    split = f"{atom(name)}.unflatten(0, ({', '.join(map(literal, extents(index)))}))"
    return f"{split}.movedim({index.index(of.example)}, 0).flatten(1, {len(index) - 1}).transpose(1, 2)"


def total(of: Convolution, image: str, filter: str, sizes: tuple[Any, ...]) -> Laid:
    """Σ_n over the first dim."""
    count = sympy.prod([x.extent for x in of.groups])
    shape = (count * product(of.rows), product(of.columns), *extents(of.kernel))
    text = call(of, image, filter, shape, str(count), sizes)
    return Laid(text, (*of.groups, *of.rows, *of.columns, *of.kernel))


def call(of: Convolution, image: str, filter: str, shape: tuple[Any, ...], groups: str, sizes: tuple[Any, ...]) -> str:
    """``weight_gradient.conv2d_weight(image, shape, filter, stride, padding, dilation, groups)``."""
    padding, image = padded(of, image, sizes)
    weight = ", ".join(map(literal, shape))
    name = f"weight_gradient.conv{len(of.places)}d_weight"
    return (
        f"{name}({image}, ({weight}), {filter}, stride={of.steps(0)}, "
        f"padding={padding}, dilation={of.steps(1)}, groups={groups})"
    )


def padded(of: Convolution, image: str, sizes: tuple[Any, ...]) -> tuple[tuple[Any, ...], str]:
    """The padding for torch's convolution; where front and back differ, the image is padded (or cut) before."""
    pads = of.pads(sizes)
    if all(front >= 0 and fits(e, size) for e, size, (front, _) in zip(of.places, sizes, pads, strict=True)):
        return tuple(front for front, _ in pads), image
    flat = tuple(amount for pair in reversed(pads) for amount in pair)
    return (0,) * len(pads), f"F.pad({image}, {flat})"


def fits(e: Affine, size: Any) -> bool:
    """Whether a convolution padded alike on both sides has as many places as the letter u."""
    (stride, u), (dilation, k) = e.terms
    places = (size - 2 * e.offset - (int(k.extent) - 1) * dilation - 1) // stride + 1
    return bool(places == u.extent)


def product(letters: tuple[Letter, ...]) -> Any:
    """The number of elements over some letters."""
    return sympy.prod([x.extent for x in letters])


def extents(letters: tuple[Letter, ...]) -> list[Any]:
    """The extents of some letters, as they are written in a program."""
    return [x.extent for x in letters]
