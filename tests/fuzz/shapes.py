"""Ops that move elements: views, permutations, cuts, joins, repetitions, indexing within an example."""

from fuzz.state import LARGEST, N, carries, dim, extent

__all__ = ["OPS"]


def permute(g, v):
    """Dims in another order."""
    if v.rank < 2:
        return None
    order = g.rng.sample(range(v.rank), v.rank)
    dims = [v.dims[j] for j in order]
    if g.maybe(0.6):
        return g.permuted(v, order)
    a, b = g.rng.sample(range(v.rank), 2)
    swapped = list(v.dims)
    swapped[a], swapped[b] = swapped[b], swapped[a]
    moved = [d for j, d in enumerate(v.dims) if j != a]
    moved.insert(b, v.dims[a])
    forms = [
        (f"transpose({a}, {b})", swapped),
        (f"transpose({a - v.rank}, {b})", swapped),
        (f"movedim({a}, {b})", moved),
        (f"swapaxes({a}, {b})", swapped),
    ]
    if v.rank == 2:
        forms += [("t()", list(reversed(v.dims))), ("T", list(reversed(v.dims)))]
    text, dims = g.pick(forms)
    return g.emit(f"{v.name}.{text}", dims)


def merge(g, v):
    """Neighbouring dims as one, the examples' among them."""
    if v.rank < 2:
        return None
    j = g.rng.randrange(v.rank - 1)
    k = g.rng.randrange(j + 1, v.rank)
    merged = dim(*sum(v.dims[j : k + 1], ()))
    dims = [*v.dims[:j], merged, *v.dims[k + 1 :]]
    return g.emit(f"{v.name}.flatten({j}, {k})", dims) if g.maybe(0.5) else g.view(v, dims)


def divide(g, v):
    """A dim as two: a number by its factors, a merged dim between factors."""
    choices = []
    for j, d in enumerate(v.dims):
        if carries(d):
            choices += [(j, d[:k], d[k:]) for k in range(1, len(d))]
            choices += [(j, (f,), (d[0] // f, *d[1:])) for f in (2, 3) if d[0] != N and d[0] % f == 0]
            choices += [(j, (*d[:-1], d[-1] // f), (f,)) for f in (2, 3) if d[-1] != N and d[-1] % f == 0]
        else:
            choices += [(j, (f,), (extent(d) // f,)) for f in (2, 3) if extent(d) % f == 0]
    if not choices:
        return None
    j, a, b = g.pick(choices)
    a, b = dim(*a), dim(*b)
    dims = [*v.dims[:j], a, b, *v.dims[j + 1 :]]
    if g.maybe(0.4):
        from fuzz.state import spelled

        sizes = g.pick([(spelled(a), spelled(b)), ("-1", spelled(b)), (spelled(a), "-1")])
        return g.emit(f"{v.name}.unflatten({j}, ({', '.join(sizes)}))", dims)
    return g.view(v, dims)


def regroup(g, v):
    """A view of every dim at once: all factors dealt out anew."""
    if not v.rank:
        return None
    factors = list(sum(v.dims, ()))
    cuts = sorted(g.rng.sample(range(len(factors) + 1), min(len(factors), g.rng.randint(0, 3))))
    parts = [dim(*factors[a:b]) for a, b in zip([0, *cuts], [*cuts, len(factors)], strict=True)]
    return g.view(v, parts)


def unsqueeze(g, v):
    """A new dim of extent 1, or one less."""
    ones = [j for j, d in enumerate(v.dims) if d == (1,)]
    if ones and g.maybe(0.5):
        j = g.pick(ones)
        return g.emit(f"{v.name}.squeeze({j})", [d for k, d in enumerate(v.dims) if k != j])
    j = g.rng.randint(0, v.rank)
    text = g.pick([f".unsqueeze({j})", f"[{':, ' * j}None]"])
    return g.emit(f"{v.name}{text}", [*v.dims[:j], (1,), *v.dims[j:]])


def expand(g, v):
    """A dim of extent 1, or a new one, repeated."""
    if max(v.shape, default=1) > 20:
        return None
    r, sizes, dims = g.pick([2, 3]), [], []
    for d in v.dims:
        wide = (r,) if d == (1,) and g.maybe(0.7) else d
        sizes.append(str(r) if wide != d else "-1")
        dims.append(wide)
    if g.maybe(0.5):
        sizes, dims = ["2", *sizes], [(2,), *dims]
    return g.emit(f"{v.name}.expand({', '.join(sizes)})", dims) if sizes else None


def repeat(g, v):
    """Dims repeated; the examples' dim too, as r·N."""
    if not v.rank:
        return None
    j = g.rng.randrange(v.rank)
    if carries(v.dims[j]) and g.maybe(0.9):
        return None
    if extent(dim(*sum(v.dims, ()))) * 2 > LARGEST:
        return None
    repeats = [2 if k == j else 1 for k in range(v.rank)]
    dims = [dim(2, *d) if k == j else d for k, d in enumerate(v.dims)]
    if g.maybe(0.3) and not carries(v.dims[j]):
        return g.emit(f"{v.name}.repeat_interleave(2, {j})", dims)
    return g.emit(f"{v.name}.repeat({', '.join(map(str, repeats))})", dims)


def cut(g, v):
    """A part of a dim without examples."""
    wide = [j for j in v.free if extent(v.dims[j]) > 1]
    if not wide:
        return None
    j = g.pick(wide)
    e = extent(v.dims[j])
    start = g.rng.randrange(e)
    stop = g.rng.randint(start + 1, e)
    rest, gone = list(v.dims), [d for k, d in enumerate(v.dims) if k != j]
    at = ":, " * j if g.maybe(0.5) or j + 1 != v.rank else "..., "
    forms = [
        (f"{v.name}[{at}{start}:{stop}]", part(rest, j, stop - start)),
        (f"{v.name}[{at}{start}:]", part(rest, j, e - start)),
        (f"{v.name}[{at}::2]", part(rest, j, (e + 1) // 2)),
        (f"{v.name}[{at}{start}]", gone),
        (f"{v.name}.select({j}, {start})", gone),
        (f"{v.name}.narrow({j}, {start}, {stop - start})", part(rest, j, stop - start)),
        (f"{v.name}.split(1, {j})[{start}]", part(rest, j, 1)),
        (f"torch.split({v.name}, [1, {e - 1}], dim={j})[1]", part(rest, j, e - 1)),
        (f"{v.name}.unbind({j})[{start}]", gone),
        (f"{v.name}.chunk(2, {j})[0]", part(rest, j, (e + 1) // 2)),
        (f"{v.name}.tensor_split(2, {j})[0]", part(rest, j, (e + 1) // 2)),
        (f"{v.name}.index_select({j}, torch.tensor([{start}, 0]))", part(rest, j, 2)),
        (f"{v.name}[{':, ' * j}[{start}, 0, {start}]]", part(rest, j, 3)),
        (f"{v.name}[{':, ' * j}torch.tensor([{start}, 0])]", part(rest, j, 2)),
        (f"{v.name}.flip({j})", rest),
        (f"{v.name}.roll({start + 1}, {j})", rest),
        (f"torch.roll({v.name}, -1, dims=({j},))", rest),
    ]  # fmt: skip
    if j > 0 and carries(v.dims[0]):
        forms += [(f"{v.name}.unfold({j}, {e - 1 or 1}, 1)", [*part(rest, j, 2), (e - 1 or 1,)])]
    text, dims = g.pick(forms)
    return g.emit(text, dims)


def part(dims, j, size):
    """The dims with another extent of dim j."""
    return [*dims[:j], (size,), *dims[j + 1 :]]


def join(g, v):
    """Values one after another along a dim without examples, or beside each other in a new dim."""
    if v.shape and extent(dim(*sum(v.dims, ()))) * 2 > LARGEST:
        return None
    same = g.pick([u for u in g.values if u.dims == v.dims and u.kind == "float"] or [v])
    j = g.rng.randint(0, v.rank)
    names = [v.name, same.name]
    g.rng.shuffle(names)
    if v.free and g.maybe(0.6):
        k = g.pick(v.free)
        text = g.pick([f"torch.cat([{', '.join(names)}], {k})", f"torch.cat(({', '.join(names)}), dim={k - v.rank})"])
        return g.emit(text, part(v.dims, k, 2 * extent(v.dims[k])))
    return g.emit(f"torch.stack([{', '.join(names)}], {j})", [*v.dims[:j], (2,), *v.dims[j:]])


def join_parameter(g, v):
    """A row of parameters before every example's places, as a class token."""
    v = g.ranked(v, 3)
    s, d = extent(v.dims[1]), extent(v.dims[2])
    token = g.parameter(1, 1, d)
    return g.emit(f"torch.cat([{token}.expand(n, -1, -1), {v.name}], 1)", [(N,), (s + 1,), (d,)])


def pixel_shuffle(g, v):
    """Channels to places and back."""
    v = g.ranked(v, 4)
    c, h, w = (extent(d) for d in v.dims[1:])
    if c % 4 == 0 and g.maybe(0.5):
        return g.emit(f"F.pixel_shuffle({v.name}, 2)", [(N,), (c // 4,), (2 * h,), (2 * w,)])
    if h % 2 == 0 and w % 2 == 0:
        return g.emit(f"F.pixel_unshuffle({v.name}, 2)", [(N,), (4 * c,), (h // 2,), (w // 2,)])
    if c % 2 == 0:
        return g.emit(f"torch.channel_shuffle({v.name}, 2)", v.dims)
    return None


OPS = (
    permute, permute, permute, merge, merge, divide, divide, regroup, unsqueeze, expand, repeat, cut, cut, cut, join,
    join,
    join_parameter, pixel_shuffle,
)  # fmt: skip
