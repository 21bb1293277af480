"""Parameters of which functions read every element at most once: ‖g_θ‖² = Σ_v ‖g_v‖² over the functions' values v.

A value that holds elements of parameters and nothing else, none of them twice, has as its gradient elements of the
parameters' gradients. Where no other value holds the same ones, the squares add up, whatever the functions are:
slices, chunks, views, a flip, a concatenation. It is proven by running them on the numbers of the elements.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import networkx as nx
import torch
from torch import Tensor, fx

from clipcompiler.axes.analyse import Axes
from clipcompiler.derive.derived import Functions, ReadOnce
from clipcompiler.derive.substitute import CASTING, COPYING, PERMUTING, REGROUPING

__all__ = ["read_once"]

aten = torch.ops.aten
#: Up to this many elements of parameters are numbered one by one, 128 MiB of numbers.
NUMBERED = 2**24
#: Ops whose output holds elements of their operand, none of them twice.
CUTTING = (
    aten.slice.Tensor, aten.select.int, aten.narrow.default, aten.split.Tensor, aten.split_with_sizes.default,
    aten.chunk.default, aten.unsafe_split.Tensor, aten.unsafe_split_with_sizes.default, aten.unsafe_chunk.default,
    aten.tensor_split.sections, aten.tensor_split.indices, aten.unbind.int, aten.diagonal.default,
    aten.flip.default, aten.fliplr.default, aten.flipud.default, aten.roll.default, aten.rot90.default,
    operator.getitem,
)  # fmt: skip
#: Ops whose output holds elements of their operands, some of them perhaps twice.
JOINING = (
    aten.cat.default, aten.concat.default, aten.concatenate.default, aten.stack.default, aten.hstack.default,
    aten.vstack.default, aten.dstack.default, aten.column_stack.default, aten.expand.default, aten.repeat.default,
    aten.tile.default, aten.index.Tensor, aten.index_select.default, aten.gather.default, aten.take.default,
    aten.unfold.default, aten.pixel_shuffle.default, aten.pixel_unshuffle.default, aten.channel_shuffle.default,
)  # fmt: skip
ONCE = {*REGROUPING, *PERMUTING, *COPYING, *CUTTING}
#: Constants that an index may be made from.
CREATING = (aten.arange.default, aten.arange.start, aten.arange.start_step)

Numbers = Mapping[fx.Node, Any]


def read_once(axes: Axes, functions: Functions, direct: Iterable[fx.Node]) -> tuple[ReadOnce, ...]:
    """The sets of parameters and values that depend on each other, where every element is read at most once.

    ``direct`` are the sources of terms: a parameter among them is read as a whole.
    """
    together = nx.Graph((value, p) for value in functions.values for p in axes.trainable[value])
    whole = set(direct)
    found = []
    for component in nx.connected_components(together):
        values = tuple(v for v in functions.values if v in component)
        parameters = tuple(p for p in functions.parameters if p in component)
        nodes = before(values, functions.nodes)
        dtypes = {p.meta["val"].dtype for p in parameters}
        if not whole & set(parameters) and len(dtypes) == 1 and proven(axes, parameters, values, nodes):
            found.append(ReadOnce(parameters, values, tuple(nodes)))
    return tuple(found)


def before(values: tuple[fx.Node, ...], nodes: tuple[fx.Node, ...]) -> list[fx.Node]:
    """Those nodes, in their order, that values are computed from."""
    found, pending = set(values), list(values)
    while pending:
        new = [operand for operand in pending.pop().all_input_nodes if operand not in found]
        found.update(new)
        pending += new
    return [node for node in nodes if node in found]


def proven(axes: Axes, parameters: tuple[fx.Node, ...], values: tuple[fx.Node, ...], nodes: list[fx.Node]) -> bool:
    """Whether the values hold elements of the parameters alone, and none of them twice."""
    if len(parameters) == len(values) == 1 and chained(parameters[0], values[0], nodes):
        return True
    if len(parameters) == 1 and apart(axes, parameters[0], values, nodes):
        return True
    sizes = [p.meta["val"].numel() for p in parameters]
    if sum(sizes) > NUMBERED:
        return False
    starts = itertools.accumulate(sizes, initial=0)
    given = {
        p: torch.arange(start, start + size).view(p.meta["val"].shape)
        for p, start, size in zip(parameters, starts, sizes, strict=False)
    }
    numbers = run(axes, nodes, given, lambda target: target in ONCE or target in JOINING)
    return all(v in numbers for v in values) and distinct([numbers[v] for v in values], sum(sizes))


def chained(parameter: fx.Node, value: fx.Node, nodes: list[fx.Node]) -> bool:
    """Whether one op after the other leads from the parameter to the value, and none repeats an element.

    Nothing is run: it holds for every length, as of the first T rows of a table of positions.
    """
    data, counted = {parameter}, set[fx.Node]()
    for node in nodes:
        moved = [o for o in node.all_input_nodes if o in data]
        if not moved and counts(node, counted):
            counted.add(node)
        elif moved and ((node.target in ONCE and len(moved) == 1) or looks_up(node) in counted):
            data.add(node)
        elif moved:
            return False
    return value in data


def counts(node: fx.Node, counted: Container[fx.Node]) -> bool:
    """Whether a value holds whole numbers of at least 0, no two the same, at every call: arange(T), arange(1, T)."""
    if node.target in CREATING:
        first = node.args[0] if node.target is not aten.arange.default else 0
        step = node.args[2] if len(node.args) > 2 else 1
        return all(isinstance(k, int) and k >= least for k, least in ((first, 0), (step, 1)))
    return node.target in ONCE and any(o in counted for o in node.all_input_nodes)


def looks_up(node: fx.Node) -> Any:
    """The index of an op that reads the rows of its first operand, each of them as it is: of padding there are none."""
    if node.target is aten.embedding.default:
        return node.args[1] if dict(enumerate(node.args)).get(2, -1) == -1 else None
    if node.target is aten.index_select.default:
        return node.args[2]
    if node.target is aten.index.Tensor:
        given = [index for index in node.args[1] if index is not None]  # type: ignore[union-attr]
        return given[0] if len(given) == 1 else None
    return None


def distinct(numbers: list[Tensor], count: int) -> bool:
    """Whether no number below ``count`` occurs twice."""
    seen = torch.zeros(count, dtype=torch.bool)
    for own in numbers:
        seen[own.flatten()] = True
    return int(seen.sum()) == sum(own.numel() for own in numbers)


def apart(axes: Axes, parameter: fx.Node, values: tuple[fx.Node, ...], nodes: list[fx.Node]) -> bool:
    """Whether the values lie one behind the other along some dim of a parameter, each cut out of it once.

    The places along one dim are repeated along the others without being stored, so that no size is too large.
    """
    shape = parameter.meta["val"].shape
    for dim, size in enumerate(shape):
        places = torch.arange(size).view([size if d == dim else 1 for d in range(len(shape))]).expand(shape)
        found = run(axes, nodes, {parameter: places}, lambda target: target in ONCE)
        if not all(v in found for v in values):
            return False
        spans = sorted(span(found[v]) for v in values if found[v].numel())
        if all(last < first for (_, last), (first, _) in itertools.pairwise(spans)):
            return True
    return False


def span(places: Tensor) -> tuple[int, int]:
    """The first and the last place, each repeated one read once."""
    own = places[tuple(0 if stride == 0 else slice(None) for stride in places.stride())]
    return int(own.min()), int(own.max())


def run(axes: Axes, nodes: list[fx.Node], given: Numbers, allowed: Callable[[Any], bool]) -> Numbers:
    """The values of those nodes that only allowed ops lead to, from integers in place of the parameters.

    A cast is none of them: it rounds a gradient on its way.
    """
    known: dict[fx.Node, Any] = {**constants(axes, nodes), **given}
    data = set(given)
    for node in nodes:
        operands = node.all_input_nodes
        if any(o not in known for o in operands):
            continue
        moved = {o for o in operands if o in data}
        if node.target in CREATING or (not moved and node.target in (*COPYING, *CASTING)):
            known[node] = created(node, known)
        elif moved and allowed(node.target) and (len(moved) == len(operands) or indexes(node)):
            known[node] = called(node, known)
            data.add(node)
    return {node: value for node, value in known.items() if node in data}


def indexes(node: fx.Node) -> bool:
    """Whether an op reads its first operand at the places that the others hold."""
    return node.target in (aten.index.Tensor, aten.index_select.default, aten.gather.default, aten.take.default)


def constants(axes: Axes, nodes: list[fx.Node]) -> dict[fx.Node, Tensor]:
    """The integers that the forward makes from literals: the same at every call, unlike a buffer."""
    traced = axes.traced
    found = {}
    for node in {o for n in nodes for o in n.all_input_nodes if o.op == "placeholder"}:
        name = traced.buffers.get(node.name)
        value = traced.constants.get(name) if name in traced.literals else None
        if value is not None and not value.is_floating_point() and not value.is_meta:
            found[node] = value.cpu()
    return found


def created(node: fx.Node, known: Numbers) -> Any:
    """A constant on the CPU."""
    if node.target not in CREATING:
        return known[node.args[0]].to(node.meta["val"].dtype)  # type: ignore[index]
    kwargs = {k: v for k, v in node.kwargs.items() if k not in ("device", "pin_memory")}
    return node.target(*node.args, **kwargs)


def called(node: fx.Node, known: Numbers) -> Any:
    """An op on integers; a copy is the same, a view one of whatever strides."""
    if node.target in COPYING:
        return known[node.args[0]]  # type: ignore[index]
    if node.target in REGROUPING:
        return known[node.args[0]].reshape(node.meta["val"].shape)  # type: ignore[index]
    args, kwargs = fx.map_arg((node.args, node.kwargs), known.__getitem__)
    return node.target(*args, **kwargs)  # type: ignore[operator]
