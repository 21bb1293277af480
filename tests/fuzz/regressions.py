"""Programs that once failed, minimised."""

from fuzz.program import Program

__all__ = ["EXACT", "REFUSED"]

EXACT = {
    "a parameter of one element, expanded and a bias of one op": Program(
        inputs={"x": (1, 1)},
        held={"p7": (1, 1)},
        lines=(
            "h = torch.baddbmm(self.p7, x, self.p7.expand(x.shape[0], 1, 1), alpha=0.7)",
            "return h.flatten()",
        ),
    ),
    "a parameter of one element, element by element and the scale of a batch norm": Program(
        inputs={"x": (6,)},
        held={"p2": (1,), "b3": (1,), "w4": (1,)},
        lines=(
            "h1 = torch.hypot(x, self.p2).unsqueeze(1)",
            "h2 = F.batch_norm(h1, self.b3, self.w4, self.p2, None, False, 0.1, 0.1)",
            "return h2.flatten(1).square().sum(1)",
        ),
    ),
    "a parameter of one element, element by element and in an einsum": Program(
        inputs={"x": (1,)},
        held={"p2": (1, 1)},
        lines=(
            "h1 = torch.minimum(self.p2, x.square())",
            "h2 = torch.einsum('ab,bo->ao', h1, self.p2)",
            "return h2.flatten(1).square().sum(1)",
        ),
    ),
    "a parameter of one element, element by element and the addend of a product": Program(
        inputs={"x": (4,)},
        held={"p2": (1,), "p3": (1, 1)},
        lines=(
            "h1 = torch.addcmul(x, self.p2, x, value=0.5)",
            "h2 = torch.addmm(self.p2, h1, self.p3.expand(4, 1), beta=0.5)",
            "return h2.flatten(1).square().sum(1)",
        ),
    ),
    "a row, expanded and the addend of one op": Program(
        inputs={"x": (1, 1)},
        held={"p2": (1, 3)},
        lines=(
            "h = torch.baddbmm(self.p2, x, self.p2.expand(x.shape[0], 1, 3), alpha=0.7)",
            "return h.flatten(1).square().sum(1)",
        ),
    ),
    "a permuted gradient of a batch norm, of which torch's own backward is wrong for one example": Program(
        inputs={"x": (2, 3)},
        held={"p2": (2,), "p3": (2,), "b4": (2,), "w5": (2,), "p6": (2, 2)},
        lines=(
            "h7 = x.unsqueeze(2)",
            "h8 = F.batch_norm(h7, self.b4, self.w5, self.p3, self.p2.view(2,), False, 0.1, 0.1)",
            "h9 = h8.permute(2, 3, 0, 1)",
            "h10 = torch.einsum('abcd,od->obac', h9, self.p6)",
            "return h10.square().sum()",
        ),
    ),
    "an expanded weight of a batch norm, which torch's own backward reads beyond its end": Program(
        inputs={"x": (16,)},
        held={"p1": (16,), "b3": (16,), "w4": (16,), "p2": (1,)},
        lines=(
            "h1 = (x * self.p1)[:, :, None, None]",
            "h2 = F.batch_norm(h1, self.b3, self.w4, self.p2.expand(16), None, False, 0.1, 0.1)",
            "return h2.flatten(1).square().sum(1)",
        ),
    ),
    "a slice of a complex parameter, each element read once": Program(
        inputs={"x": (2, 3)},
        held={"c2": (2, 2, 1)},
        lines=(
            "h1 = x.permute(2, 1, 0) * self.c2[1:]",
            "h2 = torch.fft.ifft(h1, dim=0).real",
            "return h2.square().sum()",
        ),
    ),
    "the kernel of a convolution with groups, expanded over the channels": Program(
        inputs={"x": (2, 12)},
        held={"p5": (1, 1, 3)},
        lines=(
            "h = F.conv1d(x, self.p5.expand(4, 1, 3), None, 1, 'same', (1,), 2)",
            "return h.flatten(1).square().sum(1)",
        ),
    ),
    "bags of one row": Program(
        inputs={"k": (1,), "x": (1,)},
        held={"p2": (4, 2)},
        lines=("h = F.embedding_bag(k, self.p2, mode='sum', padding_idx=2)", "return (h + x).square().sum(1)"),
    ),
    "bags of what a view made the rows of a matrix": Program(
        inputs={"x": (2, 3)},
        held={"p4": (4, 3)},
        lines=(
            "h1 = (x.reshape(-1, 6).abs() * 2.3).long() % 4",
            "h2 = F.embedding_bag(h1, self.p4, mode='mean')",
            "return h2.square().sum(1)",
        ),
    ),
    "a permuted gradient of an instance norm": Program(
        inputs={"x": (2, 3, 3)},
        held={"p1": (3,), "p2": (2,), "p3": (3, 3)},
        lines=(
            "h1 = F.instance_norm(x * self.p1, None, None, self.p2)",
            "h2 = torch.einsum('ncab,bd->adnc', h1, self.p3)",
            "return h2.square().sum((0, 1, 3))",
        ),
    ),
}

REFUSED = {
    "a batch norm in training whose scale is another use of a bias": Program(
        inputs={"x": (3,)},
        held={"p1": (3, 1), "p2": (1,)},
        mixes=True,
        lines=(
            "h1 = torch.addmm(self.p2, x, self.p1)",
            "h2 = F.batch_norm(h1, None, None, self.p2, None, True)",
            "return h2.square().sum(1)",
        ),
    ),
    "a write to a copy that is the value itself at N = 1": Program(
        inputs={"x": (2, 4)},
        held={"p": (4,)},
        mixes=True,
        lines=(
            "h = x * self.p",
            "d = h.transpose(0, 1).contiguous()",
            "d.mul_(0.5)",
            "return h.square().sum((1, 2))",
        ),
    ),
    "a write to a flat copy that is the value itself at N = 1": Program(
        inputs={"x": (2, 4)},
        held={"p": (4,)},
        mixes=True,
        lines=(
            "h = x * self.p",
            "d = h.transpose(0, 1).flatten(0)",
            "d.mul_(0.5)",
            "return h.square().sum((1, 2))",
        ),
    ),
    "a write to a copy of a clone that keeps its strides": Program(
        inputs={"x": (2, 4)},
        held={"p": (4,)},
        mixes=True,
        lines=(
            "h = (x * self.p).transpose(0, 1).clone()",
            "d = h.contiguous()",
            "d.mul_(0.5)",
            "return h.square().sum((0, 2))",
        ),
    ),
}
