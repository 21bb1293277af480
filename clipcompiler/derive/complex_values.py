"""Complex gradients by their real and imaginary parts: g[n, w] → g[n, w, ri], with ri over the two.

The gradient of a real loss for z = a + ib is ∂ℓ/∂a + i ∂ℓ/∂b, as backward() leaves it; its norm is that of the parts.
A product of complex elements would have a conjugate in its derivative, so such an op is not differentiated by its
equation: autograd knows the conjugates.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, fx

from clipcompiler.algebra import Factor, Letter, Network
from clipcompiler.derive.derived import Term
from clipcompiler.trace.traced import shape_of

__all__ = ["by_parts", "is_complex", "is_sum_of_cotangent", "meets_complex", "shape_by_parts"]

#: The letter of the real and the imaginary part.
PARTS = Letter("ri", 2)


def is_complex(node: fx.Node) -> bool:
    """Whether a value is one complex tensor."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_complex()


def meets_complex(node: fx.Node) -> bool:
    """Whether an op reads or gives complex values."""
    value = node.meta.get("val")
    outputs = value if isinstance(value, (list, tuple)) else [value]
    given = any(isinstance(v, Tensor) and v.is_complex() for v in outputs)
    return given or any(map(is_complex, node.all_input_nodes))


def is_sum_of_cotangent(term: Term) -> bool:
    """g[n,w] = k Σ ȳ with a real k, ȳ complex where w is: no conjugate enters."""
    same = is_complex(term.source) == is_complex(term.taps[0].node)
    return (
        same
        and len(term.network.factors) == 1
        and bool(term.network.coefficient == term.network.coefficient.conjugate())
    )


def by_parts(term: Term) -> Term:
    """The gradient of a complex parameter over (n, w, ri)."""
    network = term.network
    if not is_complex(term.source):
        return term
    (factor,) = network.factors
    split = Factor(factor.tensor, (*factor.index, (PARTS,)))
    return replace(term, network=Network((*network.output, PARTS), (split,), network.coefficient))


def shape_by_parts(node: fx.Node) -> tuple[Any, ...]:
    """The extents of a value, with those of its parts last where it is complex."""
    return (*shape_of(node), 2) if is_complex(node) else shape_of(node)
