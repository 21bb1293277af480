"""node → the expression that computes it."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, MappingProxyType
from typing import Any

import sympy
import torch
from sympy.printing.str import StrPrinter
from torch import Tensor, fx
from torch.nn import functional as F

from clipcompiler.codegen.helpers import CONTIGUOUSLY
from clipcompiler.errors import UntraceableModel
from clipcompiler.trace.traced import TracedLoss

__all__ = ["call_text", "literal", "plain_call", "quoted"]

aten = torch.ops.aten
INFIX = {aten.add.Tensor: "+", aten.sub.Tensor: "-", aten.mul.Tensor: "*", aten.div.Tensor: "/"}
VIEWS = (aten.view.default, aten.reshape.default, aten._unsafe_view.default)
#: Ops that live in torch.nn.functional with the signature of the op.
FUNCTIONAL = {"linear": "linear", "pad": "pad", "avg_pool2d": "avg_pool2d", "avg_pool3d": "avg_pool3d"}
#: Norms whose backward in torch misreads gradients, inputs or weights that are not contiguous.
MISREADING = (aten.batch_norm.default, aten.instance_norm.default)
END = 2**31


def call_text(
    traced: TracedLoss, node: fx.Node, names: Mapping[fx.Node, str], replaced: Mapping[str, str] | None = None
) -> str:
    """The call of an op as a reader of torch would write it, or by its full name in ``torch.ops.aten``.

    ``replaced`` gives other variables for some arguments, by their names in the schema, or those that the call lacks.
    """

    def text(value: Any) -> str:
        if isinstance(value, fx.Node):
            is_size = value not in names and not isinstance(value.meta.get("val"), Tensor)
            return literal(traced.extent(value)) if is_size else names[value]
        return literal(value, text)

    target = node.target
    if replaced:
        return plain_call(node, text, replaced)
    if target is operator.getitem:
        return f"{text(node.args[0])}[{text(node.args[1])}]"
    if target in INFIX and not node.kwargs:
        left, right = (bracketed(text(value)) for value in node.args)
        return f"{left} {INFIX[target]} {right}"
    if target in VIEWS:
        sizes = ", ".join(literal(size) for size in traced.shape(node))
        return f"{text(node.args[0])}.reshape({sizes})" if sizes else f"{text(node.args[0])}.reshape(())"
    if target is aten.slice.Tensor:
        return sliced(node, text)
    if target is aten.expand.default:
        return f"{text(node.args[0])}.expand({', '.join(text(v) for v in node.args[1])})"  # type: ignore[union-attr]
    if target is aten.squeeze.default:
        dims = tuple(d for d, size in enumerate(traced.shape(node.args[0])) if size == 1)  # type: ignore[arg-type]
        return f"{text(node.args[0])}.squeeze({dims})"
    if target is aten.copy.default:
        value = node.meta["val"]
        sizes = ", ".join(literal(size) for size in traced.shape(node))
        return f"{text(node.args[1])}.expand({sizes}).to({value.dtype})"
    if target is aten.contiguous.default:
        return f"{text(node.args[0])}.contiguous()"
    if target is aten._to_copy.default and is_cast(node):
        return f"{text(node.args[0])}.to({node.kwargs['dtype']})"
    if target is aten.cross_entropy_loss.default and len(node.args) == 4 and node.args[2:] == (None, 0):
        return f'F.cross_entropy({text(node.args[0])}, {text(node.args[1])}, reduction="none")'
    return plain_call(node, text)


def is_cast(node: fx.Node) -> bool:
    """Whether a copy has another dtype and nothing else; also where the program is run in float64."""
    before, after = node.args[0].meta["val"].dtype, node.meta["val"].dtype  # type: ignore[union-attr]
    return list(node.kwargs) == ["dtype"] and len(node.args) == 1 and before != after and after.itemsize < 8


def plain_call(node: fx.Node, text: Callable[[Any], str], replaced: Mapping[str, str] = MappingProxyType({})) -> str:
    """The function and its arguments, in the order of the schema."""
    target: Any = node.target
    schema = [a.name for a in target._schema.arguments]
    arguments = [replaced.get(name) or text(a) for name, a in zip(schema, node.args, strict=False)]
    arguments += [f"{k}={replaced.get(k) or text(v)}" for k, v in node.kwargs.items()]
    called = {*schema[: len(node.args)], *node.kwargs}
    arguments += [f"{k}={v}" for k, v in replaced.items() if k not in called]
    scaled = target in (aten.add.Scalar, aten.sub.Scalar) and len(node.args) > 2  # torch reads their third otherwise
    name = f"aten.{target}".replace("aten.aten", "aten") if scaled else function_name(target)
    if target in MISREADING:
        return f"{CONTIGUOUSLY}({name}, {', '.join(arguments)})"
    return f"{name}({', '.join(arguments)})"


def function_name(target: Any) -> str:
    """``torch.relu`` where torch has the op as a plain binding, else ``aten.relu.default``."""
    name = target._schema.name.removeprefix("aten::")
    if name in FUNCTIONAL and isinstance(getattr(F, FUNCTIONAL[name]), BuiltinFunctionType):
        return f"F.{FUNCTIONAL[name]}"
    plain = isinstance(getattr(torch, name, None), BuiltinFunctionType) and not name.startswith("_")
    if plain and name != "index_put":  # torch's own binding of that takes no None for a dim that is not indexed
        return f"torch.{name}"
    namespace, _, op = target._schema.name.partition("::")
    if namespace == "clipcompiler":  # a function that the program carries with it
        return str(op)
    prefix = "aten" if namespace == "aten" else f"torch.ops.{namespace}"
    return f"{prefix}.{op}.{target._overloadname}"


def sliced(node: fx.Node, text: Callable[[Any], str]) -> str:
    """``x[:, 2:5]``, and ``x`` itself where nothing is cut."""
    given: list[Any] = list(node.args)
    source, dim, start, end, step = (given + [0, None, None, 1][len(given) - 1 :])[:5]
    rank = node.meta["val"].dim()
    first = "" if start in (None, 0) else text(start)
    last = "" if end is None or (isinstance(end, int) and end >= END) else text(end)
    if not first and not last and step == 1:
        return text(source)
    pace = "" if step == 1 else f":{step}"
    return f"{text(source)}[{':, ' * (int(dim) % rank)}{first}:{last}{pace}]"


def bracketed(text: str) -> str:
    """An operand: a size may be a sum or a product, as in ``x / (2 * T)``."""
    return f"({text})" if " " in text else text


def quoted(text: str) -> str:
    """A string in double quotes."""
    return json.dumps(text, ensure_ascii=False)


class SizePrinter(StrPrinter):  # type: ignore[misc]
    """A size as Python: N * 3, N // 2, N % 2."""

    def _print_Mul(self, size: sympy.Mul) -> str:
        text: str = super()._print_Mul(size)
        return re.sub(r"(?<!\*)\*(?!\*)", " * ", text)

    def _print_Function(self, size: sympy.Function) -> str:
        name, parts = type(size).__name__, [f"({self.doprint(part)})" for part in size.args]
        if name in ("FloorDiv", "CleanDiv"):
            return f"({' // '.join(parts)})"
        if name in ("Mod", "PythonMod"):
            return f"({' % '.join(parts)})"
        if name in ("FloatTrueDiv", "IntTrueDiv"):
            return f"({' / '.join(parts)})"
        if name == "ToFloat":
            return f"float{parts[0]}"
        if name == "FloatPow":
            return f"({' ** '.join(parts)})"
        if name == "OpaqueUnaryFn_sqrt":
            return f"({parts[0]} ** 0.5)"
        raise UntraceableModel(
            f"a size is {size}, which cannot be written in Python",
            remedy="take sizes as x.shape[d], or -1 in a view",
        )

    _print_FloorDiv = _print_CleanDiv = _print_Mod = _print_PythonMod = _print_Function
    _print_FloatTrueDiv = _print_IntTrueDiv = _print_ToFloat = _print_FloatPow = _print_Function


def literal(value: Any, inner: Callable[[Any], str] | None = None) -> str:
    """A value as Python source; a size may contain N."""
    inner = inner or literal
    if isinstance(value, (list, tuple)):
        items = ", ".join(inner(v) for v in value)
        return f"[{items}]" if isinstance(value, list) else f"({items}{',' if len(value) == 1 else ''})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, sympy.Expr):
        return str(SizePrinter().doprint(value))
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    return repr(value) if isinstance(value, str) else str(value)
