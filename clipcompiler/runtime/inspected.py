"""What can be read of a step: its program, its plan, its derivations."""

from __future__ import annotations

from pathlib import Path

from clipcompiler.derive.derivation import Derivation
from clipcompiler.errors import CompileError
from clipcompiler.plan import Plan
from clipcompiler.runtime.compilation import Compilation

__all__ = ["Inspected"]


class Inspected:
    """The program of the last call, as it can be read."""

    _latest: Compilation | None

    @property
    def latest(self) -> Compilation:
        """The program of the last call.

        Raises:
            CompileError: before the first call.
        """
        if self._latest is None:
            raise CompileError(
                "the step is not traced yet",
                remedy="call it once, or give cc.compile(..., example_inputs=(x, target))",
            )
        return self._latest

    @property
    def source(self) -> str:
        """The generated program of the last call, as text."""
        return self.latest.program.source

    @property
    def plan(self) -> Plan:
        """The plan of the last call; ``print(step.plan)`` is a table."""
        return self.latest.plan

    def save(self, path: str | Path) -> Path:
        """Writes the generated program; it runs without clipcompiler. Returns the path."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.source, encoding="utf-8")
        return target

    def derivation(self, name: str) -> Derivation:
        """How the squared norm of one parameter follows from the equation of its op."""
        choice = self.plan[name]
        values = tuple(self.derivation(c.name) for c in self.plan.choices if name in c.parameters)
        return Derivation(name, choice.terms, choice.trees, choice.order.value, choice.why, values)
