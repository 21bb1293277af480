"""g[n] of the values of functions of parameters → g[n] of the parameters: g_θ[n] = (∂f/∂θ)ᵀ g_f[n]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from clipcompiler.algebra import Letter
from clipcompiler.codegen.body import Body
from clipcompiler.codegen.laid import Laid, atom, cast
from clipcompiler.derive.complex_values import shape_by_parts
from clipcompiler.derive.derived import Functions

__all__ = ["PullBack"]


@dataclass(frozen=True, slots=True)
class PullBack:
    """Writes vjps through the functions of parameters.

    Attributes:
        body: where statements go.
        functions: the functions.
        graphs: the variables of values and parameters that hold the functions' own graph.
        labels: the variable stem of each parameter or value.
        dtype: the dtype of norms and sums.
    """

    body: Body
    functions: Functions
    graphs: Mapping[fx.Node, str]
    labels: Mapping[fx.Node, str]
    dtype: torch.dtype

    def by_example(self, values: Sequence[fx.Node], parameters: Sequence[fx.Node], each: dict[fx.Node, Laid]) -> None:
        """g[n] of every parameter: one backward pass, vmapped over the examples, plus the direct uses."""
        example = each[values[0]].letters[0]
        pulled = [self.body.names.fresh(f"{self.labels[p]}_pulled") for p in parameters]
        self.body.comment("the chain rule through the functions of parameters, one vjp for all examples (vmap)")
        given = [self.narrowed(shaped(each[value], value), value) for value in values]
        self.vjp(pulled, values, parameters, given, batched=True)
        for parameter, name in zip(parameters, pulled, strict=True):
            shape, direct = shape_by_parts(parameter), each.get(parameter)
            wide = self.widened(name, parameter)
            text = wide if direct is None else f"{wide} + {shaped(direct, parameter)}"
            letters = (example, *(Letter(f"w{k}", size) for k, size in enumerate(shape)))
            each[parameter] = Laid(self.body.bind(f"{self.labels[parameter]}_each", text), letters)

    def of_sums(self, values: Sequence[fx.Node], parameters: Sequence[fx.Node], sums: dict[fx.Node, str]) -> None:
        """Σ_n c_n g_θ[n] = (∂f/∂θ)ᵀ Σ_n c_n g_f[n]: one backward pass of the clipped sums."""
        pulled = [self.body.names.fresh(f"{self.labels[p]}_grad") for p in parameters]
        self.body.comment("every element of these parameters is read at most once: one vjp of the clipped sums")
        given = [cast(sums[value], self.of_sum(value), self.own(value)) for value in values]
        self.vjp(pulled, values, parameters, given, batched=False)
        for parameter, name in zip(parameters, pulled, strict=True):
            sums[parameter] = cast(name, self.own(parameter), self.of_sum(parameter))

    def vjp(
        self,
        results: Sequence[str],
        values: Sequence[fx.Node],
        parameters: Sequence[fx.Node],
        cotangents: Sequence[str],
        *,
        batched: bool,
    ) -> None:
        """results = (∂ values / ∂ parameters)ᵀ cotangents; with vmap over the first dim of the cotangents."""
        self.body.line(f"{', '.join(results)}{',' if len(results) == 1 else ''} = torch.autograd.grad(")
        for items in (values, parameters):
            self.body.line(f"    ({', '.join(self.graphs[node] for node in items)},),")
        self.body.line(f"    ({', '.join(cotangents)},),")
        if batched:
            self.body.line("    is_grads_batched=True,")
            self.body.line("    retain_graph=True,")
        self.body.line("    allow_unused=True,")
        self.body.line("    materialize_grads=True,")
        self.body.line(")")

    def narrowed(self, text: str, value: fx.Node) -> str:
        """Gradients in the dtype of norms as those of a value, in its own dtype; of parts as complex ones."""
        own = self.own(value)
        real = cast(text, self.dtype, own.to_real())
        return f"torch.view_as_complex({atom(real)}.contiguous())" if own.is_complex else real

    def widened(self, name: str, parameter: fx.Node) -> str:
        """Gradients of a parameter in the dtype of norms, complex ones by their parts."""
        own = self.own(parameter)
        parts = f"torch.view_as_real({name}.resolve_conj())" if own.is_complex else name
        return cast(parts, own.to_real(), self.dtype)

    def of_sum(self, node: fx.Node) -> torch.dtype:
        """The dtype of a clipped sum: that of norms, complex where the node is."""
        return self.dtype.to_complex() if self.own(node).is_complex else self.dtype

    def own(self, node: fx.Node) -> torch.dtype:
        """The dtype of a node in the functions' graph."""
        return self.functions.dtype(node, self.dtype)


def shaped(each: Laid, node: fx.Node) -> str:
    """Per-example gradients in the shape [N, *shape of the value] (units in place of N, where they are clipped)."""
    shape = shape_by_parts(node)
    if tuple(x.extent for x in each.letters[1:]) == shape:
        return each.text
    return f"{atom(each.text)}.reshape({', '.join(map(str, (each.letters[0].extent, *shape)))})"
