"""op without a rule → the lines that would define one, its arguments filled in."""

from __future__ import annotations

from typing import Any

from torch import fx
from torch._ops import OpOverload

__all__ = ["HOW_TO", "how_to"]

HOW_TO = "give the op a rule of your own: see docs/write-a-rule.md, cc.op_rule"
TEMPLATE = """say which dims it reads along, in a rule; the others keep examples apart (docs/write-a-rule.md):

    from clipcompiler.dsl import {helper}, op_rule

    @op_rule({op})
    def rule({parameters}):
        \"\"\"y = {name}({arguments})\"\"\"
        return {form}

    step = cc.compile(…, rules=cc.default_rules | cc.RuleSet([rule]))"""


def how_to(node: fx.Node, operands: dict[str, int], output: int) -> str:
    """The remedy for an op without a rule.

    ``operands`` are the numbers of dims of the arguments that carry examples, ``output`` that of the value.
    """
    if not isinstance(node.target, OpOverload) or not operands:
        return HOW_TO
    schema = node.target._schema
    helper, form = form_of(operands, output, {a.name for a in schema.arguments})
    return TEMPLATE.format(
        helper=helper,
        op=f"torch.ops.{schema.name.replace('::', '.')}.{schema.overload_name or 'default'}",
        parameters=", ".join(parameters_of(schema)),
        name=schema.name.partition("::")[2],
        arguments=", ".join(a.name for a in schema.arguments),
        form=form,
    )


def form_of(operands: dict[str, int], output: int, names: set[str]) -> tuple[str, str]:
    """The helper that fits the numbers of dims, and its call."""
    first, *others = operands
    ndim = operands[first]
    dims = "dim" if "dims" not in names else "dims"
    over = f"[{dims}]" if dims == "dim" and "dim" in names else dims if dims in names else "[-1]"
    if output == ndim:
        same = [name for name in others if operands[name] == ndim]
        return "mixes", f"mixes({', '.join([first, over, *same])})"
    if output < ndim:
        return "reduces", f"reduces({first}, {over})"
    rows = ", ".join(f"[({first}, {d})]" if d < ndim - 1 else "[]" for d in range(output))
    return "aligned", f"aligned({rows})"


def parameters_of(schema: Any) -> list[str]:
    """The parameters of the op as those of a Python function."""
    shown: list[str] = []
    for a in schema.arguments:
        if a.kwarg_only and "*" not in shown:
            shown.append("*")
        shown.append(f"{a.name}={a.default_value!r}" if a.has_default_value() else a.name)
    return shown
