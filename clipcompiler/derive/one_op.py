"""y = f(x, w), ∂y/∂w not known → g[n] = (∂y[n]/∂w)ᵀ ȳ[n], by the vjp of f alone, for one example at a time.

The alignment of the op says that y[n] is f of what example n has of the operands. So f of that alone, as a batch of
one, is exactly y[n].
"""

from __future__ import annotations

import operator

import sympy
from torch import fx

from clipcompiler.algebra import Factor, Letter, Network, Tensor
from clipcompiler.axes.analyse import Axes
from clipcompiler.axes.call import Call
from clipcompiler.axes.layout import carrying_dims
from clipcompiler.derive.bind import EXAMPLE
from clipcompiler.derive.derived import Term, Use
from clipcompiler.derive.references import EachOfOp, OutputTap
from clipcompiler.derive.trial import goes_by_vmap
from clipcompiler.derive.uses import gradient_path
from clipcompiler.dsl import Equation
from clipcompiler.dsl.equation import accesses
from clipcompiler.errors import NoRule
from clipcompiler.trace.random_ops import draws

__all__ = ["of_one_op"]


def of_one_op(axes: Axes, use: Use, call: Call, unknown: NoRule) -> tuple[Term, ...]:
    """The one term by which all uses of ``use.source`` in this op are counted.

    ``unknown`` is why no equation gives it.

    Raises:
        NoRule: where an example's part of the op is not the op of the example's part.
    """
    origin = axes.traced.origin(use.node)
    if (why := not_of_one(axes, call)) is not None:
        raise NoRule(f"{unknown.reason}; {why}", origin=origin, remedy=unknown.remedy) from unknown
    each = EachOfOp(use.node, use.source, taps_of(axes, use.node), vmapped=True)
    each = EachOfOp(use.node, use.source, each.taps, goes_by_vmap(axes, each, call.rule.name))
    shape = axes.traced.shape(use.source)
    letters = (EXAMPLE, *(Letter(f"w{k}", size) for k, size in enumerate(shape, 1)))
    network = Network(letters, (Factor(Tensor("vjp", each), tuple((x,) for x in letters)),))
    equation = f"y = {origin.op}(…, w) with w = {use.operand}, vjp[n] = (∂y[n]/∂w)ᵀ ȳ[n]"
    taps = tuple(tap for _, tap in each.taps)
    return (Term((use,), taps, call.rule, network, origin, equation),)


def taps_of(axes: Axes, node: fx.Node) -> tuple[tuple[int | None, OutputTap], ...]:
    """The outputs of an op that a gradient of the loss reaches, with their numbers where there are several."""
    if not isinstance(axes.layouts[node], list):
        return ((None, OutputTap(node)),)
    path = gradient_path(axes)
    picked = [user for user in node.users if user.target is operator.getitem and user in path]
    first = {user.args[1]: user for user in reversed(picked)}
    return tuple((int(k), OutputTap(first[k])) for k in sorted(first, key=str))  # type: ignore[arg-type]


def not_of_one(axes: Axes, call: Call) -> str | None:
    """Why an op of one example alone would be another one; ``None`` where it is not."""
    if draws(call.node):
        return "it draws at random, for the whole batch at once"
    if call.sized:
        return "it is called with the batch size"
    if any(operand in axes.places for operand in call.operands.values()):
        return "it looks examples up by their place in the batch"
    if isinstance(call.form, Equation) and any(map(is_taken_apart, places_of_examples(axes, call, call.form))):
        return "its equation takes the dim of the examples apart"
    return None


def places_of_examples(axes: Axes, call: Call, form: Equation) -> list[sympy.Basic]:
    """What an equation says of each dim that carries examples."""
    layouts = {name: axes.layout(o) for name, o in call.operands.items()}
    return [
        access.indices[dim]
        for part in form.parts
        for access in accesses(part.value)
        for dim in carrying_dims(layouts.get(str(access.base.label), ()))
    ]


def is_taken_apart(entry: sympy.Basic) -> bool:
    """Whether a dim is read at a product of letters or at an affine place."""
    return not entry.is_Symbol
