"""A method's clipped sums and norms against one backward pass an example, in the same dtype."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines import one_pass_an_example
from benchmarks.peers.methods.method import LossFunction, Method

__all__ = ["Problem", "errors_of", "is_right", "median_norm"]

#: The largest relative error of what counts as right: float32 and sums in another order stay far below.
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Problem:
    """A model as it was built, its loss, and the batch."""

    model: nn.Module
    loss_fn: LossFunction
    x: Tensor
    y: Tensor

    def double(self) -> Problem:
        """The same in float64."""
        x = self.x.double() if self.x.is_floating_point() else self.x
        return Problem(copy.deepcopy(self.model).double(), self.loss_fn, x, self.y)

    def norms(self) -> Tensor:
        """‖∇ℓ_n‖ of every example, one after another."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        found = []
        for n in range(len(self.x)):
            loss = self.loss_fn(self.model(self.x[n : n + 1]), self.y[n : n + 1]).sum()
            gradients = torch.autograd.grad(loss, parameters)
            found.append(torch.stack([g.double().square().sum() for g in gradients]).sum().sqrt())
        return torch.stack(found)  # float64: torch's own norm of a long float32 tensor on a CPU is 1e-4 off


def median_norm(norms: Tensor) -> float:
    """C at which about half of the examples are clipped, a little above the median: none lies on the edge."""
    return 1.01 * float(norms.median())


def is_right(errors: dict[str, float]) -> bool:
    """Whether no error is too large; NaN is."""
    return all(error <= TOLERANCE for error in errors.values())


def errors_of(method: Method, problem: Problem, norms: Tensor, max_grad_norm: float) -> dict[str, float]:
    """The relative errors of one step: of its sums, of its norms, and of the losses of a model put in place."""
    for p in method.model.parameters():
        p.grad = None
    own_norms = method.step()
    model = copy.deepcopy(problem.model if method.plain is None else method.plain)
    one_pass_an_example(model, problem.loss_fn, problem.x, problem.y, max_grad_norm=max_grad_norm)
    truth = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    found = {name: p.grad for name, p in method.model.named_parameters()}
    made = [torch.zeros_like(g) if found[name] is None else found[name] for name, g in truth.items()]
    errors = {"sums": relative(made, list(truth.values()))}
    if own_norms is not None:
        errors["norms"] = relative([own_norms], [norms])
    if method.plain is not None:
        losses = [problem.loss_fn(m(problem.x), problem.y).detach() for m in (method.plain, problem.model)]
        errors["losses"] = relative(losses[:1], losses[1:])
    return errors


def relative(a: Sequence[Tensor | None], b: Sequence[Tensor]) -> float:
    """‖a − b‖ / ‖b‖ over all tensors, in float64; infinite where their shapes differ."""
    over = under = 0.0
    for left, right in zip(a, b, strict=True):
        if left is None or left.shape != right.shape:
            return float("inf")
        over += float((left.detach().double() - right.detach().double()).square().sum())
        under += float(right.detach().double().square().sum())
    return float((over / max(under, 1e-300)) ** 0.5)
