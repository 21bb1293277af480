"""The command line: ``clipcompiler check FACTORY``."""

from clipcompiler.cli.main import main

__all__ = ["main"]
