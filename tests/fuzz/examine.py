"""A program → exact, refused or wrong: whether it mixes examples is found by experiment."""

import re
from dataclasses import dataclass, replace

import torch

import clipcompiler as cc
from clipcompiler.verify import NormsByFormula
from fuzz.custom import RULES
from fuzz.judge import differs, passes
from fuzz.program import build

__all__ = ["Verdict", "examine", "mixes"]


@dataclass(frozen=True)
class Verdict:
    """What became of a program.

    Attributes:
        kind: "exact", "refused", "wrong" (accepted, but inexact or mixing), "crash", or "void": torch itself does
            not run it, or its gradients are not finite.
        why: the reason of the refusal, or what is wrong.
        mixing: whether an example's loss or gradient depends on the other examples, by experiment.
    """

    kind: str
    why: str = ""
    mixing: bool = False

    @property
    def label(self):
        """The refusal in a few words: its class and the op, or its first words."""
        if self.kind != "refused":
            return ""
        first = self.why.splitlines()[0]
        op = re.search(r"(aten|prims)\.\w+", first)
        return f"{first.split(':')[0]} {op.group(0) if op else first.partition(': ')[2][:60]}"


def gradients(loss, parameters):
    """∇ loss, as one vector."""
    if not loss.requires_grad:
        return torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True, retain_graph=True)
    return torch.cat([g.flatten() for g in found])


def mixes(program, count=4):
    """max over n of |ℓ_n in the batch − ℓ_n alone|, and of their gradients, relative; for scalars of their mean or sum.

    n is a unit where consecutive examples are clipped together. Raises whatever the program raises.
    """
    model = build(program)
    parameters = [p for p in model.parameters() if p.requires_grad]
    m = program.clipped.per_unit
    batch = program.batch(count * m)
    together = model(*batch)
    try:
        alone = [model(*(t[n * m : n * m + m] for t in batch)).sum() for n in range(count)]
    except (RuntimeError, ValueError, IndexError):
        if not program.mixes:
            raise
        return influence(model, batch, program.batch(count * m, seed=1), parameters, m)  # one alone is too few for it
    if together.dim() == 0:
        pairs = [[(together, sum(alone)), (together, sum(alone) / count)]]
    else:
        assert together.shape == (count * m,), f"losses of shape {tuple(together.shape)}"
        pairs = [[(together[n * m : n * m + m].sum(), alone[n])] for n in range(count)]
    return max(min(distance(a, b, parameters) for a, b in pair) for pair in pairs)


def influence(model, batch, other, parameters, m):
    """How far the other units change ℓ_0; of a scalar, how far they change what the first unit adds to it."""

    def at(first, rest):
        loss = model(*(torch.cat([a[:m], b[m:]]) for a, b in zip(first, rest, strict=True)))
        return loss[:m].sum() if loss.dim() else loss

    if model(*batch).dim():
        return distance(at(batch, batch), at(batch, other), parameters)
    return distance(at(batch, batch) - at(other, batch), at(batch, other) - at(other, other), parameters)


def distance(a, b, parameters):
    """The relative distance of two losses and of their gradients."""
    values = (a - b).abs().item() / (1e-6 + b.abs().item())
    first, second = gradients(a, parameters), gradients(b, parameters)
    return max(values, (first - second).norm().item() / (1e-6 + second.norm().item()))


def examine(program, counts=(1, 4)):
    """Compiles a program and holds it against one backward pass an example, or unit, at these numbers of them."""
    try:
        with NormsByFormula():
            amount = mixes(program)
    except (RuntimeError, ValueError, IndexError) as error:  # torch itself does not run or differentiate it
        return Verdict("void", f"{type(error).__name__}: {error}")
    if amount != amount or amount == float("inf"):
        return Verdict("void")
    mixing, model, clipped = amount > 1e-7, build(program), program.clipped
    options = {"clipping": clipped.compiled(model), "examples_per_unit": clipped.per_unit, "rules": RULES}
    step = cc.compile(model, **options, **program.way)
    sizes, truths = [count * clipped.per_unit for count in counts], []
    if not mixing:
        try:
            truths = [passes(model, program.batch(size), clipped.units(size)) for size in sizes]
        except (RuntimeError, ValueError, IndexError) as error:  # one example alone is too few for it
            return Verdict("void", f"{type(error).__name__}: {error}")
        norms = torch.cat([truth.norms() for truth in truths])
        if not torch.isfinite(norms).all() or undefined(clipped, model, truths):
            return Verdict("void")
        step.max_grad_norm = float(norms.median()) or 1.0
    try:
        return held_against(step, program, sizes, truths, mixing)
    except ValueError as error:  # of several groups, recurrent layers, or parameters of several dtypes
        if not str(error).startswith("strategy='reweight'"):
            return Verdict("crash", f"{type(error).__name__}: {error}", mixing)
        return examine(replace(program, way=program.way | {"strategy": "bookkeeping"}), counts)


def held_against(step, program, sizes, truths, mixing):
    """The verdict on a step: it must refuse what mixes, and give what the backward passes do otherwise."""
    clipped = program.clipped
    try:
        for k, size in enumerate(sizes):
            ids = {"unit_ids": clipped.ids(size)} if clipped.by_ids else {}
            given = step.gradients(*program.batch(size), **ids)
            why = "" if mixing else differs(step, given, clipped, clipped.units(size), truths[k])
            if why:
                return Verdict("wrong", f"N = {size}: {why}", mixing)
    except cc.CompileError as refusal:
        return Verdict("refused", f"{type(refusal).__name__}: {refusal}", mixing)
    except ValueError:
        raise
    except Exception as error:
        return Verdict("crash", f"{type(error).__name__}: {error}", mixing)
    return Verdict("wrong", "accepted, but mixes examples", True) if mixing else Verdict("exact")


def undefined(clipped, model, truths):
    """Whether a gradient that is to be scaled to C is zero but for rounding."""
    if clipped.how != "normalize":
        return False
    groups = {
        group: [name for own, name in clipped.members(model) if own == group] for group, _ in clipped.members(model)
    }
    norms = [truth.norms(names) for truth in truths for names in groups.values()]
    return any(bool(((own > 0) & (own < 1e-6)).any()) for own in norms)
