"""What is known of the values of a program while it is made: their dims, and which factor of a dim is the batch."""

import math
from dataclasses import dataclass, field

__all__ = ["N", "State", "Value", "carries", "extent", "spelled"]

N = "n"
#: The most elements an example may have in one value.
LARGEST = 160


def dim(*factors):
    """The factors of a dim, slowest first; neighbouring numbers merged."""
    merged = []
    for f in factors:
        if f == N or not merged or merged[-1] == N:
            merged.append(f)
        else:
            merged[-1] *= f
    return tuple(f for f in merged if f != 1) or (1,)


def carries(d):
    """Whether a dim carries examples."""
    return N in d


def extent(d):
    """The extent of a dim for N = 1."""
    return math.prod(f for f in d if f != N)


def spelled(d):
    """A dim in Python."""
    return "*".join(str(f) for f in d)


@dataclass(frozen=True)
class Value:
    """A value: its name, its dims as factors, and "float", "int", "bool" or "complex"."""

    name: str
    dims: tuple
    kind: str = "float"

    @property
    def where(self):
        """The dims that carry examples: none or one."""
        return [j for j, d in enumerate(self.dims) if carries(d)]

    @property
    def free(self):
        """The dims without examples."""
        return [j for j, d in enumerate(self.dims) if not carries(d)]

    @property
    def shape(self):
        """The extents for N = 1."""
        return tuple(extent(d) for d in self.dims)

    @property
    def rank(self):
        """The number of dims."""
        return len(self.dims)


@dataclass
class State:
    """A program being made."""

    rng: object
    inputs: dict = field(default_factory=dict)
    held: dict = field(default_factory=dict)
    aliases: dict = field(default_factory=dict)
    modules: dict = field(default_factory=dict)
    lines: list = field(default_factory=lambda: ["n = x.shape[0]"])
    values: list = field(default_factory=list)
    count: int = 0

    def maybe(self, chance):
        """True with a chance."""
        return self.rng.random() < chance

    def pick(self, choices):
        """One of them."""
        return self.rng.choice(list(choices))

    def emit(self, expression, dims, kind="float"):
        """A line that binds a new value."""
        self.count += 1
        value = Value(f"h{self.count}", tuple(dim(*d) for d in dims), kind)
        self.lines.append(f"{value.name} = {expression}")
        self.values.append(value)
        return value

    def bind(self, expression):
        """A line that binds what is no value by itself, as the outputs of a layer: its name."""
        self.count += 1
        self.lines.append(f"h{self.count} = {expression}")
        return f"h{self.count}"

    def module(self, letter, source):
        """A module of torch, as it is constructed; an earlier one like it now and then."""
        same = [name for name, text in self.modules.items() if text == source]
        if same and self.maybe(0.6):
            return f"self.{self.pick(same)}"
        name = f"{letter}{len(self.modules)}"
        self.modules[name] = source
        return f"self.{name}"

    def input(self, letter, shape):
        """An input of a kind, shared with an earlier one of its shape now and then."""
        same = [k for k, s in self.inputs.items() if k[0] == letter and s == tuple(shape)]
        if same and self.maybe(0.6):
            name = self.pick(same)
        else:
            name = letter if letter not in self.inputs else f"{letter}{len(self.inputs)}"
            self.inputs[name] = tuple(shape)
        kind = {"k": "int", "y": "int", "m": "bool"}.get(letter, "float")
        return Value(name, ((N,), *((s,) for s in shape)), kind)

    def tensor(self, letter, shape):
        """A tensor of the module: p trainable, c complex, f frozen, b and w buffers, m a mask."""
        same = [k for k, s in self.held.items() if k[0] == letter and s == tuple(shape)]
        if same and self.maybe(0.5):
            name = self.pick(same)
            if letter == "p" and self.maybe(0.2):
                alias = f"{name}_{len(self.aliases)}"
                self.aliases[alias] = name
                return f"self.{alias}"
            return f"self.{name}"
        name = f"{letter}{len(self.held)}"
        self.held[name] = tuple(shape)
        return f"self.{name}"

    def parameter(self, *shape):
        """A parameter of a shape, now and then frozen, or behind a function."""
        chance = self.rng.random()
        if chance < 0.62 or not shape:
            return self.tensor("p", shape)
        if chance < 0.7:
            return self.tensor("f", shape)
        if chance < 0.76:
            return self.tensor("b", shape)
        return self.behind(shape)

    def behind(self, shape):
        """A function of parameters."""
        rank, last = len(shape), shape[-1]
        made = [
            lambda: f"({self.tensor('p', shape)} * {self.pick(['0.5', '-1.5'])})",
            lambda: f"torch.tanh({self.tensor('p', shape)})",
            lambda: f"({self.tensor('p', shape)} + {self.tensor('p', (last,))})",
            lambda: f"({self.tensor('p', shape)} * {self.tensor('p', (last,))})",
            lambda: f"{self.tensor('p', (math.prod(shape),))}.view{tuple(shape)}",
            lambda: f"{self.tensor('p', (shape[0] + 2, *shape[1:]))}[1:{shape[0] + 1}]",
            lambda: f"{self.tensor('p', (3, *shape))}[{self.pick([0, 1, 2])}]",
            lambda: f"F.normalize({self.tensor('p', shape)}, dim=-1)" if last > 1 else None,
            lambda: f"torch.softmax({self.tensor('p', shape)}, 0)" if shape[0] > 1 else None,
            lambda: f"{self.tensor('p', (1, *shape[1:]))}.expand{tuple(shape)}",
            lambda: f"{self.tensor('p', shape)}.detach()",
            lambda: f"{self.tensor('p', shape)}.flip(0)",
            lambda: f"torch.where({self.tensor('m', shape)}, {self.tensor('p', shape)}, {self.tensor('p', shape)})",
        ]
        if rank > 1:
            turned = (*shape[:-2], shape[-1], shape[-2])
            made += [lambda: f"{self.tensor('p', turned)}.transpose(-1, -2)"] * 3
            low = (*shape[:-1], 2), (*shape[:-2], 2, last)
            made += [lambda: f"({self.tensor('p', low[0])} @ {self.tensor('p', low[1])})"]
        if shape[0] > 1:
            made += [
                lambda: (
                    f"torch.cat([{self.tensor('p', (1, *shape[1:]))}, {self.tensor('p', (shape[0] - 1, *shape[1:]))}])"
                ),
                lambda: f"torch.stack([{', '.join([self.tensor('p', shape[1:])] * shape[0])}])" if rank > 1 else None,
            ]
        return self.pick(made)() or self.tensor("p", shape)

    def view(self, value, dims, words=None):
        """The same elements in the same order under other dims."""
        sizes = [spelled(dim(*d)) for d in dims]
        if self.maybe(0.3) and dims:
            sizes[self.rng.randrange(len(sizes))] = "-1"
        inside = ", ".join(sizes)
        spelling = self.pick([f"reshape({inside})", f"reshape({inside})", f"contiguous().view({inside})"])
        return self.emit(f"{value.name}.{words or spelling}", dims, value.kind)

    def permuted(self, value, order):
        """Dim j of the result is dim order[j]."""
        return self.emit(f"{value.name}.permute{tuple(order)}", [value.dims[j] for j in order], value.kind)

    def batch_first(self, value):
        """The examples alone in dim 0."""
        if not value.where:
            wide = ((N,), *value.dims)
            return self.emit(f"{value.name}.expand({', '.join(map(spelled, wide))})", wide, value.kind)
        at = value.where[0]
        if value.dims[at] != (N,):
            d = value.dims[at]
            k = d.index(N)
            parts = [p for p in (dim(*d[:k]), (N,), dim(*d[k + 1 :])) if p != (1,)]
            value = self.view(value, [*value.dims[:at], *parts, *value.dims[at + 1 :]])
            at = value.where[0]
        if at:
            value = self.permuted(value, [at, *(j for j in range(value.rank) if j != at)])
        return value

    def ranked(self, value, rank):
        """Examples first, and the other dims merged or added until there are ``rank``."""
        value = self.batch_first(value)
        if value.rank > rank:
            j = 1 if rank < 3 or self.maybe(0.5) else value.rank - 1 - (value.rank - rank)
            merged = extent(sum(value.dims[j : j + value.rank - rank + 1], ()))
            value = self.view(value, [*value.dims[:j], (merged,), *value.dims[j + value.rank - rank + 1 :]])
        while value.rank < rank:
            j = self.rng.randrange(1, value.rank + 1)
            value = self.emit(f"{value.name}.unsqueeze({j})", [*value.dims[:j], (1,), *value.dims[j:]], value.kind)
        return value
