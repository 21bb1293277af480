"""How a program's gradients are clipped, as data; and what follows from it, by formulas that are this file's own."""

import math
from dataclasses import dataclass

import torch

import clipcompiler as cc

__all__ = ["Clipped"]


def of_norms(norms):
    """A function of the norms that is no bound by itself."""
    return 3 / (norms + 0.2)


@dataclass(frozen=True)
class Clipped:
    """How gradients are clipped.

    Attributes:
        how: "flat", "automatic", "normalize", "psac" or "function".
        number: γ or r.
        groups: "all" parameters together, "layer", or the bound of each name.
        per_unit: how many consecutive examples are clipped together.
        by_ids: whether the examples of one id are.
    """

    how: str = "flat"
    number: float = 0.1
    groups: str | dict[str, float] = "all"
    per_unit: int = 1
    by_ids: bool = False

    def compiled(self, model):
        """What ``cc.compile`` is given."""
        how = {
            "flat": cc.Flat, "automatic": lambda: cc.Automatic(self.number), "normalize": cc.Normalize,
            "psac": lambda: cc.PSAC(self.number), "function": lambda: of_norms,
        }[self.how]()  # fmt: skip
        if self.groups == "all":
            return how
        if self.how == "function":
            how = cc.clipping.Function(how)
        if self.groups == "layer":
            return cc.PerLayer(how)
        filled = {name for name, _ in self.members(model)}
        return cc.PerGroup({name: bound for name, bound in self.groups.items() if name in filled}, how=how)

    def members(self, model):
        """(the group of a parameter, its name), for every one that is trained."""
        for name in (name for name, p in model.named_parameters() if p.requires_grad):
            path = name.split(".")
            if self.groups == "all":
                yield "", name
            elif self.groups == "layer":
                yield ".".join(path[:-1]) or "(root)", name
            else:
                begun = [".".join(path[:k]) for k in range(len(path), 0, -1)]
                yield next((b for b in begun if b in self.groups), "*"), name

    def bounds(self, model, bound):
        """C of every group: C itself, C/√G, or C times its number."""
        names = list(dict.fromkeys(group for group, _ in self.members(model)))
        if self.groups == "all":
            return {"": bound}
        if self.groups == "layer":
            return {name: bound / math.sqrt(len(names)) for name in names}
        return {name: bound * self.groups[name] for name in names}

    def factors(self, norms, bound):
        """c of these norms."""
        match self.how:
            case "flat":
                return torch.where(norms > bound, bound / norms, 1.0)
            case "automatic":
                return bound / (norms + self.number)
            case "normalize":
                return torch.where(norms > 1e-15, bound / norms, 0.0)
            case "psac":
                return bound / (norms + self.number / (norms + self.number))
        return torch.where(norms * of_norms(norms) > bound, bound / norms, of_norms(norms))

    def ids(self, size):
        """The unit of every example, where they have ids: some have several examples, in no order."""
        generator = torch.Generator().manual_seed(size)
        return 3 * torch.randint(0, 1 + size // 2, (size,), generator=generator) + 1

    def units(self, size):
        """The examples of every unit, as runs of a batch: one of them all, or one for each."""
        if not self.by_ids:
            return [[list(range(u, u + self.per_unit))] for u in range(0, size, self.per_unit)]
        ids = self.ids(size).tolist()
        return [[[n] for n in range(size) if ids[n] == unit] for unit in sorted(set(ids))]
