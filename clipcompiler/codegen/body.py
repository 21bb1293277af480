"""The body of a generated function: statements in sections, every expression bound once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from clipcompiler.codegen.layout import wrapped
from clipcompiler.codegen.names import Names

__all__ = ["Body", "Part", "Section"]

#: A statement that binds one variable; the words of a statement, its variables among them.
BOUND = re.compile(r"(\w+) = ")
WORD = re.compile(r"\w+")


class Part(Enum):
    """When the statements of a section run."""

    ONCE = "before the examples"
    SOME = "for some of the examples at a time"
    AFTER = "when all examples are summed"


@dataclass(slots=True)
class Section:
    """Statements under one title, within one context manager.

    Attributes:
        title: what the section computes.
        context: the ``with`` line, or "".
        part: when they run.
        lines: the statements and comments.
    """

    title: str
    context: str = ""
    part: Part = Part.SOME
    lines: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Body:
    """A function body under construction.

    Attributes:
        names: gives out variable names.
        sections: the sections so far; statements go to the last.
        known: the variable that holds an expression already computed.
    """

    names: Names
    sections: list[Section] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)

    def section(self, title: str, context: str = "", part: Part = Part.SOME) -> None:
        """Begins a section."""
        self.sections.append(Section(title, context, part))

    def comment(self, text: str) -> None:
        """A comment line."""
        self.sections[-1].lines.append(f"# {text}")

    def line(self, text: str) -> None:
        """A statement."""
        self.sections[-1].lines.append(text)

    def bind(self, wanted: str, expression: str) -> str:
        """``name = expression``, unless a variable holds it already; returns the variable."""
        expression = unwrapped(expression)
        if expression.isidentifier():
            return expression
        if expression not in self.known:
            name = self.names.fresh(wanted)
            self.line(f"{name} = {expression}")
            self.known[expression] = name
        return self.known[expression]

    def release(self, first: Section, last: Section) -> None:
        """Lets go, at the end of ``last``, of the variables bound since ``first`` that nothing reads later.

        The losses are returned.
        """
        start, end = self.sections.index(first), self.sections.index(last)
        inside = [line for section in self.sections[start : end + 1] for line in section.lines]
        later = {w for section in self.sections[end + 1 :] for line in section.lines for w in WORD.findall(line)}
        bound = dict.fromkeys(m.group(1) for line in inside if (m := BOUND.match(line)))
        gone = [name for name in bound if name != "losses" and name not in later]
        if gone and last.lines:
            last.lines.append(f"del {', '.join(gone)}")

    def text(self, sections: Iterable[Section], indent: str = "    ") -> str:
        """Some sections as source."""
        lines: list[str] = []
        for section in sections:
            if not section.lines:
                continue
            lines += ["", f"{indent}# ── {section.title} ".ljust(104 - len(indent), "─")]
            inner = indent
            if section.context:
                lines.append(f"{indent}{section.context}:")
                inner += "    "
            lines += [inner + part for line in section.lines for part in wrapped(line)]
        return "\n".join(lines)


def unwrapped(expression: str) -> str:
    """The expression without brackets around the whole of it."""
    depth = 0
    for k, c in enumerate(expression):
        depth += (c == "(") - (c == ")")
        if depth == 0 and k < len(expression) - 1:
            return expression
    return expression[1:-1] if expression.startswith("(") and expression.endswith(")") else expression
