"""What one example contributes to the clipped sum S, and how far rounding may carry it beyond C.

Let τ be the relative error of norms and sums in the dtype that they are formed in: 1e-5 in float32 and 1e-10 in
float64, which is what the project promises. Let u be the unit of rounding (2⁻⁸ in bfloat16, 2⁻¹¹ in float16) of the
sums that the step returns where that is narrower, else 0. Each of P elements is then rounded once more; δ is half of
the smallest number of that dtype. So

    ‖S({n})‖ ≤ C (1 + τ + u) + δ√P
    |S as returned − S| ≤ e(S) = τ Σ_n c_n ‖∇ℓ_n‖ + u ‖S‖ + δ√P
    ‖S(batch) − S(batch′)‖ ≤ C (1 + τ) + e(S) + e(S′)       batch′: without one example
    ‖S(batch) − S(batch′)‖ ≤ 2C (1 + τ) + e(S) + e(S′)      batch′: with one example replaced

The first is the sharp one. The others hold two sums against each other, so the rounding of all examples is in them;
they are wide where a batch is large or the sums narrow. Where another number of examples makes a device choose another
kernel, the forward of the others is rounded otherwise: that shows in a removal, and is not allowed for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from clipcompiler.adversary import Example
from clipcompiler.runtime import ClippedGradients, CompiledStep

__all__ = ["Refused", "Run", "Subject", "moved", "norm"]

#: τ: the relative error of norms and sums in the dtype they are formed in.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


class Refused(Exception):
    """The step did not take an example that is not finite, or the model itself did not."""


@dataclass(frozen=True, slots=True)
class Run:
    """The clipped sums of one batch.

    Attributes:
        result: losses, norms and clip factors.
        sums: S of all parameters as one vector, in float64.
        tolerance: τ.
        rounding: u.
        denormal: δ√P.
    """

    result: ClippedGradients
    sums: Tensor
    tolerance: float
    rounding: float
    denormal: float

    @classmethod
    def of(cls, result: ClippedGradients, gradients: dict[str, Tensor]) -> Run:
        """Joins the gradients of all parameters."""
        flat = [g.detach().double().flatten() for g in gradients.values()]
        sums = torch.cat(flat) if flat else torch.zeros(0, dtype=torch.float64)
        own = torch.finfo(result.norms.dtype)
        narrow = [f for f in (torch.finfo(g.dtype) for g in gradients.values()) if f.eps > own.eps]
        rounding = max((f.eps / 2 for f in narrow), default=0.0)
        smallest = max((f.smallest_normal * f.eps / 2 for f in narrow), default=0.0)
        return cls(result, sums, TOLERANCE[result.norms.dtype], rounding, smallest * len(sums) ** 0.5)

    @property
    def error(self) -> float:
        """e(S) = τ Σ_n c_n ‖∇ℓ_n‖ + u ‖S‖ + δ√P"""
        parts = self.result.clip_factors.double() * self.result.norms.double()
        clipped = float(torch.where(self.result.clip_factors == 0, 0.0, parts).sum())
        return self.tolerance * clipped + self.rounding * norm(self.sums) + self.denormal


@dataclass(slots=True)
class Subject:
    """A step and a batch to audit it on.

    Attributes:
        step: the step.
        leaves: every leaf of the batch.
        structure: how the leaves nest.
        sensitivity: C.
        seed: of the draws of the model, the same before every run; ``None`` where it draws nothing.
        picked: the examples that are made extreme.
        random: the draws of the audit itself.
    """

    step: CompiledStep
    leaves: Example
    structure: Any
    sensitivity: float
    seed: int | None
    picked: list[int] = field(default_factory=list)
    random: torch.Generator = field(default_factory=torch.Generator)

    @property
    def size(self) -> int:
        """N"""
        return int(next(leaf for leaf in self.leaves if isinstance(leaf, Tensor)).shape[0])

    def run(self, leaves: Example) -> Run:
        """The clipped sums of a batch; the caller's random state and ``.grad`` stay as they are.

        Raises:
            Refused: where the step finds something that is not finite, or the model raises by itself.
        """
        args, kwargs = pytree.tree_unflatten(list(leaves), self.structure)
        with torch.random.fork_rng(enabled=self.seed is not None):
            if self.seed is not None:
                torch.manual_seed(self.seed)
            try:
                return Run.of(*self.step.gradients(*args, **kwargs))
            except FloatingPointError as error:
                raise Refused from error
            except Exception as error:
                if raises(self.step, args, kwargs):
                    raise Refused from error
                raise

    def only(self, n: int) -> Example:
        """Example n as a batch of one."""
        return self.rows([n])

    def without(self, n: int) -> Example:
        """The batch but for example n."""
        return self.rows([m for m in range(self.size) if m != n])

    def rows(self, index: list[int]) -> Example:
        """Some of the examples, copied."""
        return tuple(leaf[index] if isinstance(leaf, Tensor) else leaf for leaf in self.leaves)

    def replaced(self, n: int, one: Example) -> Example:
        """The batch with another example in the place of n."""
        return tuple(
            torch.cat([leaf[:n], new, leaf[n + 1 :]]) if isinstance(leaf, Tensor) else leaf
            for leaf, new in zip(self.leaves, one, strict=True)
        )

    def share(self, value: float, allowed: float = 1.0) -> float:
        """value / (allowed·C); where C is 0, anything but 0 is infinitely too large."""
        if self.sensitivity == 0:
            return 0.0 if value == 0 else math.inf
        return value / (allowed * self.sensitivity)


def raises(step: CompiledStep, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether the model and its loss raise by themselves, without the step."""
    try:
        with torch.no_grad():
            if step.loss_fn is None:
                step.model(*args, **kwargs)
            else:
                step.loss_fn(step.model(*args[:-1], **kwargs), args[-1])
    except Exception:
        return True
    return False


def norm(vector: Tensor) -> float:
    """‖v‖ = √Σ v²"""
    return float(vector.square().sum().sqrt())


def moved(before: ClippedGradients, after: ClippedGradients, n: int) -> float:
    """The largest relative change of a norm or a loss of an example other than n."""
    worst = 0.0
    for a, b in ((before.norms, after.norms), (before.losses, after.losses)):
        rest = torch.arange(len(a), device=a.device) != n
        x, y = a[rest].double(), b[rest].double()
        same = (x == y) | (x.isnan() & y.isnan())
        larger = torch.maximum(x.abs(), y.abs()).clamp(min=torch.finfo(torch.float64).tiny)
        change = torch.where(same, 0.0, ((x - y).abs() / larger).nan_to_num(math.inf, math.inf))
        worst = max(worst, float(change.max()) if len(change) else 0.0)
    return worst
