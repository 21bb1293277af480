"""form + layouts of the operands → layout of the output, or a refusal: the step of the axis analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipcompiler.axes.call import Call
from clipcompiler.axes.layout import EXAMPLES, Dim, Layout, batch_dim, carrying_dims, plain, show, size_of
from clipcompiler.axes.regroup import regroup
from clipcompiler.axes.remedies import PAIRS, remedy_for
from clipcompiler.dsl import Aligned, Created, Equation, Inside, Regrouped
from clipcompiler.errors import CompileError, ExamplesMixed
from clipcompiler.origin import Origin
from clipcompiler.trace.path import short_name
from clipcompiler.trace.traced import N

__all__ = ["batch_size_in_value", "transfer"]


def transfer(
    call: Call,
    layouts: Mapping[str, Layout],
    shape: tuple[Any, ...],
    origin: Origin,
    examples_per_unit: int = 1,
    in_place: frozenset[tuple[str, int]] = frozenset(),
) -> Layout | None:
    """The layout of an output of ``shape``; ``None`` where the rule says nothing of this output.

    Every dim of an operand that carries examples must run along with a dim of the output, or be looked up by each
    example at its own place (``in_place``); where two operands meet in a dim, their examples must lie at the same
    place of it.

    Raises:
        ExamplesMixed: naming the dim that carries the examples.
    """
    form = call.form
    if isinstance(form, Created):
        if call.sized and not (form.sizes or form.places):
            raise batch_size_in_value(origin)
        return grown(plain(()), shape, origin, examples_per_unit, sizes=True)
    if isinstance(form, Regrouped):
        regrouped = regroup(layouts[form.operand], shape)
        if regrouped is None:
            raise cut(call, layouts[form.operand], shape, origin)
        return regrouped
    assert not isinstance(form, Inside), "such an op has a form for each of its outputs"
    aligned = form.alignment() if isinstance(form, Equation) else form
    read = {n: v for n, v in layouts.items() if not isinstance(form, Equation) or form.reads(n)}
    refuse_mixing(aligned, read, in_place, origin)
    if call.sized and not aligned.sizes:
        raise batch_size_in_value(origin)
    if len(aligned.dims) != len(shape):
        return None
    met = tuple(meet(row, read, size, origin) for row, size in zip(aligned.dims, shape, strict=True))
    return grown(met, shape, origin, examples_per_unit, sizes=aligned.sizes)


def batch_size_in_value(origin: Origin) -> ExamplesMixed:
    """The refusal of the batch size as a number to compute with."""
    return ExamplesMixed(
        f"{short_name(origin.op)} computes with the batch size {N}, which is no example's own",
        origin=origin,
        remedy="leave the batch size out of the forward; average a loss over the batch at its very end",
    )


def refuse_mixing(
    aligned: Aligned, layouts: Mapping[str, Layout], in_place: frozenset[tuple[str, int]], origin: Origin
) -> None:
    """Raises where a dim that carries examples runs along with no dim of the output."""
    kept = {source for row in aligned.dims for source in row} | in_place
    for name, layout in layouts.items():
        for dim in carrying_dims(layout):
            if (name, dim) not in kept and size_of(layout[dim]) != 1:
                whose = f"its argument '{name}' " if len(layouts) > 1 else ""
                raise ExamplesMixed(
                    f"{short_name(origin.op)} over dim {dim} of {whose}{show(layout)}, which carries the examples (n)",
                    origin=origin,
                    remedy=remedy_for(origin.op),
                )


def meet(row: tuple[tuple[str, int], ...], layouts: Mapping[str, Layout], size: Any, origin: Origin) -> Dim:
    """The composition that the dims of ``row`` agree on."""
    dims = [layouts[name][dim] for name, dim in row if name in layouts]
    full = [dim for dim in dims if size_of(dim) == size]
    carrying = list(dict.fromkeys(dim for dim in full if EXAMPLES in dim))
    lost = [dim for dim in dims if EXAMPLES in dim and dim not in full]
    if len(carrying) > 1 or lost:
        raise ExamplesMixed(
            f"{short_name(origin.op)} meets examples that lie at different places: {show(tuple(carrying + lost))}",
            origin=origin,
            remedy="bring both operands into the same order of dims (permute, then view)",
        )
    return carrying[0] if carrying else plain((size,))[0]


def grown(layout: Layout, shape: tuple[Any, ...], origin: Origin, examples_per_unit: int, *, sizes: bool) -> Layout:
    """The layout in which a dim of extent N that came from no operand carries the examples, and only one dim does."""
    dims: list[Dim] = []
    batch = batch_dim(examples_per_unit)
    for dim, size in zip(layout or plain(shape), shape, strict=True):
        if EXAMPLES in dim or not has_batch(size):
            dims.append(dim)
        elif sizes and size in (N, size_of(batch)):
            dims.append((EXAMPLES,) if size == N else batch)
        else:
            raise ExamplesMixed(
                f"{short_name(origin.op)} makes a dim of extent {size}, "
                "of which it is not known where each example lies",
                origin=origin,
                remedy="give the batch size a dim of its own",
            )
    carrying = carrying_dims(tuple(dims))
    if len(carrying) > 1 or any(dim.count(EXAMPLES) > 1 for dim in dims):
        raise ExamplesMixed(
            f"{short_name(origin.op)} pairs every example with every example: "
            f"{spoken(carrying)} of {show(tuple(dims))}",
            origin=origin,
            remedy=PAIRS,
        )
    return tuple(dims)


def spoken(dims: list[int]) -> str:
    """Which dims carry the examples, in words."""
    if len(dims) == 1:
        return f"they lie twice in dim {dims[0]}"
    return f"they lie in dims {' and '.join(map(str, dims))}"


def has_batch(size: Any) -> bool:
    """Whether an extent contains the batch size."""
    return not isinstance(size, int) and N in size.free_symbols


def cut(call: Call, layout: Layout, shape: tuple[Any, ...], origin: Origin) -> CompileError:
    """The refusal of a view that cuts through, or merges away, the examples."""
    sizes = ", ".join(map(str, shape))
    return ExamplesMixed(
        f"{short_name(origin.op)} from {show(layout)} to [{sizes}] puts elements of several examples into one row",
        origin=origin,
        remedy="keep the examples (n) a dim of their own, as in x.reshape(x.shape[0], -1), or a whole factor of a dim",
    )
