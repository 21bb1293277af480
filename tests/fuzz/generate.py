"""A source of random choices → a program."""

import random

from fuzz import affine, mixing, one_op, pointwise, recurrent, regions, shapes, spectra, tables, within
from fuzz.grouping import arranged
from fuzz.losses import finish, finish_mixing
from fuzz.program import Program
from fuzz.state import LARGEST, N, State, extent

__all__ = ["generate"]

#: What has come to the compiler after the first families of ops.
LATER = recurrent.OPS + spectra.OPS + one_op.OPS + tables.OPS + regions.OPS
SOUND = affine.OPS + pointwise.OPS + shapes.OPS + within.OPS + LATER
SHAPES = ((3,), (4,), (2, 3), (3, 4), (4, 2), (2, 3, 4), (2, 4, 4), (6,), (1,), (2, 2, 2, 2), (5, 2))


def step(g, v, ops):
    """One more op on a value; the value itself where none of a few fits."""
    for _ in range(12):
        made = g.pick(ops)(g, v)
        if made is not None:
            return made
        v = g.values[-1] if g.values and g.values[-1].kind == "float" else v
    return v


def generate(rng: random.Random, mixes: bool = False, most: int = 8, ops=SOUND) -> Program:
    """A random program of up to ``most`` ops after a first, a loss, and a way of clipping."""
    g = State(rng)
    v = g.input("x", g.pick(SHAPES))
    g.values.append(v)
    v = g.batch_first(affine.linear(g, v))
    count = rng.randint(1, most)
    where = rng.randint(0, count) if mixes else -1
    for k in range(count):
        if k == where:
            v = step(g, v, mixing.OPS)
        v = step(g, v if mixes else chosen(g, v), ops)
    if where == count:
        finish_mixing(g, batch(g, v))
    else:
        finish(g, batch(g, v))
    return arranged(g, mixes)


def chosen(g, v):
    """The latest value mostly, an earlier one now and then, joined to the latest at the next op of two."""
    if g.maybe(0.9):
        return v
    return g.pick([u for u in g.values if u.kind == "float" and extent(sum(u.dims, ())) <= LARGEST])


def batch(g, v):
    """A value that carries examples, with a parameter in its past."""
    if extent(sum(v.dims, ())) > LARGEST:
        v = g.batch_first(v)
        v = g.emit(f"{v.name}.flatten(1).mean(1, keepdim=True)", [(N,), (1,)])
    return v
