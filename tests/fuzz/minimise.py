"""A failing program → a shorter one that fails alike."""

import re
from dataclasses import fields, replace

from fuzz.clipped import Clipped
from fuzz.examine import examine, mixes

__all__ = ["minimised"]

NAME = re.compile(r"\bh\d+\b")
BINDS = re.compile(r"^(h\d+) = (.*)$", re.S)


def minimised(program, sizes, same):
    """Takes lines out as long as ``same(verdict)`` holds."""
    shrunk = True
    while shrunk:
        shrunk = False
        for candidate in shorter(program):
            if fails(candidate, sizes, same):
                program, shrunk = candidate, True
                break
    return program


def fails(program, sizes, same):
    """Whether a program runs, and fails alike."""
    try:
        mixes(program)
    except Exception:
        return False
    return same(examine(program, sizes))


def shorter(program):
    """Programs compiled or clipped in a plainer way, a line less, an operand in place of a line, or an earlier end."""
    lines = program.lines
    yield from (replace(program, way={k: v for k, v in program.way.items() if k != key}) for key in program.way)
    for field in fields(Clipped):
        if getattr(program.clipped, field.name) != field.default:
            yield replace(program, clipped=replace(program.clipped, **{field.name: field.default}))
    for k, line in enumerate(lines):
        yield from (trimmed(program, (*lines[:k], *part, *lines[k + 1 :])) for part in opened(line))
    bound = [BINDS.match(line) for line in lines]
    for k in range(len(lines) - 1):
        name = bound[k].group(1) if bound[k] else "x"
        for end in (f"return {name}.flatten(1).square().sum(1)", f"return {name}", f"return {name}.square().sum()"):
            if k + 2 < len(lines) and bound[k]:
                yield trimmed(program, (*lines[: k + 1], end))
    for k in range(len(lines) - 1, -1, -1):
        rest = lines[:k] + lines[k + 1 :]
        if not bound[k]:
            if not lines[k].startswith("return"):
                yield trimmed(program, rest)
            continue
        name, text = bound[k].groups()
        if not re.search(rf"\b{name}\b", "\n".join(rest)):
            yield trimmed(program, rest)
        for other in [*dict.fromkeys(NAME.findall(text)), *program.inputs]:
            yield trimmed(program, tuple(re.sub(rf"\b{name}\b", other, line) for line in rest))


def opened(line):
    """A region as its lines; a region or a function with a line less."""
    first, *inner = line.split("\n        ")
    if inner and first.startswith("with "):
        yield [row.replace("\n    ", "\n") for row in inner]
    for k in range(len(inner) if len(inner) > 1 else 0):
        if not inner[k].startswith("return"):
            yield ["\n        ".join([first, *inner[:k], *inner[k + 1 :]])]


def trimmed(program, lines):
    """The program of these lines, without what they do not use."""
    text = "\n".join(lines)
    aliases = {a: p for a, p in program.aliases.items() if re.search(rf"self\.{a}\b", text)}
    held = {k: s for k, s in program.held.items() if re.search(rf"self\.{k}\b", text) or k in aliases.values()}
    inputs = {k: s for k, s in program.inputs.items() if k == "x" or re.search(rf"\b{k}\b", text)}
    modules = {k: s for k, s in program.modules.items() if re.search(rf"self\.{k}\b", text)}
    return replace(program, lines=tuple(lines), held=held, aliases=aliases, inputs=inputs, modules=modules)
