"""One module in which many sample calls contribute to the loss: one trace serves them all.

Every variant is one placed sample and a choice of what is trained: one operand, every operand that can be, or
a factor before the op. The loss of an example is Σ y (s y + 1) over its part of every output y, with numbers s
of their own, so that the cotangent differs from place to place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from layouts import relaid
from placing import Placed, outputs, parameters_of, readable, values_of
from sampling import Size, Spec, batch_shape, by_example, drawn, into_place
from torch import Tensor, nn

from clipcompiler.dsl import RuleSet, aten
from clipcompiler.rules import default_rules

__all__ = ["Bench", "Variant", "variants_of"]

#: Ops that torch itself runs, or differentiates, on contiguous tensors only.
CONTIGUOUS = {aten.view.default, aten._unsafe_view.default, aten.nll_loss_nd.default}


@dataclass(frozen=True, slots=True)
class Variant:
    """A placed sample, and what is trained of it.

    Attributes:
        placed: the sample.
        trained: the operands that are parameters; or the carriers that a parameter multiplies first.
        upstream: whether it is the latter.
        layout: how the operands that carry examples lie in memory; "" for as they come.
    """

    placed: Placed
    trained: tuple[str, ...]
    upstream: bool = False
    layout: str = ""

    def __str__(self) -> str:
        how = "trained before" if self.upstream else "trained"
        return f"{self.placed}, {how}: {', '.join(self.trained)} {self.layout}"


def variants_of(placed: Placed, rules: RuleSet = default_rules) -> list[Variant]:
    """Each operand trained alone, all of them together; where none can be, a factor before the op."""
    if not has_real_output(placed):
        return []
    own = parameters_of(placed, rules)
    found = [Variant(placed, (name,)) for name in own]
    if len(own) > 1:
        found.append(Variant(placed, tuple(own)))
    carriers = tuple(k for k, spec in placed.sample.operands.items() if spec.is_real and spec.carrying is not None)
    if carriers and not own:
        found.append(Variant(placed, carriers, upstream=True))
    return found


def has_real_output(placed: Placed) -> bool:
    """Whether an output of the dims that the rule speaks of can have a gradient."""
    values = outputs(placed.sample(values_of(placed.sample), 3))
    return any(y.is_floating_point() and y.dim() == len(placed.out) for y in values)


class Bench(nn.Module):
    """The losses of some variants, added: [N]."""

    def __init__(self, variants: Sequence[Variant], seed: int = 0) -> None:
        super().__init__()
        self.variants = tuple(variants)
        generator = torch.Generator().manual_seed(seed)
        places = {id(v.placed): v.placed for v in self.variants}
        self.place = [list(places).index(id(v.placed)) for v in self.variants]
        self.inputs: dict[tuple[int, str], Spec] = {}
        for k, variant in enumerate(self.variants):
            for name, spec in variant.placed.sample.operands.items():
                if spec.carrying is not None:
                    self.inputs[self.place[k], name] = spec
                self.hold(own_name(k, name), name, spec, variant, generator)
        batch = self.batch(1)
        width = self.parts(*batch).shape[1]
        self.register_buffer("scale", 0.5 + torch.rand(width, generator=generator, dtype=torch.float64))

    def hold(self, own: str, name: str, spec: Spec, variant: Variant, generator: torch.Generator) -> None:
        """The parameter or buffer of one operand of one variant."""
        trained = name in variant.trained
        if spec.carrying is None and trained:
            self.register_parameter(own, nn.Parameter(spec.tensor(0, generator)))
        elif spec.carrying is None:
            self.register_buffer(own, spec.tensor(0, generator))
        elif trained and variant.upstream:
            shape = tuple(1 if isinstance(size, Size) else size for size in spec.shape)
            spread = 0.2 if spec.draw == "unit" else 0.4  # what lies between 0 and 1 stays there
            factor = 0.8 + spread * torch.rand(shape, generator=generator, dtype=torch.float64)
            self.register_parameter(own, nn.Parameter(factor))

    def batch(self, examples: int, seed: int = 1) -> tuple[Tensor, ...]:
        """Inputs for up to eight examples; the first ones are the same whatever their number.

        All operands that carry examples lie side by side in one tensor [N, …], those that are not real in a
        second one: the time that tracing takes grows with the square of the number of inputs.
        """
        generator = torch.Generator().manual_seed(seed)
        parts = [drawn(spec, (8, *batch_shape(spec)), generator).reshape(8, -1) for spec in self.inputs.values()]
        found = [p for p in parts if p.is_floating_point()] or [torch.zeros(8, 1, dtype=torch.float64)]
        whole = [p.long() for p in parts if not p.is_floating_point()]
        return tuple(torch.cat(group, 1)[:examples].clone() for group in (found, whole) if group)

    def operands(self, batch: tuple[Tensor, ...]) -> dict[tuple[int, str], Tensor]:
        """The batch, taken apart into the operands that carry examples, each in its place."""
        groups: list[list[tuple[int, str]]] = [[], []]
        for key, spec in self.inputs.items():
            groups[spec.draw in ("whole", "truth")].append(key)
        found = {}
        for keys, tensor in zip(groups, batch, strict=False):
            shapes = [batch_shape(self.inputs[key]) for key in keys]
            parts = torch.split(tensor, [math.prod(shape) for shape in shapes], 1) if len(keys) > 1 else [tensor]
            for key, part, shape in zip(keys, parts, shapes, strict=False):
                inner = part[:, 0] if not shape else part.unflatten(1, shape) if len(shape) > 1 else part
                found[key] = into_place(inner.bool() if self.inputs[key].draw == "truth" else inner, self.inputs[key])
        return found

    def forward(self, *batch: Tensor) -> Tensor:
        parts = self.parts(*batch)
        return (parts * (self.scale * parts + 1)).sum(1)

    def parts(self, *batch: Tensor) -> Tensor:
        """The outputs of all variants, [N, elements of one example]."""
        given = self.operands(batch)
        found = []
        for k, variant in enumerate(self.variants):
            values = {name: self.operand(k, name, given) for name in variant.placed.sample.operands}
            for y in readable(variant.placed.sample, variant.placed.sample(values, batch[0].shape[0])):
                if y.is_floating_point() and y.dim() == len(variant.placed.out):
                    found.append(by_example(y, variant.placed.out, batch[0].shape[0]))
        return torch.cat(found, 1)

    def operand(self, k: int, name: str, given: dict[tuple[int, str], Tensor]) -> Tensor:
        """One operand of one variant."""
        own = getattr(self, own_name(k, name), None)
        carrier = given.get((self.place[k], name))
        if carrier is None:
            return own
        variant = self.variants[k]
        carrier = relaid(carrier, self.inputs[self.place[k], name], variant.layout)
        if variant.placed.sample.op in CONTIGUOUS and not variant.layout:
            carrier = carrier.contiguous()
        return carrier if own is None else carrier * own


def own_name(k: int, operand: str) -> str:
    """``tensors[0]`` of variant 3 → ``v3_tensors_0``"""
    return f"v{k}_{operand.replace('[', '_').replace(']', '')}"
