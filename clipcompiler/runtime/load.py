"""Program → the function it defines."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

from clipcompiler.codegen import Program

__all__ = ["load", "scope_of"]


def load(program: Program, name: str) -> Callable[..., Any]:
    """Executes the source and returns its ``clipped_gradients``; tracebacks show the generated lines."""
    function: Callable[..., Any] = scope_of(program, name)["clipped_gradients"]
    return function


def scope_of(program: Program, name: str) -> dict[str, Any]:
    """Executes the source and returns what it defines."""
    filename = f"<clipcompiler: {name}>"
    linecache.cache[filename] = (
        len(program.source),
        None,
        program.source.splitlines(keepends=True),
        filename,
    )
    scope: dict[str, Any] = {"__name__": "clipped_step"}
    exec(compile(program.source, filename, "exec"), scope)
    return scope
