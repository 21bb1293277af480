"""Program, model, a batch, a budget → the program with the number of examples that it takes at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from clipcompiler.errors import MemoryBudgetTooSmall
from clipcompiler.memory.budget import HELD_BACK, SHARES, UNSEEN, Budget, Memory, within
from clipcompiler.memory.liveness import WITHOUT_DATA, peak_of, peak_of_running

__all__ = ["fit", "ordinary_peak", "step_peak"]

#: The function of a program, loaded: (parameters, buffers, *batch, max_grad_norm, chunk, …) → losses, …
Function = Callable[..., Any]


def fit(
    budget: Budget, step: Callable[[int, int], int], ordinary: Callable[[int], int], size: int, quick: int | None
) -> Memory:
    """The most examples at a time within a budget, and no more than ``quick``, where fewer are faster.

    Args:
        budget: bytes, or a word that stands for a multiple of what an ordinary step holds.
        step: (examples, examples at a time) → predicted bytes.
        ordinary: examples → predicted bytes of an ordinary step.
        size: the examples of a batch.
        quick: the examples at a time that are fastest; ``None`` for all.

    Raises:
        MemoryBudgetTooSmall: where one example at a time needs more than the bytes given.
    """
    plain = ordinary(size) if isinstance(budget, str) else None
    most = budget if isinstance(budget, int) else int(SHARES[budget] * (plain or 0))

    def peak(chunk: int) -> int:
        seen = step(min(size, 2 * chunk), chunk)
        unseen = UNSEEN * seen
        return int(seen + unseen + min(unseen, HELD_BACK))

    start = min(size, quick or size)
    try:
        chunk = within(most, peak, start)
    except MemoryBudgetTooSmall:
        if isinstance(budget, int):
            raise
        chunk = 1  # a word asks for as little as there can be
    chunk = math.ceil(size / math.ceil(size / chunk))  # as many chunks, of one size
    return Memory(None if chunk >= size else chunk, peak(chunk), plain, size)


def step_peak(function: Function, tensors: dict[str, Any], batch: Any, options: dict[str, Any]) -> Callable[..., int]:
    """(examples, examples at a time) → the peak of a step of the program."""

    def peak(size: int, chunk: int) -> int:
        return peak_of(function, tensors, batch, size, {"max_grad_norm": 1.0, "chunk": chunk, **options})

    return peak


def ordinary_peak(
    model: nn.Module, loss_fn: Any, args: Any, kwargs: Any, *, with_data: bool = False
) -> Callable[[int], int]:
    """Examples → the peak of a forward and a backward pass of the mean loss.

    ``with_data`` runs them: on tensors without data a model might keep some of these.
    """
    parameters = dict(model.named_parameters())
    tensors = {"parameters": parameters, "buffers": dict(model.named_buffers())}
    trained = {name for name, p in parameters.items() if p.requires_grad}
    leaves, structure = pytree.tree_flatten((tuple(args), dict(kwargs)))
    places = [k for k, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def step(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *batch: Tensor) -> Any:
        own = list(leaves)
        for place, tensor in zip(places, batch, strict=True):
            own[place] = tensor
        positional, named = pytree.tree_unflatten(own, structure)
        inputs = positional if loss_fn is None else positional[:-1]
        with torch.enable_grad():
            given = {k: p.requires_grad_() if k in trained else p for k, p in parameters.items()}
            output = functional_call(model, {**given, **buffers}, inputs, named)
            losses = output if loss_fn is None else loss_fn(output, positional[-1])
            if losses.requires_grad:  # no trained parameter reaches them otherwise
                losses.mean().backward()
        return [p.grad for p in given.values()]

    batch = tuple(leaves[k] for k in places)

    def peak(size: int) -> int:
        if with_data:
            return peak_of_running(step, tensors, batch)
        try:
            return peak_of(step, tensors, batch, size, {})
        except WITHOUT_DATA:  # the forward reads values: where a mask is true
            return peak_of_running(step, tensors, batch)

    return peak
