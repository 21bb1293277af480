"""g[n] of the values of functions of parameters → g[n] of the parameters: g_θ[n] = (∂f/∂θ)ᵀ g_f[n]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import fx

from clipcompiler.algebra import Letter
from clipcompiler.codegen.body import Body
from clipcompiler.codegen.laid import Laid, atom

__all__ = ["write_pull_back", "write_pull_back_of_sums"]


def write_pull_back(
    body: Body,
    values: Sequence[fx.Node],
    parameters: Sequence[fx.Node],
    each: dict[fx.Node, Laid],
    graphs: Mapping[fx.Node, str],
    labels: Mapping[fx.Node, str],
    dtype: torch.dtype,
) -> None:
    """One backward pass through functions, vmapped over the examples; adds the parameters' direct uses.

    ``graphs`` are the variables of values and parameters that hold the functions' own graph.
    """
    cotangents = [shaped(each[value], value) for value in values]
    example = each[values[0]].letters[0]
    pulled = [body.names.fresh(f"{labels[p]}_pulled") for p in parameters]
    body.comment("the chain rule through the functions of parameters, one vjp for all examples (vmap)")
    write_vjp(body, pulled, values, parameters, cotangents, graphs, dtype, batched=True)
    for parameter, name in zip(parameters, pulled, strict=True):
        shape = tuple(parameter.meta["val"].shape)
        direct = each.get(parameter)
        wide = cast(name, parameter.meta["val"].dtype, dtype)
        text = wide if direct is None else f"{wide} + {shaped(direct, parameter)}"
        letters = (example, *(Letter(f"w{k}", size) for k, size in enumerate(shape)))
        each[parameter] = Laid(body.bind(f"{labels[parameter]}_each", text), letters)


def write_pull_back_of_sums(
    body: Body,
    values: Sequence[fx.Node],
    parameters: Sequence[fx.Node],
    sums: dict[fx.Node, str],
    graphs: Mapping[fx.Node, str],
    labels: Mapping[fx.Node, str],
    dtype: torch.dtype,
) -> None:
    """Σ_n c_n g_θ[n] = (∂f/∂θ)ᵀ Σ_n c_n g_f[n]: one backward pass through functions, of the clipped sums."""
    pulled = [body.names.fresh(f"{labels[p]}_grad") for p in parameters]
    body.comment("every element of these parameters is read at most once: one vjp of the clipped sums")
    write_vjp(body, pulled, values, parameters, [sums[v] for v in values], graphs, dtype, batched=False)
    for parameter, name in zip(parameters, pulled, strict=True):
        sums[parameter] = cast(name, parameter.meta["val"].dtype, dtype)


def write_vjp(
    body: Body,
    results: Sequence[str],
    values: Sequence[fx.Node],
    parameters: Sequence[fx.Node],
    cotangents: Sequence[str],
    graphs: Mapping[fx.Node, str],
    dtype: torch.dtype,
    *,
    batched: bool,
) -> None:
    """results = (∂ values / ∂ parameters)ᵀ cotangents, with vmap over their first dim if ``batched``.

    The cotangents are of ``dtype``, and are cast to that of the values.
    """
    given = [cast(text, dtype, value.meta["val"].dtype) for text, value in zip(cotangents, values, strict=True)]
    body.line(f"{', '.join(results)}{',' if len(results) == 1 else ''} = torch.autograd.grad(")
    for items in (values, parameters):
        body.line(f"    ({', '.join(graphs[node] for node in items)},),")
    body.line(f"    ({', '.join(given)},),")
    if batched:
        body.line("    is_grads_batched=True,")
    body.line("    allow_unused=True,")
    body.line("    materialize_grads=True,")
    body.line(")")


def cast(text: str, own: torch.dtype, wanted: torch.dtype) -> str:
    """A tensor in another dtype, if it has another."""
    return text if own == wanted else f"{atom(text)}.to({wanted})"


def shaped(each: Laid, node: fx.Node) -> str:
    """Per-example gradients in the shape [N, *shape of the value] (units in place of N, where they are clipped)."""
    shape = tuple(node.meta["val"].shape)
    if tuple(x.extent for x in each.letters[1:]) == shape:
        return each.text
    return f"{atom(each.text)}.reshape({', '.join(map(str, (each.letters[0].extent, *shape)))})"
