"""node + rule → the form of this one call, and which node each of its operands is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from clipcompiler.dsl import ABSENT, Operand
from clipcompiler.dsl.ruleset import Form, OpRule
from clipcompiler.errors import NoRule
from clipcompiler.trace.source import op_name
from clipcompiler.trace.traced import TracedLoss

__all__ = ["Call", "call", "operands_of"]


@dataclass(frozen=True, slots=True)
class Call:
    """One op of the graph under its rule.

    Attributes:
        node: the op.
        rule: the rule that speaks of it.
        form: what the rule says of these arguments.
        operands: the tensor arguments by name.
        sized: whether a plain argument contains the batch size.
    """

    node: fx.Node
    rule: OpRule
    form: Form
    operands: Mapping[str, fx.Node]
    sized: bool


def call(traced: TracedLoss, node: fx.Node, rule: OpRule) -> Call:
    """Applies a rule to the arguments of a node.

    Raises:
        NoRule: where the rule does not fit them.
    """
    reader = ArgumentReader(traced, node)
    args = [reader.read(value, name) for value, name in zip(node.args, reader.names, strict=False)]
    kwargs = {name: reader.read(value, name) for name, value in node.kwargs.items()}
    try:
        form = rule(*args, **kwargs)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        raise NoRule(
            f"the rule '{rule.name}' does not fit this call of {op_name(node)}: {error}",
            origin=traced.origin(node),
            remedy="call the op another way, or give it a rule of your own: see docs/write-a-rule.md, cc.op_rule",
        ) from error
    return Call(node, rule, form, reader.operands, reader.sized)


def operands_of(traced: TracedLoss, node: fx.Node) -> tuple[Mapping[str, fx.Node], bool]:
    """The tensor arguments of a node by name, and whether a plain argument contains the batch size."""
    reader = ArgumentReader(traced, node)
    for value, name in [
        *zip(node.args, reader.names, strict=False),
        *((v, k) for k, v in node.kwargs.items()),
    ]:
        reader.read(value, name)
    return reader.operands, reader.sized


class ArgumentReader:
    """Turns the arguments of a node into what a rule function is called with."""

    def __init__(self, traced: TracedLoss, node: fx.Node) -> None:
        self.traced = traced
        self.operands: dict[str, fx.Node] = {}
        self.sized = False
        schema = getattr(node.target, "_schema", None)
        arguments = schema.arguments if schema is not None else []
        self.names = [a.name for a in arguments] or [f"argument {k}" for k in range(len(node.args))]
        self.optional = {a.name for a in arguments if str(a.type) == "Optional[Tensor]"}

    def read(self, value: Any, name: str) -> Any:
        """An Operand for a tensor, ABSENT for an optional one not given, an extent for a size."""
        if value is None:
            return ABSENT if name in self.optional else None
        if isinstance(value, (list, tuple)):
            return [self.read(v, f"{name}[{k}]") for k, v in enumerate(value)]
        if not isinstance(value, fx.Node):
            return value
        meta = value.meta["val"]
        if isinstance(meta, Tensor):
            self.operands[name] = value
            return Operand(name, self.traced.shape(value))
        if isinstance(meta, (list, tuple)):
            return [self.read(v, f"{name}[{k}]") for k, v in enumerate(meta)]
        extent = self.traced.extent(meta)
        self.sized |= not isinstance(extent, (int, float, bool)) and not self.traced.is_of_lengths(extent)
        return extent
