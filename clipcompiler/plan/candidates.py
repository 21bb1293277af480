"""terms of a gradient → the ways to compute its norm and its clipped sum."""

from __future__ import annotations

from torch import fx

from clipcompiler.derive.derived import Term
from clipcompiler.plan.choice import Choice, Order
from clipcompiler.plan.cost import Cost, book_keeping, cost_of_tree, kept_sum

__all__ = ["candidates", "folded"]


def candidates(source: fx.Node, name: str, terms: tuple[Term, ...]) -> list[Choice]:
    """Every order worth comparing: the closed orders of a single term, and instantiation, kept or not."""
    found = instantiated(source, name, terms)
    if any(term.of_op for term in terms):  # its gradients are there already; only what was squared is summed
        return [way for way in found if way.order is Order.KEEP]
    if len(terms) == 1:
        found += closed(source, name, terms[0])
    return found


def closed(source: fx.Node, name: str, term: Term) -> list[Choice]:
    """The orders of ‖g‖² through the Gram of a factor with itself, called rank one where no position is summed."""
    square = term.square
    order = Order.GRAM if square.positions else Order.RANK_ONE
    paid = book_keeping(term.network)
    return [
        Choice(source, name, order, (term,), (tree,), cost_of_tree(square, tree), paid)
        for tree in square.orders()
        if any(square.is_gram(step) for step in square.steps(tree))
    ]


def instantiated(source: fx.Node, name: str, terms: tuple[Term, ...]) -> list[Choice]:
    """g[n] = Σ_u g_u[n], squared; then kept for the clipped sum, or formed again summed over n."""
    trees = tuple(t.square.by_copies() for t in terms)
    norm = sum((cost_of_tree(t.square, tree) for t, tree in zip(terms, trees, strict=True)), Cost())
    again = sum((book_keeping(t.network) for t in terms), Cost())
    kept = kept_sum(terms[0].each)
    return [
        Choice(source, name, Order.KEEP, terms, trees, norm, kept),
        Choice(source, name, Order.DISCARD, terms, trees, norm, again),
    ]


def folded(host: Choice, bias: Choice) -> bool:
    """Σ_ss' K_ȳ (K_x + 1): whether the bias's square is a sum of the host's Gram of ȳ.

    It is where the host's order ends in the product of the Gram of ȳ and one other tensor over the same
    letters, and the bias's gradient is a plain sum of the same ȳ, over the letters that the Gram does not sum.
    """
    if host.order not in (Order.RANK_ONE, Order.GRAM) or len(host.terms) != 1 or len(bias.terms) != 1:
        return False
    mine, its = host.terms[0], bias.terms[0]
    if mine.tap != its.tap or len(its.network.factors) != 1 or its.network.coefficient != 1:
        return False
    if mine.network.factors[0] != its.network.factors[0] or mine.network.coefficient != 1:
        return False
    tree, square = host.trees[0], mine.square
    summed_by_gram = {x for x in mine.each.factors[0].letters if not x.examples} - square.positions
    if set(its.letters) != summed_by_gram:
        return False
    gram = next((s for s in (tree.left, tree.right) if s.leaves == frozenset([0, square.count])), None)
    return gram is not None and tree.left.letters == tree.right.letters
