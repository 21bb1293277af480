"""Choices at every length → the lengths at which they change: conditions of the program.

Of g = Σ_s ȳ_s x_s over S = T positions the Gram costs T²(O+I) and an instantiation T·O·I: the one is cheaper while T is
at most O·I/(O+I), the other beyond. Both are in the program, and it asks which T it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import sympy
from torch import fx

from clipcompiler.plan.choice import Choice

__all__ = ["Decision", "Piece", "decided"]

#: The longest batch for which a choice is looked for.
LONGEST = 2**16

#: The choices by source.
Choices = Mapping[fx.Node, Choice]
#: The sizes of some lengths → the choices for them.
At = Callable[[Mapping[sympy.Symbol, int]], Choices]


@dataclass(frozen=True, slots=True)
class Piece:
    """What is chosen while a length is at most ``most``; ``None`` is any that is longer than those before."""

    most: int | None
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """Parameters whose choices change at the same lengths.

    Attributes:
        letter: the length.
        pieces: the choices of those parameters, by length; at least two.
    """

    letter: sympy.Symbol
    pieces: tuple[Piece, ...]

    @property
    def sources(self) -> tuple[fx.Node, ...]:
        """The parameters, or values of parameters."""
        return tuple(choice.source for choice in self.pieces[0].choices)

    def told(self, source: fx.Node) -> str:
        """``Gram while T ≤ 341, then instantiate, keep``"""
        own = [next(c for c in piece.choices if c.source is source) for piece in self.pieces]
        parts = [f"{c.label} while {self.letter} ≤ {p.most}" for c, p in zip(own, self.pieces[:-1], strict=False)]
        return ", ".join([*parts, f"{own[-1].label} beyond"])


def decided(at: At, usual: Mapping[sympy.Symbol, int]) -> tuple[Decision, ...]:
    """For each length what changes with it, the others being as usual; what changed with an earlier one stays."""
    found: list[Decision] = []
    known: set[fx.Node] = set()
    for letter in usual:
        new = [d for d in along(letter, at, usual) if not known & set(d.sources)]
        known |= {source for d in new for source in d.sources}
        found += new
    return tuple(found)


def along(letter: sympy.Symbol, at: At, usual: Mapping[sympy.Symbol, int]) -> Iterator[Decision]:
    """The decisions that one length makes."""

    def choices(size: int) -> Choices:
        return at({**usual, letter: size})

    ends = list(boundaries(choices))
    sets = [choices(size) for size in [*ends, ends[-1] + 1 if ends else LONGEST]]
    changes = {
        source: {k for k, (a, b) in enumerate(pairwise(sets)) if way(a[source]) != way(b[source])} for source in sets[0]
    }
    for chosen in sets:  # a bias stands where its weight does
        for source, choice in chosen.items():
            if choice.host is not None:
                changes[source] = changes[choice.host] = changes[source] | changes[choice.host]
    for places in dict.fromkeys(tuple(sorted(own)) for own in changes.values() if own):
        own = [source for source, changed in changes.items() if changed == set(places)]
        kept = [*places, len(sets) - 1]
        yield Decision(
            letter,
            tuple(Piece(ends[k] if k < len(ends) else None, tuple(sets[k][s] for s in own)) for k in kept),
        )


def boundaries(choices: Callable[[int], Choices]) -> Iterator[int]:
    """The longest lengths of every set of choices but the last: between powers of two, where the sets differ."""
    sizes = [2**k for k in range(1, LONGEST.bit_length())]
    for low, high in pairwise(sizes):
        while ways(choices(low)) != ways(choices(high)):
            short, long = low, high  # the first change between them
            while long - short > 1:
                middle = (short + long) // 2
                short, long = (middle, long) if ways(choices(middle)) == ways(choices(low)) else (short, middle)
            yield short
            low = long


def ways(choices: Choices) -> dict[fx.Node, Any]:
    """What is computed for each parameter."""
    return {source: way(choice) for source, choice in choices.items()}


def way(choice: Choice) -> Any:
    """What is computed for one parameter, whatever it costs."""
    return choice.order, choice.trees, choice.host, choice.keeps
