"""A random model as data: the tensors it holds, the lines of its forward; and the module these lines make."""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["Program", "build"]


@dataclass(frozen=True)
class Program:
    """A model that takes a batch and returns its losses, or a scalar.

    Attributes:
        inputs: shape of one example by name; the values are drawn by the name's first letter (see ``draw``).
        held: shape of every tensor of the module by name: parameters p, frozen parameters f, buffers b, masks m.
        aliases: further names of parameters, as of tied weights.
        lines: the body of ``forward``, which ends in a return.
        mixes: whether an op that mixes examples was put in.
    """

    inputs: dict[str, tuple[int, ...]]
    held: dict[str, tuple[int, ...]]
    lines: tuple[str, ...]
    aliases: dict[str, str] = field(default_factory=dict)
    mixes: bool = False

    def __str__(self) -> str:
        body = "\n".join(f"    {line}" for line in self.lines)
        return f"inputs={self.inputs}\nheld={self.held}\naliases={self.aliases}\n{self.signature}\n{body}"

    def __repr__(self) -> str:
        lines = "".join(f"        {line!r},\n" for line in self.lines)
        return (
            f"Program(\n    inputs={self.inputs},\n    held={self.held},\n    aliases={self.aliases},\n"
            f"    mixes={self.mixes},\n    lines=(\n{lines}    ),\n)"
        )

    @property
    def signature(self) -> str:
        """The first line of the forward."""
        return f"def forward(self, {', '.join(self.inputs)}):"

    def batch(self, size: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """A batch of ``size`` examples."""
        generator = torch.Generator().manual_seed(1000 * size + seed)
        return tuple(draw(name, (size, *shape), generator) for name, shape in self.inputs.items())


def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """The values of a tensor by the first letter of its name."""
    match name[0]:
        case "k" | "y":  # tokens, classes
            return torch.randint(0, 3, shape, generator=generator)
        case "m":  # a mask
            return torch.rand(shape, generator=generator) > 0.4
        case "w" | "v":  # weights, variances
            return torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5
        case "s":  # signs
            return 2.0 * torch.randint(0, 2, shape, generator=generator).double() - 1
        case "x" | "t" | "b":
            return torch.randn(shape, generator=generator, dtype=torch.float64)
        case "p" | "f":
            return 0.7 * torch.randn(shape, generator=generator, dtype=torch.float64)
    raise ValueError(f"no values for {name}")


def build(program: Program) -> nn.Module:
    """The module of a program."""
    body = "\n".join(f"    {line}" for line in program.lines)
    scope = {"torch": torch, "F": F}
    exec(f"{program.signature}\n{body}\n", scope)
    model = type("Model", (nn.Module,), {"forward": scope["forward"]})()
    generator = torch.Generator().manual_seed(1)
    for name, shape in program.held.items():
        value = draw(name, shape, generator)
        if name[0] in "pf":
            setattr(model, name, nn.Parameter(value, requires_grad=name[0] == "p"))
        else:
            model.register_buffer(name, value)
    for name, other in program.aliases.items():
        setattr(model, name, getattr(model, other))
    return model
