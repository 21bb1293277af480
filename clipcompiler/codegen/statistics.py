"""y = layer_norm(x, …)  →  y, μ, r = native_layer_norm(x, …), and x̂ = (x − μ) r by the statistics of the forward.

To normalise once more would sum over the features once more. r = 1 / √(var_d x + ε).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import fx

from clipcompiler.codegen.calls import literal
from clipcompiler.codegen.names import Names
from clipcompiler.derive.derived import Derived

__all__ = ["Statistics", "normalised", "statistics_of", "with_statistics"]

aten = torch.ops.aten

#: What a layer norm adds to the variance where nothing else is said.
EPS = 1e-5


class Statistics(NamedTuple):
    """The variables of μ and r."""

    mean: str
    rstd: str


def statistics_of(names: Names, derived: Derived, nodes: Mapping[fx.Node, str]) -> dict[fx.Node, Statistics]:
    """Variables for μ and r of the layer norms whose x̂ a gradient reads: those with a scale among the parameters.

    In half precision μ and r may be rounded as the input is; there x̂ is computed anew.
    """
    scales = (use for terms in derived.terms.values() for term in terms for use in term.uses if use.operand == "weight")
    found = dict.fromkeys(use.node for use in scales if has_statistics(use.node))
    return {node: Statistics(names.fresh(f"{nodes[node]}_mean"), names.fresh(f"{nodes[node]}_rstd")) for node in found}


def has_statistics(node: fx.Node) -> bool:
    """Whether an op is a layer norm whose μ and r are those of its backward, in full precision."""
    full = (torch.float32, torch.float64)
    return node.target is aten.layer_norm.default and not node.kwargs and node.meta["val"].dtype in full


def with_statistics(node: fx.Node, values: Mapping[fx.Node, str]) -> str:
    """layer_norm(x, …) → native_layer_norm(x, …)"""
    given = [*node.args, *(None, None, EPS)[len(node.args) - 2 :]][:5]
    return f"torch.native_layer_norm({', '.join(values[a] if isinstance(a, fx.Node) else literal(a) for a in given)})"


def normalised(x: str, statistics: Statistics) -> str:
    """x̂ = (x − μ) r, in the place of the difference."""
    return f"({x} - {statistics.mean}).mul_({statistics.rstd})"
