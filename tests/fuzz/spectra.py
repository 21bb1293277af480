"""Complex values: transforms and pairs of reals, scaled and mapped by trained parameters, back to reals."""

from fuzz.pointwise import broadcast
from fuzz.state import N, carries, extent

__all__ = ["OPS"]


def parameter(g, *shape):
    """A complex parameter: complex itself, or of real ones."""
    chance = g.rng.random()
    if chance < 0.5 or not shape:
        return g.tensor("c", shape)
    made = [
        lambda: f"torch.view_as_complex({g.tensor('p', (*shape, 2))})",
        lambda: f"torch.view_as_complex({g.parameter(*shape, 2)}.contiguous())",
        lambda: f"torch.complex({g.tensor('p', shape)}, {g.tensor('p', shape)})",
        lambda: f"torch.polar({g.tensor('p', shape)}.exp(), {g.tensor('p', shape)})",
        lambda: f"{g.tensor('c', shape)}.conj()",
        lambda: f"({g.tensor('c', shape)} * {g.tensor('p', shape)})",
        lambda: f"{g.tensor('c', (shape[0] + 1, *shape[1:]))}[1:]",
        lambda: f"{g.tensor('p', shape)}.to(torch.complex128)",
        lambda: f"torch.exp(1j * {g.tensor('p', shape)})",
    ]
    return g.pick(made)()


def transformed(g, v, j):
    """(complex values, what takes them back), by a transform over the dim j or by a second part."""
    e = extent(v.dims[j])
    half = [*v.dims[:j], (e // 2 + 1,), *v.dims[j + 1 :]]
    norm = g.pick(["", "", ", norm='ortho'"])
    forms = [
        (f"torch.fft.fft({v.name}, dim={j}{norm})", v.dims, [f"torch.fft.ifft({{}}, dim={j}{norm}).real"]),
        (f"torch.fft.rfft({v.name}, dim={j}{norm})", half, [f"torch.fft.irfft({{}}, n={e}, dim={j}{norm})"]),
        (f"torch.complex({v.name}, torch.sin({v.name}))", v.dims, []),
        (f"{v.name}.to(torch.complex128)", v.dims, []),
    ]
    text, dims, back = g.pick([*forms[:2], *forms])
    return g.emit(text, dims, "complex"), back


def scaled(g, z):
    """Element by element, by a complex or a real parameter."""
    shape = broadcast(g, [1 if carries(d) else extent(d) for d in z.dims])
    w = parameter(g, *shape) if g.maybe(0.75) else g.parameter(*shape)
    text = g.pick(
        ["{z} * {w}", "{z} * {w}", "{w} * {z}", "{z} + {w}", "{w} - {z}", "{z} / ({w} + 3)", "{z}.conj() * {w}"]
    )
    return g.emit(text.replace("{z}", z.name).replace("{w}", w), z.dims, "complex")


def mapped(g, z):
    """Features to features, by a complex matrix."""
    if not z.rank or carries(z.dims[-1]):
        return None
    i, o = extent(z.dims[-1]), g.rng.randint(1, 3)
    dims = [*z.dims[:-1], (o,)]
    forms = [
        lambda: f"{z.name} @ {parameter(g, i, o)}",
        lambda: f"F.linear({z.name}, {parameter(g, o, i)}, {parameter(g, o)})",
        lambda: f"torch.einsum('...i,io->...o', {z.name}, {parameter(g, i, o)})",
        lambda: f"torch.matmul({z.name}, {parameter(g, o, i)}.mH)",
    ]
    return g.emit(g.pick(forms)(), dims, "complex")


def spectrum(g, v):
    """Reals → complex → mapped once or twice → reals."""
    if not v.free:
        v = g.ranked(v, 2)
    j = g.pick(v.free)
    z, back = transformed(g, v, j)
    before = z.dims
    for _ in range(g.pick([1, 1, 2])):
        z = g.pick([scaled, scaled, mapped])(g, z) or scaled(g, z)
        if g.maybe(0.15):
            z = g.emit(
                g.pick(["{}.conj()", "{} * 1j", "torch.tanh({} * 0.1)", "{}.exp()"]).replace("{}", z.name),
                z.dims,
                "complex",
            )
    if j == z.rank - 1 and z.dims != before:
        back = []  # another extent in the transformed dim
    forms = ["{}.abs()", "{}.abs().square()", "{}.real", "({} * {}.conj()).real", "{}.real + {}.imag"]
    if g.maybe(0.15):
        return g.emit(f"torch.view_as_real({z.name})", [*z.dims, (2,)])
    if back and g.maybe(0.5):
        dims = [*z.dims[:j], v.dims[j], *z.dims[j + 1 :]]
        return g.emit(back[0].replace("{}", z.name), dims)
    return g.emit(g.pick(forms).replace("{}", z.name), z.dims)


def modes(g, v):
    """A layer of a Fourier neural operator: a matrix over the channels for each frequency."""
    v = g.ranked(v, 3)
    c, s, o = extent(v.dims[1]), extent(v.dims[2]), g.rng.randint(1, 3)
    kept = g.rng.randint(1, s // 2 + 1)
    z = g.emit(f"torch.fft.rfft({v.name})[..., :{kept}]", [(N,), (c,), (kept,)], "complex")
    z = g.emit(f"torch.einsum('nik,iok->nok', {z.name}, {parameter(g, c, o, kept)})", [(N,), (o,), (kept,)], "complex")
    return g.emit(f"torch.fft.irfft({z.name}, n={s})", [(N,), (o,), (s,)])


OPS = (spectrum, spectrum, spectrum, modes)
