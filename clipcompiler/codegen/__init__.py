"""Stage 5, generate: ``Plan`` → ``Program``: the plan as a readable Python module that needs torch alone."""

from clipcompiler.codegen.generate import generate
from clipcompiler.codegen.program import Program

__all__ = ["Program", "generate"]
