"""The command line: ``clipcompiler check module:factory``."""
