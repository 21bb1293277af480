"""Long lines → several lines, broken at the commas of their outermost brackets."""

from __future__ import annotations

import re

__all__ = ["wrapped"]

WIDTH = 100


def wrapped(line: str, width: int = WIDTH) -> list[str]:
    """A statement as lines of at most ``width`` characters where brackets allow it; comments stay whole."""
    margin = line[: len(line) - len(line.lstrip(" "))]
    if margin:
        return [margin + part for part in wrapped(line.lstrip(" "), width - len(margin))]
    if len(line) <= width or line.lstrip().startswith("#"):
        return [line]
    opening, closing = outermost(line)
    if opening < 0:
        return [line]
    head, inner, tail = line[: opening + 1], line[opening + 1 : closing], line[closing:]
    if not inner.strip():
        return [line]
    items, terms = split_at(inner, ","), split_at(inner, "+")
    lines = [head]
    if len(items) > 1 or inner.rstrip().endswith(","):
        parts = [f"{item}," for item in items]
    else:
        parts = [terms[0], *(f"+ {term}" for term in terms[1:])]
    for part in parts:
        lines += wrapped(f"    {part}", width)
    return [*lines, *wrapped(tail, width)]


def outermost(line: str) -> tuple[int, int]:
    """The longest bracket at the top level of a line: where it opens and closes."""
    found, depth, start = [], 0, -1
    for k, c in enumerate(masked(line)):
        if c in "([{":
            start = k if depth == 0 else start
            depth += 1
        elif c in ")]}":
            depth -= 1
            if depth == 0:
                found.append((k - start, start, k))
    if not found:
        return -1, -1
    _, opening, closing = max(found)
    return opening, closing


def split_at(text: str, sign: str) -> list[str]:
    """The parts between the signs that no bracket encloses."""
    parts, depth, start = [], 0, 0
    for k, c in enumerate(masked(text)):
        depth += (c in "([{") - (c in ")]}")
        if c == sign and depth == 0:
            parts.append(text[start:k].strip())
            start = k + 1
    return [p for p in [*parts, text[start:].strip()] if p]


def masked(text: str) -> str:
    """The text with what stands in quotes blotted out."""
    return re.sub(r"\"[^\"]*\"|'[^']*'", lambda match: "_" * len(match.group()), text)
