"""C follows a quantile of the norms, known through a noised count alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipcompiler.clipping.clipping import Group
from clipcompiler.clipping.factors import Flat, require_positive
from clipcompiler.clipping.sensitivity import Sensitivity

__all__ = ["AdaptiveQuantile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveQuantile(Flat):
    """Flat clipping whose C moves after every step: C ← C exp(−η (b̃ − q))  (Andrew et al., NeurIPS 2021, §2).

    b̃ = (#{n: ‖g_n‖ ≤ C} + z)/B with z ~ N(0, σ²), the noised share of the examples below C. The count is
    published beside the sum: it moves by 1 when an example is added or removed, so that the noise of the two
    together is accounted for as one Gaussian mechanism: 1/z² = 1/z_sum² + 1/σ², with z_sum the noise multiplier
    of the sum.

    ``max_grad_norm`` is the first C. Calling the step moves it; ``step.gradients`` does not.

    Attributes:
        expected_batch_size: B > 0, the batch size expected (not that of the batch, which Poisson sampling keeps
            secret), in examples.
        count_noise: σ ≥ 0, the standard deviation of the count's noise, in examples (the paper takes B/20).
            Without noise the count is not private.
        quantile: q, the share of examples that should stay unclipped, in [0, 1].
        learning_rate: η > 0.
        generator: draws the noise.

    Raises:
        ValueError: where a number lies out of its range.
    """

    expected_batch_size: float
    count_noise: float
    quantile: float = 0.5
    learning_rate: float = 0.2
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"quantile is {self.quantile}: give a share between 0 and 1")
        if not self.count_noise >= 0:
            raise ValueError(f"count_noise is {self.count_noise}: give a standard deviation ≥ 0")
        require_positive("learning_rate", self.learning_rate)
        require_positive("expected_batch_size", self.expected_batch_size)

    def sensitivity(self, max_grad_norm: float, groups: Sequence[Group]) -> Sensitivity:
        """C for the sum, 1 for the count."""
        return Sensitivity(max_grad_norm, 2 * max_grad_norm, count=1.0)

    def updated(self, max_grad_norm: float, norms: Tensor) -> float:
        """C exp(−η (b̃ − q))"""
        noise = torch.randn((), generator=self.generator, dtype=torch.float64).item() * self.count_noise
        share = (int((norms <= max_grad_norm).sum()) + noise) / self.expected_batch_size
        return max_grad_norm * math.exp(-self.learning_rate * (share - self.quantile))
