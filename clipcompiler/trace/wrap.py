"""(model, loss_fn) → one module from the batch to the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from clipcompiler.trace.behind_autograd import NothingBehindAutograd, same_parameters

__all__ = ["ModelWithLoss", "WithoutValueChecks", "own_name"]


class ModelWithLoss(nn.Module):
    """loss_fn(model(*inputs, **options), target); without a loss function, model(*batch, **options)."""

    def __init__(self, model: nn.Module, loss_fn: Callable[..., Tensor] | None) -> None:
        super().__init__()
        self.model = model
        self.loss_fn = loss_fn

    def forward(self, batch: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        """The loss of a batch, the target last."""
        with NothingBehindAutograd(), same_parameters(self):
            if self.loss_fn is None:
                losses: Tensor = self.model(*batch, **options)
            else:
                losses = self.loss_fn(self.model(*batch[:-1], **options), batch[-1])
        return losses


def own_name(path: str) -> str:
    """A path in the wrapper as a path in the model; what belongs to the loss keeps ``loss_fn.`` in front."""
    return path.removeprefix("model.")


def gaussian_nll(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """½ (log max(σ², ε) + (x − t)² / max(σ², ε)), as ``F.gaussian_nll_loss`` without its look at the values."""
    if not isinstance(var, Tensor):
        var = input.new_full((), float(var)).expand_as(input)
    if var.size() != input.size() and input.size()[:-1] == var.size():
        var = var.unsqueeze(-1)
    clamped = var + (var.clamp(min=eps) - var).detach()
    loss: Tensor = 0.5 * (torch.log(clamped) + (input - target) ** 2 / clamped)
    if full:
        loss = loss + 0.9189385332046727  # ½ log 2π
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss


class WithoutValueChecks(TorchFunctionMode):
    """``F.gaussian_nll_loss`` refuses negative variances by branching on the data, which no graph can hold."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replaces that function by its formula; leaves every other as it is."""
        if function is F.gaussian_nll_loss:
            function = gaussian_nll
        return function(*args, **(kwargs or {}))
