"""The body of a generated function: statements in sections, every expression bound once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from clipcompiler.codegen.layout import masked, wrapped
from clipcompiler.codegen.names import Names

__all__ = ["Body", "Part", "Section"]

#: A statement that binds one variable; the words of a statement, its variables among them.
BOUND = re.compile(r"(\w+(?:, \w+)*),? = ")
#: The ends of names of what has one element an example, or is a view.
SMALL = ("_sq", "_parts", "_diagonal", "bound")
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
        ends: the numbers of lines after which a paragraph ends.
    """

    title: str
    context: str = ""
    part: Part = Part.SOME
    lines: list[str] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def paragraphs(self) -> Iterator[list[str]]:
        """The lines by paragraphs; all lines are in one."""
        for start, end in pairwise(dict.fromkeys([0, *self.ends, len(self.lines)])):
            yield self.lines[start:end]


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

    def end_paragraph(self) -> None:
        """Ends a group of statements, behind which what nothing reads later is let go."""
        self.sections[-1].ends.append(len(self.sections[-1].lines))

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

    @contextmanager
    def branch(self, condition: str) -> Iterator[Section]:
        """``if condition:`` before the statements that are written within it, which no variable outside may hold."""
        section, known = self.sections[-1], dict(self.known)
        start = len(section.lines)
        yield section
        section.lines[start:] = [condition, *(f"    {line}" for line in section.lines[start:] or ["pass"])]
        self.known = known

    def bound_since(self, start: int) -> list[str]:
        """The variables bound by the last section's lines from one on, but for those of one element an example."""
        matches = (BOUND.match(line) for line in self.sections[-1].lines[start:])
        names = (name for m in matches if m for name in m.group(1).split(", "))
        return [name for name in dict.fromkeys(names) if not name.endswith(SMALL)]

    def let_go(self, names: Sequence[str]) -> None:
        """``del`` of some variables."""
        if names:
            self.line(f"del {', '.join(names)}")

    def release(self, first: Section, kept: Iterable[str]) -> None:
        """Lets go of every variable of the sections from ``first`` on behind the last paragraph that reads it.

        Those of ``first`` itself, the forward, are not let go within it: its graph holds them. ``kept`` are returned.
        """
        sections = [s for s in self.sections[self.sections.index(first) :] if s.part is Part.SOME]
        numbered = [p for section in sections for p in section.paragraphs()]
        last = {word: k for k, lines in enumerate(numbered) for line in lines for word in WORD.findall(code_of(line))}
        found = (m for lines in numbered for line in lines if (m := BOUND.match(line)))
        named = (name for m in found for name in m.group(1).split(", "))
        bound = dict.fromkeys(name for name in named if not name.endswith(SMALL))
        place = 0
        for section in sections:
            lines = []
            for paragraph in section.paragraphs():
                gone = [name for name in bound if last[name] == place and name not in kept]
                lines += paragraph
                if gone and section is not first and place < len(numbered) - 1:
                    lines.append(f"del {', '.join(gone)}")
                    bound = dict.fromkeys(name for name in bound if name not in gone)
                elif section is first:
                    last |= dict.fromkeys(gone, place + 1)
                place += 1
            section.lines[:], section.ends[:] = lines, []

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


def code_of(line: str) -> str:
    """A line without its comment and its strings."""
    return masked(line).partition("# ")[0]


def unwrapped(expression: str) -> str:
    """The expression without brackets around the whole of it."""
    depth = 0
    for k, c in enumerate(expression):
        depth += (c == "(") - (c == ")")
        if depth == 0 and k < len(expression) - 1:
            return expression
    return expression[1:-1] if expression.startswith("(") and expression.endswith(")") else expression
