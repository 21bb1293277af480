"""Affine maps and convolutions of a value by parameters, and products of two values."""

from fuzz.state import LARGEST, N, carries, extent

__all__ = ["OPS"]


def width(g):
    """A small number of features."""
    return g.rng.randint(1, 4)


def linear(g, v):
    """Features to features, wherever the examples are."""
    if not v.rank or carries(v.dims[-1]):
        return None
    i, o = extent(v.dims[-1]), width(g)
    bias = g.pick(["", f", {g.parameter(o)}"])
    form = g.rng.randrange(6)
    dims = [*v.dims[:-1], (o,)]
    if form < 2:
        return g.emit(f"F.linear({v.name}, {g.parameter(o, i)}{bias})", dims)
    if form == 2:
        return g.emit(f"{v.name} @ {g.parameter(i, o)}", dims)
    if form == 3:
        return g.emit(f"torch.einsum('...i,oi->...o', {v.name}, {g.parameter(o, i)})", dims)
    if form == 4 and v.rank > 1:
        return (
            g.emit(f"torch.mv({v.name}, {g.parameter(i)})", dims[:-1])
            if v.rank == 2
            else g.emit(f"torch.matmul({v.name}, {g.parameter(i)})", dims[:-1])
        )
    return g.emit(f"torch.matmul({v.name}, {g.parameter(i, o)})", dims)


def from_the_left(g, v):
    """W @ x over the dim before the last."""
    if v.rank < 2 or carries(v.dims[-2]):
        return None
    i, o = extent(v.dims[-2]), width(g)
    dims = [*v.dims[:-2], (o,), v.dims[-1]]
    if g.maybe(0.3):
        return g.emit(f"torch.einsum('...ij,oi->...oj', {v.name}, {g.parameter(o, i)})", dims)
    return g.emit(f"{g.parameter(o, i)} @ {v.name}", dims)


def einsum(g, v):
    """A parameter over one or two dims, which may keep letters in common."""
    if not 2 <= v.rank <= 4 or not v.where:
        return None
    letters = "abcd"[: v.rank]
    free = [letters[j] for j in v.free]
    if not free:
        return None
    taken = g.rng.sample(free, g.rng.randint(1, min(2, len(free))))
    summed = [c for c in taken if g.maybe(0.7)]
    kept = [c for c in letters if c not in summed]
    new = "o" if g.maybe(0.6) else ""
    inner = [*taken, *new]
    g.rng.shuffle(inner)
    outer = [*kept, *new]
    g.rng.shuffle(outer)
    size = dict(zip(letters, v.dims, strict=True)) | {"o": (width(g),)}
    weight = g.parameter(*(extent(size[c]) for c in inner))
    text = f"{letters},{''.join(inner)}->{''.join(outer)}"
    return g.emit(f"torch.einsum('{text}', {v.name}, {weight})", [size[c] for c in outer])


def addmm(g, v):
    """β d + α x W with a bias of any shape that broadcasts."""
    v = g.ranked(v, 2)
    i, o = extent(v.dims[1]), width(g)
    bias = g.parameter(*g.pick([(o,), (1, o), (1,)]))
    more = g.pick(["", ", beta=0.5", ", alpha=2.0", ", beta=-1.0, alpha=0.5"])
    return g.emit(f"torch.addmm({bias}, {v.name}, {g.parameter(i, o)}{more})", [(N,), (o,)])


def baddbmm(g, v):
    """β d + α x y per example, y a value or an expanded parameter."""
    v = g.ranked(v, 3)
    s, i, o = extent(v.dims[1]), extent(v.dims[2]), width(g)
    other = f"{g.parameter(i, o)}.expand(n, {i}, {o})"
    bias = g.parameter(*g.pick([(o,), (s, o), (1, s, o)]))
    return g.emit(f"torch.baddbmm({bias}, {v.name}, {other}, alpha=0.7)", [(N,), (s,), (o,)])


def outer(g, v):
    """Every element times every element of a parameter."""
    if v.rank > 3:
        return None
    o = width(g)
    return g.emit(f"{v.name}.unsqueeze(-1) * {g.parameter(o)}", [*v.dims, (o,)])


def per_place(g, v):
    """A matrix of its own for every place, by bmm with the places in front."""
    v = g.ranked(v, 3)
    s, i, o = extent(v.dims[1]), extent(v.dims[2]), width(g)
    swapped = g.emit(f"{v.name}.transpose(0, 1)", [(s,), (N,), (i,)])
    weight = g.parameter(s, i, o)
    if g.maybe(0.5):
        return g.emit(f"torch.bmm({swapped.name}, {weight})", [(s,), (N,), (o,)])
    return g.emit(f"torch.baddbmm({g.parameter(s, 1, o)}, {swapped.name}, {weight}, beta=0.5)", [(s,), (N,), (o,)])


def bilinear(g, v):
    """x W z."""
    if not v.rank or carries(v.dims[-1]):
        return None
    i, o = extent(v.dims[-1]), width(g)
    other = g.emit(f"torch.sin({v.name})", v.dims)
    weight, bias = g.parameter(o, i, i), g.pick(["", f", {g.parameter(o)}"])
    return g.emit(f"F.bilinear({v.name}, {other.name}, {weight}{bias})", [*v.dims[:-1], (o,)])


def gram(g, v):
    """x xᵀ within an example, as attention does."""
    v = g.ranked(v, g.pick([3, 3, 4]))
    s = v.dims[-2]
    if g.maybe(0.5):
        product = g.emit(f"{v.name} @ {v.name}.transpose(-1, -2) / {extent(v.dims[-1])}", [*v.dims[:-1], s])
    else:
        letters = "nhsd"[4 - v.rank :] if v.rank == 4 else "nsd"
        text = f"{letters},{letters.replace('s', 't')}->{letters[:-1]}t"
        product = g.emit(f"torch.einsum('{text}', {v.name}, {v.name})", [*v.dims[:-1], s])
    if g.maybe(0.3):
        return product
    weights = g.emit(f"torch.softmax({product.name}, -1)", product.dims)
    return g.emit(f"{weights.name} @ {v.name}", v.dims)


def heads(g, v):
    """Attention with its heads folded into the examples."""
    v = g.ranked(v, 3)
    s, d, h = extent(v.dims[1]), 2, g.pick([1, 2, 3])
    wide = g.emit(f"F.linear({v.name}, {g.parameter(h * d, extent(v.dims[2]))})", [(N,), (s,), (h * d,)])
    split = g.permuted(g.view(wide, [(N,), (s,), (h,), (d,)]), [0, 2, 1, 3])
    if g.maybe(0.5):
        split = g.view(split, [(N, h), (s,), (d,)])
    else:
        split = g.permuted(split, [1, 0, 2, 3])
        split = g.view(split, [(h, N), (s,), (d,)])
    scores = g.emit(f"torch.bmm({split.name}, {split.name}.transpose(1, 2))", [split.dims[0], (s,), (s,)])
    weights = g.emit(f"torch.softmax({scores.name}, 2)", scores.dims)
    return g.emit(f"torch.bmm({weights.name}, {split.name})", split.dims)


def values_product(g, v):
    """The elementwise or inner product of two values of one layout."""
    same = [u for u in g.values if u.dims == v.dims and u.kind == "float" and u.name != v.name]
    if not same or not v.free:
        return None
    u = g.pick(same)
    letters = "abcdefg"[: v.rank]
    gone = letters[g.pick(v.free)]
    kept = [(c, d) for c, d in zip(letters, v.dims, strict=True) if c != gone]
    text = f"{letters},{letters}->{''.join(c for c, _ in kept)}"
    return g.emit(f"torch.einsum('{text}', {v.name}, {u.name})", [d for _, d in kept])


def convolution(g, v):
    """A convolution of one or two dims, or its transpose."""
    rank = g.pick([1, 1, 2])
    if v.rank != rank + 2 or v.where != [0] or g.maybe(0.3):
        v = g.ranked(v, rank + 2)
    c, places = extent(v.dims[1]), [extent(d) for d in v.dims[2:]]
    groups = g.pick([k for k in (1, 1, 2, 3) if c % k == 0])
    o = groups * g.rng.randint(1, 2)
    options = [(g.rng.randint(1, 3), g.rng.randint(1, 2), g.rng.randint(0, 2), g.rng.randint(1, 2)) for _ in places]
    kernel, stride, padding, dilation = (tuple(column) for column in zip(*options, strict=True))
    bias = g.pick(["None", g.parameter(o)])
    if g.maybe(0.35):
        sizes = [
            (p - 1) * s - 2 * q + d * (k - 1) + 1
            for p, k, s, q, d in zip(places, kernel, stride, padding, dilation, strict=True)
        ]
        name, weight = f"conv_transpose{rank}d", g.parameter(c, o // groups, *kernel)
        more = f"{stride}, {padding}, 0, {groups}, {dilation}"
    elif g.maybe(0.2):
        sizes, stride = places, (1,) * rank
        name, weight = f"conv{rank}d", g.parameter(o, c // groups, *kernel)
        more = f"1, 'same', {dilation}, {groups}"
    else:
        sizes = [
            (p + 2 * q - d * (k - 1) - 1) // s + 1
            for p, k, s, q, d in zip(places, kernel, stride, padding, dilation, strict=True)
        ]
        if any(p + 2 * q < d * (k - 1) + 1 for p, k, q, d in zip(places, kernel, padding, dilation, strict=True)):
            return None
        name, weight = f"conv{rank}d", g.parameter(o, c // groups, *kernel)
        more = f"{stride}, {padding}, {dilation}, {groups}"
    if min(sizes) < 1 or o * max(sizes) ** rank > LARGEST:
        return None
    return g.emit(f"F.{name}({v.name}, {weight}, {bias}, {more})", [v.dims[0], (o,), *((s,) for s in sizes)])


OPS = (
    linear, linear, linear, from_the_left, einsum, einsum, addmm, baddbmm, bilinear, outer, per_place, gram, heads,
    values_product,
    convolution, convolution, convolution,
)  # fmt: skip
