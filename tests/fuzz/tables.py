"""Tables looked up by whole numbers that are made from the example: bags of rows, padding, a head tied with them."""

from fuzz.state import N, extent

__all__ = ["OPS"]

#: The rows of a table.
ROWS = 4


def numbers(g, v):
    """[N, S] whole numbers below ``ROWS``, given or computed."""
    v = g.ranked(v, 2)
    s = min(extent(v.dims[1]), 5)
    if g.maybe(0.3):
        return g.input("k", (s,)), v
    v = v if s == extent(v.dims[1]) else g.emit(f"{v.name}[:, :{s}]", [(N,), (s,)])
    texts = ["({}.abs() * 1.7).long().clamp(max=3)", "({} > 0.2).long() + ({} < -0.3)", "({}.abs() * 2.3).long() % 4"]
    return g.emit(g.pick(texts).replace("{}", v.name), v.dims, "int"), v


def bag(g, v):
    """The sum, mean or maximum of the rows of an example."""
    ids, v = numbers(g, v)
    d, mode = g.rng.randint(1, 3), g.pick(["sum", "mean", "max"])
    padding = f", padding_idx={g.rng.randrange(ROWS)}" if mode != "max" and g.maybe(0.5) else ""
    if g.maybe(0.4):
        module = g.module("e", f"nn.EmbeddingBag({ROWS}, {d}, mode='{mode}'{padding})")
        table, text = f"{module}.weight", f"{module}({ids.name})"
    else:
        table = g.parameter(ROWS, d)
        own = mode == "sum" and ids.dims == v.dims and g.maybe(0.4)
        weights = f", per_sample_weights=torch.sigmoid({v.name})" if own else ""
        text = f"F.embedding_bag({ids.name}, {table}, mode='{mode}'{padding}{weights})"
    return headed(g, g.emit(text, [(N,), (d,)]), table)


def padded(g, v):
    """Rows, of which one is padding without a gradient."""
    ids, v = numbers(g, v)
    d = g.rng.randint(1, 3)
    padding = f", padding_idx={g.rng.randrange(-ROWS, ROWS)}" if g.maybe(0.7) else ""
    if g.maybe(0.5):
        module = g.module("e", f"nn.Embedding({ROWS}, {d}{padding})")
        table, text = f"{module}.weight", f"{module}({ids.name})"
    else:
        table = g.parameter(ROWS, d)
        text = f"F.embedding({ids.name}, {table}{padding})"
    return headed(g, g.emit(text, [*ids.dims, (d,)]), table)


def headed(g, found, table):
    """The scores of all rows of the same table, now and then; else the rows, through a function."""
    if g.maybe(0.5):
        return g.emit(f"F.linear(torch.tanh({found.name}), {table})", [*found.dims[:-1], (ROWS,)])
    return g.emit(f"torch.sin({found.name})", found.dims)


OPS = (bag, bag, padded)
