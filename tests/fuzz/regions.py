"""Casts that keep float64, regions without gradients, and blocks that are run again in the backward pass."""

from fuzz import pointwise, shapes, within
from fuzz.affine import linear
from fuzz.state import N, Value, extent

__all__ = ["OPS"]

CASTS = (
    "{}.to({}.dtype)", "{}.to(x.dtype)", "{}.type_as(x)", "{}.type(torch.float64)", "{}.double()", "{}.to(x)",
    "{}.to(device=x.device, dtype=torch.float64)", "{}.to(torch.float64, copy=True)", "torch.as_tensor({})",
    "({} > 0).to({}.dtype) * {}", "({} > 0).double() * {}", "{} * ({} < 0.5).type_as({})", "{}.to(x.device)",
    "{} + torch.ones(()).to({}.dtype)",
)  # fmt: skip
#: What a block or a region is made of.
INSIDE = pointwise.OPS + shapes.OPS + within.OPS + (linear,) * 12


def cast(g, v):
    """A cast, or what casts a mask."""
    return g.emit(g.pick(CASTS).replace("{}", v.name), v.dims)


def written(g, v):
    """Ops on a value: (their lines, the last value), taken out of the program again."""
    lines, values = len(g.lines), len(g.values)
    inner = v
    for _ in range(g.rng.randint(1, 3)):
        inner = g.pick([cast, *INSIDE])(g, inner) or cast(g, inner)
    taken = g.lines[lines:]
    del g.lines[lines:], g.values[values:]
    return [line.replace("\n", "\n    ") for line in taken], inner


def without_gradients(g, v):
    """Some ops under ``no_grad``, their value used beside the gradient."""
    lines, inner = written(g, v)
    g.lines.append("\n        ".join(["with torch.no_grad():", *lines]))
    beside = Value(inner.name, inner.dims)
    g.values.append(beside)
    if inner.dims == v.dims:
        return g.emit(g.pick(["{a} * {b}", "{a} * (0.5 + {b})", "{a} + {b}"]).format(a=v.name, b=inner.name), v.dims)
    first, second = g.batch_first(v), g.batch_first(beside)
    text = f"{first.name}.reshape(n, -1).sum(1, keepdim=True) * {second.name}.reshape(n, -1)"
    return g.emit(text, [(N,), (extent(sum(second.dims, ())),)])


def checkpointed(g, v):
    """Some ops as a function that the backward pass runs again."""
    lines, inner = written(g, v)
    g.count += 1
    name = f"f{g.count}"
    g.lines.append("\n        ".join([f"def {name}({v.name}):", *lines, f"return {inner.name}"]))
    return g.emit(f"torch.utils.checkpoint.checkpoint({name}, {v.name}, use_reentrant=False)", inner.dims)


OPS = (cast, without_gradients, without_gradients, checkpointed)
