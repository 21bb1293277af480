"""A contraction order as it is written: (Σ_{o} ȳ[n,o]²) (Σ_{i} x[n,i]²)."""

from __future__ import annotations

from clipcompiler.algebra import Factor, Leaf, Letter, Pair, Square, Tree

__all__ = ["primed", "show_folded", "show_order"]


def show_order(square: Square, tree: Pair) -> str:
    """A squared norm with the sums where they are taken."""
    text = show_tree(square, tree)
    return text if text.startswith("(Σ") and tree.joined - tree.letters else text[1:-1]


def show_folded(square: Square, tree: Pair, biases: int = 1) -> str:
    """The same with biases folded in: K_ȳ (K_x + 1), each a 1."""
    sides = sorted((tree.left, tree.right), key=lambda side: 0 not in side.leaves)
    first, second = (show_tree(square, side) for side in sides)
    gone = tree.joined - tree.letters
    return f"Σ_{{{names(gone)}}} {first} ({second} + {biases})" if gone else f"{first} ({second} + {biases})"


def show_tree(square: Square, tree: Tree) -> str:
    """A tree in brackets."""
    if isinstance(tree, Leaf):
        factor = square.gradient.factors[tree.factor]
        text = primed(factor, square.positions) if min(tree.leaves) >= square.count else str(factor)
        return f"(Σ_{{{names(tree.own)}}} {text})" if tree.own else text
    if square.is_square(tree):
        body, gone = f"{show_tree(square, tree.left)}²", tree.left.letters - tree.letters
    else:
        body = f"{show_tree(square, tree.left)} {show_tree(square, tree.right)}"
        gone = tree.joined - tree.letters
    return f"(Σ_{{{names(gone)}}} {body})" if gone else f"({body})"


def names(letters: frozenset[Letter]) -> str:
    """The letters of a sum."""
    return ",".join(sorted(map(str, letters)))


def primed(factor: Factor, positions: frozenset[Letter]) -> str:
    """A factor of the second copy."""
    text = str(factor)
    for letter in sorted(positions, key=lambda x: len(x.name), reverse=True):
        text = text.replace(letter.name, f"{letter.name}'")
    return text
