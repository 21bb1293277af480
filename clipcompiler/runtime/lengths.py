"""A batch and the dims declared dynamic → the lengths that stand for sizes in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipcompiler.errors import InvalidBatch
from clipcompiler.runtime.batch import Batch, caller
from clipcompiler.trace.lengths import Declared, places_of

__all__ = ["Dynamic", "lengths_in"]

#: The shortest length that a program for any length serves: torch takes sizes of 0 and 1 for numbers.
LEAST = 2


@dataclass(frozen=True, slots=True)
class Dynamic:
    """What of a batch is a letter to the program that it is run by.

    Attributes:
        declared: the dims of the inputs, by name; none where a length is too short for a letter.
        letters: for each tensor of the batch the letters by dim.
    """

    declared: Declared
    letters: tuple[Mapping[int, str], ...] = ()


def lengths_in(batch: Batch, names: Sequence[str], declared: Declared) -> Dynamic:
    """The letters of a batch.

    Raises:
        InvalidBatch: where one length is two sizes, or a tensor lacks the dim, or an input is not in the batch.
    """
    if not declared:
        return Dynamic({})
    for name in declared:
        if name not in names:
            raise InvalidBatch(
                f"dynamic names {name!r}, which the batch does not have",
                origin=caller(),
                remedy=f"name one of {', '.join(names)}",
            )
    for letter, places in places_of(names, declared).items():
        short = [names[place] for place, dim in places if dim >= batch.tensors[place].dim()]
        if short:
            raise InvalidBatch(
                f"dynamic names a dim {letter} that {short[0]} does not have",
                origin=caller(),
                remedy="count the dims from 0, which are the examples",
            )
        sizes = {names[place]: batch.tensors[place].shape[dim] for place, dim in places}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{size} in {name}" for name, size in sizes.items())
            raise InvalidBatch(
                f"the length {letter} is {told}", origin=caller(), remedy="give them one size, or other letters"
            )
        if min(sizes.values()) < LEAST:
            return Dynamic({})
    return Dynamic(declared, tuple(declared.get(name, {}) for name in names))
