"""Section 4: the squared norm of every parameter's per-example gradient."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import sympy
from torch import fx

from clipcompiler.algebra import Cross, Factor, Leaf, Letter, Pair, Square, Tree, convolution
from clipcompiler.codegen import convolution as weight_gradient
from clipcompiler.codegen.body import Body
from clipcompiler.codegen.helpers import GRAM_IN_TILES, GUARDED
from clipcompiler.codegen.kernel_calls import call_of_kernel, matrices
from clipcompiler.codegen.laid import Laid, atom, contracted, diagonal, permuted, spread, summed
from clipcompiler.codegen.operands import Operands
from clipcompiler.codegen.rows import Rows, multiplied, same_row
from clipcompiler.derive.complex_values import shape_by_parts
from clipcompiler.derive.derived import Term
from clipcompiler.plan.choice import Choice, Order
from clipcompiler.plan.kernels import GRAM, INSTANTIATING

__all__ = ["Norms"]

#: Up to this many elements a square is written to memory; beyond it, norms of rows are taken without a copy.
SHORT = 4096
#: The longest row whose norm is taken at once: torch's float32 norm of a row this long is right to 1e-6.
LONG = 2**15


@dataclass(slots=True)
class Norms:
    """Writes squared norms, and remembers what the clipped sums need.

    Attributes:
        body: where statements go.
        operands: the tensors of the program.
        labels: the variable stem of each parameter or value.
        squares: the variables of the squared norms so far, by parameter.
        each: the variables of per-example gradients kept, [N, *letters of the parameter].
        grams: factors, and the variables of their Gram matrices.
        named: the variables of squared norms that are to have one name in several branches.
        at_length: for each decision and each of its pieces the gradients kept there.
        launches: the choices, each with the number of its biases, whose Grams by a kernel are one launch.
        launched: the variables of the squares and of the parts of those that have been launched.
        apart: the parameters whose kept gradients are squared in one row of several.
    """

    body: Body
    operands: Operands
    labels: Mapping[fx.Node, str]
    squares: dict[fx.Node, str] = field(default_factory=dict)
    each: dict[fx.Node, Laid] = field(default_factory=dict)
    grams: list[tuple[Factor, Laid]] = field(default_factory=list)
    named: dict[fx.Node, str] = field(default_factory=dict)
    at_length: list[list[dict[fx.Node, Laid]]] = field(default_factory=list)
    launches: Mapping[fx.Node, tuple[tuple[Choice, int], ...]] = field(default_factory=dict)
    launched: dict[fx.Node, tuple[str, str]] = field(default_factory=dict)
    apart: Collection[fx.Node] = ()

    def write(self, choice: Choice, biases: int) -> None:
        """One parameter (with some biases folded into its Gram)."""
        if choice.order is Order.READ_ONCE:
            return
        if choice.kernel:
            self.add(choice, self.by_kernel(choice, biases))
            return
        if choice.order in (Order.FUNCTION, Order.PULLED):
            if choice.terms:
                self.each[choice.source] = self.instantiated(choice)
        elif choice.instantiates:
            each = self.instantiated(choice)
            if choice.keeps:
                self.each[choice.source] = each
            if choice.source in self.apart:
                return
            total = self.square_sum(each)
            if not choice.keeps:  # what is summed later is rounded anew
                label = self.labels[choice.source]
                total = self.guarded(total, [self.parts(t.square, label, 0) for t in choice.terms], label)
            self.add(choice, total)
        else:
            self.add(choice, self.closed(choice, biases))

    def add(self, choice: Choice, square: Laid) -> None:
        """Binds a squared norm [N]."""
        if choice.source in self.named:
            self.squares[choice.source] = self.named[choice.source]
            self.body.line(f"{self.named[choice.source]} = {square.text}")
            return
        self.squares[choice.source] = self.body.bind(f"{self.labels[choice.source]}_sq", square.text)

    def square_sum(self, each: Laid) -> Laid:
        """Σ_w g[n,w]²"""
        if len(each.letters) == 1:
            return Laid(f"{atom(each.text)}.square()", each.letters)
        extents = [int(x.extent) if sympy.sympify(x.extent).is_number else math.inf for x in each.letters[1:]]
        if math.prod(extents) <= SHORT or extents[-1] > LONG:
            flat = each.text if len(extents) == 1 else f"{atom(each.text)}.flatten(1)"
            return Laid(f"{flat}.square().sum(1)", (each.letters[0],))
        split = next(k for k in range(1, len(extents) + 1) if math.prod(extents[k - 1 :]) <= LONG)
        rows = each.text if split == len(extents) else f"{atom(each.text)}.flatten({split})"
        norms = f"torch.linalg.vector_norm({rows}, dim={split})"
        outer = norms if split <= 2 else f"{norms}.flatten(1)"
        return Laid(f"{outer}.square()" if split == 1 else f"{outer}.square().sum(1)", (each.letters[0],))

    def instantiated(self, choice: Choice) -> Laid:
        """g[n] = Σ_u g_u[n], of the parameter's letters."""
        parts = [self.gradient(term) for term in choice.terms]
        first = choice.terms[0]
        texts = [permuted(x, t.each.output) for x, t in zip(parts, choice.terms, strict=True)]
        if len({tuple(x.extent for x in t.letters) for t in choice.terms}) > 1:
            own = (Letter(f"w{k}", size) for k, size in enumerate(shape_by_parts(first.source)))
            letters = (first.each.output[0], *own)
            shape = ", ".join(str(x.extent) for x in letters)
            joined = " + ".join(f"{atom(x.text)}.reshape({shape})" for x in texts)
        else:
            letters = first.each.output
            joined = " + ".join(atom(x.text) if len(texts) > 1 else x.text for x in texts)
        return Laid(self.body.bind(f"{self.labels[choice.source]}_each", joined), letters)

    def gradient(self, term: Term) -> Laid:
        """One term of g[n]."""
        windows = convolution(term.each)
        if windows is not None:
            image, filter = (self.operands.variable(f) for f in (windows.image, windows.filter))
            own = weight_gradient.each(windows, image, filter, self.operands.shape(windows.image)[2:])
            return summed(own, [x for x in own.letters if x not in term.each.output])  # a weight that broadcasts
        if term.each.determined:
            return self.scaled(Rows.of(self.operands, term.each).each(), term)
        square = term.square
        return self.scaled(self.tree(square, square.by_copies().left, self.labels[term.source]), term)

    def scaled(self, x: Laid, term: Term, power: int = 1) -> Laid:
        """coefficient^power · x"""
        number = term.network.coefficient**power
        return x if number == 1 else Laid(f"{float(number)} * {atom(x.text)}", x.letters)

    def closed(self, choice: Choice, biases: int) -> Laid:
        """‖g[n]‖² by orders that form no g[n], plus those of the biases that are folded in."""
        label = self.labels[choice.source]
        squares = [self.of_term(t, tree, biases, label) for t, tree in zip(choice.terms, choice.trees, strict=True)]
        squares += [self.between(cross, label) for cross in choice.crosses]
        total = Laid(" + ".join(x.text for x in squares), squares[0].letters)
        if not any(leaf.letters & t.square.positions for t in choice.terms for leaf in t.square.leaves):
            return total
        parts = [self.scaled(self.parts(t.square, label, biases), t, power=2) for t in choice.terms]
        return self.guarded(total, parts, label)

    def of_term(self, term: Term, tree: Pair, biases: int, label: str) -> Laid:
        """‖g_u[n]‖² of one term."""
        square = term.square
        if term.each.determined and tree == square.by_copies():
            rows = self.body.bind(f"{label}_rows", Rows.of(self.operands, term.each).compact())
            total = Laid(f"{rows}.square().sum((1, 2))", (square.examples,))
        elif tree.tile is not None:
            total = self.in_tiles(square, tree.tile, biases)
        else:
            total = self.with_biases(square, tree, label, biases) if biases else self.tree(square, tree, label)
        return self.scaled(total, term, power=2)

    def in_tiles(self, square: Square, tile: int, biases: int) -> Laid:
        """Σ_ss' (ȳ_s·ȳ_s') (x_s·x_s' + biases), a tile of positions at a time."""
        also = f", {biases}" if biases else ""
        factors = ", ".join(matrices(self.operands, square))
        return Laid(f"{GRAM_IN_TILES}({factors}{also}, tile={tile})", (square.examples,))

    def by_kernel(self, choice: Choice, biases: int) -> Laid:
        """‖g[n]‖² in one op, no less than what rounding may have taken from it."""
        (term,), label = choice.terms, self.labels[choice.source]
        if choice.source in self.launched:
            return self.of_launch(choice, *self.launched[choice.source])
        together = self.launches.get(choice.source, ((choice, biases),))
        factors = tuple(f for own, _ in together for f in own.terms[0].each.factors)
        found = call_of_kernel(self.operands.for_kernel(factors), together)
        if choice.kernel in INSTANTIATING:
            total = self.scaled(Laid(found, (term.square.examples,)), term, power=2)
            return self.guarded(total, [self.scaled(self.parts(term.square, label, 0), term, power=2)], label)
        squares, parts = (self.body.names.fresh(f"{label}_{noun}") for noun in ("squares", "parts"))
        if len(together) > 1:
            self.body.comment(f"  one launch for {' and '.join(own.name for own, _ in together)}")
        self.body.line(f"{squares}, {parts} = {found}")
        for row, (own, _) in enumerate(together):
            at = f"[{row}]" if choice.kernel == GRAM else ""
            self.launched[own.source] = f"{squares}{at}", f"{parts}{at}"
        return self.of_launch(choice, *self.launched[choice.source])

    def of_launch(self, choice: Choice, squares: str, parts: str) -> Laid:
        """What a kernel found of one parameter."""
        (term,) = choice.terms
        letters = (term.square.examples,)
        both = (self.scaled(Laid(name, letters), term, power=2) for name in (squares, parts))
        return Laid(f"{GUARDED}({', '.join(own.text for own in both)})", letters)

    def between(self, cross: Cross, label: str) -> Laid:
        """2⟨g_u[n], g_v[n]⟩ of two terms."""
        example = cross.first.output[0]
        products = [multiplied(self.operands, cross, k) for k in range(len(cross.pairs))]
        total, *rest = [Laid(self.body.bind(f"{label}_between", x.text), x.letters) for x in products]
        for k, factor in enumerate(rest):
            later = [x for f in rest[k + 1 :] for x in f.letters]
            total = contracted(total, factor, [example, *later])
        total = summed(total, [x for x in total.letters if x != example])
        number = 2 * cross.first.coefficient * cross.second.coefficient
        return Laid(f"{float(number):g} * {atom(total.text)}", total.letters)

    def guarded(self, total: Laid, parts: list[Laid], label: str) -> Laid:
        """A squared norm, no less than what rounding may have taken from it."""
        joined = self.body.bind(f"{label}_parts", " + ".join(part.text for part in parts))
        return Laid(f"{GUARDED}({total.text}, {joined})", total.letters)

    def with_biases(self, square: Square, tree: Pair, label: str, biases: int) -> Laid:
        """Σ_ss' K_ȳ (K_x + 1), with a 1 for each bias"""
        sides = [tree.left, tree.right]
        gram = next(s for s in sides if s.leaves == frozenset([0, square.count]))
        other = sides[1 - sides.index(gram)]
        left = self.bound(square, gram, f"{label}_cotangent")
        right = self.bound(square, other, f"{label}_input")
        product = Laid(f"({left.text} * ({spread(right, left.letters)} + {biases}))", left.letters)
        return summed(product, [x for x in left.letters if not x.examples])

    def parts(self, square: Square, label: str, biases: int) -> Laid:
        """Σ_s ‖ȳ_s‖²‖x_s‖²: the square of every position's own part, from the diagonals of the Grams at hand.

        That of an indicator is 1, but where it skips a row.
        """
        factors = square.gradient.factors
        total, *rest = [self.squares_of(square, k, label) for k, f in enumerate(factors) if not f.tensor.indicates]
        if biases:
            rest = [Laid(f"({atom(rest[0].text)} + {biases})", rest[0].letters)]
        kept = [same_row(self.operands, f, f, {}) for f in factors if f.tensor.indicates]
        rest += [k for k in kept if k.text]
        for k, factor in enumerate(rest):
            later = [x for f in rest[k + 1 :] for x in f.letters]
            total = contracted(total, factor, [square.examples, *later])
        return summed(total, [x for x in total.letters if not x.examples])

    def squares_of(self, square: Square, k: int, label: str) -> Laid:
        """The squares of one factor, summed over the letters that no other factor has."""
        leaf = square.leaves[k]
        others = {x for j in range(square.count) if j != k for x in square.leaves[j].letters}
        factor = square.gradient.factors[k]
        held = next((gram for known, gram in self.grams if known == factor), None)
        if held is not None:
            found = diagonal(held, [(x, x.primed()) for x in held.letters if x in square.positions])
            return Laid(self.body.bind(f"{label}_diagonal", found.text), found.letters)
        squared = self.squared(factor, leaf, square, others)
        return summed(squared, [x for x in squared.letters if not x.examples and x not in others])

    def squared(self, factor: Factor, leaf: Leaf, square: Square, others: set[Letter]) -> Laid:
        """A factor squared, element by element; of patches, the channels summed before they are laid out."""
        if not factor.is_affine:
            laid = self.tree(square, leaf, "")
            return Laid(f"{atom(laid.text)}.square()", laid.letters)
        alone = [d for d, e in enumerate(factor.index) if isinstance(e, tuple) and e and not {*e} & others and d]
        name = self.operands.variable(factor)
        summed_over = f".sum({tuple(alone)}, keepdim=True)" if alone else ""
        name = self.body.bind(f"{name}_squares", f"{atom(name)}.square(){summed_over}")
        index = tuple(() if d in alone else e for d, e in enumerate(factor.index))
        return self.operands.patches(name, replace(factor, index=index))

    def tree(self, square: Square, tree: Tree, label: str) -> Laid:
        """The value of a tree, its inner products in variables of their own."""
        if isinstance(tree, Leaf):
            laid = summed(self.operands.laid(square.gradient.factors[tree.factor]), tree.own)
            second = min(tree.leaves) >= square.count
            letters = (x.primed() if second and x in square.positions else x for x in laid.letters)
            return Laid(laid.text, tuple(letters))
        if (indicator := self.indicator(square, tree)) is not None:
            return same_row(self.operands, indicator, indicator, {x: x.primed() for x in square.positions})
        if tree.from_pixels:
            factor = square.gradient.factors[min(tree.leaves)]
            return self.operands.gram_from_pixels(factor, square.windows(tree))
        if square.is_square(tree):
            half = self.bound(square, tree.left, label)
            squared = Laid(f"{atom(half.text)}.square()", half.letters)
            return summed(squared, [x for x in half.letters if x not in tree.letters])
        left, right = (self.bound(square, side, label) for side in (tree.left, tree.right))
        if not right.text:  # the square of an indicator that skips no row is 1
            return summed(left, [x for x in left.letters if x not in tree.letters])
        return contracted(left, right, list(tree.letters))

    def indicator(self, square: Square, tree: Pair) -> Factor | None:
        """The factor of a Gram of an indicator with itself."""
        factor = square.gradient.factors[min(tree.leaves)]
        return factor if square.is_gram(tree) and factor.tensor.indicates else None

    def bound(self, square: Square, tree: Tree, label: str) -> Laid:
        """The value of a tree in a variable: the mirror image of a product is the same variable."""
        value = self.tree(square, tree, label)
        if isinstance(tree, Leaf):
            return value
        if not value.text:
            return value
        noun = self.noun(tree, square)
        held = Laid(self.body.bind(f"{label}_{noun}", value.text), value.letters)
        if square.is_gram(tree):
            self.grams.append((square.gradient.factors[min(tree.leaves)], held))
        return held

    def noun(self, tree: Pair, square: Square) -> str:
        """What a product is called: the Gram of a factor with itself, else a part."""
        return "gram" if square.mirrored(tree.leaves) == tree.leaves else "part"
