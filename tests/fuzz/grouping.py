"""The text of a program → its parameters in modules of modules, some frozen, and a way of clipping them."""

import re

import torch
from torch import nn

from fuzz.clipped import Clipped
from fuzz.program import Program

__all__ = ["arranged"]

#: The modules that hold parameters, "" the program's own.
PARTS = ("", "u.", "u.low.", "uv.")
HOW = ("flat", "flat", "automatic", "normalize", "psac", "function")


def arranged(g, mixes):
    """The program of a state."""
    frozen = tuple(name for name in own_parameters(g.modules) if g.maybe(0.12))
    clipped = Clipped()
    lines, held, aliases = tuple(g.lines), g.held, g.aliases
    if g.maybe(0.4):
        clipped, places = drawn(g), {name: g.pick(PARTS) for name in (*held, *aliases)}
        lines = tuple(re.sub(r"\bself\.(\w+)", lambda m: f"self.{places.get(m[1], '')}{m[1]}", line) for line in lines)
        held = {places[name] + name: shape for name, shape in held.items()}
        aliases = {places[name] + name: places[other] + other for name, other in aliases.items()}
    return Program(g.inputs, held, lines, aliases, mixes, g.modules, frozen, clipped, way_of(g))


def own_parameters(modules):
    """The names of the parameters of torch's modules."""
    for name, source in modules.items():
        with torch.device("meta"):
            module = eval(source, {"nn": nn})
        yield from (f"{name}.{key}" for key, _ in module.named_parameters())


def way_of(g):
    """Options of ``compile`` that change no result."""
    if not g.maybe(0.5):
        return {}
    way = {"strategy": g.pick(["auto", "bookkeeping", "reweight", "reweight"]), "memory": g.pick(["fast", "lean"])}
    if g.maybe(0.7):
        way["chunk_size"] = g.pick([1, 2, 3])
    return way


def drawn(g):
    """A way of clipping."""
    groups = g.pick(["all", "layer", {}])
    if groups == {}:
        begun = ["u", "u.low", "uv", "v", *g.modules, *(f"u.{name}" for name in g.held), *own_parameters(g.modules)]
        chosen = g.rng.sample(begun, min(len(begun), g.rng.randint(1, 3)))
        groups = {name: g.pick([0.5, 1.0, 1.7]) for name in (*chosen, "*")}
    together = g.rng.random()
    per_unit = g.pick([2, 3]) if together < 0.3 else 1
    number = g.pick([0.01, 0.1])
    return Clipped(g.pick(HOW), number, groups, per_unit, by_ids=0.3 <= together < 0.55)
