"""Pulled back through functions of parameters: whatever torch can differentiate, vmapped over the examples."""

import pytest
import torch
from comparison import mostly_slow
from patterns import Pattern, check, parameter
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc

EYE = torch.eye(4, dtype=torch.float64)


@torch.library.custom_op("tests_functions::doubled_by_numpy", mutates_args=())
def doubled_by_numpy(x: torch.Tensor) -> torch.Tensor:
    """2x, beyond what vmap knows."""
    return torch.from_numpy(2 * x.detach().numpy())


doubled_by_numpy.register_fake(torch.empty_like)
doubled_by_numpy.register_autograd(lambda ctx, g: doubled_by_numpy(g))

#: W [4, 4] → a value, by functions whose backward is of many kinds.
FUNCTIONS = {
    "qr": lambda w: torch.linalg.qr(w)[0],
    "svd": lambda w: (lambda u, s, v: u * s.log1p() @ v)(*torch.linalg.svd(w)),
    "singular values": lambda w: torch.linalg.svdvals(w),
    "eigenvalues": lambda w: torch.linalg.eigvalsh(w + w.T),
    "cholesky": lambda w: torch.linalg.cholesky(w @ w.T + EYE),
    "inverse": lambda w: torch.linalg.inv(w),
    "solve": lambda w: torch.linalg.solve(w, EYE),
    "pseudoinverse": lambda w: torch.linalg.pinv(w),
    "triangular solve": lambda w: torch.linalg.solve_triangular(w.tril() + 2 * EYE, EYE, upper=False),
    "matrix exponential": lambda w: torch.linalg.matrix_exp(w),
    "reflections": lambda w: torch.linalg.householder_product(w.tril(-1) + EYE, w[0].abs()),
    "determinant": lambda w: w * torch.linalg.det(w),
    "by its largest singular value": lambda w: w / torch.linalg.matrix_norm(w, 2),
    "nuclear norm": lambda w: w / torch.linalg.matrix_norm(w, "nuc"),
    "lu": lambda w: torch.linalg.lu(w)[1] @ torch.linalg.lu(w)[2],
    "fft": lambda w: torch.fft.fft2(w).real,
    "gather": lambda w: w.gather(0, torch.tensor([[0, 1, 1, 3]])),
    "scatter": lambda w: torch.zeros_like(w).scatter_add(0, torch.zeros(4, 4, dtype=torch.long), w),
    "written": lambda w: w.index_put((torch.tensor([0, 2]),), w[1:3]),
    "cumulated": lambda w: w.cumsum(0) + w.cumprod(1) + w.logcumsumexp(0) + w.cummax(0)[0],
    "sorted": lambda w: w.sort(0)[0] * w.median(0)[0] + w.topk(2, 0)[0].sum(0),
    "a product": lambda w: w * w.prod(0),
    "a product with a zero": lambda w: (w * (1 - EYE)).prod(0) + (w * (1 - EYE)).prod(),
    "softmax": lambda w: w.softmax(0) + w.log_softmax(1),
    "layer norm": lambda w: F.layer_norm(w, (4,)),
    "batch norm over its rows": lambda w: F.batch_norm(w, None, None, training=True),
    "convolved": lambda w: F.conv1d(w[None], w[:, :, None])[0],
    "attention to itself": lambda w: F.scaled_dot_product_attention(w[None], w[None], w[None])[0],
    "enlarged": lambda w: F.interpolate(w[None, None], size=(7, 4), mode="bicubic")[0, 0],
    "pooled": lambda w: F.max_pool2d(w[None, None], (2, 1))[0, 0],
    "padded": lambda w: F.pad(w[None, None], (0, 0, 1, 1), mode="reflect")[0, 0],
    "unfolded": lambda w: F.unfold(w[None, None], 1)[0].reshape(4, 4) * w.unfold(0, 2, 1).sum(),
    "distances": lambda w: torch.cdist(w, w[:2]).T,
    "Kronecker": lambda w: torch.kron(w[:2, :2], w[2:, 2:]),
    "spelled out": lambda w: torch.einsum("ij,jk,kl->il", w, w, w),
    "normalised": lambda w: F.normalize(w) * w.norm() / w.std(),
    "halves and wholes": lambda w: w.float().double().half().double() + w.round(),
    "numpy": lambda w: torch.ops.tests_functions.doubled_by_numpy(w.sin()),
}


@pytest.mark.parametrize("name", mostly_slow(FUNCTIONS, every=2))
def test_any_function_of_parameters_is_pulled_back(name):
    """Exact at N in {1, 2, 5}; a direct use beside it."""
    function = FUNCTIONS[name]

    def forward(m, x):
        value = function(m.w)
        return F.linear(x, value if value.dim() == 2 else torch.diag(value)) * m.v.sum() + x.sum(-1, keepdim=True)

    rounds = name == "halves and wholes"
    model = Pattern(forward, w=parameter(4, 4), v=parameter(2))
    if not rounds:
        check(model, (3, 4))
        return
    step = cc.compile(model.double(), lambda y, t: y.flatten(1).square().sum(1) * t)
    assert step.verify(torch.randn(3, 3, 4).double(), torch.rand(3).double(), tolerance=2e-3) < 2e-3


class Hyper(nn.Module):
    """A weight that a recurrent layer writes."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.z = layer(3, 4, batch_first=True), nn.Parameter(torch.randn(1, 5, 3))

    def forward(self, x):
        return F.linear(x, self.layer(self.z)[0][0])


@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_recurrent_layer_may_make_a_weight(layer):
    """A fused op, of which vmap knows nothing."""
    check(Hyper(layer), (3, 4))


def test_a_value_read_without_its_gradient_beside_one_with_it():
    """One part of a split is used, of another only the detached value."""

    def forward(m, x):
        first, second = m.w.split(2)
        return F.linear(x, first.exp()) * second.detach().sum()

    check(Pattern(forward, w=parameter(4, 5)), (3, 5))
