"""Ops known to mix examples, wherever the examples lie."""

from fuzz.state import N, dim, extent, spelled

__all__ = ["OPS"]

#: x works over the dim j of the examples.
OVER = (
    "{} - {}.mean({j}, keepdim=True)", "torch.softmax({}, {j}) * {}", "{}.cumsum({j})", "{}.sort({j})[0]",
    "{}.flip({j})", "{}.roll(1, {j})",
    "{} / (0.1 + {}.std({j}, keepdim=True, unbiased=False))", "F.normalize({} + 0.1, dim={j})",
    "{} - {}.amax({j}, keepdim=True)",
    "{} * {}.sum({j}, keepdim=True).sigmoid()", "{} - {}.detach().mean({j}, keepdim=True)", "{}.cummax({j})[0]",
    "{}.logcumsumexp({j})",
    "{}.gather({j}, {}.argsort({j}))", "{} + {}.select({j}, 0).unsqueeze({j})", "{} + {}.narrow({j}, 0, 1)",
    "{} * {}.mean()", "{} - {}.median({j}, keepdim=True)[0]",
    "torch.where({} > {}.mean(), {}, -{})", "{} / (1 + {}.norm(dim={j}, keepdim=True))",
    "torch.cat([{}.narrow({j}, 1, {}.shape[{j}] - 1), {}.narrow({j}, 0, 1)], {j})",
    "{} + {}.index_select({j}, torch.arange({}.shape[{j}] - 1, -1, -1))", "{} * n", "{} / {}.shape[{j}]", "{} + n",
    "{}.topk({}.shape[{j}], {j})[0]",
    "{} * {}.argmax({j}, keepdim=True)", "{}.mean({j}, keepdim=True).expand_as({}) + 0.1 * {}",
    "{} - {}.logsumexp({j}, keepdim=True)",
    "{} + torch.roll({}, -1, {j})", "{}.roll(1) + {}", "F.softmax({}.flatten(), 0).view({}.shape) + {}",
    "{} * ({} > {}.median()).double()",
    "{}.take_along_dim({}.argsort({j}), {j})", "{} * {}.var(unbiased=False)", "{} + {}.max() * 0.1",
    "torch.stack([{}.select({j}, 0)] * {}.shape[{j}], {j}) + {}",
    "{} * torch.ones_like({}).cumsum({j})", "{}.unfold({j}, 1, 1).flip({j}).squeeze(-1)",
    "{} * {}.prod({j}, keepdim=True).sigmoid()",
    "{} * torch.arange({}.shape[{j}]).view([-1 if i == {j} else 1 for i in range({}.dim())])", "{}.clamp(max=n - 3.5)",
    "{}.clone().index_copy_({j}, torch.arange({}.shape[{j}] - 1, -1, -1), {})",
    "{}.scatter({j}, torch.zeros_like({}).long(), {})",
    "torch.diff({}, dim={j}, prepend={}.narrow({j}, 0, 1)) + 0.1 * {}", "{} * torch.cov({}.flatten()).sigmoid()",
    "torch.renorm({}, 2, {j}, 0.5) + {}.mean({j}, keepdim=True)",
)  # fmt: skip


def over(g, v):
    """Over the dim of the examples."""
    if not v.where:
        return None
    j = v.where[0]
    j = g.pick([j, j - v.rank])
    return g.emit(g.pick(OVER).replace("{j}", str(j)).replace("{}", v.name), v.dims)


def wrong_view(g, v):
    """A view that deals out the factors in another order: [T, N] as [N, T]."""
    factors = list(sum(v.dims, ()))
    if not v.where or all(f == N for f in factors):
        return None
    other = g.rng.sample(factors, len(factors))
    before = extent(dim(*factors[: factors.index(N)]))
    if extent(dim(*other[: other.index(N)])) == before:
        return None
    return g.emit(f"{v.name}.reshape({', '.join(map(spelled, [(f,) for f in other]))})", [(f,) for f in other])


def wrong_place(g, v):
    """[N, S] as [S, N], with S merged in front."""
    v = g.batch_first(v)
    rest = extent(sum(v.dims[1:], ()))
    if rest == 1:
        return None
    form = g.rng.randrange(4)
    if form == 0:
        return g.emit(f"{v.name}.reshape({rest}, n).t()", [(N,), (rest,)])
    if form == 1:
        return g.emit(f"{v.name}.reshape({rest}, -1).mean(0)", [(N,)])
    if form == 2:
        flat = g.emit(f"{v.name}.flatten(1).t().reshape(n, {rest})", [(N,), (rest,)])
        return flat
    return g.emit(f"{v.name}.flatten(1).t().contiguous().view(-1, {rest}) * 0.5", [(N,), (rest,)])


def gram(g, v):
    """Every example with every example."""
    v = g.ranked(v, 2)
    d = v.dims[1]
    x = v.name
    forms = [
        (f"({x} @ {x}.T) @ {x}", d), (f"torch.softmax({x} @ {x}.t(), -1) @ {x}", d), (f"{x} @ ({x}.T @ {x})", d),
        (f"({x}[:, None] - {x}[None]).square().mean(1)", d),
        (f"torch.cdist({x}, {x} + 0.1).sum(1, keepdim=True)", (1,)),
        (f"torch.einsum('nd,md->n', {x}, {x})[:, None]", (1,)), (f"torch.einsum('nd,md,me->ne', {x}, {x}, {x})", d),
        (f"torch.tril(torch.ones(n, n, dtype=torch.float64)) @ {x}", d),
        (f"F.cosine_similarity({x}[:, None] + 0.1, {x}[None], dim=-1).mean(1, keepdim=True)", (1,)),
        (f"({x} @ {x}.T).diagonal()[:, None] + ({x} @ {x}.T).mean(1, keepdim=True)", (1,)),
        (f"torch.tril({x} @ {x}.T).sum(1, keepdim=True)", (1,)),
        (f"torch.addmm({x}, {x} @ {x}.T, {x})", d), (f"torch.bmm({x}[None], {x}.T[None])[0].mean(1)[:, None]", (1,)),
        (f"torch.linalg.vector_norm({x} @ {x}.T, 2, 1, True)", (1,)),
        (f"torch.eye(n, dtype=torch.float64).flip(0) @ {x}", d),
        (f"torch.outer({x}[:, 0], {x}[:, 0]).sum(1, keepdim=True)", (1,)),
        (f"{x}.repeat(2, 1)[1:n + 1]", d), (f"torch.cat([{x}, {x}])[1:n + 1]", d),
        (f"{x}.repeat_interleave(2, 0)[:n]", d), (f"{x}.repeat(2, 1).view(n, 2, -1)[:, 1]", d),
        (f"{x}.expand(2, n, {extent(d)}).reshape(n, 2, {extent(d)})[:, 0]", d),
        (f"{x}[torch.arange(n - 1, -1, -1)]", d), (f"{x}[{x}[:, 0].argsort()]", d),
        (f"{x} + {x}[0]", d), (f"{x} + {x}[-1:]", d), (f"{x}[torch.zeros(n, dtype=torch.long)] + {x}", d),
        (f"torch.stack([{x}[i % 2] for i in range(2)]).mean(0) + {x}", d),
        (f"{x}.as_strided({x}.shape, {x}.stride()).flip(0)", d),
        (f"{x} * torch.searchsorted({x}[:, 0].sort()[0], {x}[:, 0].contiguous())[:, None]", d),
        (f"{x}.view(-1).roll(1).view(n, -1)", d), (f"F.pad({x}, (0, 0, 1, 0))[:n] + {x}", d),
        (f"{x}.index_add(0, torch.zeros(n, dtype=torch.long), {x})", d),
        (f"{x}.scatter_add(0, torch.zeros_like({x}).long(), {x})", d), (f"torch.roll({x}, (1, 1), (0, 1))", d),
        (f"{x}.t().cumsum(-1).t()", d),
        (f"torch.kron({x}[:1], {x}[:, :1])", d), (f"{x}.flatten().cumsum(0).view_as({x})", d), (f"{x}.rot90(2)", d),
        (f"torch.flipud({x})", d), (f"{x}[{g.input('k', ()).name} % n]", d),
    ]  # fmt: skip
    text, last = g.pick(forms)
    return g.emit(text, [(N,), last])


def normed(g, v):
    """Batch norm in training, norms whose group holds the batch."""
    v = g.ranked(v, g.pick([2, 3]))
    c = extent(v.dims[1])
    weight = g.pick(["None", g.parameter(c)])
    x = v.name
    forms = [f"F.batch_norm({x}, None, None, {weight}, None, True)", f"F.batch_norm({x}, None, None, training=True)"]
    if v.rank == 2:
        forms += [
            f"F.layer_norm({x}.t().contiguous(), (n,)).t()", f"F.instance_norm({x}.t()[None])[0].t()",
            f"F.group_norm({x}.t()[None], 1)[0].t()",
            f"F.conv1d({x}.t()[:, None], {g.parameter(1, 1, 3)}, padding=1)[:, 0].t()",
            f"F.avg_pool1d({x}.t()[None], 3, 1, 1)[0].t()",
            f"F.max_pool1d({x}.t()[None], 3, 1, 1)[0].t()",
            f"F.conv1d({x}.t()[None], {g.parameter(c, c, 3)}, padding=1)[0].t()",
            f"F.avg_pool2d({x}[None], (3, 1), 1, (1, 0))[0]",
            f"F.interpolate({x}.t()[None], size=2, mode='linear')[0].mean(1) + {x}",
            f"F.unfold({x}[None, None], (1, 1)).flip(2).view(n, {c})",
            f"F.adaptive_avg_pool1d({x}.t()[None], 1)[0].t() + {x}", f"F.glu(torch.cat([{x}, {x}.flip(0)], 1))",
            f"F.pixel_unshuffle({x}.t().reshape(1, 1, {c}, n), 1)[0, 0].flip(1).t()",
            f"F.local_response_norm({x}[None], 3)[0] + {x}", f"F.layer_norm({x}, {x}.shape)",
        ]  # fmt: skip
    return g.emit(g.pick(forms), v.dims)


def updated(g, v):
    """A change in place that carries values from one example to another."""
    copy = g.emit(f"{g.batch_first(v).name}.clone()", g.values[-1].dims)
    x = copy.name
    g.lines.append(
        g.pick(
            [
                f"{x}[0] += {x}[1:].sum(0)",
                f"{x}.copy_({x}.flip(0))",
                f"{x}[1:] = {x}[:-1].clone()",
                f"{x}.sub_({x}.mean(0))",
                f"{x}.cumsum_(0)",
                f"{x}[-1].mul_({x}[0])",
                f"{x}[torch.arange(n)] = {x}.flip(0)",
                f"{x}[{x} > {x}.mean()] = 0.3",
            ]
        )
    )
    return g.emit(f"{x} * 1.0", copy.dims)


def aside(g, v):
    """Mixing as a parameterless value: only the gradient's scale depends on the others."""
    if not v.where:
        return None
    j = v.where[0]
    form = g.pick(
        [
            f"{v.name} * {v.name}.detach().mean({j}, keepdim=True)",
            f"{v.name} * (1 + x.mean().detach())",
            f"{v.name} * x.flatten(1).mean(1).sum()",
            f"{v.name} + x.std()",
            f"{v.name} * torch.cumsum(x.flatten(), 0)[-1]",
        ]
    )
    return g.emit(form, v.dims)


OPS = (
    over,
    over,
    over,
    over,
    over,
    wrong_view,
    wrong_view,
    wrong_place,
    gram,
    gram,
    gram,
    normed,
    normed,
    updated,
    aside,
)
