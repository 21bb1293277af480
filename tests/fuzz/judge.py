"""One backward pass an example → the losses, norms, factors and clipped sums of a step, by formulas of their own."""

from dataclasses import dataclass

import torch

from clipcompiler.verify import NormsByFormula

__all__ = ["Passes", "differs", "passes"]

#: Relative errors of norms and clipped sums; below ``NOTHING`` a gradient is rounding alone.
TOLERANCE, NOTHING = 1e-9, 1e-12
#: How much a squared norm may be too large, as a share of the largest (or of 1): a Gram whose terms cancel is raised by
#: what rounding may have taken from it, docs/decisions/0013.
RAISED = 1e-14


@dataclass(frozen=True)
class Passes:
    """The number of units, the losses of their runs, and their gradients by parameter name, each [units, …]."""

    units: int
    losses: torch.Tensor
    gradients: dict[str, torch.Tensor]

    def norms(self, names=None):
        """√Σ |g|² over some parameters, or all: [units]."""
        chosen = [g for name, g in self.gradients.items() if names is None or name in names]
        squares = [g.reshape(self.units, -1).abs().square().sum(1) for g in chosen]
        return sum(squares, torch.zeros(self.units, dtype=torch.float64)).sqrt()


def passes(model, batch, units):
    """The backward passes of units, each of one or more runs of some rows of the batch."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    losses, found = [], []
    for runs in units:
        own = [torch.zeros_like(p) for p in named.values()]
        for rows in runs:
            with NormsByFormula():
                loss = model(*(t[rows] for t in batch)).sum()
            if loss.requires_grad:
                given = torch.autograd.grad(loss, [*named.values()], allow_unused=True, materialize_grads=True)
                own = [a + b for a, b in zip(own, given, strict=True)]
            losses.append(loss.detach())
        found.append(own)
    stacked = {name: torch.stack([own[k] for own in found]) for k, name in enumerate(named)}
    return Passes(len(units), torch.stack(losses), stacked)


def differs(step, given, clipped, units, truth):
    """In what a result differs from the backward passes, or nothing."""
    result, found = given
    sums = dict.fromkeys(truth.gradients, 0)
    bounds = clipped.bounds(step.model, step.max_grad_norm)
    if sorted(result.groups) != sorted(bounds):
        return f"groups {result.groups}, not {list(bounds)}"
    shape = (len(units), len(bounds))
    norms, factors = (t.reshape(shape) for t in (result.norms, result.clip_factors))
    pairs = {"losses": (in_runs(result.losses, units), truth.losses)}
    for group, bound in bounds.items():
        names = [name for own, name in clipped.members(step.model) if own == group]
        at, true = result.groups.index(group), truth.norms(names)
        own = norms[:, at]
        if not are_norms(own, true):
            return f"norms of {group or 'all'}: {own.tolist()[:9]}, not {true.tolist()[:9]}"
        factor = clipped.factors(own, bound)
        pairs[f"factors of {group or 'all'}"] = (factors[:, at] * own, factor * own)
        for name in names:
            sums[name] = torch.tensordot(factor.to(truth.gradients[name].dtype), truth.gradients[name], 1)
    for name, (ours, theirs) in pairs.items():
        if not ((ours - theirs).abs() <= TOLERANCE * theirs.abs() + NOTHING).all():
            return f"{name}: {ours.tolist()[:9]}, not {theirs.tolist()[:9]}"
    if sorted(found) != sorted(sums):
        return f"gradients of {sorted(found)}, not of {sorted(sums)}"
    ours, theirs = (torch.cat([g[k].flatten() for k in sorted(sums)] or [norms.flatten()]) for g in (found, sums))
    if not (ours - theirs).norm() <= TOLERANCE * theirs.norm() + NOTHING:
        return f"sums: {ours.tolist()[:9]}, not {theirs.tolist()[:9]}"
    return ""


def are_norms(ours, true):
    """No smaller than the true ones, and no larger but by what a Gram that cancels is raised."""
    raised = RAISED * max(1.0, float(true.square().max())) if len(true) else 0.0
    enough = ours >= true - TOLERANCE * true - NOTHING
    return bool((enough & (ours.square() <= (true + TOLERANCE * true + NOTHING).square() + raised)).all())


def in_runs(losses, units):
    """The losses of examples as those of the runs of the units."""
    runs = [rows for own in units for rows in own]
    if len(losses) == len(runs) and all(len(rows) > 1 for rows in runs):
        return losses  # one for each unit already
    return torch.stack([losses[rows].sum() for rows in runs])
