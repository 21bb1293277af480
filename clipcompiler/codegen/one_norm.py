"""The squared norm of one parameter, under its equation and the reason for its order."""

from __future__ import annotations

from clipcompiler.codegen.body import Body
from clipcompiler.codegen.norms import Norms
from clipcompiler.derive.notation import show_folded, show_order
from clipcompiler.plan import Choice

__all__ = ["write_norm"]


def write_norm(body: Body, norms: Norms, choice: Choice, biases: list[Choice]) -> None:
    """The squared norm of one parameter, and of the biases that are folded into it."""
    for line in explained(choice, biases):
        body.comment(line)
    norms.write(choice, len(biases))


def explained(choice: Choice, biases: list[Choice]) -> list[str]:
    """The equation of the gradient and the reason for its order, as comments."""
    lines = []
    for term in choice.terms:
        left = f"{choice.name}: g[{','.join(map(str, term.each.output))}]"
        lines.append(f"{left} = {term.each}")
    if len(choice.terms) == 1 and not choice.instantiates:
        square, tree = choice.terms[0].square, choice.trees[0]
        if not biases:
            lines.append(f"  ‖g‖² = {show_order(square, tree)}")
        else:
            whole = " + ".join(["‖g‖²", *(f"‖g of {bias.name}‖²" for bias in biases)])
            lines.append(f"  {whole} = {show_folded(square, tree, len(biases))}")
    also = f", {' and '.join(bias.name for bias in biases)} folded in" if biases else ""
    head = "" if choice.terms else f"{choice.name}:"
    lines.append(f"{head}  {choice.order.value}{also}: {choice.why}")
    return lines
