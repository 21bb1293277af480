"""x read at the places stride·u + dilation·k − padding → its patches, or the Gram of its patches without them."""

from __future__ import annotations

from typing import Any

from clipcompiler.algebra import Affine, Index, Letter, Windows
from clipcompiler.codegen.calls import literal
from clipcompiler.codegen.helpers import GRAM_FROM_PIXELS
from clipcompiler.codegen.laid import Laid, permuted

__all__ = ["by_pixels", "gram_from_pixels", "patches"]


def patches(name: str, index: tuple[Index, ...], shape: tuple[Any, ...]) -> Laid:
    """x[…, stride·u + dilation·k − padding] for all u and k: padded, then windows of each dim."""
    pads, windows = [], []
    for dim, entry in enumerate(index):
        if isinstance(entry, Affine):
            (stride, _), (dilation, k) = entry.terms
            pads.append((dim, -entry.offset, reach(entry) - shape[dim] + entry.offset))
            windows.append((dim, (k.extent - 1) * dilation + 1, stride, dilation))
    text = padded(name, pads, len(shape))
    for dim, span, stride, dilation in windows:
        text += f".unfold({dim}, {span}, {stride})" + (f"[..., ::{dilation}]" if dilation > 1 else "")
    letters = window_letters(index)
    if any(isinstance(e, tuple) and len(e) != 1 for e in index):
        text += f".reshape({', '.join(literal(x.extent) for x in letters)})"
    return Laid(text, letters)


def by_pixels(index: tuple[Index, ...], shape: tuple[Any, ...]) -> tuple[Index, ...]:
    """The same access with a letter t of its own for each dim that is read at affine places."""
    return tuple((Letter(f"t{d}", shape[d]),) if isinstance(e, Affine) else e for d, e in enumerate(index))


def gram_from_pixels(x: Laid, index: tuple[Index, ...], windows: Windows) -> Laid:
    """K[u,u'] = Σ_k Σ_c x[c, stride·u + dilation·k − padding] x[c, stride·u' + dilation·k − padding]

    x is laid out by pixels, ``index`` the access by places and offsets.
    """
    places = [e for e in index if isinstance(e, Affine)]
    batch = [letter for letter in x.letters if letter in windows.batch]
    channels = [letter for letter in x.letters if letter in windows.channels]
    pixels = [letter for letter in x.letters if letter not in (*batch, *channels)]
    text = permuted(x, (*batch, *channels, *pixels)).text
    if not channels:
        text = f"{text}.unsqueeze({len(batch)})"
    elif len(channels) > 1:
        text = f"{text}.flatten({len(batch)}, {len(batch) + len(channels) - 1})"
    if len(batch) > 1:
        text = f"{text}.flatten(0, {len(batch) - 1})"
    pads = [(-e.offset, int(reach(e) - t.extent + e.offset)) for e, t in zip(places, pixels, strict=True)]
    (strides, at), (dilations, kernel) = ([*zip(*(e.terms[k] for e in places), strict=True)] for k in (0, 1))
    text = (
        f"{GRAM_FROM_PIXELS}({text}, {tuple(int(k.extent) for k in kernel)}, "
        f"{tuple(int(u.extent) for u in at)}, stride={strides}, dilation={dilations}, padding={tuple(pads)})"
    )
    if len(batch) > 1:
        text = f"{text}.unflatten(0, ({', '.join(literal(letter.extent) for letter in batch)}))"
    return Laid(text, (*batch, *at, *(u.primed() for u in at)))


def reach(entry: Affine) -> Any:
    """The number of places that windows reach along a dim."""
    return sum(step * (x.extent - 1) for step, x in entry.terms) + 1


def window_letters(index: tuple[Index, ...]) -> tuple[Letter, ...]:
    """The letters of patches: places where the dims were, then the offsets within a patch."""
    places = [x for e in index for x in ((e.terms[0][1],) if isinstance(e, Affine) else e)]
    return (*places, *(e.terms[1][1] for e in index if isinstance(e, Affine)))


def padded(name: str, pads: list[tuple[int, int, int]], rank: int) -> str:
    """``name`` with zeros in front of and behind some dims (cut where negative)."""
    amounts = {dim: (front, back) for dim, front, back in pads if front or back}
    if not amounts:
        return name
    flat: list[int] = []
    for dim in range(rank - 1, min(amounts) - 1, -1):
        flat += amounts.get(dim, (0, 0))
    return f"F.pad({name}, {tuple(flat)})"
