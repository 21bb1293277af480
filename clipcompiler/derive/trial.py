"""Two random examples: whether torch can take an op's vjp for all examples at once, and whether the rule holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

from clipcompiler.axes.analyse import Axes
from clipcompiler.axes.layout import around_examples
from clipcompiler.derive.references import EachOfOp
from clipcompiler.errors import ExamplesMixed, NoRule
from clipcompiler.trace.same_function import random_tensor
from clipcompiler.trace.traced import N

__all__ = ["goes_by_vmap"]

#: The examples of a trial.
TWO = 2


def goes_by_vmap(axes: Axes, each: EachOfOp, rule: str) -> bool:
    """Whether vmap gives each example the same gradient as its own backward pass does.

    Both are tried on two random examples; integers are 0. Where vmap raises, or would run a loop of its own, the
    examples are taken one after the other.

    Raises:
        NoRule: where torch cannot take the gradient of the op.
        ExamplesMixed: where the gradients of the two do not add up to that of both, as the rule says they do.
    """
    origin = axes.traced.origin(each.node)
    with eager():
        trial = Trial(axes, each)
        try:
            alone = trial.by_loop()
            both = trial.together()
        except Exception as error:
            raise NoRule(
                f"torch cannot take the gradient of {origin.op} for two random examples: {error}",
                origin=origin,
                remedy="give the op a backward (register_autograd), or write it through others",
            ) from error
        if bool(torch.isfinite(both).all()) and not trial.agree(alone.sum(0), both):
            raise ExamplesMixed(
                f"the rule '{rule}' says that {origin.op} keeps examples apart, "
                "but the gradients of two random examples do not add up to that of both",
                origin=origin,
                remedy="name in the rule every dim that the op reads along; leave out what makes its backward read the "
                "whole batch, as scale_grad_by_freq does",
            )
        return trial.by_vmap(alone)


class Trial:
    """One op with random operands of two examples.

    Attributes:
        each: the op.
        whole: its operands for both examples.
        split: the operands that carry examples, each as two batches of one.
        cotangents: those of both examples; ``apart`` the same as two batches of one.
    """

    def __init__(self, axes: Axes, each: EachOfOp) -> None:
        self.each = each
        draw = torch.Generator().manual_seed(0)
        self.whole = {o: sample(axes, o, draw) for o in each.node.all_input_nodes}
        self.split = {o: by_example(t, axes, o) for o, t in self.whole.items() if axes.carries(o)}
        self.cotangents = tuple(sample(axes, tap.node, draw) for _, tap in each.taps)
        self.apart = tuple(
            by_example(t, axes, tap.node) for t, (_, tap) in zip(self.cotangents, each.taps, strict=True)
        )

    def op(self, w: Tensor, *split: Tensor) -> tuple[Tensor, ...]:
        """The op with w and with what one example has of the operands."""
        values = {**self.whole, **dict(zip(self.split, split, strict=True)), self.each.source: w}
        node: Any = self.each.node
        args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
        outputs = node.target(*args, **kwargs)
        return tuple(outputs if number is None else outputs[number] for number, _ in self.each.taps)

    def gradient(self, cotangents: tuple[Tensor, ...], *split: Tensor) -> Tensor:
        """(∂y/∂w)ᵀ ȳ by a backward pass."""
        w = self.whole[self.each.source].detach().requires_grad_()
        (found,) = torch.autograd.grad(self.op(w, *split), w, cotangents)
        if found.layout is not torch.strided:
            raise NotImplementedError(f"it is a tensor of layout {found.layout}")
        return found

    def by_loop(self) -> Tensor:
        """g[n], one example after the other."""
        return torch.stack(
            [self.gradient(tuple(y[n] for y in self.apart), *(x[n] for x in self.split.values())) for n in range(TWO)]
        )

    def together(self) -> Tensor:
        """Σ_n g[n], by the op of both examples."""
        return self.gradient(self.cotangents, *(self.whole[o] for o in self.split))

    def by_vmap(self, alone: Tensor) -> bool:
        """Whether vmap gives the same for each example, without a loop of its own."""

        def gradient(cotangents: tuple[Tensor, ...], *split: Tensor) -> Any:
            pull_back = torch.func.vjp(lambda w: self.op(w, *split), self.whole[self.each.source])[1]
            return pull_back(cotangents)[0]

        try:
            found = torch.func.vmap(gradient)(self.apart, *self.split.values())
        except Exception:  # whatever torch has against vmap: the loop needs none
            return False
        return self.agree(found, alone)

    def agree(self, found: Tensor, true: Tensor) -> bool:
        """Whether two gradients are finite and the same but for rounding, which is in proportion to ȳ too."""
        near = torch.finfo(true.dtype).eps
        difference, size = (squared(x) for x in (found - true, true))
        return difference <= 100 * near * (size + near * sum(map(squared, self.cotangents)))


@contextmanager
def eager() -> Iterator[None]:
    """Ordinary autograd, and no loop hidden in vmap."""
    functorch: Any = torch._C._functorch
    allowed = functorch._is_vmap_fallback_enabled()
    functorch._set_vmap_fallback_enabled(False)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        functorch._set_vmap_fallback_enabled(allowed)


def sample(axes: Axes, node: fx.Node, draw: torch.Generator) -> Tensor:
    """A value of two examples."""
    value = node.meta["val"]
    shape = [int(size.subs(N, TWO)) if hasattr(size, "subs") else int(size) for size in axes.traced.shape(node)]
    return random_tensor(shape, value.dtype, value.device, draw)


def by_example(value: Tensor, axes: Axes, node: fx.Node) -> Tensor:
    """x[…, a·n·b, …] → x[n, …, a·b, …]"""
    dim, before, behind = around_examples(axes.layout(node))
    rest = value.shape[dim + 1 :]
    split = value.reshape(*value.shape[:dim], before, TWO, behind, *rest).movedim(dim + 1, 0)
    return split.flatten(dim + 1, dim + 2)


def squared(x: Tensor) -> float:
    """Σ |x|²"""
    return float(x.abs().double().square().sum())
