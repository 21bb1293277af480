"""A program → exact, refused or wrong: whether it mixes examples is found by experiment."""

import re
from dataclasses import dataclass

import torch

import clipcompiler as cc
from clipcompiler.verify import NormsByFormula, oracle
from fuzz.program import build

__all__ = ["Verdict", "examine", "mixes"]

#: Relative errors of norms and clipped sums; below ``NOTHING`` a gradient is rounding alone.
TOLERANCE, NOTHING = 1e-9, 1e-12


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


def mixes(program, size=4):
    """max over n of |ℓ_n in the batch − ℓ_n alone|, and of their gradients, relative; for scalars of their mean or sum.

    Raises whatever the program raises.
    """
    model = build(program)
    parameters = [p for p in model.parameters() if p.requires_grad]
    batch = program.batch(size)
    together = model(*batch)
    try:
        alone = [model(*(t[n : n + 1] for t in batch)).sum() for n in range(size)]
    except (RuntimeError, ValueError, IndexError):
        if not program.mixes:
            raise
        return influence(model, batch, program.batch(size, seed=1), parameters)  # one example alone is too few for it
    if together.dim() == 0:
        pairs = [[(together, sum(alone)), (together, sum(alone) / size)]]
    else:
        assert together.shape == (size,), f"losses of shape {tuple(together.shape)}"
        pairs = [[(together[n], alone[n])] for n in range(size)]
    return max(min(distance(a, b, parameters) for a, b in pair) for pair in pairs)


def influence(model, batch, other, parameters):
    """How far the other examples change ℓ_0; of a scalar, how far they change what the first example adds to it."""

    def at(first, rest):
        loss = model(*(torch.cat([a[:1], b[1:]]) for a, b in zip(first, rest, strict=True)))
        return loss[0] if loss.dim() else loss

    if model(*batch).dim():
        return distance(at(batch, batch), at(batch, other), parameters)
    return distance(at(batch, batch) - at(other, batch), at(batch, other) - at(other, other), parameters)


def distance(a, b, parameters):
    """The relative distance of two losses and of their gradients."""
    values = (a - b).abs().item() / (1e-6 + b.abs().item())
    first, second = gradients(a, parameters), gradients(b, parameters)
    return max(values, (first - second).norm().item() / (1e-6 + second.norm().item()))


def examine(program, sizes=(1, 4)):
    """Compiles a program and holds it against one backward pass an example."""
    try:
        with NormsByFormula():
            amount = mixes(program)
    except (RuntimeError, ValueError, IndexError) as error:  # torch itself does not run or differentiate it
        return Verdict("void", f"{type(error).__name__}: {error}")
    if amount != amount or amount == float("inf"):
        return Verdict("void")
    mixing = amount > 1e-7
    model = build(program)
    step = cc.compile(model)
    if not mixing:
        try:
            truths = [oracle(model, None, program.batch(size)) for size in sizes]
        except (RuntimeError, ValueError, IndexError) as error:  # one example alone is too few for it
            return Verdict("void", f"{type(error).__name__}: {error}")
        norms = torch.cat([t.norms for t in truths])
        if not torch.isfinite(norms).all():
            return Verdict("void")
        step.max_grad_norm = float(norms.median())
    try:
        for size in sizes:
            why = step.gradients(*program.batch(size)) and "" if mixing else inexact(step, program.batch(size))
            if why:
                return Verdict("wrong", f"N = {size}: {why}", mixing)
    except cc.CompileError as refusal:
        return Verdict("refused", f"{type(refusal).__name__}: {refusal}", mixing)
    except Exception as error:
        return Verdict("crash", f"{type(error).__name__}: {error}", mixing)
    return Verdict("wrong", "accepted, but mixes examples", True) if mixing else Verdict("exact")


def inexact(step, batch):
    """What differs from one backward pass an example, or nothing."""
    result, found = step.gradients(*batch)
    truth = oracle(step.model, None, batch, max_grad_norm=step.max_grad_norm)
    names = sorted(truth.gradients)
    if sorted(found) != names:
        return f"gradients of {sorted(found)}, not of {names}"
    sums = [torch.cat([g[k].flatten() for k in names]) for g in (found, truth.gradients)] if names else []
    pairs = {"losses": (result.losses, truth.losses), "norms": (result.norms, truth.norms)}
    pairs |= {"sums": (sums[0], sums[1])} if sums else {}
    for name, (ours, theirs) in pairs.items():
        error = (ours - theirs).abs() if name != "sums" else (ours - theirs).norm()
        size = theirs.abs() if name != "sums" else theirs.norm()
        if not (error <= TOLERANCE * size + NOTHING).all():
            return f"{name}: {ours.tolist()[:9]}, not {theirs.tolist()[:9]}"
    return ""
