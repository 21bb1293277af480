"""Section 5: norms → the clip factors of every group of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from clipcompiler.clipping import Group
from clipcompiler.codegen.body import Body
from clipcompiler.codegen.names import identifier
from clipcompiler.plan import Choice, Plan
from clipcompiler.trace.traced import N

__all__ = ["ClipFactors", "write_clip_factors"]


@dataclass(frozen=True, slots=True)
class ClipFactors:
    """The clip factors by what they multiply.

    Attributes:
        body: where statements go.
        groups: the groups; one, if all parameters are clipped together.
        by_unit: whether they are those of units of unequal size.
        losses_per_unit: the losses of one unit, where units are of equal size.
    """

    body: Body
    groups: tuple[Group, ...]
    by_unit: bool
    losses_per_unit: int = 1

    def of_losses(self) -> str:
        """The variable of the factors of the losses, all clipped by one: those of the losses' units."""
        if self.by_unit:
            return "clip_factors[unit_of]"
        m = self.losses_per_unit
        return "clip_factors" if m == 1 else f"clip_factors.repeat_interleave({m})"

    def of(self, choice: Choice) -> str:
        """The variable of the factors [N] for the gradients g[n] of one parameter."""
        if len(self.groups) == 1:
            return "clip_factors"
        place = next(k for k, group in enumerate(self.groups) if choice.parameter in group.parameters)
        return self.body.bind(f"{identifier(self.groups[place].name)}_clip", f"clip_factors[:, {place}]")

    def by_example(self, choice: Choice) -> str:
        """The variable of the factors [N] for the cotangents of one parameter: those of the examples' units."""
        own = self.of(choice)
        return self.body.bind(f"{own}_by_example", f"{own}[unit_of]") if self.by_unit else own


def write_clip_factors(body: Body, plan: Plan, squares: Mapping[fx.Node, str]) -> ClipFactors:
    """‖g[n]‖ = √Σ ‖g_p[n]‖² over the parameters p of each group, and c[n] by the clipping function."""
    clipping, groups = plan.clipping, plan.groups
    body.section(f"clip factors: {clipping.equation}", "with torch.no_grad()")
    sums = [square_of(group, plan, squares) for group in groups]
    if len(groups) == 1:
        body.line(f"norms = ({sums[0]}).sqrt()")
        share = "" if groups[0].share == 1 else f" * {groups[0].share!r}"
    else:
        names = ", ".join(f"{k}: {group.name}" for k, group in enumerate(groups))
        body.comment(f"one column for each group of parameters: {names}")
        body.line(f"norms = torch.stack(({', '.join(sums)}), 1).sqrt()")
        share = f" * norms.new_tensor([{', '.join(repr(group.share) for group in groups)}])"
    body.line(f"bound = max_grad_norm * (1 - 2 * torch.finfo(norms.dtype).eps){share}  # C, never rounded up")
    body.line(f"clip_factors = {clipping.expression}")
    traced = plan.derived.axes.traced
    return ClipFactors(body, groups, plan.derived.by_unit, int(traced.shape(traced.loss)[0] / N))


def square_of(group: Group, plan: Plan, squares: Mapping[fx.Node, str]) -> str:
    """Σ ‖g_p[n]‖² over the parameters of one group."""
    own = [squares[c.source] for c in plan.choices if c.parameter in group.parameters and c.source in squares]
    nothing = "losses.new_zeros(units)" if plan.derived.by_unit else "losses.new_zeros(N)"
    return " + ".join(own) if own else nothing
