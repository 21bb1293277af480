"""sample + rule → the placements of the examples that the rule allows, and those it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from sampling import Sample, Size, Spec, n
from torch import Tensor, fx

from clipcompiler.axes.call import call
from clipcompiler.dsl import Aligned, Auxiliary, Equation, Inside, RuleSet
from clipcompiler.dsl.ruleset import Form
from clipcompiler.rules import default_rules
from clipcompiler.trace.traced import TracedLoss

__all__ = [
    "Placed", "affine_reads", "allowed", "form_of", "outputs", "parameters_of", "readable", "rows_of", "values_of",
]  # fmt: skip

COMPOSITIONS = (n, 2 * n, n * 3, 2 * n * 2)


@dataclass(frozen=True, slots=True)
class Placed:
    """A sample with the examples in a dim of some operands, and the shape of its output."""

    sample: Sample
    out: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.sample} → [{', '.join(map(str, self.out))}]"


def values_of(sample: Sample, examples: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Drawn operands."""
    generator = torch.Generator().manual_seed(seed)
    return {name: spec.tensor(examples, generator) for name, spec in sample.operands.items()}


def form_of(sample: Sample, rules: RuleSet = default_rules) -> Form:
    """What the rule says of the sample's arguments, at three examples."""
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    for name, value in values_of(sample).items():
        nodes[name] = graph.placeholder(f"x{len(nodes)}")
        nodes[name].meta["val"] = value
    args, kwargs = sample.filled(lambda name, _: nodes[name], lambda size: size.at(3))
    node = graph.call_function(sample.op, args, kwargs)
    rule = rules.find(sample.op)
    assert rule is not None, f"no rule for {sample.op}"
    return call(TracedLoss(graph, "Sample", {}, {}, ()), node, rule).form


def rows_of(form: Aligned | Equation | Inside, rules: RuleSet = default_rules) -> list[list[tuple[str, int]]]:
    """For each dim of the (first) output the dims of operands that run along with it, through auxiliaries too.

    A dim along which an auxiliary mixes runs along with nothing.
    """
    auxiliaries = {x.name: x for x in form.where} if isinstance(form, Equation) else {}
    form = form.outputs[0] if isinstance(form, Inside) else form
    aligned = form.alignment() if isinstance(form, Equation) else form
    rows = []
    for row in aligned.dims:
        found = [behind(source, auxiliaries, rules) for source in row]
        rows.append([source for sources in found for source in sources] if all(found) else [])
    return rows


def behind(source: tuple[str, int], auxiliaries: dict[str, Auxiliary], rules: RuleSet) -> list[tuple[str, int]]:
    """A dim of an operand; for one of an auxiliary the dims of the operands it is computed from."""
    name, dim = source
    if name not in auxiliaries:
        return [source]
    x = auxiliaries[name]
    return rows_of(rules.find(x.op)(*x.args), rules)[dim]


def outputs(value: Any) -> list[Tensor]:
    """The outputs of an op as a list."""
    return [value] if isinstance(value, Tensor) else [v for v in value if isinstance(v, Tensor)]


def readable(sample: Sample, value: Any, rules: RuleSet = default_rules) -> list[Tensor]:
    """The outputs of an op that a forward may read: not those that it returns for the equations of its rule."""
    form = form_of(sample, rules)
    kept = form.returned.values() if isinstance(form, Inside) else ()
    return [y for place, y in enumerate(outputs(value)) if place not in kept]


def allowed(
    sample: Sample, compositions: tuple[Size, ...] = COMPOSITIONS, rules: RuleSet = default_rules
) -> list[Placed]:
    """Every dim of the output along which the examples may lie, with every composition of that dim."""
    if sample.placed:
        return [] if sample.mixed else [Placed(sample, sample.out)]
    form = form_of(sample, rules)
    if not isinstance(form, (Aligned, Equation, Inside)) or (isinstance(form, Equation) and form.sizes):
        return []
    rows = [[] if is_product(form, dim) else row for dim, row in enumerate(rows_of(form, rules))]
    shape = outputs(sample(values_of(sample)))[0].shape
    return [
        placed
        for dim, row in enumerate(rows)
        for size in compositions
        for placed in place(sample, row, dim, size, tuple(shape))
    ]


def is_product(form: Aligned | Equation | Inside, dim: int) -> bool:
    """Whether a dim of the output is a product of letters, such as group and channel: it has no extent of its own."""
    return isinstance(form, Equation) and any(isinstance(part.index[dim], sympy.Tuple) for part in form.parts)


def place(sample: Sample, row: list[tuple[str, int]], dim: int, size: Size, shape: tuple[int, ...]) -> Iterator[Placed]:
    """The examples in the dims of ``row`` that have the extent of the output's ``dim``; dims of extent 1 broadcast."""
    specs = sample.operands
    carriers = {name: d for name, d in row if specs[name].shape[d] == shape[dim]}
    if carriers and len({name for name, _ in row}) == len(row):
        changed = {name: specs[name].resized(d, size) for name, d in carriers.items()}
        yield Placed(sample.with_operands(changed), (*shape[:dim], size, *shape[dim + 1 :]))


def parameters_of(placed: Placed, rules: RuleSet = default_rules) -> list[str]:
    """The operands that can be parameters: real, without examples, read by the equation or elementwise."""
    form = form_of(placed.sample, rules)
    if isinstance(form, Equation):
        read = set() if reads_diagonal(form) else {k for k in placed.sample.operands if form.reads(k)}
        read -= affine_reads(form)
    elif isinstance(form, Inside):
        read = {k for k in placed.sample.operands if form.reads(k)}
    else:
        single = isinstance(placed.sample(values_of(placed.sample), 3), Tensor)
        read = set(placed.sample.operands) if isinstance(form, Aligned) and form.pointwise and single else set()
    return [name for name, spec in placed.sample.operands.items() if name in read and can_be_parameter(spec)]


def reads_diagonal(form: Equation) -> bool:
    """Whether an operand is read by one letter in two dims: no gradient is derived then."""
    reads = [a for part in form.parts for a in part.value.atoms(sympy.Indexed)]
    letters = [[e for e in a.indices if e.is_Symbol] for a in reads]
    return any(len(set(own)) < len(own) for own in letters)


def affine_reads(form: Equation) -> set[str]:
    """The operands read at affine places, such as the input of a convolution: no gradient is derived for them."""
    reads = [a for part in form.parts for a in part.value.atoms(sympy.Indexed)]
    return {str(a.base.label) for a in reads if any(e.is_Add or e.is_Mul for e in a.indices)}


def can_be_parameter(spec: Spec) -> bool:
    """Whether a tensor is real and holds no examples."""
    return spec.is_real and spec.carrying is None
