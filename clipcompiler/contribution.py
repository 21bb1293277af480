"""What one example contributes to the clipped sum S, and how far rounding may carry it beyond C.

Where units of several examples are clipped, example stands for unit throughout, and n counts units. C is what
``step.sensitivity`` says under add/remove.

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
from clipcompiler.runtime.nonfinite import Units

__all__ = ["Part", "Refused", "Run", "Subject", "moved", "norm"]

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
        real = [torch.view_as_real(g.resolve_conj()) if g.is_complex() else g for g in gradients.values()]
        flat = [g.detach().double().flatten() for g in real]
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
        each = torch.where(self.result.clip_factors == 0, 0.0, parts)
        clipped = float(each.sum() if each.dim() == 1 else each.square().sum(1).sqrt().sum())
        return self.tolerance * clipped + self.rounding * norm(self.sums) + self.denormal


@dataclass(frozen=True, slots=True)
class Part:
    """Some examples of a batch.

    Attributes:
        leaves: every leaf of the batch.
        units: which of them are clipped together.
    """

    leaves: Example
    units: Units

    @property
    def given(self) -> dict[str, Tensor]:
        """What the step is told of the units."""
        return {} if self.units.ids is None else {"unit_ids": self.units.ids}


@dataclass(slots=True)
class Subject:
    """A step and a batch to audit it on.

    Attributes:
        step: the step.
        whole: the batch.
        structure: how the leaves nest.
        sensitivity: C.
        seed: of the draws of the model, the same before every run; ``None`` where it draws nothing.
        picked: the examples that are made extreme.
        random: the draws of the audit itself.
    """

    step: CompiledStep
    whole: Part
    structure: Any
    sensitivity: float
    seed: int | None
    picked: list[int] = field(default_factory=list)
    random: torch.Generator = field(default_factory=torch.Generator)

    @property
    def size(self) -> int:
        """N"""
        return self.whole.units.count

    def run(self, part: Part) -> Run:
        """The clipped sums of a batch; the caller's random state and ``.grad`` stay as they are.

        Raises:
            Refused: where the step finds something that is not finite, or the model raises by itself.
        """
        args, kwargs = pytree.tree_unflatten(list(part.leaves), self.structure)
        with torch.random.fork_rng(enabled=self.seed is not None):
            if self.seed is not None:
                torch.manual_seed(self.seed)
            try:
                return Run.of(*self.step.gradients(*args, **kwargs, **part.given))
            except FloatingPointError as error:
                raise Refused from error
            except Exception as error:
                if raises(self.step, args, kwargs):
                    raise Refused from error
                raise

    def only(self, n: int) -> Part:
        """Example n as a batch of one."""
        return self.rows(self.whole.units.of == n)

    def without(self, n: int) -> Part:
        """The batch but for example n."""
        return self.rows(self.whole.units.of != n)

    def rows(self, chosen: Tensor) -> Part:
        """Some of the examples, copied."""
        leaves = tuple(leaf[chosen] if isinstance(leaf, Tensor) else leaf for leaf in self.whole.leaves)
        return Part(leaves, units_like(self.whole.units, self.whole.units.of[chosen]))

    def replaced(self, n: int, one: Part) -> Part:
        """The batch with another example in the place of n, before those that follow it."""
        units = self.whole.units
        first = int((units.of == n).nonzero()[0])
        before, behind = (units.of != n) & ahead(units.of, first), (units.of != n) & ~ahead(units.of, first)
        leaves = tuple(
            torch.cat([leaf[before], new, leaf[behind]]) if isinstance(leaf, Tensor) else leaf
            for leaf, new in zip(self.whole.leaves, one.leaves, strict=True)
        )
        of = torch.cat([units.of[before], torch.full_like(one.units.of, n), units.of[behind]])
        return Part(leaves, units_like(units, of))

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


def units_like(units: Units, of: Tensor) -> Units:
    """Units of these examples: known at call time where ``units`` are, else consecutive."""
    if units.ids is not None:
        return Units.by_id(of)
    return Units(torch.unique(of, return_inverse=True)[1], len(torch.unique(of)))


def ahead(of: Tensor, first: int) -> Tensor:
    """The places before ``first``."""
    return torch.arange(len(of), device=of.device) < first


def norm(vector: Tensor) -> float:
    """‖v‖ = √Σ v²"""
    return float(vector.square().sum().sqrt())


def moved(before: Run, after: Run, n: int, units: Units) -> float:
    """The largest relative change of a norm or a loss of an example other than n; ``units`` are those of the batch."""
    worst, old, new = 0.0, before.result, after.result
    pairs = [(old.norms.reshape(units.count, -1), new.norms.reshape(units.count, -1), torch.arange(units.count))]
    if units.ids is None and len(old.losses) == len(new.losses) == units.count:
        pairs.append((old.losses[:, None], new.losses[:, None], torch.arange(units.count)))
    for a, b, of in pairs:
        rest = of.to(a.device) != n
        x, y = a[rest].double(), b[rest].double()
        same = (x == y) | (x.isnan() & y.isnan())
        larger = torch.maximum(x.abs(), y.abs()).clamp(min=torch.finfo(torch.float64).tiny)
        change = torch.where(same, 0.0, ((x - y).abs() / larger).nan_to_num(math.inf, math.inf))
        worst = max(worst, float(change.max()) if change.numel() else 0.0)
    return worst
