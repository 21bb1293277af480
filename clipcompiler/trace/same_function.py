"""op, decomposition → whether both have the same value and gradient, tried on random tensors of the op's extents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

__all__ = ["random_tensor", "same_function"]


def same_function(node: fx.Node, other: Callable[..., Any]) -> bool:
    """Whether another function has the value and the gradient of an op; ``False`` too where it cannot be tried."""
    with _disable_current_modes(), torch.inference_mode(False), torch.enable_grad():
        tried = [same_for(node, other, positive=positive) for positive in (True, False)]
    return True in tried and False not in tried


def same_for(node: fx.Node, other: Callable[..., Any], *, positive: bool) -> bool | None:
    """The same for one choice of numbers; ``None`` where the op itself does not take them."""
    draw = torch.Generator().manual_seed(0)
    arguments = fx.map_arg((node.args, node.kwargs), lambda n: drawn(n.meta["val"], draw, positive=positive))
    leaves = [x for x in pytree.tree_leaves(arguments) if isinstance(x, Tensor) and x.requires_grad]
    op: Any = node.target
    try:
        expected = value_and_gradient(op, arguments, leaves)
    except Exception:  # an op need not be defined for any numbers
        return None
    try:
        found = value_and_gradient(other, arguments, leaves)
    except Exception:  # what fails where the op does not is another function
        return False
    return len(found) == len(expected) and all(map(alike, found, expected))


def value_and_gradient(function: Callable[..., Any], arguments: Any, leaves: list[Tensor]) -> list[Tensor]:
    """The outputs, and the gradient of their random sum for each argument."""
    outputs = [x for x in pytree.tree_leaves(function(*arguments[0], **arguments[1])) if isinstance(x, Tensor)]
    smooth = [x for x in outputs if x.requires_grad]
    draw = torch.Generator().manual_seed(1)
    weights = [random_tensor(x.shape, x.dtype, x.device, draw) for x in smooth]
    gradients = torch.autograd.grad(smooth, leaves, weights, materialize_grads=True) if smooth and leaves else ()
    return [*outputs, *gradients]


def drawn(value: Any, draw: torch.Generator, *, positive: bool) -> Any:
    """A random tensor like a traced one; a size as the number that it was traced with."""
    if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return value.node.hint
    if not isinstance(value, Tensor):
        return value
    shape = [size.node.hint if isinstance(size, torch.SymInt) else size for size in value.shape]
    made = random_tensor(shape, value.dtype, value.device, draw, positive=positive)
    return made.requires_grad_(value.is_floating_point() or value.is_complex())


def random_tensor(
    shape: Any, dtype: torch.dtype, device: torch.device, draw: torch.Generator, *, positive: bool = True
) -> Tensor:
    """Random numbers between 1/4 and 5/4, or else normal ones; zeros where they are whole; ``True``."""
    if not dtype.is_floating_point and not dtype.is_complex:
        return torch.full(tuple(shape), dtype == torch.bool, dtype=dtype, device=device)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    if not positive:
        return torch.randn(tuple(shape), generator=draw, dtype=wide).to(device, dtype)
    return (torch.rand(tuple(shape), generator=draw, dtype=wide) + 0.25).to(device, dtype)


def alike(found: Tensor, expected: Tensor) -> bool:
    """Whether two values are the same but for rounding, in kind and extents too."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not expected.dtype.is_floating_point and not expected.dtype.is_complex:
        return torch.equal(found, expected)
    near = 100 * torch.finfo(expected.dtype).eps
    largest = float(expected.detach().abs().max()) if expected.numel() else 0.0
    return torch.allclose(found, expected, rtol=near, atol=near * largest, equal_nan=True)
