"""Rules, and immutable sets of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any

import torch

from clipcompiler.dsl.equation import Equation
from clipcompiler.dsl.forms import Aligned, Created, Regrouped
from clipcompiler.dsl.inside import Inside

__all__ = ["Form", "OpRule", "RuleSet", "op_rule"]

Form = Equation | Aligned | Regrouped | Created | Inside
Op = Any  # an OpOverload, an OpOverloadPacket (all its overloads), or a torch.Tag


@dataclass(frozen=True, slots=True)
class OpRule:
    """What is known of one op: a function from its arguments to a form.

    The function is called with the arguments of the op, tensors as ``Operand`` (an absent optional one as
    the false ``ABSENT``), sizes that contain the batch size as sympy expressions, all else as it is.
    """

    ops: tuple[Op, ...]
    function: Callable[..., Form]

    @property
    def name(self) -> str:
        """The name of the function that states the rule."""
        return self.function.__name__

    @property
    def statement(self) -> str:
        """The rule in one line: the first line of its docstring."""
        return (self.function.__doc__ or self.name).strip().splitlines()[0]

    def __call__(self, *args: Any, **kwargs: Any) -> Form:
        """The form of the op for these arguments."""
        return self.function(*args, **kwargs)

    def overloads(self) -> Iterator[Op]:
        """Every overload (or tag) the rule speaks of."""
        for op in self.ops:
            if isinstance(op, torch._ops.OpOverloadPacket):
                yield from (getattr(op, str(name)) for name in op.overloads())  # type: ignore[no-untyped-call]
            else:
                yield op


def op_rule(*ops: Op) -> Callable[[Callable[..., Form]], OpRule]:
    """``@op_rule(torch.ops.mylib.op.default)`` makes the function below it the rule of that op.

    A packet (``torch.ops.aten.linear``) stands for all its overloads, a ``torch.Tag`` for every op that
    bears it and has no rule of its own.
    """
    if not ops:
        raise TypeError("op_rule() needs at least one op, overload packet or torch.Tag")
    return lambda function: OpRule(tuple(ops), function)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """An immutable mapping from ops to rules; ``|`` merges two sets, and a clash raises ``ValueError``."""

    rules: Mapping[Op, OpRule]

    def __init__(self, rules: Iterable[OpRule] = ()) -> None:
        table: dict[Op, OpRule] = {}
        for rule in rules:
            for op in rule.overloads():
                if table.setdefault(op, rule) is not rule:
                    raise ValueError(f"two rules for {op}: {table[op].name} and {rule.name}")
        object.__setattr__(self, "rules", MappingProxyType(table))

    @classmethod
    def of_modules(cls, modules: Iterable[ModuleType]) -> RuleSet:
        """Every rule defined at the top of the given modules."""
        return cls(r for m in modules for r in vars(m).values() if isinstance(r, OpRule))

    def __or__(self, other: RuleSet) -> RuleSet:
        own = dict.fromkeys((*self.rules.values(), *other.rules.values()))
        return RuleSet(own)

    def __iter__(self) -> Iterator[OpRule]:
        return iter(dict.fromkeys(self.rules.values()))

    def __len__(self) -> int:
        return len(set(self.rules.values()))

    def find(self, op: Op) -> OpRule | None:
        """The rule of an op: its own, or else that of a tag it bears."""
        if op in self.rules:
            return self.rules[op]
        return next((self.rules[t] for t in getattr(op, "tags", ()) if t in self.rules), None)
