"""The rules of the ops of torch, one op family a file. A user's own rule file looks like one of these."""

if __name__ != "clipcompiler.rules":
    raise ImportError("import the rules as clipcompiler.rules: under another name they would be loaded twice")

from importlib import import_module
from pkgutil import iter_modules

from clipcompiler.dsl import RuleSet

__all__ = ["default_rules"]

#: Every rule of every file of this folder.
default_rules: RuleSet = RuleSet.of_modules(import_module(f"{__name__}.{m.name}") for m in iter_modules(__path__))
