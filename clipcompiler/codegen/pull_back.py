"""g[n] of the values of functions of parameters → g[n] of the parameters: g_θ[n] = (∂f/∂θ)ᵀ g_f[n]."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

from clipcompiler.algebra import Letter
from clipcompiler.codegen.body import Body
from clipcompiler.codegen.laid import Laid, atom
from clipcompiler.derive.complex_values import shape_by_parts
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
    cotangents = [narrowed(text, value, dtype) for text, value in zip(cotangents, functions.values, strict=True)]
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
        shape, own = shape_by_parts(parameter), parameter.meta["val"].dtype
        direct = each.get(parameter)
        parts = f"torch.view_as_real({name}.resolve_conj())" if own.is_complex else name
        wide = parts if own.to_real() == dtype else f"{parts}.to({dtype})"
        text = wide if direct is None else f"{wide} + {shaped(direct, parameter)}"
        letters = (example, *(Letter(f"w{k}", size) for k, size in enumerate(shape)))
        each[parameter] = Laid(body.bind(f"{labels[parameter]}_each", text), letters)


def narrowed(text: str, value: fx.Node, dtype: torch.dtype) -> str:
    """Gradients in the dtype of norms as those of a value, in its own dtype."""
    own = value.meta["val"].dtype
    text = text if own.to_real() == dtype else f"{text}.to({own.to_real()})"
    return f"torch.view_as_complex({atom(text)}.contiguous())" if own.is_complex else text


def shaped(each: Laid, node: fx.Node) -> str:
    """Per-example gradients in the shape [N, *shape of the value] (units in place of N, where they are clipped)."""
    shape = shape_by_parts(node)
    if tuple(x.extent for x in each.letters[1:]) == shape:
        return each.text
    return f"{atom(each.text)}.reshape({', '.join(map(str, (each.letters[0].extent, *shape)))})"
