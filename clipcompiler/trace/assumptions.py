"""What torch assumes of the batch size while it traces, and the user's line that made it do so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy

from clipcompiler.origin import Origin

__all__ = ["Assumptions", "differs"]

#: Batch sizes at which a condition on the batch size must decide alike.
SIZES = (1, 2, 3, 4, 6, 8, 12, *(2**k for k in range(4, 31)))


class Assumptions:
    """The conditions on sizes that torch has decided, in order, each with the line that was running."""

    def __init__(self, running: Callable[[], Origin | None]) -> None:
        self.running = running
        self.seen: dict[sympy.Basic, Origin | None] = {}

    def recording(self, evaluate: Any) -> Any:
        """``ShapeEnv.evaluate_expr``, which keeps every condition that does not hold for all of 2, 3, 4, … examples."""

        def evaluated(environment: Any, expression: Any, *args: Any, **kwargs: Any) -> Any:
            value = evaluate(environment, expression, *args, **kwargs)
            self.note(expression, value)
            return value

        return evaluated

    def note(self, expression: Any, value: Any) -> None:
        """Keeps a condition that was decided, or a size that was taken for a number."""
        if not isinstance(expression, sympy.Basic) or not expression.free_symbols:
            return
        is_size = isinstance(expression, sympy.Expr)
        condition = sympy.Eq(expression, value) if is_size else expression
        if condition not in self.seen and differs(condition, is_size or bool(value), least=2):
            self.seen[condition] = self.running()

    def origin(self, condition: Any = None) -> Origin | None:
        """The line that decided a condition; without it the first line that decided one."""
        known = self.seen.get(condition)
        return known or next((origin for origin in self.seen.values() if origin is not None), None)


def differs(expression: sympy.Basic, decision: bool, *, least: int = 1) -> bool:
    """Whether a condition on one symbol decides otherwise for some batch size."""
    symbols = list(expression.free_symbols)
    if len(symbols) != 1:
        return False
    named = {int(k) + d for k in expression.atoms(sympy.Integer) for d in (-1, 0, 1)}
    sizes = {*SIZES, *named}
    return any(bool(expression.subs(symbols[0], size)) != decision for size in sizes if size >= least)
