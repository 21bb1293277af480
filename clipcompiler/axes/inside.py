"""Where the examples lie in the pre-activations within an op: z = Σ …, by its equation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clipcompiler.axes.call import Call
from clipcompiler.axes.layout import EXAMPLES, Layout, size_of
from clipcompiler.axes.transfer import transfer
from clipcompiler.dsl import Inside
from clipcompiler.errors import NoRule
from clipcompiler.origin import Origin

__all__ = ["layouts_inside", "with_returned"]


def with_returned(form: Inside, operands: Mapping[str, Layout], outputs: Sequence[Layout | None]) -> dict[str, Layout]:
    """The layouts of everything that the equations of an op read: its operands, and its own outputs."""
    returned = {name: outputs[place] for name, place in form.returned.items()}
    return {**operands, **{name: layout for name, layout in returned.items() if layout is not None}}


def layouts_inside(call: Call, layouts: Mapping[str, Layout], origin: Origin, units: int = 1) -> dict[str, Layout]:
    """The layout of every pre-activation of an op, by name; ``layouts`` are those of all that it reads.

    Raises:
        ExamplesMixed: where an equation mixes what the op itself is said to keep apart.
        NoRule: where an equation has a dim that none of its operands has.
    """
    assert isinstance(call.form, Inside)
    found = {}
    for name, equation in call.form.at.items():
        shape = tuple(largest(row, layouts, origin) for row in equation.alignment().dims)
        layout = transfer(replace(call, form=equation), layouts, shape, origin, units)
        assert layout is not None
        found[name] = layout
    return found


def largest(row: tuple[tuple[str, int], ...], layouts: Mapping[str, Layout], origin: Origin) -> object:
    """The extent of a dim of a pre-activation: that in which the examples lie, else the largest."""
    dims = [layouts[name][dim] for name, dim in row]
    if not dims:
        raise NoRule("a pre-activation has a dim that none of its operands has", origin=origin, remedy="mend the rule")
    return size_of(max(dims, key=lambda dim: (EXAMPLES in dim, size_of(dim) if EXAMPLES not in dim else 0)))
