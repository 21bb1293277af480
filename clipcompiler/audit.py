"""max over batch′ of ‖S(batch) − S(batch′)‖ / C: a search for an example that contributes more than it may."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from clipcompiler.adversary import adversaries, affine
from clipcompiler.contribution import Part, Refused, Run, Subject, moved, norm
from clipcompiler.runtime import Audit, CompiledStep, Finding
from clipcompiler.runtime.batch import batch_of
from clipcompiler.runtime.nonfinite import units_of
from clipcompiler.verify import draws

__all__ = ["alone", "audit", "climb", "extreme", "remove_one", "replace_one"]

#: Steps of the hill climb from each example: half of them anywhere, half near the best.
CLIMB = 64


@dataclass(slots=True)
class Search:
    """One search over trials, of which the worst is kept.

    Attributes:
        subject: what is audited.
        name: what the search is called.
        worst: what it found so far.
    """

    subject: Subject
    name: str
    worst: Finding

    @classmethod
    def of(cls, subject: Subject, name: str) -> Search:
        """A search that has tried nothing."""
        return cls(subject, name, Finding(name, 0.0, 1.0, -1, "", 0, 0))

    def record(self, share: float, bound: float, example: int, trial: str, refused: int = 0) -> None:
        """Counts a trial, and keeps it where it is the worst against its bound."""
        best, share = self.worst, math.inf if math.isnan(share) else share
        trials, refusals = best.trials + 1, best.refused + refused
        if not refused and (best.example < 0 or share / bound > best.share / best.bound):
            self.worst = Finding(self.name, share, bound, example, trial, trials, refusals)
        else:
            self.worst = Finding(self.name, best.share, best.bound, best.example, best.trial, trials, refusals)

    def run(self, batch: Part, n: int, trial: str) -> Run | None:
        """The clipped sums of a batch; ``None`` where it is refused, or fails, which is recorded as a violation."""
        try:
            return self.subject.run(batch)
        except Refused:
            self.record(0.0, 1.0, n, trial, refused=1)
        except Exception as error:
            self.record(math.inf, 1.0, n, f"{trial}: {type(error).__name__}")
        return None

    def alone(self, n: int, trial: str, one: Part) -> float:
        """Records ‖S({n})‖ / C against 1 + τ + u + δ√P/C; returns it."""
        run = self.run(one, n, trial)
        if run is None:
            return 0.0
        share = self.subject.share(norm(run.sums))
        self.record(share, 1 + run.tolerance + run.rounding + self.subject.share(run.denormal), n, trial)
        return share


def alone(subject: Subject) -> Finding:
    """‖S({n})‖ / C, for every example as a batch of one: added to the empty batch. N runs."""
    search = Search.of(subject, "alone")
    for n in range(subject.size):
        search.alone(n, "as it is", subject.only(n))
    return search.worst


def remove_one(subject: Subject) -> Finding:
    """‖S(batch) − S(batch without n)‖ / C, for every example. N + 1 runs."""
    search = Search.of(subject, "remove one")
    whole = search.run(subject.whole, -1, "the whole batch")
    for n in range(subject.size if whole else 0):
        rest = search.run(subject.without(n), n, "left out")
        if whole and rest:
            share = subject.share(norm(whole.sums - rest.sums))
            search.record(share, 1 + whole.tolerance + subject.share(whole.error + rest.error), n, "left out")
    return search.worst


def replace_one(subject: Subject) -> Finding:
    """‖S(batch) − S(batch with n replaced)‖ / 2C; or 1 + r, where that moves another's norm or loss by r of it.

    The number of examples stays, so that the others are computed by the same kernels from the same draws, and are
    to stay as they are to τ. One run a replacement, and one.
    """
    search = Search.of(subject, "replace one")
    whole = search.run(subject.whole, -1, "the whole batch")
    for n, what, one in replacements(subject) if whole else ():
        run = search.run(subject.replaced(n, one), n, what)
        if whole and run:
            change = moved(whole, run, n, subject.whole.units)
            if change > whole.tolerance:
                search.record(1 + change, 1 + whole.tolerance, n, f"{what}: moves the others")
            else:
                share = subject.share(norm(whole.sums - run.sums), 2)
                search.record(share, 1 + whole.tolerance + subject.share(whole.error + run.error, 2), n, what)
    return search.worst


def replacements(subject: Subject) -> Iterator[tuple[int, str, Part]]:
    """Each picked example by its neighbour; then every extreme form, in turn in the place of each picked one."""
    for n in subject.picked:
        other = (n + 1) % subject.size
        yield n, f"replaced by {other}", subject.only(other)
    if subject.picked:
        first = subject.picked[0]
        for k, (what, one) in enumerate(forms_of(subject, first)):
            yield subject.picked[k % len(subject.picked)], f"replaced by {first}, {what}", one


def forms_of(subject: Subject, n: int) -> Iterator[tuple[str, Part]]:
    """Every extreme form of one example."""
    own = subject.only(n)
    for what, leaves in adversaries(own.leaves, subject.whole.leaves, subject.random):
        yield what, Part(leaves, own.units)


def extreme(subject: Subject) -> Finding:
    """‖S({n})‖ / C for every extreme form of the picked examples. About 60 runs an example and floating tensor."""
    search = Search.of(subject, "extreme")
    for n in subject.picked:
        for what, one in forms_of(subject, n):
            search.alone(n, what, one)
    return search.worst


def climb(subject: Subject) -> Finding:
    """A hill climb on ‖S({n})‖ / C over scale·x + offset, from every picked example. CLIMB runs each."""
    search = Search.of(subject, "climb")
    for n in subject.picked:
        best, at = -1.0, (0.0, 0.0, 1.0)
        for k in range(CLIMB):
            a, b, c = torch.rand(3, generator=subject.random).tolist()
            near = k >= CLIMB // 2
            scale, offset = (at[0] + a - 0.5, at[1] + b - 0.5) if near else (6 * a - 3, 9 * b - 2)
            sign = at[2] if near else math.copysign(1.0, c - 0.5)
            trial = f"× {10**scale:.5g} {sign * 10**offset:+.5g}"
            own = subject.only(n)
            form = Part(affine(own.leaves, 10**scale, sign * 10**offset), own.units)
            share = search.alone(n, trial, form)
            if share > best:
                best, at = share, (scale, offset, sign)
    return search.worst


def audit(
    step: CompiledStep,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    unit_ids: Tensor | None = None,
    *,
    examples: int = 4,
    seed: int = 0,
    progress: bool = False,
) -> Audit:
    """The worst of each search; ``.grad`` and the caller's random state stay as they are.

    A model that draws at random is given the same draws before every run. They are no longer each example's own
    where the number of examples differs, so nothing is removed from the batch of such a model.

    Raises:
        ValueError: where C is not a finite number ≥ 0: without clipping there is nothing to hold.
    """
    bound = step.sensitivity.add_remove
    if not (math.isfinite(bound) and bound >= 0):
        raise ValueError(f"an audit holds contributions against a finite bound, not {bound}: set max_grad_norm")
    step.prepare(*args, unit_ids=unit_ids, **kwargs)
    units = units_of(batch_of(args, kwargs), unit_ids, step.examples_per_unit)
    leaves, structure = pytree.tree_flatten((tuple(args), dict(kwargs)))
    random = draws(step)
    subject = Subject(step, Part(tuple(leaves), units), structure, bound, seed if random else None)
    subject.random.manual_seed(seed)
    subject.picked = sorted(torch.randperm(subject.size, generator=subject.random)[:examples].tolist())
    searches: list[Callable[[Subject], Finding]] = [alone, remove_one, replace_one, extreme, climb]
    findings: list[Finding] = []
    for search in searches:
        if random and search is remove_one:
            continue
        findings.append(search(subject))
        if progress:
            print(findings[-1])
    return Audit(tuple(findings), bound)
