"""graph → the same function in fewer kinds of ops: the rewrites that look at ops alone, in their order."""

from __future__ import annotations

from torch import fx

from clipcompiler.trace.embedding_bag import to_rows
from clipcompiler.trace.masked_write import to_where
from clipcompiler.trace.moved_rows import to_one_product
from clipcompiler.trace.normal_form import to_normal_form
from clipcompiler.trace.picked_rows import to_one_row
from clipcompiler.trace.recurrent import to_single_layers
from clipcompiler.trace.selected import to_one_select
from clipcompiler.trace.split_again import to_one_permute

__all__ = ["REWRITES", "rewrite"]

#: Each works in place and leaves the nodes that it replaces without users.
REWRITES = (
    to_normal_form, to_single_layers, to_rows, to_where, to_one_row, to_one_product, to_one_select, to_one_permute,
)  # fmt: skip


def rewrite(graph: fx.Graph) -> None:
    """Applies all of them."""
    for apply in REWRITES:
        apply(graph)
