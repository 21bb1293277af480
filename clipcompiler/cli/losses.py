"""Losses by name: N losses from an output and a target, and random targets that go with the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clipcompiler.cli.specification import Specification
from clipcompiler.cli.subject import Unusable

__all__ = ["LOSSES", "loss_called", "target_for"]


def mean_of_each(losses: Tensor) -> Tensor:
    """ℓ[n] = mean over s of x[n,s]"""
    return losses.flatten(1).mean(1) if losses.dim() > 1 else losses


def cross_entropy(output: Any, target: Tensor) -> Tensor:
    """ℓ[n] = mean over s of −log softmax over c of y[n,c,s] at c = target[n,s]"""
    return mean_of_each(F.cross_entropy(logits(output), target, reduction="none"))


def token_cross_entropy(output: Any, target: Tensor) -> Tensor:
    """ℓ[n] = mean over t of −log softmax over c of y[n,t,c] at c = target[n,t]"""
    return mean_of_each(F.cross_entropy(logits(output).movedim(-1, 1), target, reduction="none"))


def mse(output: Any, target: Tensor) -> Tensor:
    """ℓ[n] = mean over s of (y[n,s] − target[n,s])²"""
    return mean_of_each(F.mse_loss(logits(output), target, reduction="none"))


def l1(output: Any, target: Tensor) -> Tensor:
    """ℓ[n] = mean over s of |y[n,s] − target[n,s]|"""
    return mean_of_each(F.l1_loss(logits(output), target, reduction="none"))


def huber(output: Any, target: Tensor) -> Tensor:
    """ℓ[n] = mean over s of the Huber loss of y[n,s] and target[n,s]"""
    return mean_of_each(F.huber_loss(logits(output), target, reduction="none"))


def bce(output: Any, target: Tensor) -> Tensor:
    """ℓ[n] = mean over s of the binary cross-entropy of the logit y[n,s] and target[n,s]"""
    found = logits(output)
    return mean_of_each(F.binary_cross_entropy_with_logits(found, target.to(found.dtype), reduction="none"))


def logits(output: Any) -> Tensor:
    """The output itself; of a record, as transformers returns one, its ``logits``."""
    found = getattr(output, "logits", output)
    if not isinstance(found, Tensor):
        raise TypeError(f"the model returns a {type(output).__name__}: give a loss of your own, which reads it")
    return found


LOSSES: dict[str, Callable[..., Tensor] | None] = {
    "cross_entropy": cross_entropy,
    "token_cross_entropy": token_cross_entropy,
    "mse": mse,
    "l1": l1,
    "huber": huber,
    "bce": bce,
    "none": None,
}


def loss_called(name: str, find: Callable[[str], Any]) -> Callable[..., Tensor] | None:
    """A loss by its name, or by ``module:function``.

    Raises:
        Unusable: where there is none of this name.
    """
    if name in LOSSES:
        return LOSSES[name]
    if ":" not in name:
        raise Unusable(f"there is no loss {name!r}: say {', '.join(LOSSES)}, or module:function")
    loss: Callable[..., Tensor] = find(name)
    return loss


def target_for(loss_fn: Any, output: Any) -> Specification:
    """The kind of target that one of these losses takes beside an output."""
    values = logits(output)
    if loss_fn is cross_entropy:
        return Specification("", tuple(values.shape[2:]), torch.int64, values.shape[1])
    if loss_fn is token_cross_entropy:
        return Specification("", tuple(values.shape[1:-1]), torch.int64, values.shape[-1])
    if loss_fn is bce:
        return Specification("", tuple(values.shape[1:]), torch.bool)
    return Specification("", tuple(values.shape[1:]), values.dtype)
