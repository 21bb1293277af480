"""Control-flow ops → the ops of their branches and steps.

    cond(p, f, g, x)      →  where(p, f(x), g(x))
    map(f, x)             →  stack of f(x[t])
    scan(f, h, x)         →  h, y[t] = f(h, x[t]), step by step; stack of y[t]
    while_loop            →  refused: how often it runs is known only when it does

A trace runs their functions as any other code, under the same checks. Of a cond both branches are computed: a
predicate that reads several examples is then refused where it does so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from clipcompiler.errors import UntraceableModel
from clipcompiler.trace.source import running_line

__all__ = ["taken_apart"]


def taken_apart() -> list[tuple[Any, str, Callable[..., Any]]]:
    """What is replaced while a model is traced: (class or module, name, replacement)."""
    functions: dict[str, Callable[..., Any]] = {
        "cond": by_where,
        "map_impl": by_step,
        "scan": by_carry,
        "while_loop": no_while_loop,
    }
    ops = torch.ops.higher_order
    replaced = [(type(getattr(ops, name)), "__call__", staticmethod(f)) for name, f in functions.items()]
    return [(torch, "compile", as_it_is), *replaced]


def as_it_is(function: Any = None, **_: Any) -> Any:
    """In place of ``torch.compile``: a trace needs no compiled code, and sees through the function instead."""
    return function if function is not None else as_it_is


def by_where(predicate: Any, true_fn: Any, false_fn: Any, operands: Sequence[Any]) -> Any:
    """where(p, f(x), g(x)), for each tensor that the branches return."""
    taken, structure = pytree.tree_flatten(true_fn(*operands))
    other, same = pytree.tree_flatten(false_fn(*operands))
    if structure != same:
        raise ValueError("the branches of a cond return values of different structure")
    one = predicate.reshape(()) if isinstance(predicate, Tensor) else predicate
    return pytree.tree_unflatten([torch.where(one, a, b) for a, b in zip(taken, other, strict=True)], structure)


def by_step(function: Any, xs: Sequence[Tensor], arguments: Sequence[Any]) -> Any:
    """stack_t f(x[t])"""
    return stacked([function(*(x[t] for x in xs), *arguments) for t in range(steps(xs))])


def by_carry(function: Any, init: Sequence[Tensor], xs: Sequence[Tensor], additional_inputs: Sequence[Any]) -> Any:
    """h, y[t] = f(h, x[t]), from the first step to the last: h, stack_t y[t]"""
    carry, outputs = init, []
    for t in range(steps(xs)):
        made, output = function(*carry, *(x[t] for x in xs), *additional_inputs)
        carry = pytree.tree_leaves(made)
        outputs.append(output)
    return made, stacked(outputs)


def no_while_loop(*_: Any, **__: Any) -> NoReturn:
    """Refuses a loop that runs until values say otherwise."""
    raise UntraceableModel(
        "a while_loop runs as often as the values of the batch say",
        origin=running_line("while_loop"),
        remedy="loop a fixed number of times, and keep what is done with torch.where",
    )


def stacked(outputs: list[Any]) -> Any:
    """The outputs of all steps, each tensor along a new first dim."""
    return pytree.tree_map(lambda *values: torch.stack(values), *outputs)


def steps(xs: Sequence[Tensor]) -> int:
    """The extent of the first dim, along which the steps are."""
    return int(xs[0].shape[0])
