"""registry → the two tables of docs/soundness.md: every pattern, its code, what happens to it."""

import ast
import inspect
from functools import cache
from pathlib import Path

import torch
from apart import APART
from refusing import MIXING, code_of_mixing, refusal

__all__ = ["PAGE", "between", "code_text", "exact_table", "page_with_tables", "refused_row"]

PAGE = Path(__file__).parents[2] / "docs" / "soundness.md"


def refused_table():
    """| pattern | code | kind and first line of the real message |"""
    return HEAD + "".join(map(refused_row, MIXING))


def refused_row(name):
    """The row of a pattern that is refused, by its real message."""
    torch.manual_seed(0)
    error = refusal(name)
    return row(name, f"`{code_text(code_of_mixing(name))}`", f"`{type(error).__name__}`: {error.reason}")


def exact_table():
    """| pattern | code | why it is exact |"""
    return HEAD + "".join(row(name, f"`{code_text(entry[1])}`", f"exact: {entry[0]}") for name, entry in APART.items())


def row(*cells):
    """A row in Markdown."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


HEAD = row("pattern", "code", "what happens here") + row("---", "---", "---")


@cache
def functions(file):
    """The functions of a file, by their first line."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return {node.lineno: node for node in ast.walk(tree) if isinstance(node, (ast.Lambda, ast.FunctionDef))}


def code_text(function):
    """What a function computes, in one line; a docstring left out."""
    node = functions(inspect.getsourcefile(function))[function.__code__.co_firstlineno]
    if isinstance(node, ast.Lambda):
        return ast.unparse(node.body)
    statements = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    text = "; ".join(" ".join(ast.unparse(s).split()) for s in statements)
    return text.removeprefix("return ")


def between(page, mark):
    """The part of a page between ``<!-- mark -->`` and ``<!-- end of mark -->``."""
    _, _, rest = page.partition(f"<!-- {mark} -->\n")
    part, _, _ = rest.partition(f"<!-- end of {mark} -->")
    return part


def page_with_tables(page):
    """The page with both tables, and the numbers of their rows, written anew."""
    for mark, made in (("refused", refused_table()), ("exact", exact_table())):
        start, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
        page = page.replace(f"{start}{between(page, mark)}{end}", f"{start}\n{made}\n{end}")
    return page
