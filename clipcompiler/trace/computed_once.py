"""f(θ), …, f(θ)  →  one f(θ) that is read twice: the same function of parameters is computed once.

A slice of a weight taken at every step of a loop is one value with many uses, whose gradients are added, and so is a
weight whose norm is taken anew at each use.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable

import torch
from torch import fx
from torch.utils import _pytree as pytree

__all__ = ["compute_once"]


def compute_once(graph: fx.Graph, parameters: Collection[str], inputs: Collection[str]) -> None:
    """Gives the users of an op on parameters that reads no input to the first op that computes the same.

    ``parameters`` and ``inputs`` are names of placeholders. The ops left without users stay in the graph.
    """
    of_parameters: set[fx.Node] = set()
    of_inputs: set[fx.Node] = set()
    first: dict[Hashable, fx.Node] = {}
    for node in graph.nodes:
        operands = node.all_input_nodes
        if node.name in inputs or any(o in of_inputs for o in operands):
            of_inputs.add(node)
        elif node.name in parameters or any(o in of_parameters for o in operands):
            of_parameters.add(node)
            if node.op == "call_function" and not draws(node):
                known = first.setdefault(computation(node), node)
                if known is not node:
                    node.replace_all_uses_with(known)


def draws(node: fx.Node) -> bool:
    """Whether an op gives something else at every call, as far as is known: only ops of torch's own say so."""
    namespace = getattr(node.target, "namespace", "aten")
    return namespace != "aten" or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def computation(node: fx.Node) -> Hashable:
    """An op and its arguments."""
    leaves, structure = pytree.tree_flatten((node.args, dict(sorted(node.kwargs.items()))))
    return (node.target, str(structure), *(leaf if isinstance(leaf, fx.Node) else repr(leaf) for leaf in leaves))
