"""A choice that a kernel computes → ``kernels.gram_sqnorm([ȳ], x, [1.0])`` and the like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import fx

from clipcompiler.algebra import Factor, Letter, Square, convolution
from clipcompiler.codegen import convolution as weight_gradient
from clipcompiler.codegen.laid import permuted
from clipcompiler.codegen.operands import Operands
from clipcompiler.codegen.rows import Rows, flattened
from clipcompiler.plan.choice import Choice
from clipcompiler.plan.kernels import CONVOLUTION, EMBEDDING, GRAM, INSTANTIATE

__all__ = ["call_of_kernel", "launches", "matrices"]


def call_of_kernel(operands: Operands, together: Sequence[tuple[Choice, int]]) -> str:
    """The call, of one term; with each choice the number of biases that are folded into its Gram."""
    choice = together[0][0]
    (term,) = choice.terms
    if choice.kernel == CONVOLUTION:
        windows = convolution(term.each)
        assert windows is not None
        return weight_gradient.by_kernel(windows, *(operands.variable(f) for f in (windows.image, windows.filter)))
    if choice.kernel == EMBEDDING:
        rows = Rows.of(operands, term.each)
        return f"kernels.{EMBEDDING}({rows.values}, {rows.places}, -1)"
    pairs = [matrices(operands, own.terms[0].square) for own, _ in together]
    if choice.kernel == INSTANTIATE:
        return f"kernels.{INSTANTIATE}({', '.join(pairs[0])}, False)"
    biases = ", ".join(str(float(biases)) for _, biases in together)
    return f"kernels.{choice.kernel}([{', '.join(y for y, _ in pairs)}], {pairs[0][1]}, [{biases}])"


def launches(choices: Iterable[tuple[Choice, int]]) -> dict[fx.Node, tuple[tuple[Choice, int], ...]]:
    """Of choices, each with the number of its biases, those by the Gram of one x: they are one launch."""
    found: list[list[tuple[Choice, int]]] = []
    for choice, biases in choices:
        if choice.kernel == GRAM:
            same = next((own for own in found if inputs(own[0][0]) == inputs(choice)), None)
            if same is None:
                found.append([(choice, biases)])
            else:
                same.append((choice, biases))
    return {choice.source: tuple(own) for own in found for choice, _ in own}


def inputs(choice: Choice) -> tuple[Factor, list[Letter]]:
    """x, and the positions in the order in which they are laid."""
    square = choice.terms[0].square
    y, x = square.gradient.factors
    return x, [letter for letter in y.letters if letter in square.positions]


def matrices(operands: Operands, square: Square) -> list[str]:
    """The factors of g[n,o,i] = Σ_s ȳ[n,s,o] x[n,s,i], each as [N, S, features]."""
    found = []
    order = [x for x in square.gradient.factors[0].letters if x in square.positions]
    for factor in square.gradient.factors:
        laid = operands.laid(factor)
        own = [x for x in laid.letters if x not in square.positions and not x.examples]
        whole = (square.examples, *order, *own)
        found.append(flattened(permuted(laid, whole), [(square.examples,), order, own]))
    return found
