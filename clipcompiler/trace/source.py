"""node → the user's source line and module path."""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

import sympy
import torch
from torch import fx

from clipcompiler.origin import Origin

__all__ = ["is_users", "line_of_traceback", "op_name", "origin_of", "running_line", "user_line"]

LIBRARIES = tuple(str(Path(file).parent) for file in (torch.__file__, sympy.__file__, Path(__file__).parent))
STANDARD = sysconfig.get_paths()["stdlib"]
FRAME = re.compile(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)')


def is_users(file: str) -> bool:
    """Whether a source file belongs neither to torch, nor to this package, nor to Python itself."""
    standard = file.startswith(STANDARD) and "site-packages" not in file
    return not standard and not file.startswith((*LIBRARIES, "torch/", "<"))


def user_line(stack: str) -> tuple[str, int, str]:
    """The innermost line of a stack trace that is the user's: file, line number, text."""
    frames = [(f, int(n), code.strip()) for f, n, code in FRAME.findall(stack) if is_users(f)]
    return frames[-1] if frames else ("", 0, "")


def line_of_traceback(trace: TracebackType | None) -> tuple[str, int, str]:
    """The innermost line of an exception that is the user's: file, line number, text."""
    frames = [(f.filename, f.lineno or 0, f.line or "") for f in traceback.extract_tb(trace)]
    own = [f for f in frames if is_users(f[0])]
    return own[-1] if own else ("", 0, "")


def running_line(what: str) -> Origin | None:
    """The innermost line of the user's that is running."""
    frames = [f for f in traceback.extract_stack() if is_users(f.filename)]
    return Origin(what, "", frames[-1].filename, frames[-1].lineno or 0, frames[-1].line or "") if frames else None


def op_name(node: fx.Node) -> str:
    """The op of a node as torch names it, such as ``aten.mean.dim``."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    return getattr(target, "__name__", str(target))


def origin_of(node: fx.Node) -> Origin:
    """The op, the path of the innermost calling module below the wrapper, and the user's source line."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values() if isinstance(entry, tuple)]
    path = paths[-1] if paths and not paths[-1].startswith("_") else ""
    module = path.removeprefix("model").lstrip(".")
    whole = node.meta.get("part_of", "")
    return Origin(op_name(node), module, *user_line(node.meta.get("stack_trace") or ""), whole)
