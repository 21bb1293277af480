"""Complex parameters, and real ones that meet complex values, against a loop over examples in double precision."""

import pytest
import torch
from comparison import assert_exact
from patterns import Pattern, batch_of, losses, parameter
from torch import nn

import clipcompiler as cc
from clipcompiler.verify import oracle, relative, relative_sums


def number(*shape):
    """A trained complex tensor."""
    return nn.Parameter(torch.randn(shape, dtype=torch.complex128))


def modes(m, x):
    """A layer of a Fourier neural operator: a matrix over the channels for each of the first frequencies."""
    spectrum = torch.fft.rfft(x)
    mixed = torch.einsum("nik,iok->nok", spectrum[..., :3], m.w)
    return torch.fft.irfft(mixed, n=x.shape[-1]) + x * m.v


def unrolled(m, x):
    """Two steps of an MRI reconstruction: a gradient step on the masked spectrum, and a step size that is trained."""
    measured = torch.fft.fft2(x) * m.mask
    image = torch.fft.ifft2(measured)
    for _ in range(2):
        residual = torch.fft.ifft2(m.mask * torch.fft.fft2(image) - measured)
        image = image - m.step * residual + torch.complex(m.a, m.b) * image.conj()
    return image.abs()


PATTERNS = {
    "elementwise": (lambda m, x: (x * m.w).abs(), (3, 4), {"w": number(4)}),
    "a quotient": (lambda m, x: (x / m.w).angle(), (3, 4), {"w": number(4)}),
    "a complex shift": (lambda m, x: (x - m.w).abs(), (3, 4), {"w": number(4)}),
    "a real scale of complex values": (lambda m, x: (torch.fft.fft(x) * m.w).abs(), (3, 4), {"w": parameter(4)}),
    "a real shift of complex values": (lambda m, x: (torch.fft.fft(x) + m.w).abs(), (3, 4), {"w": parameter(4)}),
    "a scalar": (lambda m, x: (torch.fft.fft(x) * m.w).abs(), (3, 4), {"w": number()}),
    "linear": (
        lambda m, x: nn.functional.linear(torch.fft.fft(x), m.w, m.b).abs(),
        (3, 4),
        {"w": number(2, 4), "b": number(2)},
    ),
    "linear, one row": (
        lambda m, x: nn.functional.linear(torch.fft.fft(x), m.w, m.b).abs(),
        (4,),
        {"w": number(2, 4), "b": number(2)},
    ),
    "a row of a weight": (lambda m, x: (torch.fft.fft(x) * m.w[1]).abs(), (3, 4), {"w": number(2, 4)}),
    "slices of a weight, and a real one": (
        lambda m, x: (torch.fft.fft(x)[..., :2] @ m.w[:2] * m.v[0] + m.w[2]).abs(),
        (3, 4),
        {"w": number(4, 2), "v": parameter(2, 2)},
    ),
    "two parameters joined": (
        lambda m, x: (torch.fft.fft(x) @ torch.cat([m.w, m.v.flip(0)])).abs(),
        (3, 4),
        {"w": number(1, 2), "v": number(3, 2)},
    ),
    "a product": (lambda m, x: (x.to(m.w.dtype) @ m.w).real, (3, 4), {"w": number(4, 2)}),
    "time first": (
        lambda m, x: (torch.fft.fft(x.transpose(0, 1)) @ m.w * m.v).abs().transpose(0, 1),
        (3, 4),
        {"w": number(4, 2), "v": number(2)},
    ),
    "merged rows": (
        lambda m, x: (torch.fft.fft(x.transpose(0, 1).flatten(0, 1)) @ m.w).imag.view(3, -1, 2).transpose(0, 1),
        (3, 4),
        {"w": number(4, 2)},
    ),
    "a Fourier layer": (modes, (2, 8), {"w": number(2, 2, 3), "v": parameter(2, 1)}),
    "a convolution": (
        lambda m, x: nn.functional.conv1d(x.to(m.w.dtype), m.w, m.b, padding=1).abs(),
        (2, 6),
        {"w": number(3, 2, 3), "b": number(3)},
    ),
    "view_as_complex": (
        lambda m, x: (torch.fft.fft(x) * torch.view_as_complex(m.w)).abs(),
        (3, 4),
        {"w": parameter(4, 2)},
    ),
    "polar": (
        lambda m, x: (torch.fft.fft(x) * torch.polar(m.r, m.a)).real,
        (3, 4),
        {"r": parameter(4), "a": parameter(4)},
    ),
    "polar of values": (lambda m, x: torch.polar(x, m.a).imag, (3, 4), {"a": parameter(4)}),
    "complex of values": (lambda m, x: torch.complex(x, m.a).square().imag, (3, 4), {"a": parameter(3, 4)}),
    "view_as_real": (lambda m, x: torch.view_as_real(x * m.w).exp(), (3, 4), {"w": number(4)}),
    "behind functions": (
        lambda m, x: (torch.fft.fft(x) @ (m.w @ m.w.conj().T + m.v.to(m.w.dtype))).abs(),
        (3, 4),
        {"w": number(4, 4), "v": parameter(4, 4)},
    ),
    "parts read once": (
        lambda m, x: sum((torch.fft.fft(x) * part).abs() for part in m.w.unbind()),
        (3, 4),
        {"w": number(2, 3, 4)},
    ),
    "used in many ways": (
        lambda m, x: (x * m.w).abs() + (x.to(m.w.dtype) @ m.w)[..., None].real + (x - m.w.conj()).abs() * m.w.abs(),
        (3, 4),
        {"w": number(4)},
    ),
    "an unrolled reconstruction": (
        unrolled,
        (4, 4),
        {"mask": (torch.rand(4, 4) < 0.6).double(), "step": parameter(1), "a": parameter(4), "b": parameter(4)},
    ),
    "beside real layers": (
        lambda m, x: m.f(torch.fft.irfft(torch.fft.rfft(m.f(x)) * m.w, n=4)).tanh(),
        (3, 4),
        {"f": nn.Linear(4, 4), "w": number(3)},
    ),
}


def in_double(model):
    """The same in double precision; ``double()`` would drop imaginary parts."""
    return model._apply(lambda t: t.to(torch.complex128 if t.is_complex() else torch.float64))


@pytest.mark.parametrize("name", PATTERNS)
def test_exact(name):
    """At one, two and five examples, half of them clipped; none give zeros."""
    function, shape, parts = PATTERNS[name]
    model = in_double(Pattern(function, **parts))
    step = cc.compile(model, losses)
    for size in (1, 2, 5):
        batch = batch_of(size, shape)
        norms = oracle(model, losses, batch).norms
        # not a norm itself: two gradients clipped to one norm could cancel to rounding
        step.max_grad_norm = float(norms.median()) * (1.1 if size > 1 else 0.5)
        assert_exact(step, batch)
    result, sums = step.gradients(*batch_of(0, shape))
    assert result.norms.dtype == torch.float64
    assert {n: g.dtype for n, g in sums.items()} == {n: p.dtype for n, p in model.named_parameters()}
    assert not any(g.any() for g in sums.values())


@pytest.mark.parametrize(
    ("name", "clipping"),
    [
        ("linear", cc.PerLayer()),
        ("behind functions", cc.Flat()),
        ("merged rows", cc.Automatic(0.1)),
        ("beside real layers", cc.PerLayer()),
    ],
)
def test_units_and_clippings(name, clipping):
    """Units of equal and of any size."""
    function, shape, parts = PATTERNS[name]
    model, batch = in_double(Pattern(function, **parts)), batch_of(6, shape)
    for given, ids in (({"examples_per_unit": 3}, {}), ({}, {"unit_ids": torch.tensor([4, 1, 1, 4, 7, 1])}), ({}, {})):
        step = cc.compile(model, losses, max_grad_norm=2.0, clipping=clipping, **given)
        result, sums = step.gradients(*batch, **ids)
        truth = oracle(model, losses, batch, max_grad_norm=2.0, clipping=clipping, **given, **ids)
        assert relative(result.norms, truth.norms) <= 1e-10
        assert relative_sums(sums, truth.gradients) <= 1e-10


@pytest.mark.parametrize("name", ["linear", "a Fourier layer", "behind functions", "a product"])
def test_single_precision(name):
    """complex64 beside float32."""
    function, shape, parts = PATTERNS[name]
    model = Pattern(function, **parts)._apply(lambda t: t.to(torch.complex64 if t.is_complex() else torch.float32))
    x, target = batch_of(5, shape)
    batch = x.float(), target.float()
    step = cc.compile(model, losses, max_grad_norm=1.0)
    assert_exact(step, batch, torch.float32)
    assert step.verify(*batch) <= 1e-10
    result, sums = step.gradients(*batch)
    assert result.norms.dtype == torch.float32
    assert {n: g.dtype for n, g in sums.items()} == {n: p.dtype for n, p in model.named_parameters()}


def test_grad_is_as_backward_leaves_it():
    """Unclipped: complex, and twice its value after two calls."""
    function, shape, parts = PATTERNS["used in many ways"]
    model, batch = in_double(Pattern(function, **parts)), batch_of(4, shape)
    losses(model(batch[0]), batch[1]).sum().backward()
    expected, model.w.grad = model.w.grad, None
    step = cc.compile(model, losses, max_grad_norm=1e6)
    step(*batch)
    torch.testing.assert_close(model.w.grad, expected, rtol=1e-10, atol=1e-10)
    step(*batch)
    torch.testing.assert_close(model.w.grad, 2 * expected, rtol=1e-10, atol=1e-10)


def test_a_norm_is_not_that_of_the_real_parts():
    """‖g‖² = Σ |g|²"""
    model = Pattern(lambda m, x: (x * m.w).imag, w=number(4))
    result, _ = cc.compile(model, losses).gradients(*batch_of(3, (3, 4)))
    assert bool((result.norms > 0).all())


def test_complex_batches():
    """Complex inputs are examples as any others."""
    model = Pattern(lambda m, x: (x @ m.w).abs(), w=number(4, 2))
    batch = torch.randn(5, 3, 4, dtype=torch.complex128), torch.randn(5).double()
    step = cc.compile(model, losses, max_grad_norm=1.0)
    assert_exact(step, batch)
    assert step.verify(*batch) <= 1e-10
    assert float(step.audit(*batch, examples=1)) <= 1 + 1e-9


def test_examples_that_are_not_finite_are_found():
    """In an imaginary part too."""
    model = Pattern(lambda m, x: (x * m.w).imag, w=number(4))
    x, target = batch_of(3, (3, 4))
    x[1, 0, 0] = float("inf")
    with pytest.raises(cc.NonFiniteExamples):
        cc.compile(model, losses).gradients(x, target)
    result, sums = cc.compile(model, losses, nonfinite="drop", max_grad_norm=1.0).gradients(x, target)
    assert result.clip_factors[1] == 0
    assert bool(torch.isfinite(torch.view_as_real(sums["w"])).all())


def test_a_spectrum_over_the_examples_is_refused():
    with pytest.raises(cc.ExamplesMixed, match="fft"):
        cc.compile(
            Pattern(lambda m, x: (torch.fft.fft(x, dim=0) * m.w).abs(), w=number(4)),
            losses,
            example_inputs=batch_of(2, (3, 4)),
        )


#: Layers of complex values [N, 3, 4], each with a parameter of its own.
LAYERS = (
    (lambda z, w: torch.fft.fft(z) * w, lambda: number(4)),
    (lambda z, w: torch.fft.ifft(z, dim=1) + w, lambda: number(3, 1)),
    (lambda z, w: z @ w, lambda: number(4, 4)),
    (lambda z, w: torch.einsum("nsd,st->ntd", z, w), lambda: number(3, 3)),
    (lambda z, w: z / (2 + z.abs()) * w, lambda: parameter(4)),
    (lambda z, w: z.conj() * torch.polar(w.abs(), w), lambda: parameter(3, 4)),
    (lambda z, w: torch.complex(z.real @ w, z.imag), lambda: parameter(4, 4)),
    (lambda z, w: torch.view_as_complex(torch.view_as_real(z) * w), lambda: parameter(2)),
    (lambda z, w: nn.functional.conv1d(z, w, padding=1), lambda: number(3, 3, 3)),
    (lambda z, w: z.transpose(0, 1).mul(w).transpose(0, 1), lambda: number(3, 1, 4)),
    (lambda z, w: nn.functional.linear(z.flatten(0, 1), w).view(-1, 3, 4), lambda: number(4, 4)),
    (lambda z, w: z + (z.real * w).tanh(), lambda: number()),
    (lambda z, w: torch.where(z.real > 0, z, z * w), lambda: parameter()),
    (lambda z, w: z @ (w @ w.mH), lambda: number(4, 4)),
)
LAST = (torch.abs, torch.angle, torch.real, torch.imag, lambda z: torch.view_as_real(z).sin())


def random_model(seed):
    """Some of the layers one after the other, the last parameter used twice."""
    draw = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    chosen = [LAYERS[int(k)] for k in torch.randperm(len(LAYERS), generator=draw)[:4]]
    last = LAST[int(torch.randint(len(LAST), (1,), generator=draw))]

    def forward(m, x):
        z = x.to(torch.complex128)
        for k, (layer, _) in enumerate(chosen):
            z = layer(z, getattr(m, f"w{k}"))
        return last(chosen[-1][0](z, m.w3) + x)

    return Pattern(forward, **{f"w{k}": make() for k, (_, make) in enumerate(chosen)})


@pytest.mark.parametrize("seed", range(6))
def test_random_models(seed):
    """Chains of layers, exact at two and at five examples."""
    model = random_model(seed)
    step = cc.compile(model, losses)
    for size in (2, 5):
        batch = batch_of(size, (3, 4))
        step.max_grad_norm = float(oracle(model, losses, batch).norms.median())
        assert_exact(step, batch)
