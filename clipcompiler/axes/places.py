"""An example's place in the batch: a value that may only be used to look the example itself up.

A value is *its own place* where every element is the number of the example that the element belongs to, as
``arange(N)`` is at birth. Where element (n, …) of an index is n, ``x[index]`` reads of x the example n alone. Any
other use would make an example's loss depend on where in the batch it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy
import torch

from clipcompiler.axes.call import Call
from clipcompiler.axes.layout import EXAMPLES, Layout
from clipcompiler.axes.remedies import OWN_PLACE
from clipcompiler.dsl import Aligned, Created, Equation, Regrouped
from clipcompiler.dsl.ruleset import Form
from clipcompiler.errors import ExamplesMixed
from clipcompiler.origin import Origin
from clipcompiler.trace.path import short_name
from clipcompiler.trace.traced import N

__all__ = ["is_own_place", "looked_up_in_place"]

#: Dtypes in which the number of an example is exact, however large the batch.
EXACT = (torch.int64, torch.int32)


def is_own_place(call: Call, own: frozenset[str], shape: tuple[Any, ...], origin: Origin) -> bool:
    """Whether the output's elements are the places of the examples they belong to.

    ``own`` names the operands of which that is true.

    Raises:
        ExamplesMixed: where the op reads a place to compute with it.
    """
    value = call.node.meta["val"]
    exact = isinstance(value, torch.Tensor) and value.dtype in EXACT
    if isinstance(call.form, Created):
        if not call.sized or not call.form.places or call.form.sizes:
            return False
        if exact and shape == (N,):
            return True
        raise place_as_number(origin)
    if not own:
        return False
    looked_up = {index for _, index in lookups(call.form)}
    if own <= looked_up:
        return False
    if exact and len(call.operands) == 1 and only_moves(call.form):
        return True
    raise place_as_number(origin)


def looked_up_in_place(
    call: Call, own: frozenset[str], layouts: Mapping[str, Layout], origin: Origin
) -> frozenset[tuple[str, int]]:
    """The dims of operands that every example looks up at its own place: those that are the examples, one by one.

    Raises:
        ExamplesMixed: where another dim is looked up by place in the batch.
    """
    found = set()
    for (name, dim), index in lookups(call.form):
        if index in own:
            if layouts[name][dim] != (EXAMPLES,):
                raise place_as_number(origin)
            found.add((name, dim))
    return frozenset(found)


def lookups(form: Form) -> tuple[tuple[tuple[str, int], str], ...]:
    """What a form looks up: (operand, dim) at the places that an index holds."""
    if isinstance(form, Equation):
        return form.lookups
    return form.lookups if isinstance(form, Aligned) else ()


def only_moves(form: Form) -> bool:
    """Whether every element of the output is an element of the only operand, of the same example."""
    if isinstance(form, Equation):
        return is_copy(form)
    return isinstance(form, Regrouped) or (isinstance(form, Aligned) and form.moves)


def is_copy(form: Equation) -> bool:
    """y[n,s] = x[n,s]: one element of the operand, at plain letters, none of them summed."""
    if form.rest or form.where or not form.value.is_Indexed:
        return False
    left, right = (
        {letter for e in entries for letter in e.free_symbols} for entries in (form.index, form.value.indices)
    )
    entries = [e for e in (*form.index, *form.value.indices) if e != 0]
    return right <= left and all(e.is_Symbol or isinstance(e, sympy.Tuple) for e in entries)


def place_as_number(origin: Origin) -> ExamplesMixed:
    """The refusal of an example's place in the batch as a number."""
    return ExamplesMixed(
        f"{short_name(origin.op)} computes with the places of the examples in the batch, which depend on the others",
        origin=origin,
        remedy=OWN_PLACE,
    )
