"""Recurrent layers as torch has them, and cells in a loop: outputs, last states, given first states, shared calls."""

from fuzz.state import N, extent

__all__ = ["OPS"]

#: The most steps of a sequence.
STEPS = 4


def sequence(g, v):
    """[N, T, I] of a few steps."""
    v = g.ranked(v, 3)
    if extent(v.dims[1]) > STEPS:
        v = g.emit(f"{v.name}[:, :{STEPS}]", [(N,), (STEPS,), v.dims[2]])
    return v


def first_state(g, v, count, size):
    """A state before the first step, [count, N, size]: trained, computed from the example, or zeros."""
    dims, form = [(count,), (N,), (size,)], g.rng.randrange(5)
    if form < 2:
        expanded = f"{g.tensor('p', (count, 1, size))}.expand(-1, n, -1)"
        return g.emit(g.pick([expanded, f"{expanded}.contiguous()"]), dims)
    if form < 4:
        weight = g.parameter(count * size, extent(v.dims[2]))
        text = f"torch.tanh(F.linear({v.name}[:, 0], {weight})).view(n, {count}, {size}).transpose(0, 1)"
        return g.emit(g.pick([text, f"{text}.contiguous()"]), dims)
    return g.emit(f"{v.name}.new_zeros({count}, n, {size})", dims)


def options(g, kind):
    """(arguments behind the sizes, the size of the state, the size of the output of a direction, layers·directions)."""
    size, layers, ways = g.rng.randint(1, 3), g.pick([1, 1, 2]), g.pick([1, 1, 2])
    out, text = size, ""
    if layers > 1:
        text += f", num_layers={layers}"
    if ways > 1:
        text += ", bidirectional=True"
    if g.maybe(0.25):
        text += ", bias=False"
    if kind == "RNN" and g.maybe(0.4):
        text += ", nonlinearity='relu'"
    if kind == "LSTM" and size > 1 and g.maybe(0.5):
        out = g.rng.randint(1, size - 1)
        text += f", proj_size={out}"
    return text, size, out, layers, ways


def layer(g, v):
    """An RNN, LSTM or GRU, batch first or time first."""
    v = sequence(g, v)
    features, kind = extent(v.dims[2]), g.pick(["RNN", "LSTM", "GRU"])
    text, size, out, layers, ways = options(g, kind)
    batch_first = g.maybe(0.5)
    text += ", batch_first=True" if batch_first else ""
    module = g.module("r", f"nn.{kind}({features}, {size}{text})")
    x = v if batch_first else g.permuted(v, [1, 0, 2])
    given = ""
    if g.maybe(0.5):
        states = [first_state(g, v, layers * ways, k).name for k in ((out, size) if kind == "LSTM" else (out,))]
        given = f", ({', '.join(states)})" if kind == "LSTM" else f", {states[0]}"
    called = g.bind(f"{module}({x.name}{given})")
    if ways * out == features and g.maybe(0.5):  # the layer again, on its own output
        called = g.bind(f"{module}(torch.tanh({called}[0]))")
    elif g.maybe(0.3):  # once more, from where it stopped
        called = g.bind(f"{module}({x.name}.flip({int(batch_first)}), {called}[1])")
    return read(g, called, kind, [*x.dims[:2], (ways * out,)], [(layers * ways,), (N,), (out,)], (size,))


def read(g, called, kind, dims, state, cell):
    """The outputs of all steps, the last states, or both."""
    use = g.pick(["output", "output", "last", "both", "cell"])
    if use == "output":
        return g.emit(f"{called}[0]", dims)
    if use == "cell" and kind == "LSTM":
        return g.emit(f"{called}[1][1]", [*state[:2], cell])
    last = g.emit(f"{called}[1]{'[0]' if kind == 'LSTM' else ''}", state)
    if use != "both":
        return last
    output = g.batch_first(g.emit(f"{called}[0]", dims))
    together = (extent(sum(output.dims, ())) + extent(sum(state, ())),)
    parts = f"{output.name}.flatten(1), {last.name}.transpose(0, 1).flatten(1)"
    return g.emit(f"torch.cat([{parts}], 1)", [(N,), together])


def cells(g, v):
    """One cell, step by step."""
    v = sequence(g, v)
    steps, features, size = extent(v.dims[1]), extent(v.dims[2]), g.rng.randint(1, 3)
    kind = g.pick(["RNN", "LSTM", "GRU"])
    bias = g.pick(["", ", bias=False"])
    cell = g.module("r", f"nn.{kind}Cell({features}, {size}{bias})")
    state, seen = "", []
    if g.maybe(0.5):
        count = 2 if kind == "LSTM" else 1
        states = [f"{first_state(g, v, 1, size).name}[0]" for _ in range(count)]
        state = f", ({', '.join(states)})" if kind == "LSTM" else f", {states[0]}"
    order = g.pick([range(steps), range(steps), reversed(range(steps))])
    for t in order:
        called = g.bind(f"{cell}({v.name}[:, {t}]{state})")
        state = f", {called}"
        seen.append(f"{called}[0]" if kind == "LSTM" else called)
    if g.maybe(0.3):
        return g.emit(f"{seen[-1]} * 1.0", [(N,), (size,)])
    at = g.pick([0, 1])
    dims = [(steps,), (N,), (size,)] if at == 0 else [(N,), (steps,), (size,)]
    return g.emit(f"torch.stack([{', '.join(seen)}], {at})", dims)


OPS = (layer, layer, cells)
