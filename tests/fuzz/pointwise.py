"""Element-by-element ops: of one value, of a value and a parameter that broadcasts, of two values; copies; creation."""

from fuzz.state import N, carries, extent, spelled

__all__ = ["OPS"]

UNARY = (
    "torch.tanh({})", "torch.sigmoid({})", "F.relu({})", "F.gelu({})", "F.gelu({}, approximate='tanh')", "F.silu({})",
    "torch.sin({})", "F.softplus({})", "F.elu({})", "F.leaky_relu({}, 0.2)", "F.hardtanh({})", "F.mish({})",
    "torch.exp(-{}.square())", "{}.abs()", "-{}", "{} * 0.7", "{} / 1.3", "{} - 0.5", "1.5 - {}",
    "torch.rsqrt(1 + {}.square())",
    "torch.sqrt({}.square() + 0.3)", "torch.clamp({}, -1.0, 1.0)", "{}.clamp_min(-0.3)", "torch.atan({})",
    "torch.log1p({}.abs())",
    "F.logsigmoid({})", "F.hardswish({})", "F.celu({})", "F.selu({})", "F.relu6({})", "F.softsign({})",
    "F.tanhshrink({})",
    "F.hardsigmoid({})", "F.softshrink({}, 0.1)", "F.threshold({}, 0.1, 0.0)", "torch.erf({})", "{}.pow(2) * 0.3",
    "2.0 ** (-{}.abs())",
    "torch.reciprocal(1 + {}.abs())", "torch.sign({}) * {}", "torch.nan_to_num({})",
    "torch.where({} > 0, {}, 0.1 * {})",
    "torch.masked_fill({}, {} < -0.5, 0.2)", "torch.cos({}) + 0.1 * {}", "F.dropout({}, 0.5, False)",
    "F.dropout({}, 0.0)",
    "{}.clone()", "{}.contiguous()", "{}.to(torch.float64)", "{}.float().double()",
    "torch.addcmul({}, {}, {}, value=0.3)",
    "torch.lerp({}, -{}, 0.3)", "{}.double()", "torch.zeros_like({}) + {}", "{} * torch.ones_like({})",
    "F.dropout1d({}, 0.5, False)",
    "torch.square({}) - {}", "{}.add({}, alpha=0.5)", "torch.rsub({}, 1.0, alpha=0.5)", "{}.where({} > 0, -0.1)",
    "F.alpha_dropout({}, 0.5, False)", "torch.fmod({}, 2.0)", "{}.detach() + {}", "{} + 0.1 * {}.detach()",
    "F.rrelu({}, 0.1, 0.3, False)", "torch.hypot({}, {} + 1)", "torch.logaddexp({}, -{})",
    "torch.maximum({}, -0.5 * {})", "{}.view_as({})",
)  # fmt: skip

#: z is a parameter that broadcasts.
BINARY = (
    "{} + {z}", "{z} + {}", "{} * {z}", "{z} * {}", "{} - {z}", "{z} - {}", "{} / (1 + {z}.square())",
    "{z} / (1 + {}.square())",
    "torch.maximum({}, {z})", "torch.lerp({}, {z}, 0.3)", "torch.add({}, {z}, alpha=0.3)",
    "torch.sub({}, {z}, alpha=-0.3)",
    "torch.atan2({}, {z})", "torch.where({} > 0, {}, {z})", "torch.where({} > 0, {z} * {}, {})",
    "torch.addcmul({}, {z}, {}, value=0.5)",
    "torch.hypot({}, {z})", "{}.clamp(max={z})", "torch.logaddexp({}, {z})", "{} * torch.sigmoid({z})",
    "torch.tanh({} + {z})",
    "torch.lerp({}, {} * 0.5, {z})", "({}.abs() + 0.5) ** {z}", "torch.fmin({}, {z})",
    "torch.addcdiv({}, {z}, 1 + {}.square())",
    "{} * (1 + {z}) + {z}", "{z} * {} * {z}", "({} - {z}).square()", "F.softplus({}) / F.softplus({z})",
    "torch.mul({z}, {})", "{} + ({z} > 0) * {}", "torch.xlogy({}, 1 + {z}.square())", "torch.copysign({}, {z})",
    "torch.minimum({z}, {}.square())",
)  # fmt: skip

#: u is another value.
OF_TWO = (
    "{} + {u}", "{} - {u}", "{} * {u}", "{} / (1 + {u}.abs())", "torch.maximum({}, {u})",
    "torch.where({} > {u}, {}, {u})",
    "torch.lerp({}, {u}, 0.4)", "{} * torch.sigmoid({u})", "torch.atan2({}, {u})", "({} + {u}) / 2",
    "torch.addcmul({}, {u}, {})",
)  # fmt: skip


def unary(g, v):
    """f(x)."""
    return g.emit(g.pick(UNARY).replace("{}", v.name), v.dims)


def broadcast(g, shape):
    """A shape that broadcasts to one: leading dims left off, some extents 1; never an extent for the examples."""
    kept = list(shape[g.rng.randint(0, len(shape)) if g.maybe(0.4) else 0 :])
    return tuple(1 if s == 1 or g.maybe(0.3) else s for s in kept)


def with_parameter(g, v):
    """f(x, z) with z a parameter over the dims without examples."""
    shape = broadcast(g, [1 if carries(d) else extent(d) for d in v.dims])
    text = g.pick(BINARY).replace("{}", v.name)
    while "{z}" in text:
        text = text.replace(
            "{z}", g.parameter(*shape) if g.maybe(0.6) or text.count("{z}") > 1 else g.tensor("p", shape), 1
        )
    return g.emit(text, v.dims)


def prelu(g, v):
    """A slope for each channel."""
    if v.rank < 2 or carries(v.dims[1]):
        return None
    slope = g.parameter(g.pick([1, extent(v.dims[1])]))
    return g.emit(f"F.prelu({v.name}, {slope})", v.dims)


def of_two(g, v):
    """f(x, y) of two values of one layout, or of one that broadcasts."""
    same = [u for u in g.values if u.kind == "float" and matches(u, v)]
    u = g.pick(same)
    return g.emit(g.pick(OF_TWO).replace("{}", v.name).replace("{u}", u.name), v.dims)


def matches(u, v):
    """Whether u broadcasts to the dims of v, with the examples in the same dim."""
    if u.rank > v.rank:
        return False
    tail = v.dims[v.rank - u.rank :]
    return all(a == b or a == (1,) for a, b in zip(u.dims, tail, strict=True))


def with_input(g, v):
    """f(x, an input of the batch)."""
    v = g.batch_first(v)
    shape = v.shape[1:]
    u = g.input(g.pick("xxw"), shape)
    if g.maybe(0.3):
        return g.emit(f"torch.where({g.input('m', shape).name}, {v.name}, {u.name})", v.dims)
    if g.maybe(0.15):
        return g.emit(f"{v.name}.masked_fill(~{g.input('m', shape).name}, -0.5)", v.dims)
    return g.emit(g.pick(OF_TWO).replace("{}", v.name).replace("{u}", u.name), v.dims)


def created(g, v):
    """A value made from sizes, the batch size among them."""
    dims = ", ".join(spelled(d) for d in v.dims)
    size = f"({dims},)"
    last = v.dims[-1] if v.rank else (1,)
    if any(carries(d) and d != (N,) for d in v.dims):  # a dim of extent 2N has no known place for each example
        return g.emit(f"torch.full_like({v.name}, 0.2) + {v.name}", v.dims)
    forms = [
        f"torch.zeros({size}, dtype=torch.float64) + {v.name}", f"torch.ones({size}, dtype=torch.float64) * {v.name}",
        f"torch.full({size}, 0.3, dtype=torch.float64) - {v.name}", f"{v.name}.new_zeros({size}) + {v.name}",
        f"{v.name}.new_full({size}, 0.5) * {v.name}", f"torch.full_like({v.name}, 0.2) + {v.name}",
        f"{v.name} * torch.scalar_tensor(0.5, dtype=torch.float64)",
        f"{v.name} * torch.tensor(0.7, dtype=torch.float64)",
        f"torch.empty_like({v.name}).fill_(0.2) * {v.name}",
    ]  # fmt: skip
    if not carries(last):
        forms += [
            f"{v.name} + torch.arange({extent(last)}) * 0.1",
            f"{v.name} * torch.linspace(0.1, 1, {extent(last)}).double()",
        ]
    return g.emit(g.pick(forms), v.dims)


def in_place(g, v):
    """A copy changed in place: a whole, a slice, through a view."""
    copy = g.emit(f"{v.name}.clone()", v.dims)
    forms = [
        "{}.mul_(0.5)", "{}.add_(1.0)", "torch.tanh_({})", "{}.relu_()", "{}.clamp_(min=-0.5)", "{}.neg_()",
        "{} *= 0.7",
        "F.relu({}, inplace=True)", "{}.masked_fill_({} > 1, 0.3)", "F.leaky_relu_({})", "{}.sigmoid_()",
        "F.silu({}, inplace=True)",
    ]  # fmt: skip
    shape = broadcast(g, [1 if carries(d) else extent(d) for d in v.dims])
    forms += [f"{{}}.add_({g.tensor('p', shape)})", f"{{}}.mul_({g.parameter(*shape)})"] if g.maybe(0.6) else []
    wide = [j for j in v.free if extent(v.dims[j]) > 1]
    if wide:
        j = g.pick(wide)
        at = ":, " * j
        forms += [
            f"{{}}[{at}0] = 0.3",
            f"{{}}[{at}1:] *= 0.5",
            f"{{}}[{at}:1] = {v.name}[{at}1:2]",
            f"{{}}[{at}0].mul_(2.0)",
        ]
        forms += [
            f"{{}}.select({j}, 0).add_({v.name}.select({j}, 1))",
            f"{{}}[{at}1:].zero_()",
            f"{{}}.transpose(0, {j})[0].mul_(0.5)" if not carries(v.dims[0]) else "{}.add_(0.1)",
        ]
    g.lines.append(g.pick(forms).replace("{}", copy.name))
    return g.emit(f"{copy.name} + 0", v.dims) if g.maybe(0.3) else copy


ALIASES = (
    "contiguous()", "to(torch.float64)", "double()", "view_as({})", "flatten(0)", "unsqueeze(0)", "expand_as({})",
    "reshape({}.shape)", "squeeze()",
    "transpose(0, -1)", "movedim(-1, 0)", "chunk(2, -1)[0]", "unbind(-1)[0]", "split(1, -1)[0]", "select(-1, 0)",
    "narrow(-1, 0, 1)", "[...]", "[None]",
    "view({}.shape)", "flatten(0).view({}.shape)", "transpose(0, -1).transpose(0, -1)", "requires_grad_()", "mT",
     "unfold(-1, 1, 1)",
    "ravel()", "type(torch.float64)", "unflatten(-1, (-1, 1))", "swapaxes(0, -1)", "resolve_conj()", "real",
    "swapdims(-1, 0)", "squeeze(-1)", "view(-1)", "expand(2, *{}.shape)[0]",
)  # fmt: skip


def through_alias(g, v):
    """A copy changed in place through another name for the same elements, or for a copy of them."""
    copy = g.emit(f"{v.name}.clone(memory_format=torch.contiguous_format)", v.dims)
    alias = g.pick(ALIASES).replace("{}", copy.name)
    if (v.rank < 2 and alias == "mT") or not v.rank or carries(v.dims[-1]):
        return None
    g.count += 1
    name = f"h{g.count}"
    g.lines.append(f"{name} = {copy.name}{'' if alias[0] == '[' else '.'}{alias}")
    shape = g.pick([(), (1,)])
    change = g.pick(
        ["mul_(0.5)", "add_(0.3)", "relu_()", f"mul_({g.tensor('p', shape)})", "tanh_()", "clamp_(-0.5, 0.5)", "neg_()"]
    )
    g.lines.append(f"{name}.{change}")
    return g.emit(f"{copy.name} * 1.5", v.dims) if g.maybe(0.5) else copy


def under_no_grad(g, v):
    """A region without gradients, whose value is used beside the gradient."""
    g.count += 1
    name = f"h{g.count}"
    g.lines.append(f"with torch.no_grad():\n        {name} = torch.sigmoid({v.name})")
    return g.emit(f"{v.name} * {name}", v.dims)


def dead(g, v):
    """A line that looks at the whole batch and is not used."""
    if not v.where:
        return None
    j = v.where[0]
    g.lines.append(
        g.pick(
            [
                f"_ = {v.name}.mean({j})",
                f"_ = {v.name}.mean()",
                f"_ = torch.softmax({v.name}, {j})",
                f"_ = {v.name}.detach().max()",
                f"_ = {v.name}.sort({j})",
            ]
        )
    )
    return v


def no_examples(g, v):
    """A value without examples, expanded or broadcast against the batch."""
    if not v.rank or carries(v.dims[-1]):
        return None
    d = extent(v.dims[-1])
    made = g.emit(f"torch.tanh({g.parameter(d)} @ {g.parameter(d, d)})", [(d,)])
    return g.emit(f"{v.name} {g.pick('+*-')} {made.name}", v.dims)


OPS = (
    unary, unary, unary, unary, with_parameter, with_parameter, with_parameter, with_parameter, prelu, of_two, of_two,
    with_input, created, in_place, in_place, through_alias, under_no_grad, dead, no_examples,
)  # fmt: skip
