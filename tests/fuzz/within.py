"""Ops that mix dims within an example: reductions, softmax, sorting, normalisation, pooling, looking up."""

from fuzz.state import N, carries, extent

__all__ = ["OPS"]


def reduction(g, v):
    """Over one or more dims without examples."""
    if not v.free or v.rank < 2:
        return None
    many = g.rng.sample(v.free, g.rng.randint(1, len(v.free)))
    keep = g.maybe(0.4)
    one = many[0]
    several = f"({', '.join(map(str, many))},)"
    tail = f", keepdim={keep}"
    forms = [(f"{v.name}.{f}({several}{tail})", many) for f in ("sum", "mean", "amax", "amin", "logsumexp")]
    forms += [(f"{v.name}.{f}({one}{tail})[0]", [one]) for f in ("max", "min", "median")]
    forms += [(f"{v.name}.{f}({one}{tail})", [one]) for f in ("sum", "mean", "prod", "logsumexp")]
    forms += [
        (f"({v.name} + 0.1).norm(dim={one}{tail})", [one]),
        (f"torch.linalg.vector_norm({v.name}, 2, {several}{tail})", many),
    ]
    forms += [(f"{v.name}.norm(p=1, dim={one}{tail})", [one])]
    if extent(v.dims[one]) > 2:
        forms += [(f"{v.name}.var({one}{tail})", [one]), (f"{v.name}.std({one}, unbiased=False{tail})", [one])]
    text, gone = g.pick(forms)
    dims = [(1,) if j in gone else d for j, d in enumerate(v.dims) if keep or j not in gone]
    return g.emit(text, dims)


def along(g, v):
    """Softmax and the like along one dim without examples."""
    if not v.free:
        return None
    j = g.pick(v.free)
    e, k = extent(v.dims[j]), g.pick([j, j - v.rank])
    forms = [
        "torch.softmax({}, {k})", "F.log_softmax({}, {k})", "F.softmin({}, {k})", "{}.cumsum({k})",
        "torch.cumprod({}, {k})",
        "torch.logcumsumexp({}, {k})", "torch.cummax({}, {k})[0]", "{}.sort({k})[0]",
        "torch.sort({}, dim={k}, descending=True)[0]",
        "F.normalize({} + 0.1, dim={k})", "{} - {}.mean({k}, keepdim=True)", "{}.gather({k}, {}.argsort({k}))",
        "{} * ({} == {}.amax({k}, keepdim=True))", "{}.cumsum({k}).flip({k})", "{} * {}.argsort({k})",
        "{} + 0.1 * {}.argmax({k}, keepdim=True)",
        "F.softmax({} / 0.7, dim={k})", "{}.sub({}.detach().amax({k}, keepdim=True))",
    ]  # fmt: skip
    text, size = g.pick(forms), e
    if g.maybe(0.15):
        text, size = f"{{}}.topk({max(1, e - 1)}, dim={{k}})[0]", max(1, e - 1)
    elif e % 2 == 0 and g.maybe(0.25):
        text, size = "F.glu({}, {k})", e // 2
    return g.emit(text.replace("{}", v.name).replace("{k}", str(k)), [*v.dims[:j], (size,), *v.dims[j + 1 :]])


def layer_norm(g, v):
    """Layer norm or RMS norm over the last dims, in an affine way or not."""
    count = 0
    while count < v.rank and not carries(v.dims[-1 - count]):
        count += 1
    if not count:
        return None
    shape = tuple(extent(d) for d in v.dims[v.rank - g.rng.randint(1, count) :])
    weight, bias = g.pick(["None", g.parameter(*shape)]), g.pick(["None", g.parameter(*shape)])
    if g.maybe(0.3):
        return g.emit(f"F.rms_norm({v.name}, {shape}, {weight}, 0.1)", v.dims)
    return g.emit(f"F.layer_norm({v.name}, {shape}, {weight}, {bias}, 0.1)", v.dims)


def channel_norm(g, v):
    """Group, instance and batch norm, the last by running statistics."""
    v = g.ranked(v, g.pick([2, 3, 3, 4]))
    c = extent(v.dims[1])
    weight, bias = g.pick([("None", "None"), (g.parameter(c), "None"), (g.parameter(c), g.parameter(c))])
    forms = [f"F.batch_norm({v.name}, {g.tensor('b', (c,))}, {g.tensor('w', (c,))}, {weight}, {bias}, False, 0.1, 0.1)"]
    groups = g.pick([k for k in (1, 2, 3) if c % k == 0])
    if c // groups * extent(sum(v.dims[2:], ())) > 1:
        forms += [f"F.group_norm({v.name}, {groups}, {weight}, {bias}, 0.1)"]
    if v.rank > 2 and max(v.shape[2:]) > 1:
        forms += [f"F.instance_norm({v.name}, None, None, {weight}, {bias}, True, 0.1, 0.1)"]
    return g.emit(g.pick(forms), v.dims)


def pooling(g, v):
    """Pooling, padding and interpolation."""
    rank = g.pick([1, 2])
    v = g.ranked(v, rank + 2)
    places = [extent(d) for d in v.dims[2:]]
    lead = v.dims[:2]
    up = [(2 * s,) for s in places]
    larger, mode = tuple(s + 1 for s in places), ("linear", "bilinear")[rank - 1]
    forms = [
        (f"F.adaptive_avg_pool{rank}d({v.name}, {(2,) * rank})", [(2,)] * rank),
        (f"F.adaptive_max_pool{rank}d({v.name}, {(1,) * rank})", [(1,)] * rank),
        (f"F.pad({v.name}, (1, 0))", [*v.dims[2:-1], (places[-1] + 1,)]),
        (f"F.pad({v.name}, {(0, 1) * rank}, value=0.3)", [(s + 1,) for s in places]),
        (f"F.interpolate({v.name}, scale_factor=2, mode='nearest')", up),
        (f"F.interpolate({v.name}, size={larger}, mode='{mode}')", [(s,) for s in larger]),
        (f"F.avg_pool{rank}d({v.name}, 3, 1, 1)", v.dims[2:]),
        (f"F.max_pool{rank}d({v.name}, 3, 1, 1)", v.dims[2:]),
    ]  # fmt: skip
    if min(places) > 1:
        forms += [
            (f"F.max_pool{rank}d({v.name}, 2)", [(s // 2,) for s in places]),
            (f"F.avg_pool{rank}d({v.name}, 2, 1)", [(s - 1,) for s in places]),
        ]
        forms += [(f"F.pad({v.name}, {(1, 1) * rank}, mode='reflect')", [(s + 2,) for s in places])]
        forms += [(f"F.pad({v.name}, {(1, 0) * rank}, mode='circular')", [(s + 1,) for s in places])]
        forms += [
            (f"F.pad({v.name}, {(0, -1) * rank})", [(s - 1,) for s in places]),
            (f"F.lp_pool{rank}d({v.name}.abs() + 0.1, 2.0, 2)", [(s // 2,) for s in places]),
        ]
    text, dims = g.pick(forms)
    return g.emit(text, [*lead, *dims])


def looked_up(g, v):
    """Rows of a table, chosen by tokens, added to the value; now and then the value is compared with every row too."""
    v = g.ranked(v, 3)
    s, d = extent(v.dims[1]), extent(v.dims[2])
    table, tokens = g.parameter(4, d) if g.maybe(0.8) else g.tensor("b", (4, d)), g.input("k", (s,))
    text = g.pick(
        [
            f"F.embedding({tokens.name}, {table})",
            f"F.embedding({tokens.name}, {table}, padding_idx=1)",
            f"{table}[{tokens.name}]",
            f"{table}[{tokens.name} - 4]",
            f"{table}.mT[:, {tokens.name}].permute(1, 2, 0)",
            f"F.one_hot({tokens.name}, 4).double() @ {table}",
        ]
    )
    found = g.emit(f"{v.name} + {text}", v.dims)
    if g.maybe(0.4):
        return g.emit(f"F.linear({found.name}, {table})", [*v.dims[:2], (4,)])
    return found


def repeated(g, v):
    """One layer called several times."""
    d = extent(v.dims[-1])
    if len(v.dims) < 2 or v.dims[-1] != (d,):
        return None
    weight, bias = g.parameter(d, d), f", {g.parameter(d)}" if g.maybe(0.5) else ""
    for _ in range(g.pick([2, 3])):
        v = g.emit(f"torch.tanh(F.linear({v.name}, {weight}{bias}))", v.dims)
    return v


def gathered(g, v):
    """Each example's own places, by its own index."""
    v = g.ranked(v, 3)
    s, d = extent(v.dims[1]), extent(v.dims[2])
    if s < 3:
        return None
    index = g.input("k", (2,)).name
    return g.emit(f"{v.name}.gather(1, {index}[:, :, None].expand(-1, -1, {d}))", [(N,), (2,), (d,)])


def similar(g, v):
    """Cosine similarities, distances and triangles within an example."""
    v = g.ranked(v, 3)
    s, d = extent(v.dims[1]), extent(v.dims[2])
    other = g.emit(f"torch.sin({v.name}) + 0.3", v.dims)
    forms = [
        (f"F.cosine_similarity({v.name} + 0.1, {other.name}, dim={{}})", [(N,), (s,)], 2),
        (f"F.cosine_similarity({v.name} + 0.1, {other.name}, dim={{}})", [(N,), (d,)], 1),
        (f"torch.cdist({v.name}, {other.name} + 1)", [(N,), (s,), (s,)], 0),
        (f"torch.tril({v.name})", v.dims, 0), (f"torch.triu({v.name}, 1) + {v.name}", v.dims, 0),
    ]  # fmt: skip
    text, dims, j = g.pick(forms)
    return g.emit(text.replace("{}", str(j)), dims)


def windows(g, v):
    """Patches of an image as columns, times a parameter."""
    v = g.ranked(v, 4)
    c, h, w = (extent(d) for d in v.dims[1:])
    if min(h, w) < 2:
        return None
    columns = g.emit(f"F.unfold({v.name}, 2)", [(N,), (4 * c,), ((h - 1) * (w - 1),)])
    return g.emit(f"{g.parameter(2, 4 * c)} @ {columns.name}", [(N,), (2,), columns.dims[2]])


OPS = (
    reduction, reduction, along, along, along, layer_norm, layer_norm, channel_norm, channel_norm, pooling, pooling,
    looked_up, looked_up, repeated,
    gathered, similar, windows,
)  # fmt: skip
