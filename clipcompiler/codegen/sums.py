"""Section 6: Σ_n c_n g[n] of every parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy
from torch import fx

from clipcompiler.algebra import Factor, Letter, Network, convolution
from clipcompiler.codegen import convolution as weight_gradient
from clipcompiler.codegen.body import Body
from clipcompiler.codegen.calls import quoted
from clipcompiler.codegen.clip_factors import ClipFactors
from clipcompiler.codegen.helpers import ADD, ADD_PRODUCT
from clipcompiler.codegen.laid import Laid, Product, atom, contracted, permuted, spread, summed
from clipcompiler.codegen.operands import Operands
from clipcompiler.codegen.rows import Rows
from clipcompiler.derive.bind import EXAMPLE
from clipcompiler.derive.complex_values import is_complex, shape_by_parts
from clipcompiler.derive.derived import Term
from clipcompiler.plan.choice import Choice
from clipcompiler.trace.traced import N, shape_of

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
        at_length: for each decision of the plan and each of its pieces the gradients kept there.
        gradients: for each parameter or value the expression of its clipped sum, once all examples are added.
        scaled: the cotangents times clip factors, by the factor and the clip factors they were made from.
        summed: the expressions added so far, and where to: a parameter with the sum of another one gets a copy of it.
    """

    body: Body
    operands: Operands
    labels: Mapping[fx.Node, str]
    each: Mapping[fx.Node, Laid]
    clips: ClipFactors
    at_length: Sequence[Sequence[Mapping[fx.Node, Laid]]] = ()
    gradients: dict[fx.Node, str] = field(default_factory=dict)
    scaled: dict[tuple[Factor, str], str] = field(default_factory=dict)
    summed: dict[tuple[str, ...], str] = field(default_factory=dict)

    def write(self, choice: Choice) -> None:
        """Adds to the clipped sum of one parameter."""
        rows = None if choice.source in self.each else self.rows_to_add(choice)
        totals = self.totals(choice, rows)
        place = f"sums[{quoted(key_of(choice))}]"
        texts = tuple(total.text for total in totals)
        if rows is None and texts in self.summed:
            self.gradients[choice.source] = self.shaped(f"{self.summed[texts]}.clone()", totals[0], choice)
            return
        self.summed.setdefault(texts, place)
        for total in totals:
            self.add(choice, total)
        if rows is not None:  # in place: the table is not written twice
            scaled = self.scaled_cotangent(rows.network.factors[0], self.clips.by_example(choice))
            self.body.line(Rows.of(self.operands, rows.network, scaled).added_to(place))
        self.gradients[choice.source] = self.shaped(place, totals[0], choice)

    def totals(self, choice: Choice, rows: Term | None) -> list[Laid]:
        """What is added to the sum of one parameter: one expression, or several of the same letters."""
        kept = self.each.get(choice.source)
        if kept is not None:
            return [self.of_kept(kept, self.clips.of(choice))]
        clip = self.clips.by_example(choice)
        found = [self.term(term, clip) for term in choice.terms if term is not rows]
        if len(choice.terms) == 1:
            return found
        terms = [term for term in choice.terms if term is not rows]
        return [self.in_shape(permuted(x, t.letters), choice) for x, t in zip(found, terms, strict=True)]

    def add(self, choice: Choice, total: Laid) -> None:
        """Adds one expression to the sum of a parameter: a matrix product in place."""
        if total.product is not None:
            self.add_product(key_of(choice), total.product)
        else:
            self.body.line(f"{ADD}(sums, {quoted(key_of(choice))}, {total.text})")

    def add_product(self, key: str, product: Product) -> None:
        """Adds a matrix product to the sum of a key, in place."""
        self.body.line(f"{ADD_PRODUCT}(sums, {quoted(key)}, {product.left}, {product.right})")

    def rows_to_add(self, choice: Choice) -> Term | None:
        """Of two terms the one that adds to rows of [V, D], where the other fills all of it."""
        shape = shape_of(choice.source)
        rows = [t for t in choice.terms if t.network.determined and tuple(x.extent for x in t.letters) == shape]
        rows = [t for t in rows if len(shape) == 2]
        whole = [t for t in choice.terms if not t.network.determined]
        alike = rows and rows[0].network.coefficient == 1 and rows_first(rows[0])
        return rows[0] if len(rows) == len(whole) == 1 and len(choice.terms) == 2 and alike else None

    def of_kept(self, kept: Laid, clip: str) -> Laid:
        """Σ_n c_n g[n], from the gradients kept."""
        letters = kept.letters[1:]
        if not letters:
            return Laid(f"{clip} @ {kept.text}", letters)
        each = kept.text if len(letters) == 1 else f"{atom(kept.text)}.flatten(1)"
        product = Product(clip, each, rank=1)
        if len(letters) == 1:
            return Laid(f"{clip} @ {each}", letters, product)
        return Laid(f"({clip} @ {each}).reshape({sizes_of(x.extent for x in letters)})", letters, product)

    def term(self, term: Term, clip: str) -> Laid:
        """Σ_n c_n of one term: the network once more, the cotangent scaled, n summed."""
        network = term.network
        windows = convolution(network)
        cotangent = network.factors[0]
        if windows is not None:
            scaled = self.scaled_cotangent(cotangent, clip)
            image, filter = (
                scaled if f is cotangent else self.operands.variable(f) for f in (windows.image, windows.filter)
            )
            total = weight_gradient.total(windows, image, filter, self.operands.shape(windows.image)[2:])
            if repeated := [x for x in total.letters if x not in network.output]:  # of a weight that broadcasts
                whole = f"{atom(total.text)}.reshape({sizes_of(x.extent for x in total.letters)})"
                total = summed(Laid(whole, total.letters), repeated)
        elif network.determined:
            total = Rows.of(self.operands, network, self.scaled_cotangent(cotangent, clip)).total()
        else:
            total = self.product(term, clip)
        number = network.coefficient
        return total if number == 1 else Laid(f"{float(number)} * {atom(total.text)}", total.letters)

    def product(self, term: Term, clip: str) -> Laid:
        """Σ over n and the positions, two factors at a time, c_n times the smallest of them."""
        network = term.network
        wanted = [x for x in network.output if x != EXAMPLE]
        place = self.smallest(network, clip)
        if len(network.factors) == 1 and (network.factors[0], clip) not in self.scaled:
            own = self.operands.laid(network.factors[0])
            total = summed(own, [x for x in own.letters if x not in network.output])
            return self.of_kept(permuted(total, [EXAMPLE, *(x for x in total.letters if x != EXAMPLE)]), clip)
        if place is None:
            scaled = self.scaled_cotangent(network.factors[0], clip)
            factors = [self.operands.laid_as(scaled, network.factors[0])]
            factors += [self.operands.laid(f) for f in network.factors[1:]]
        else:
            factors = [self.operands.laid(f) for f in network.factors]
            factors[place] = self.times_clip(factors[place], clip)
        total, *rest = factors
        if not rest:
            return summed(total, [x for x in total.letters if x not in wanted])
        for k, factor in enumerate(rest):
            later: list[Letter] = [x for f in rest[k + 1 :] for x in f.letters]
            total = contracted(total, factor, [*wanted, *later])
        return total

    def smallest(self, network: Network, clip: str) -> int | None:
        """The factor of at most half the size of ȳ, where ȳ is not scaled already."""
        if (network.factors[0], clip) in self.scaled:
            return None
        of_one = {N: 1, **self.operands.axes.traced.usual}
        sizes = [size_of(f).subs(of_one) if EXAMPLE in f.letters else sympy.oo for f in network.factors]
        place = min(range(len(sizes)), key=sizes.__getitem__)
        return place if 2 * sizes[place] <= sizes[0] else None

    def times_clip(self, x: Laid, clip: str) -> Laid:
        """c_n x[n, …]"""
        text = f"{atom(x.text)} * {spread(Laid(clip, (EXAMPLE,)), x.letters)}"
        return Laid(self.body.bind(f"{stem_of(x)}_clipped", text), x.letters)

    def scaled_cotangent(self, factor: Factor, clip: str) -> str:
        """c_n ȳ[n, …], in the dims of ȳ."""
        if (factor, clip) not in self.scaled:
            name, value = self.operands.stem(factor), self.operands.variable(factor)
            self.scaled[factor, clip] = self.body.bind(f"{name}_clipped", f"{value} * {in_dims(clip, factor)}")
        return self.scaled[factor, clip]

    def shaped(self, place: str, total: Laid, choice: Choice) -> str:
        """A sum as it was added up → in the parameter's own shape."""
        shape, extents = shape_by_parts(choice.source), tuple(x.extent for x in total.letters)
        kept = self.each.get(choice.source)
        wanted = total.letters if kept is not None or len(choice.terms) != 1 else choice.terms[0].letters
        rank = len(extents) if total.product is None else total.product.rank
        text, dims = place, extents if rank == len(extents) else None
        if wanted != total.letters:
            text = text if dims == extents else f"{text}.reshape({sizes_of(extents)})"
            text = permuted(Laid(text, total.letters), wanted).text
            dims = tuple(x.extent for x in wanted)
        if dims != shape:
            text = f"{atom(text)}.reshape({sizes_of(shape)})"
        return f"torch.view_as_complex({atom(text)}.contiguous())" if is_complex(choice.source) else text

    def in_shape(self, total: Laid, choice: Choice) -> Laid:
        """One of several terms in the parameter's own shape, so that they can be added."""
        shape = shape_by_parts(choice.source)
        if tuple(x.extent for x in total.letters) == shape:
            whole = total.product is None or total.product.rank == len(shape)
            return total if whole else Laid(total.text, total.letters)
        return Laid(f"{atom(total.text)}.reshape({sizes_of(shape)})", total.letters)


def key_of(choice: Choice) -> str:
    """The key of a sum: a parameter's name, or that of a value, which no parameter has."""
    return choice.name if choice.is_parameter else f"value {choice.name}"


def sizes_of(shape: Iterable[Any]) -> str:
    """The arguments of a reshape."""
    return ", ".join(map(str, shape)) or "()"


def rows_first(term: Term) -> bool:
    """Whether the rows of a table are its first dim."""
    return term.letters[0] in term.network.determined


def size_of(factor: Factor) -> Any:
    """The number of elements of a factor."""
    return sympy.prod([x.extent for x in factor.letters])


def stem_of(x: Laid) -> str:
    """A name for what is made from a tensor."""
    return x.text if x.text.isidentifier() else "factor"


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
