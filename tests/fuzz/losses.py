"""A value → the losses of the examples, or their sum or mean."""

from fuzz.state import N, extent

__all__ = ["finish", "finish_mixing"]

SCALED = {"none": "none", "mean": "mean", "sum": "sum"}


def to_losses(g, v):
    """One number an example, by reductions over its own dims."""
    v = g.batch_first(v)
    if v.rank == 1:
        return g.emit(g.pick(["{}", "{}.square()", "torch.sin({})"]).replace("{}", v.name), v.dims)
    dims = tuple(range(1, v.rank))
    forms = [
        f"{v.name}.flatten(1).sum(1)", f"{v.name}.square().mean({dims})", f"{v.name}.flatten(1).logsumexp(1)",
        f"torch.tanh({v.name}).sum({dims})", f"{v.name}.reshape(n, -1).pow(2).sum(-1)",
        f"({v.name}.flatten(1) + 0.1).norm(dim=1)",
        f"{v.name}.sin().sum({dims})", f"F.softplus({v.name}).flatten(1).mean(1)", f"{v.name}.flatten(1).amax(1)",
    ]  # fmt: skip
    return g.emit(g.pick(forms), [(N,)])


def by_class(g, v, reduction):
    """A loss of torch over scores of classes: a scalar by the reduction, or its values [N, …]."""
    v = g.ranked(v, 2) if g.maybe(0.7) else g.ranked(v, 3)
    places = v.shape[2:]
    if extent(v.dims[1]) < 3 or (places and reduction == "mean"):
        v = g.batch_first(v) if not places else g.ranked(v, 2)
        v = g.emit(f"F.linear({v.name}, {g.parameter(3, extent(v.dims[1]))})", [(N,), (3,)])
        places = ()
    c = extent(v.dims[1])
    y, p = g.input("y", places), g.input("w", (c, *places))
    r = f"reduction='{reduction}'"
    forms = [
        (f"F.cross_entropy({v.name}, {y.name}, {r})", False),
        (f"F.cross_entropy({v.name}, {y.name}, label_smoothing=0.1, {r})", False),
        (f"F.cross_entropy({v.name}, {p.name} / {p.name}.sum(1, keepdim=True), {r})", False),
        (f"F.nll_loss(F.log_softmax({v.name}, 1), {y.name}, {r})", False),
    ]
    if reduction != "mean":
        forms += [(f"F.cross_entropy({v.name}, {y.name}, {g.tensor('w', (c,))}, {r})", False)]
    if not places:
        forms += [(f"F.multi_margin_loss({v.name}, {y.name}, {r})", False)]
    if reduction != "sum":
        forms += [(f"F.cross_entropy({v.name}, {y.name}, ignore_index=5, {r})", False)]
    return g.pick(forms)[0], [(N,), *((s,) for s in places)]


def by_element(g, v, reduction):
    """A loss of torch element by element."""
    v = g.ranked(v, g.pick([1 + min(v.rank - 1, 1), 2, 3]) or 1)
    shape = v.shape[1:]
    t, w, s = (g.input(letter, shape) for letter in "tws")
    r = f"reduction='{reduction}'"
    forms = [
        f"F.mse_loss({v.name}, {t.name}, {r})", f"F.l1_loss({v.name}, {t.name}, {r})",
        f"F.smooth_l1_loss({v.name}, {t.name}, {r})",
        f"F.huber_loss({v.name}, {t.name}, {r}, delta=0.5)",
        f"F.binary_cross_entropy_with_logits({v.name}, {w.name} - 0.5, {r})",
        f"F.binary_cross_entropy(torch.sigmoid({v.name}), {w.name} - 0.5, {r})", f"F.kl_div({v.name}, {w.name}, {r})",
        f"F.poisson_nll_loss({v.name}.clamp(max=3), {w.name}, {r})", f"F.soft_margin_loss({v.name}, {s.name}, {r})",
        f"F.hinge_embedding_loss({v.name}, {s.name}, {r})",
        f"F.margin_ranking_loss({v.name}, {t.name}, {s.name}, 0.5, {r})",
        f"F.gaussian_nll_loss({v.name}, {t.name}, {w.name}, {r})",
    ]  # fmt: skip
    return g.pick(forms), v.dims


def by_row(g, v, reduction):
    """A loss of torch of whole rows."""
    v = g.ranked(v, 2)
    d = extent(v.dims[1])
    t, other, s = g.input("t", (d,)), g.input("x", (d,)), g.input("s", ())
    r = f"reduction='{reduction}'"
    forms = [
        f"F.cosine_embedding_loss({v.name} + 0.1, {t.name}, {s.name}, 0.1, {r})",
        f"F.triplet_margin_loss({v.name}, {t.name}, {other.name}, 2.0, {r})",
    ]
    return g.pick(forms), [(N,)]


def finish(g, v):
    """The return of a forward: N losses, their plain mean or sum, or a sum of such."""
    if g.maybe(0.4):
        values = to_losses(g, v)
        if g.maybe(0.3):
            other = to_losses(g, g.pick([u for u in g.values if u.kind == "float" and u.where]))
            values = g.emit(f"{values.name} + 0.3 * {other.name}", [(N,)])
        if g.maybe(0.2):
            values = g.emit(f"{values.name} * {g.input('w', ()).name}", [(N,)])
        if g.maybe(0.1):
            values = g.emit(f"{values.name} + 0.01 * {g.parameter(3)}.square().sum()", [(N,)])
        end = g.pick(["", "", "", "", ".mean()", ".sum()", ".sum() / n", ".mean(0)", ".mean() * 2", ".sum(0)"])
        g.lines.append(f"return {values.name}{end}")
        return
    reduction = g.pick(["none", "none", "mean", "sum"])
    text, dims = g.pick([by_class, by_class, by_element, by_element, by_row])(g, v, reduction)
    if reduction == "none":
        loss = g.emit(text, dims)
        if loss.rank > 1:
            loss = to_losses(g, loss)
        g.lines.append(f"return {loss.name}{g.pick(['', '', '.mean()'])}")
    else:
        more = f" + 0.1 * {to_losses(g, g.values[-1]).name}.{reduction}()" if g.maybe(0.25) else ""
        g.lines.append(f"return {text}{g.pick(['', '', ' * 0.5', ' / 2.0', ''])}{more}")


def finish_mixing(g, v):
    """A scalar or N losses normalised by the batch."""
    values = to_losses(g, v).name
    w = g.input("w", ()).name
    forms = [
        f"{values} / {values}.detach().abs().mean()", f"({values} * {w}).sum() / {w}.sum()", f"{values}.mean() ** 2",
        f"{values}.logsumexp(0)",
        f"{values}.max()", f"{values}.std()", f"({values} - {values}.mean()).square().mean()",
        f"torch.softmax({values}, 0)", f"{values}.norm()",
        f"{values}.cumsum(0)", f"{values}.sort()[0]", f"{values}.median()", f"{values}.mean().exp()",
        f"torch.sqrt(1 + {values}.square().sum())",
        f"{values} * n", f"{values} / n", f"{values}.mean() + {values}.sum()",
        f"{values}.sum() / n + {w}.std() * {values}.sum()", f"{values}.flip(0)", f"{values}.roll(1)",
        f"{values}.sum() * {values}.mean()", f"{values}[:-1].sum() + {values}[0]",
        f"F.cross_entropy({values}[None], torch.zeros(1, dtype=torch.long))", f"{values} - {values}[0]",
        f"{values}.topk(1)[0].sum()",
        f"({values} * {w}).sum() / {w}.detach().sum()", f"{values}.unique().sum()",
        f"{values}.sum() / {values}.count_nonzero()",
        f"({values} > {values}.mean()) * {values}", f"torch.cumsum({values}, 0).mean()",
        f"{values}.var(unbiased=False) + {values}.mean()",
    ]  # fmt: skip
    g.lines.append(f"return {g.pick(forms)}")
