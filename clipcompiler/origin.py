"""Where an op of the traced graph comes from in the user's program."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Origin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """The op, the module that called it, and the innermost source line outside torch.

    Attributes:
        op: the name of the op, such as ``aten.mean.dim``.
        module_path: the path of the calling module, such as ``encoder.layers.0``; empty for the root.
        file: the user's file; empty where the trace does not know it.
        line: the line in that file, counted from 1; 0 where unknown.
        code: the text of that line.
        part_of: the op that it is a part of, where torch composed that of others.
    """

    op: str
    module_path: str = ""
    file: str = ""
    line: int = 0
    code: str = ""
    part_of: str = ""

    def __str__(self) -> str:
        lines = [f"op: {self.op}" + (f", a part of {self.part_of}" if self.part_of else "")]
        if self.module_path:
            lines.append(f"module: {self.module_path}")
        if self.file:
            lines.append(f"source: {self.file}:{self.line}: {self.code}")
        return "\n".join(lines)
