"""A choice that a kernel computes → ``kernels.gram_sqnorm([ȳ], x, [1.0])`` and the like."""

from __future__ import annotations

from clipcompiler.algebra import Square, convolution
from clipcompiler.codegen import convolution as weight_gradient
from clipcompiler.codegen.laid import permuted
from clipcompiler.codegen.operands import Operands
from clipcompiler.codegen.rows import Rows, flattened
from clipcompiler.plan.choice import Choice
from clipcompiler.plan.kernels import CONVOLUTION, EMBEDDING, INSTANTIATE

__all__ = ["call_of_kernel", "matrices"]


def call_of_kernel(operands: Operands, choice: Choice, biases: int) -> str:
    """The call, of one term; ``biases`` are folded into a Gram."""
    (term,) = choice.terms
    if choice.kernel == CONVOLUTION:
        windows = convolution(term.each)
        assert windows is not None
        return weight_gradient.by_kernel(windows, *(operands.variable(f) for f in (windows.image, windows.filter)))
    if choice.kernel == EMBEDDING:
        rows = Rows.of(operands, term.each)
        return f"kernels.{EMBEDDING}({rows.values}, {rows.places}, -1)"
    y, x = matrices(operands, term.square)
    if choice.kernel == INSTANTIATE:
        return f"kernels.{INSTANTIATE}({y}, {x}, False)"
    return f"kernels.{choice.kernel}([{y}], {x}, [{float(biases)}])"


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
