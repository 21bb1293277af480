"""g_p[n] of many small parameters, each kept  →  (g_1[n], g_2[n], …), one row: squared, clipped and summed once.

    Σ_p ‖g_p[n]‖² = ‖(g_1[n], g_2[n], …)‖²,   Σ_n c_n (g_1[n], g_2[n], …) = (Σ_n c_n g_1[n], Σ_n c_n g_2[n], …)

A bias costs less to add up than to ask for: what is done once for each of them is more than the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from clipcompiler.codegen.body import Body
from clipcompiler.codegen.calls import quoted
from clipcompiler.codegen.laid import Laid, Product, atom
from clipcompiler.codegen.sums import Sums
from clipcompiler.derive.complex_values import is_complex
from clipcompiler.plan import Choice, Order, Plan

__all__ = ["Vectors"]

#: The most elements of a parameter that is put beside others: to copy them costs less than to square them apart.
SMALL = 4096
#: The key of their sums: no parameter is called so.
KEY = "vectors, side by side"


@dataclass(slots=True)
class Vectors:
    """The parameters whose gradients are one row: small ones, kept at every length, all clipped by one factor.

    Attributes:
        choices: at least two of them, or none.
        row: the variable of the row, once it is written.
    """

    choices: tuple[Choice, ...] = ()
    row: str = ""

    @classmethod
    def of(cls, plan: Plan) -> Vectors:
        """Those of a plan."""
        sometimes = {source for decision in plan.decisions for source in decision.sources}
        found = tuple(c for c in plan.choices if is_small(c) and plan.sums(c) and c.source not in sometimes)
        return cls(found if len(found) > 1 and len(plan.groups) == 1 else ())

    @property
    def sources(self) -> frozenset[fx.Node]:
        """Their placeholders."""
        return frozenset(choice.source for choice in self.choices)

    def square(self, body: Body, each: Mapping[fx.Node, Laid]) -> dict[fx.Node, str]:
        """‖(g_1[n], g_2[n], …)‖² in a variable, as the square of the first of them."""
        if not self.choices:
            return {}
        body.comment("the small ones side by side")
        rows = ", ".join(as_row(each[choice.source]) for choice in self.choices)
        self.row = body.bind("vectors_each", f"torch.cat(({rows}), 1)")
        return {self.choices[0].source: body.bind("vectors_sq", f"{self.row}.square().sum(1)")}

    def sum(self, sums: Sums) -> None:
        """Σ_n c_n (g_1[n], g_2[n], …), of which each parameter's is a part."""
        if not self.choices:
            return
        product, start = Product(sums.clips.of(self.choices[0]), self.row, rank=1), 0
        sums.add_product(KEY, product)
        for choice in self.choices:
            letters = sums.each[choice.source].letters[1:]
            end = start + math.prod(int(x.extent) for x in letters)
            part = f"sums[{quoted(KEY)}][{start}:{end}].clone()"  # memory of its own
            sums.gradients[choice.source] = sums.shaped(part, Laid(part, letters, product), choice)
            start = end


def is_small(choice: Choice) -> bool:
    """Whether gradients of few elements, and of a parameter's own, are kept."""
    own = choice.is_parameter and choice.order is Order.KEEP and not is_complex(choice.source)
    return own and choice.source.meta["val"].numel() <= SMALL


def as_row(each: Laid) -> str:
    """g[n] as a row."""
    rank = len(each.letters)
    if rank == 1:
        return f"{atom(each.text)}[:, None]"
    return each.text if rank == 2 else f"{atom(each.text)}.flatten(1)"
