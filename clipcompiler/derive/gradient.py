"""y = f(…, W, …), ȳ → g[n, w] = Σ ȳ ∂y/∂W[w]: the per-example gradient, by differentiating the equation.

For a term Σ_i x[n,s,i] W[o,i] of y[n,s,o]: ∂/∂W[o',i'] = x[n,s,i'] δ(o,o'), so that
g[n,o,i] = Σ_s ȳ[n,s,o] x[n,s,i].
"""

from __future__ import annotations

from collections.abc import Callable

import sympy

from clipcompiler.algebra import Affine, Factor, Index, Letter, Network, Tensor
from clipcompiler.derive.bind import EXAMPLE, Bound
from clipcompiler.derive.references import Elementwise, Indicator
from clipcompiler.errors import NoRule
from clipcompiler.origin import Origin

__all__ = ["differentiate"]


def differentiate(
    bound: Bound, operand: str, cotangent: Tensor, tensor: Callable[[str], Tensor], origin: Origin
) -> tuple[Network, ...]:
    """The per-example gradient of ``operand`` as a sum of networks over the letters (n, letters of its dims).

    ``tensor`` gives the tensor of an operand or auxiliary by name.

    Raises:
        NoRule: where the derivative is no sum of products of elements (the equation reads the parameter at
            an affine place, or twice on a diagonal).
    """
    derivation = Derivation(bound, tensor, origin)
    own = [a for a in bound.reads if str(a.base.label) == operand]
    return tuple(
        network
        for access in own
        for term in derivation.terms(access)
        for network in [derivation.network(term, access, cotangent)]
    )


class Derivation:
    """The differentiation of one bound equation."""

    def __init__(self, bound: Bound, tensor: Callable[[str], Tensor], origin: Origin) -> None:
        self.bound = bound
        self.tensor = tensor
        self.origin = origin
        self.symbols = {a: sympy.Symbol(f"e{k}") for k, a in enumerate(bound.reads)}
        self.elements = {s: a for a, s in self.symbols.items()}

    def terms(self, access: sympy.Indexed) -> list[sympy.Expr]:
        """The terms of ∂value/∂access. With the accessed letters as the gradient's, every Kronecker delta is 1."""
        value = self.bound.equation.value.xreplace(self.symbols)
        derivative = sympy.diff(value, self.symbols[access])
        return [t for t in sympy.Add.make_args(derivative) if t != 0]

    def network(self, term: sympy.Expr, access: sympy.Indexed, cotangent: Tensor) -> Network:
        """Σ ȳ[out] · term, over (n, letters of the parameter)."""
        coefficient, product = term.as_coeff_Mul()
        factors = [Factor(cotangent, self.bound.output)]
        composed: list[sympy.Expr] = []
        for part in sympy.Mul.make_args(product):
            if part in self.elements:
                factors.append(self.factor(part))
            elif part != 1:
                composed.append(part)
        if composed:
            factors.append(self.elementwise(sympy.Mul(*composed)))
        own = self.parameter_letters(access)
        factors += [self.indicator(letter) for letter in own if letter in self.bound.lookups]
        output = (EXAMPLE, *own)
        try:
            return Network(output, tuple(factors), coefficient)
        except ValueError as error:
            raise self.refusal(access, str(error)) from error

    def factor(self, symbol: sympy.Symbol) -> Factor:
        """One element read on the right side."""
        access = self.elements[symbol]
        letters = [x for entry in self.bound.reads[access] if not isinstance(entry, Affine) for x in entry]
        if len(set(letters)) != len(letters):
            raise self.refusal(access, "it is read on a diagonal")
        if any(isinstance(entry, Affine) and len(entry.terms) != 2 for entry in self.bound.reads[access]):
            raise self.refusal(access, "an affine place has two letters, as stride·u + dilation·k")
        if any(letter in self.bound.lookups for letter in letters):
            raise self.refusal(access, "what is looked up by index is a factor")
        return Factor(self.tensor(str(access.base.label)), self.bound.reads[access])

    def indicator(self, letter: Letter) -> Factor:
        """∂W[i[s]]/∂W[v] = δ[s,v]: 1 where i[s] = v."""
        index, skipped, wraps = self.bound.lookups[letter].args
        name = str(index.base.label)
        places = Factor(self.tensor(name), self.bound.reads[index])
        if not places.letters or places.is_affine:
            raise self.refusal(None, "a row is looked up at no plain place")
        number = int(skipped) if skipped.is_finite else None
        tensor = Tensor("δ", Indicator(places, number, bool(wraps)), indicates=True)
        return Factor(tensor, (*places.index, (letter,)))

    def elementwise(self, expression: sympy.Expr) -> Factor:
        """A function of several elements, as one tensor over all their letters."""
        reads = tuple((s, self.factor(s)) for s in sorted(expression.free_symbols, key=str) if s in self.elements)
        if expression.has(sympy.Heaviside, sympy.Derivative, sympy.Subs):
            raise self.refusal(None, f"{expression} has no elementary derivative")
        if any(f.is_affine for _, f in reads):
            raise self.refusal(None, f"{expression} is taken at an affine place")
        known = {x for _, f in reads for x in f.letters}
        ordered: list[Index] = [(x,) for x in self.letters() if x in known]
        return Factor(Tensor("f", Elementwise(expression, reads)), tuple(ordered))

    def letters(self) -> list[Letter]:
        """Every letter of the equation, those of the output first."""
        every = [self.bound.output, *self.bound.reads.values()]
        return list(dict.fromkeys(x for index in every for x in Factor(Tensor("", None), index).letters))

    def parameter_letters(self, access: sympy.Indexed) -> tuple[Letter, ...]:
        """The letters of the parameter's dims, each of which must be plain and its own."""
        index = self.bound.reads[access]
        if any(isinstance(entry, Affine) for entry in index):
            raise self.refusal(access, "it is read at an affine place")
        letters = [x for entry in index if not isinstance(entry, Affine) for x in entry]
        if len(set(letters)) != len(letters):
            raise self.refusal(access, "it is read on a diagonal")
        return tuple(letters)

    def refusal(self, access: sympy.Indexed | None, why: str) -> NoRule:
        """What the equation does not allow to be derived."""
        return NoRule(
            f"no per-example gradient can be derived from {self.bound.equation} for {access}: {why}",
            origin=self.origin,
            remedy="write the op through linear, conv or elementwise ops, or give it a rule of its own",
        )
