"""What torch assumes of the batch size while it traces, and the user's line that made it do so."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Mapping
from itertools import product
from types import MappingProxyType
from typing import Any

import sympy

from clipcompiler.errors import CompileError
from clipcompiler.origin import Origin
from clipcompiler.trace.source import is_users

__all__ = ["Assumptions", "differs"]

#: Batch sizes at which a condition on the batch size must decide alike.
SIZES = (1, 2, 3, 4, 6, 8, 12, *(2**k for k in range(4, 31)))
#: Fewer of them, for conditions on several sizes.
FEW = (1, 2, 3, 4, 7, 16, 512, 2**20)
NO_LIMITS: Mapping[sympy.Symbol, int] = MappingProxyType({})
#: A file and a line of it.
Line = tuple[str, int]


class Assumptions:
    """The conditions on sizes that torch has decided, in order, each with the line that was running.

    Attributes:
        seen: the conditions.
        for_more_than_one: what is to be raised where a batch of one turns out to run other code; ``None`` where no
            branch of the forward tells it apart.
    """

    def __init__(self) -> None:
        self.for_more_than_one: CompileError | None = None
        self.seen: dict[sympy.Basic, tuple[bool, Line | None]] = {}

    def recording(self, evaluate: Any) -> Any:
        """``ShapeEnv.evaluate_expr``, which keeps what it decides."""

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
        if condition not in self.seen:
            self.seen[condition] = is_size or bool(value), running_line()

    def origin(self, wanted: Any = None) -> Origin | None:
        """The line that decided a condition; else the first that decided one which not all of 2, 3, 4, … fulfil."""
        lines = [self.seen[wanted][1]] if wanted in self.seen else []
        lines += [line for c, (value, line) in self.seen.items() if line and differs(c, value, least=2)]
        for file, number in filter(None, lines):
            return Origin("torch.export", "", file, number, linecache.getline(file, number).strip())
        return None


def running_line() -> Line | None:
    """The innermost line of the user's that is running."""
    frame = sys._getframe(1)
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back  # type: ignore[assignment]
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else None


def differs(
    expression: sympy.Basic, decision: bool, *, least: int = 1, most: Mapping[sympy.Symbol, int] = NO_LIMITS
) -> bool:
    """Whether a condition decides otherwise for some batch size, or some lengths where it depends on several sizes."""
    symbols = sorted(expression.free_symbols, key=str)
    named = {int(k) + d for k in expression.atoms(sympy.Integer) for d in (-1, 0, 1)}
    sizes = [size for size in sorted({*(SIZES if len(symbols) < 2 else FEW), *named}) if size >= least]
    own = [[size for size in {*sizes, most.get(x, 1)} if least <= size <= most.get(x, size)] for x in symbols]
    tried = (dict(zip(symbols, chosen, strict=True)) for chosen in product(*own))
    return bool(symbols) and any(bool(expression.subs(chosen)) != decision for chosen in tried)
