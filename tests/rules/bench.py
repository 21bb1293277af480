"""One module in which many sample calls contribute to the loss: one trace serves them all.

Every variant is one placed sample and a choice of what is trained: one operand, every operand that can be, or
a factor before the op. Its contribution to the loss of an example is Σ y (s y + 1) over the example's part of
the output y, with numbers s, so that the cotangent differs from place to place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from placing import Placed, form_of, outputs, parameters_of
from sampling import Size, at, batch_shape, by_example, drawn, into_place
from torch import Tensor, nn

from clipcompiler.dsl import RuleSet
from clipcompiler.rules import default_rules

__all__ = ["UPSTREAM", "Bench", "Variant", "variants_of"]

UPSTREAM = "factor before the op"


@dataclass(frozen=True, slots=True)
class Variant:
    """A placed sample, and the operands that are parameters; or the carriers that a parameter multiplies first."""

    placed: Placed
    trained: tuple[str, ...]
    upstream: bool = False

    def __str__(self) -> str:
        return f"{self.placed}, {UPSTREAM if self.upstream else 'trained'}: {', '.join(self.trained)}"


def variants_of(placed: Placed, rules: RuleSet = default_rules) -> list[Variant]:
    """Each operand trained alone, all of them together, and a factor before the op."""
    own = parameters_of(placed, rules)
    found = [Variant(placed, (name,)) for name in own]
    if len(own) > 1:
        found.append(Variant(placed, tuple(own)))
    carriers = tuple(k for k, spec in placed.sample.operands.items() if spec.is_real and spec.carrying is not None)
    if carriers and not own:
        found.append(Variant(placed, carriers, upstream=True))
    return found


class Bench(nn.Module):
    """The sum of the contributions of some variants, [N]."""

    def __init__(self, variants: Sequence[Variant], seed: int = 0) -> None:
        super().__init__()
        self.variants = tuple(variants)
        self.generator = torch.Generator().manual_seed(seed)
        self.inputs: list[tuple[int, str]] = []
        for k, variant in enumerate(self.variants):
            self.add(k, variant)

    def add(self, k: int, variant: Variant) -> None:
        """Parameters, buffers and inputs of one variant."""
        for name, spec in variant.placed.sample.operands.items():
            own = f"v{k}_{identifier(name)}"
            if spec.carrying is not None:
                self.inputs.append((k, name))
                if variant.upstream and name in variant.trained:
                    shape = tuple(1 if isinstance(size, Size) else size for size in spec.shape)
                    factor = 0.8 + 0.4 * torch.rand(shape, generator=self.generator, dtype=torch.float64)
                    self.register_parameter(own, nn.Parameter(factor))
            elif name in variant.trained:
                self.register_parameter(own, nn.Parameter(spec.tensor(0, self.generator)))
            else:
                self.register_buffer(own, spec.tensor(0, self.generator))
        count = torch.Size(at(variant.placed.out, 1)).numel()
        scale = 0.5 + torch.rand(count, generator=self.generator, dtype=torch.float64)
        self.register_buffer(f"v{k}_scale", scale)

    def batch(self, examples: int, seed: int = 1) -> tuple[Tensor, ...]:
        """Inputs for some examples; the first ones are the same whatever their number."""
        generator = torch.Generator().manual_seed(seed)
        found = []
        for k, name in self.inputs:
            spec = self.variants[k].placed.sample.operands[name]
            found.append(drawn(spec, (8, *batch_shape(spec)), generator)[:examples].clone())
        return tuple(found)

    def forward(self, *batch: Tensor) -> Tensor:
        given = dict(zip(self.inputs, batch, strict=True))
        total = None
        for k, variant in enumerate(self.variants):
            own = self.contribution(k, variant, given, batch[0].shape[0])
            total = own if total is None else total + own
        return total

    def contribution(self, k: int, variant: Variant, given: dict[tuple[int, str], Tensor], examples: int) -> Tensor:
        """Σ y (s y + 1) by example."""
        sample = variant.placed.sample
        values: dict[str, Tensor] = {}
        for name, spec in sample.operands.items():
            own = getattr(self, f"v{k}_{identifier(name)}", None)
            values[name] = own if spec.carrying is None else into_place(given[k, name], spec)
            if spec.carrying is not None and own is not None:
                values[name] = values[name] * own
        parts = []
        for y in outputs(sample(values, examples)):
            if y.is_floating_point() and y.dim() == len(variant.placed.out):
                part = by_example(y, variant.placed.out, examples)
                scale = getattr(self, f"v{k}_scale")
                parts.append((part * (part * scale[: part.shape[1]] + 1)).sum(1))
        return sum(parts[1:], parts[0])


def identifier(name: str) -> str:
    """``tensors[0]`` → ``tensors_0``"""
    return name.replace("[", "_").replace("]", "")


def differentiable(placed: Placed, rules: RuleSet = default_rules) -> bool:
    """Whether some output has a gradient."""
    del rules
    values = {k: spec.tensor(2) for k, spec in placed.sample.operands.items()}
    for spec, value in zip(placed.sample.operands.values(), values.values(), strict=True):
        value.requires_grad_(spec.is_real)
    return any(y.requires_grad for y in outputs(placed.sample(values, 2)))


_ = form_of
