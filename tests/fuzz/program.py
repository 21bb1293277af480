"""A random model as data: the tensors it holds, the lines of its forward; and the module these lines make."""

from dataclasses import dataclass, field

import torch
import torch.utils.checkpoint
from torch import nn
from torch.nn import functional as F

from fuzz import custom
from fuzz.clipped import Clipped

__all__ = ["Program", "build"]


@dataclass(frozen=True)
class Program:
    """A model that takes a batch and returns its losses, or a scalar.

    Attributes:
        inputs: shape of one example by name; the values are drawn by the name's first letter (see ``draw``).
        held: shape of every tensor of the module by name: parameters p, complex ones c, frozen ones f, buffers b,
            masks m. In a name with dots the last part says which; the others are modules.
        aliases: further names of parameters, as of tied weights.
        modules: modules of torch by name, as they are constructed.
        frozen: the names of parameters of these modules that are not trained.
        lines: the body of ``forward``, which ends in a return.
        mixes: whether an op that mixes examples was put in.
        clipped: how the gradients are clipped.
        way: options of ``compile`` that change no result: the strategy, the memory mode, the examples at a time.
    """

    inputs: dict[str, tuple[int, ...]]
    held: dict[str, tuple[int, ...]]
    lines: tuple[str, ...]
    aliases: dict[str, str] = field(default_factory=dict)
    mixes: bool = False
    modules: dict[str, str] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    clipped: Clipped = field(default_factory=Clipped)
    way: dict[str, str | int] = field(default_factory=dict)

    def __str__(self) -> str:
        body = "\n".join(f"    {line}" for line in self.lines)
        kept = [f"{k}={getattr(self, k)}" for k in ("inputs", "held", "aliases", "modules", "frozen", "clipped", "way")]
        return "\n".join([*kept, self.signature, body])

    def __repr__(self) -> str:
        lines = "".join(f"        {line!r},\n" for line in self.lines)
        more = "".join(f"    {k}={getattr(self, k)!r},\n" for k in ("modules", "frozen", "way") if getattr(self, k))
        more += "" if self.clipped == Clipped() else f"    clipped={self.clipped!r},\n"
        return (
            f"Program(\n    inputs={self.inputs},\n    held={self.held},\n    aliases={self.aliases},\n"
            f"    mixes={self.mixes},\n{more}    lines=(\n{lines}    ),\n)"
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
        case "c":
            return torch.randn(shape, generator=generator, dtype=torch.complex128)
    raise ValueError(f"no values for {name}")


def build(program: Program) -> nn.Module:
    """The module of a program."""
    body = "\n".join(f"    {line}" for line in program.lines)
    scope = {"torch": torch, "F": F, "nn": nn, "radial": custom.radial}
    exec(f"{program.signature}\n{body}\n", scope)
    model = type("Model", (nn.Module,), {"forward": scope["forward"]})()
    generator = torch.Generator().manual_seed(1)
    for name, shape in program.held.items():
        own = name.rpartition(".")[2]
        value = draw(own, shape, generator)
        if own[0] in "pfc":
            setattr(part(model, name), own, nn.Parameter(value, requires_grad=own[0] != "f"))
        else:
            part(model, name).register_buffer(own, value)
    for name, source in program.modules.items():
        module = eval(source, scope).double()
        for key, p in module.named_parameters():
            p.data.copy_(draw("p", p.shape, generator))
            p.requires_grad_(f"{name}.{key}" not in program.frozen)
        setattr(model, name, module)
    for name, other in program.aliases.items():
        setattr(part(model, name), name.rpartition(".")[2], model.get_parameter(other))
    return model


def part(model: nn.Module, name: str) -> nn.Module:
    """The module that holds a name with dots, made where it is missing."""
    for key in name.split(".")[:-1]:
        if not hasattr(model, key):
            model.add_module(key, nn.Module())
        model = getattr(model, key)
    return model
