"""The orders of summing a squared norm: their values agree, their costs are the ones known by hand."""

import itertools

import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipcompiler.algebra import Affine, Factor, Leaf, Letter, Network, Square, Tensor

S, O, I = sympy.symbols("S O I", positive=True)
N = sympy.Symbol("N", positive=True)


def sequence_linear(n_extent=N, s=S, o=O, i=I):
    """g[n,o,i] = Σ_s ȳ[n,s,o] x[n,s,i]"""
    letters = {name: Letter(name, size) for name, size in (("s", s), ("o", o), ("i", i))}
    n = Letter("n", n_extent, examples=True)
    cotangent = Factor(Tensor("ȳ", 0), ((n,), (letters["s"],), (letters["o"],)))
    value = Factor(Tensor("x", 1), ((n,), (letters["s"],), (letters["i"],)))
    return Network((n, letters["o"], letters["i"]), (cotangent, value)), n


def value_of(square, tree, tensors):
    """A tree evaluated by torch.einsum, letter by letter."""
    signs = {}

    def sign(letter):
        return signs.setdefault(letter, "abcdefghijklmnopqrstuvwxyz"[len(signs)])

    def visit(t):
        if isinstance(t, Leaf):
            factor = square.gradient.factors[t.factor]
            second = min(t.leaves) >= square.count
            letters = [x.primed() if second and x in square.positions else x for x in factor.letters]
            kept = [x for x in letters if x in t.letters]
            text = "".join(map(sign, letters)) + "->" + "".join(map(sign, kept))
            return torch.einsum(text, tensors[t.factor]), kept
        (a, la), (b, lb) = visit(t.left), visit(t.right)
        kept = sorted(t.letters, key=str)
        text = f"{''.join(map(sign, la))},{''.join(map(sign, lb))}->{''.join(map(sign, kept))}"
        return torch.einsum(text, a, b), kept

    return visit(tree)[0]


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_every_order_has_the_same_value(n, s, o, i):
    """‖Σ_s ȳ_s x_sᵀ‖² by all orders, against the gradient formed and squared."""
    network, letter = sequence_linear(n, s, o, i)
    square = Square(network, letter)
    cotangent, x = torch.randn(n, s, o, dtype=torch.float64), torch.randn(n, s, i, dtype=torch.float64)
    expected = torch.einsum("nso,nsi->noi", cotangent, x).square().sum((1, 2))
    orders = square.orders()
    assert len(orders) > 3
    for tree in orders:
        torch.testing.assert_close(value_of(square, tree, (cotangent, x)), expected, rtol=1e-10, atol=1e-12)


def test_the_costs_of_gram_and_instantiation_are_those_of_the_literature():
    """Instantiation is linear in S and costs 2·S·O·I; the Gram is quadratic and costs 2·S²·(O + I)."""
    network, n = sequence_linear()
    square = Square(network, n)
    instantiate, gram = square.flops(square.by_copies()), square.flops(square.by_factors())
    assert sympy.expand(instantiate - 2 * N * O * I * (S + 1)) == 0
    assert sympy.expand(gram - 2 * N * S**2 * (O + I + 1)) == 0
    assert sympy.degree(sympy.expand(instantiate), S) == 1
    assert sympy.degree(sympy.expand(gram), S) == 2


def test_without_positions_the_order_by_factors_is_rank_one():
    """(Σ_o ȳ²)(Σ_i x²): linear in O and in I, never their product."""
    n = Letter("n", N, examples=True)
    o, i = Letter("o", O), Letter("i", I)
    network = Network((n, o, i), (Factor(Tensor("ȳ", 0), ((n,), (o,))), Factor(Tensor("x", 1), ((n,), (i,)))))
    square = Square(network, n)
    flops = sympy.expand(square.flops(square.by_factors()))
    assert flops.coeff(O, 1).coeff(I, 1) == 0
    assert sympy.degree(flops, O) == sympy.degree(flops, I) == 1


def test_the_mirror_image_of_a_product_is_computed_once():
    """Instantiation has two products, the gradient and its square; not the gradient twice."""
    network, n = sequence_linear()
    square = Square(network, n)
    assert len(square.steps(square.by_copies())) == 2
    assert square.is_square(square.by_copies())
    assert not any(square.is_square(step) for step in square.steps(square.by_factors()))


def test_a_product_with_its_transpose_is_no_square():
    """L[s,s'] and its mirror image L[s',s] are not the same tensor element for element."""
    n, s, o = Letter("n", 2, examples=True), Letter("s", 3), Letter("o", 2)
    index = ((n,), (s,), (o,))
    network = Network((n,), (Factor(Tensor("ȳ", 0), index), Factor(Tensor("x", 1), index)))
    square = Square(network, n)
    a, b = torch.randn(2, 3, 2, dtype=torch.float64), torch.randn(2, 3, 2, dtype=torch.float64)
    expected = torch.einsum("nso,nso->n", a, b).square()
    for tree in square.orders():
        torch.testing.assert_close(value_of(square, tree, (a, b)), expected)
        for step in square.steps(tree):
            left, right = step.left.letters, step.right.letters
            assert not square.is_square(step) or not any(x.name.endswith("'") for x in itertools.chain(left, right))


def test_networks_print_as_mathematics_and_check_their_output():
    """Σ over the summed letters, affine places as they are written; an output letter must occur."""
    n, u, k = Letter("n", N, examples=True), Letter("u", 4), Letter("k", 3)
    image = Factor(Tensor("x", 0), ((n,), Affine(((2, u), (1, k)), -1)))
    network = Network((n, k), (Factor(Tensor("ȳ", 1), ((n,), (u,))), image))
    assert str(network) == "Σ_{u} ȳ[n,u] x[n,2u+k-1]"
    with pytest.raises(ValueError, match="occurs in no factor"):
        Network((n, Letter("z", 2)), (image,))
