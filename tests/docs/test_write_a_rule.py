"""The pages that show code are executed as they stand, and what they print is compared with what they say."""

import contextlib
import io
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import clipcompiler as cc

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/write-a-rule.md")
FENCE = re.compile(r"^(?P<note><!--[^\n]*-->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
#: Stands above a block of code that is part of a generated program, not a program of its own.
EXCERPT = "excerpt of step.source"
#: The file that collects the code of a page, as its messages name it.
FILE = "train.py"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: its language, its text, and whether it is part of a generated program."""

    language: str
    text: str
    excerpt: bool


def blocks(page):
    """Every fenced block of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(m["language"], m["text"], EXCERPT in (m["note"] or "")) for m in FENCE.finditer(text)]


@pytest.fixture
def scope(tmp_path, monkeypatch):
    """The names that the code of a page shares."""
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    return vars(module)


@pytest.fixture
def compiled(monkeypatch):
    """Every step that is compiled for a batch, with the batch."""
    made = []
    original = cc.compile

    def remember(*args, example_inputs=None, **options):
        step = original(*args, example_inputs=example_inputs, **options)
        if example_inputs is not None:
            made.append((step, example_inputs))
        return step

    monkeypatch.setattr(cc, "compile", remember)
    return made


def execute(code, scope):
    """Appends a block of code to the file and runs it, so that messages quote its lines; returns what it prints."""
    file = Path(FILE)
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(before + code, encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile("\n" * before.count("\n") + code, FILE, "exec"), scope)
    return printed.getvalue()


@pytest.mark.parametrize("page", PAGES)
def test_code_runs_prints_what_the_page_shows_and_compiles_to_exact_steps(page, scope, compiled):
    printed = ""
    for block in blocks(page):
        if block.excerpt:
            assert block.text in scope["step"].source
        elif block.language == "python":
            assert not printed, f"{page} does not show what its code prints: {printed}"
            printed = execute(block.text, scope)
        elif block.language == "text":
            assert block.text == printed
            printed = ""
    assert not printed, f"{page} does not show what its code prints: {printed}"
    assert compiled
    for step, batch in compiled:
        assert step.verify(*batch) <= 1e-9
