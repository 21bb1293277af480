"""Section 6: Σ_n c_n g[n] of every parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import fx

from clipcompiler.algebra import Factor, Letter
from clipcompiler.codegen.body import Body
from clipcompiler.codegen.clip_factors import ClipFactors
from clipcompiler.codegen.convolution import recognise
from clipcompiler.codegen.laid import Laid, atom, contracted, permuted, summed
from clipcompiler.codegen.operands import Operands
from clipcompiler.derive.bind import EXAMPLE
from clipcompiler.derive.derived import Term
from clipcompiler.derive.references import Cotangent
from clipcompiler.plan.choice import Choice

__all__ = ["Sums"]


@dataclass(slots=True)
class Sums:
    """Writes clipped sums.

    Attributes:
        body: where statements go.
        operands: the tensors of the program.
        labels: the variable stem of each parameter or value.
        each: the per-example gradients kept.
        clips: the clip factors.
        gradients: for each parameter or value the variable (or expression) of its clipped sum.
        scaled: the cotangents times clip factors, by the factor and the clip factors they were made from.
        summed: the sums so far: a parameter with the sum of another one gets a tensor of its own.
    """

    body: Body
    operands: Operands
    labels: Mapping[fx.Node, str]
    each: Mapping[fx.Node, Laid]
    clips: ClipFactors
    gradients: dict[fx.Node, str] = field(default_factory=dict)
    scaled: dict[tuple[Factor, str], str] = field(default_factory=dict)
    summed: set[str] = field(default_factory=set)

    def write(self, choice: Choice) -> None:
        """The clipped sum of one parameter, in its own shape."""
        kept = self.each.get(choice.source)
        if kept is not None:
            total = self.of_kept(kept, self.clips.of(choice))
        else:
            parts = [self.term(term, self.clips.by_example(choice)) for term in choice.terms]
            total = Laid(" + ".join(atom(p.text) if len(parts) > 1 else p.text for p in parts), parts[0].letters)
        text = self.shaped(total, choice)
        name = self.body.bind(f"{self.labels[choice.source]}_grad", text)
        self.gradients[choice.source] = f"{name}.clone()" if total.text in self.summed else name
        self.summed.add(total.text)

    def of_kept(self, kept: Laid, clip: str) -> Laid:
        """Σ_n c_n g[n], from the gradients kept."""
        letters = kept.letters[1:]
        if len(letters) <= 1:
            return Laid(f"{clip} @ {kept.text}", letters)
        return Laid(f"torch.tensordot({clip}, {kept.text}, 1)", letters)

    def term(self, term: Term, clip: str) -> Laid:
        """Σ_n c_n of one term: the network once more, the cotangent scaled, n summed."""
        network = term.network
        convolution = recognise(network)
        cotangent = network.factors[0]
        if convolution is not None:
            scaled = self.scaled_cotangent(cotangent, clip)
            image, filter = (
                scaled if f is cotangent else self.operands.variable(f) for f in (convolution.image, convolution.filter)
            )
            total = convolution.total(image, filter, self.operands.shape(convolution.image)[2:])
        else:
            total = self.product(term, clip)
        ordered = permuted(total, [x for x in network.output if x != EXAMPLE])
        number = network.coefficient
        return ordered if number == 1 else Laid(f"{float(number)} * {atom(ordered.text)}", ordered.letters)

    def product(self, term: Term, clip: str) -> Laid:
        """Σ over n and the positions, two factors at a time."""
        network = term.network
        scaled = self.scaled_cotangent(network.factors[0], clip)
        total = self.operands.laid_as(scaled, network.factors[0])
        rest = [self.operands.laid(f) for f in network.factors[1:]]
        wanted = [x for x in network.output if x != EXAMPLE]
        if not rest:
            return summed(total, [x for x in total.letters if x not in wanted])
        for k, factor in enumerate(rest):
            later: list[Letter] = [x for f in rest[k + 1 :] for x in f.letters]
            total = contracted(total, factor, [*wanted, *later])
        return total

    def scaled_cotangent(self, factor: Factor, clip: str) -> str:
        """c_n ȳ[n, …], in the dims of ȳ."""
        if (factor, clip) not in self.scaled:
            reference = factor.tensor.reference
            assert isinstance(reference, Cotangent)
            name, value = self.operands.cotangents[reference.tap], self.operands.variable(factor)
            self.scaled[factor, clip] = self.body.bind(f"{name}_clipped", f"{value} * {in_dims(clip, factor)}")
        return self.scaled[factor, clip]

    def shaped(self, total: Laid, choice: Choice) -> str:
        """The clipped sum in the parameter's own shape."""
        value = choice.source.meta["val"]
        text, shape = total.text, tuple(value.shape)
        if tuple(x.extent for x in total.letters) != shape:
            text = f"{atom(text)}.reshape({', '.join(map(str, shape)) or '()'})"
        return text


def in_dims(clip: str, factor: Factor) -> str:
    """The clip factors in the dims of a factor."""
    dim = next(d for d, e in enumerate(factor.index) if isinstance(e, tuple) and EXAMPLE in e)
    behind = len(factor.index) - dim - 1
    entry = factor.index[dim]
    assert isinstance(entry, tuple)
    text = clip
    if len(entry) > 1:
        place = entry.index(EXAMPLE)
        sizes = [x.extent for x in entry]
        shape = ", ".join("N" if k == place else "1" for k in range(len(entry)))
        text = f"{clip}.reshape({shape}).expand({', '.join(map(str, sizes))}).flatten()"
    return text if not behind else f"{text}[{', '.join([':'] + ['None'] * behind)}]"
