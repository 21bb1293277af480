"""Names of the variables of a generated program, from module paths."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterable

from torch import fx

from clipcompiler.codegen.helpers import SOURCES
from clipcompiler.trace.source import op_name
from clipcompiler.trace.traced import TracedLoss

__all__ = ["Names", "identifier"]

#: What a generated program uses itself.
RESERVED = {
    "torch", "aten", "F", "N", "self", "parameters", "buffers", "gradients", "losses", "norms", "squared_norms",
    "clip_factors", "max_grad_norm", "weight_gradient", "bound", "clipping",
    "sums", "some", "parts", "first", "part", "rows", "chunk", "slice", "range", "zip", "len", "product",
    "unit_ids", "ids", "unit_of", "examples", "present", "units", "members", "updates",
}  # fmt: skip

#: Our own ops of one recurrent layer: ``encoder.lstm`` is written as the variable ``encoder_lstm_steps``.
LAYERS = re.compile(r"^clipcompiler\.\w+_layer")


def identifier(text: str) -> str:
    """``encoder.layers.0`` → ``encoder_layers_0``, never a keyword."""
    name = re.sub(r"\W+", "_", text).strip("_") or "value"
    if name[0].isdigit():
        name = f"m{name}"
    return name + "_" if keyword.iskeyword(name) else name


class Names:
    """Gives every value one name and every name one value; the same graph always gets the same names."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = {*RESERVED, *taken, *SOURCES}

    def fresh(self, wanted: str) -> str:
        """``wanted``, or the first of ``wanted_2``, ``wanted_3``, … that is free."""
        name, count = identifier(wanted), 1
        while name in self.taken:
            count += 1
            name = f"{identifier(wanted)}_{count}"
        self.taken.add(name)
        return name

    def of_nodes(self, traced: TracedLoss) -> dict[fx.Node, str]:
        """A name for every op: its module's path where it is the module's only op, else path and op."""
        paths = {node: traced.origin(node).module_path for node in traced.ops()}
        alone = Counter(paths.values())
        named: dict[fx.Node, str] = {}
        for node, path in paths.items():
            op = LAYERS.sub("steps", op_name(node).removeprefix("aten.")).split(".")[0].lstrip("_")
            if node is traced.loss:
                named[node] = "losses"
            elif path and alone[path] == 1:
                named[node] = self.fresh(path)
            else:
                named[node] = self.fresh(f"{path}.{op}" if path else op)
        return named
