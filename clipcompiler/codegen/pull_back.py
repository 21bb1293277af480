"""g[n] of the values of functions of parameters → g[n] of the parameters: g_θ[n] = (∂f/∂θ)ᵀ g_f[n]."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

from clipcompiler.algebra import Letter
from clipcompiler.codegen.body import Body
from clipcompiler.codegen.laid import Laid, atom
from clipcompiler.derive.derived import Functions

__all__ = ["write_pull_back"]


def write_pull_back(
    body: Body,
    functions: Functions,
    each: dict[fx.Node, Laid],
    graphs: Mapping[fx.Node, str],
    labels: Mapping[fx.Node, str],
    dtype: torch.dtype,
) -> None:
    """One backward pass through the functions, vmapped over the examples; adds the parameters' direct uses.

    ``graphs`` are the variables of values and parameters that hold the functions' own graph.
    """
    cotangents = [shaped(each[value], value) for value in functions.values]
    example = each[functions.values[0]].letters[0]
    own = [value.meta["val"].dtype for value in functions.values]
    cotangents = [text if d == dtype else f"{text}.to({d})" for text, d in zip(cotangents, own, strict=True)]
    pulled = [body.names.fresh(f"{labels[p]}_pulled") for p in functions.parameters]
    body.comment("the chain rule through the functions of parameters, one vjp for all examples (vmap)")
    one = len(pulled) == 1
    body.line(f"{', '.join(pulled)}{',' if one else ''} = torch.autograd.grad(")
    for items in (functions.values, functions.parameters):
        body.line(f"    ({', '.join(graphs[node] for node in items)},),")
    body.line(f"    ({', '.join(cotangents)},),")
    body.line("    is_grads_batched=True,")
    body.line("    allow_unused=True,")
    body.line("    materialize_grads=True,")
    body.line(")")
    for parameter, name in zip(functions.parameters, pulled, strict=True):
        shape = tuple(parameter.meta["val"].shape)
        direct = each.get(parameter)
        wide = name if parameter.meta["val"].dtype == dtype else f"{name}.to({dtype})"
        text = wide if direct is None else f"{wide} + {shaped(direct, parameter)}"
        letters = (example, *(Letter(f"w{k}", size) for k, size in enumerate(shape)))
        each[parameter] = Laid(body.bind(f"{labels[parameter]}_each", text), letters)


def shaped(each: Laid, node: fx.Node) -> str:
    """Per-example gradients in the shape [N, *shape of the value] (units in place of N, where they are clipped)."""
    shape = tuple(node.meta["val"].shape)
    if tuple(x.extent for x in each.letters[1:]) == shape:
        return each.text
    return f"{atom(each.text)}.reshape({', '.join(map(str, (each.letters[0].extent, *shape)))})"
