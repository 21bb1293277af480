"""Parameters in ops that no equation is known for, and an op of the user's own."""

from fuzz.state import N, extent

__all__ = ["OPS"]


def regular(g, d):
    """A trained matrix that has an inverse."""
    return f"(3 * torch.eye({d}, dtype=torch.float64) + torch.tanh({g.parameter(d, d)}))"


def centroids(g, v):
    """Distances to trained rows, by torch's op or by one of the user's own."""
    v = g.ranked(v, g.pick([2, 3]))
    k, d = g.rng.randint(1, 4), extent(v.dims[-1])
    dims = [*v.dims[:-1], (k,)]
    if g.maybe(0.4):
        return g.emit(f"radial({v.name}, {g.parameter(k, d)})", dims)
    return g.emit(f"torch.cdist({v.name}, {g.parameter(k, d)}{g.pick(['', ', p=1.0', ', p=3.0'])})", dims)


def attention(g, v):
    """Attention to trained keys or values, by a trained mask, or in torch's layer."""
    v = g.ranked(v, 3)
    t, d, s = extent(v.dims[1]), extent(v.dims[2]), g.rng.randint(1, 3)
    same, fused = [v.dims[0], v.dims[1], (d,)], "F.scaled_dot_product_attention"
    form = g.rng.randrange(5)
    if form == 0:
        keys, values = g.parameter(1, s, d), g.parameter(1, s, d)
        return g.emit(f"{fused}({v.name}, {keys}, {values}{g.pick(['', ', scale=0.5'])})", same)
    if form == 1:
        keys = g.parameter(1, t, d)
        return g.emit(f"{fused}({v.name}, {keys}, {v.name}{g.pick(['', ', is_causal=True'])})", same)
    if form == 2:
        return g.emit(f"{fused}({v.name}, torch.sin({v.name}), {v.name}, attn_mask={g.parameter(t, t)})", same)
    if form == 3:
        keys = f"{g.parameter(s, d)}.expand(n, {s}, {d})"
        return g.emit(f"{fused}({v.name}, {keys}, {keys}.cos())", same)
    heads = g.pick([h for h in (1, 2) if d % h == 0])
    layer = g.module("a", f"nn.MultiheadAttention({d}, {heads}, batch_first=True{g.pick(['', ', bias=False'])})")
    needed = g.pick(["", ", need_weights=False"])
    return g.emit(f"{layer}({v.name}, {v.name}, {v.name}{needed})[0]", same)


def system(g, v):
    """Solutions of trained systems, inverses, exponentials."""
    v = g.ranked(v, g.pick([2, 3]))
    d = extent(v.dims[-1])
    if d > 6:
        return None
    m, x, triangular = regular(g, d), v.name, "torch.linalg.solve_triangular"
    forms = [
        f"torch.linalg.solve({m}, {x}[..., None])[..., 0]",
        f"{x} @ {m}.inverse()" if v.rank == 2 else f"{triangular}({m}.triu(), {x}, upper=True, left=False)",
        f"{x} @ torch.linalg.inv({m})", f"{x} @ torch.matrix_exp(torch.tanh({g.parameter(d, d)}))",
        f"torch.linalg.multi_dot([{x}, {m}, {g.parameter(d, d)}])" if v.rank == 2 else f"torch.inner({x}, {m})",
        f"torch.tensordot({x}, {m}, dims=1)", f"{x} * torch.linalg.slogdet({m})[1]",
        f"torch.linalg.matrix_power({m}, 2) @ {x}[..., None]" if d == 1 else f"{x} @ torch.linalg.qr({m})[1]",
    ]  # fmt: skip
    text = g.pick(forms)
    return g.emit(text, [*v.dims, (1,)] if text.endswith("[..., None]") else v.dims)


def compared(g, v):
    """Similarities and distances to a trained row, cross products, bilinear forms with a trained side."""
    v = g.ranked(v, g.pick([2, 3]))
    d, o, lead = extent(v.dims[-1]), g.rng.randint(1, 3), [1] * (v.rank - 1)
    row = g.parameter(*lead, d)
    forms = [
        (f"F.cosine_similarity({v.name} + 0.1, {row}, dim=-1)", v.dims[:-1]),
        (f"F.bilinear({v.name}, {row}.expand_as({v.name}), {g.parameter(o, d, d)})", [*v.dims[:-1], (o,)]),
        (f"F.pairwise_distance({v.name}, {row})", v.dims[:-1]),
        (f"torch.linalg.vecdot({v.name}, {row})", v.dims[:-1]),
    ]
    if d == 3:
        forms += [(f"torch.linalg.cross({v.name}, {row})", v.dims)] * 2
    return g.emit(*g.pick(forms))


def placed(g, v):
    """Trained rows written at, or added to, some places of every example."""
    v = g.ranked(v, 3)
    s, d = extent(v.dims[1]), extent(v.dims[2])
    if s < 2:
        return None
    at = g.pick(["[1, 0]", "[0, 1]"])
    rows = g.parameter(2, d)
    forms = [
        f"{v.name}.index_add(1, torch.tensor({at}), {rows}.expand(n, 2, {d}))",
        f"{v.name}.index_copy(1, torch.tensor({at}), {rows}.expand(n, 2, {d}))",
        f"{v.name}.scatter(1, torch.tensor({at})[None, :, None].expand(n, 2, {d}), {rows}.expand(n, 2, {d}))",
        f"torch.slice_scatter({v.name}, {rows}.expand(n, 2, {d}), 1, 0, 2)",
        f"torch.select_scatter({v.name}, {rows}[0].expand(n, {d}), 1, {s - 1})",
    ]
    if g.maybe(0.3):
        copy = g.emit(f"{v.name}.clone()", v.dims)
        g.lines.append(f"{copy.name}[:, {at}] = {rows}")
        return g.emit(f"{copy.name} * 1.0", v.dims)
    return g.emit(g.pick(forms), v.dims)


def sampled(g, v):
    """A trained image, read at places that are the example's own."""
    v = g.ranked(v, 2)
    d = extent(v.dims[1])
    if d % 2:
        return None
    grid = g.emit(f"torch.tanh({v.name}).view(n, {d // 2}, 1, 2)", [(N,), (d // 2,), (1,), (2,)])
    image = f"{g.parameter(2, 3, 3)}.expand(n, 2, 3, 3)"
    align = g.pick(["True", "False"])
    return g.emit(f"F.grid_sample({image}, {grid.name}, align_corners={align})", [(N,), (2,), (d // 2,), (1,)])


OPS = (centroids, centroids, attention, attention, system, compared, placed, sampled)
