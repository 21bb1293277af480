"""terms of a gradient → the ways to compute its norm and its clipped sum."""

from __future__ import annotations

from itertools import combinations, product

import sympy
from torch import fx

from clipcompiler.algebra import Affine, Network, Pair, Square, cross
from clipcompiler.derive.derived import Term
from clipcompiler.plan.choice import Choice, Order
from clipcompiler.plan.cost import Cost, book_keeping, cost_by_row, cost_of_cross, cost_of_tree, kept_sum

#: The positions of a tile: its Grams and what they are made of stay in the cache.
TILE = 256

__all__ = ["candidates", "folded", "instantiated", "is_table"]


def candidates(source: fx.Node, name: str, terms: tuple[Term, ...]) -> list[Choice]:
    """Every order worth comparing: closed orders, and instantiation, kept or not.

    A table of rows looked up is instantiated only where an example reads as many rows as there are.
    """
    found = instantiated(source, name, terms)
    if any(term.of_op for term in terms):  # its gradients are there already; only what was squared is summed
        return [way for way in found if way.order is Order.KEEP]
    without = closed(source, name, terms[0]) if len(terms) == 1 else crossed(source, name, terms)
    found = without if without and any(is_long(term.each) for term in terms) else without + found
    return found


def is_long(network: Network) -> bool:
    """Whether a parameter has more rows than an example looks up."""
    rows = sympy.prod([x.extent for x in network.determined])
    looked_up = sympy.prod([x.extent for x in network.summed])
    return bool(network.determined) and not sympy.sympify(rows - looked_up).is_nonpositive


def closed(source: fx.Node, name: str, term: Term) -> list[Choice]:
    """The orders of ‖g‖² that form no g: through the Gram of a factor with itself, or row by row.

    The Gram is called rank one where no position is summed.
    """
    return [
        Choice(source, name, order_of(term, tree), (term,), (tree,), norm_of(term, tree), book_keeping(term.network))
        for tree in trees_of(term)
    ]


def trees_of(term: Term) -> list[Pair]:
    """The orders that form no gradient."""
    square = term.square
    grams = [tree for tree in square.orders() if any(square.is_gram(step) for step in square.steps(tree))]
    by_row = [square.by_copies()] if is_table(term.each) and square.positions else []
    if not grams:
        return by_row
    whole = square.by_factors()
    pixels = square.from_pixels(whole) if has_fixed_places(square) else None
    tiles = square.in_tiles(whole, TILE) if is_large(square) else None
    return grams + by_row + [tree for tree in (pixels, tiles) if tree is not None]


def has_fixed_places(square: Square) -> bool:
    """Whether no place of a window is a length of the batch: the program of a Gram from pixels counts them."""
    affine = [e for f in square.gradient.factors for e in f.index if isinstance(e, Affine)]
    return all(isinstance(x.extent, int) for e in affine for _, x in e.terms)


def is_large(square: Square) -> bool:
    """Whether an example has positions for several tiles, or may have."""
    beyond = sympy.sympify(sympy.prod([x.extent for x in square.positions]) - 2 * TILE)
    return beyond.is_negative is not True


def is_table(network: Network) -> bool:
    """Whether a gradient is Σ_s δ[s,v] ȳ[s,d]: rows of cotangents, added where they belong to one row."""
    return len(network.factors) == 2 and len(network.determined) == 1 and network.factors[1].tensor.indicates


def order_of(term: Term, tree: Pair) -> Order:
    """The name of a closed order."""
    if tree == term.square.by_copies():
        return Order.BY_ROW
    return Order.GRAM if term.square.positions else Order.RANK_ONE


def norm_of(term: Term, tree: Pair) -> Cost:
    """The cost of a closed order."""
    return cost_by_row(term.each) if order_of(term, tree) is Order.BY_ROW else cost_of_tree(term.square, tree)


def crossed(source: fx.Node, name: str, terms: tuple[Term, ...]) -> list[Choice]:
    """‖Σ_u g_u‖² = Σ_u ‖g_u‖² + 2 Σ_{u<v} ⟨g_u, g_v⟩, each by a closed order; none where two terms do not pair."""
    crosses = [cross(a.each, b.each) for a, b in combinations(terms, 2)]
    known = tuple(c for c in crosses if c is not None)
    if len(known) < len(crosses):
        return []
    paid = sum((book_keeping(t.network) for t in terms), Cost())
    between = sum((cost_of_cross(c) for c in known), Cost())
    return [
        Choice(
            source,
            name,
            Order.CROSSED,
            terms,
            trees,
            sum((norm_of(t, tree) for t, tree in zip(terms, trees, strict=True)), between),
            paid,
            crosses=known,
        )
        for trees in product(*map(trees_of, terms))
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
    if mine.taps != its.taps or len(its.network.factors) != 1 or its.network.coefficient != 1:
        return False
    if mine.network.factors[0] != its.network.factors[0] or mine.network.coefficient != 1:
        return False
    tree, square = host.trees[0], mine.square
    summed_by_gram = {x for x in mine.each.factors[0].letters if not x.examples} - square.positions
    if set(its.letters) != summed_by_gram:
        return False
    gram = next((s for s in (tree.left, tree.right) if s.leaves == frozenset([0, square.count])), None)
    return gram is not None and tree.left.letters == tree.right.letters
