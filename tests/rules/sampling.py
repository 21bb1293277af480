"""The vocabulary of samples: one call of an op, its tensors given by shape and kind.

    of(aten.linear.default, real(4, 3), real(5, 3), real(5))

A sample that leaves the examples out is placed by the tests themselves, in every dim that its rule aligns. Where
sizes are arguments, the sample places the examples with the size ``n`` and says where they lie in the output:

    of(aten.view.default, real(n, 6), [n, 2, 3], out=(n, 2, 3))
    of(aten.view.default, real(n, 6), [2, n, 3], mixed=True)

``n * 2`` is a dim of the axes (n, 2), ``2 * n`` one of the axes (2, n).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "Sample",
    "Size",
    "Spec",
    "fixed",
    "n",
    "named",
    "number",
    "of",
    "positive",
    "real",
    "sign",
    "truth",
    "unit",
    "whole",
]


@dataclass(frozen=True, slots=True)
class Size:
    """The extent of a dim that holds the examples between ``before`` slower and ``after`` faster places."""

    before: int = 1
    after: int = 1

    def __mul__(self, after: int) -> Size:
        return Size(self.before, self.after * after)

    def __rmul__(self, before: int) -> Size:
        return Size(self.before * before, self.after)

    def at(self, examples: Any) -> Any:
        """The extent for a number of examples."""
        return examples if self.before == self.after == 1 else examples * (self.before * self.after)

    def __str__(self) -> str:
        return "*".join([str(self.before)] * (self.before > 1) + ["n"] + [str(self.after)] * (self.after > 1))


n = Size()


@dataclass(frozen=True, slots=True)
class Spec:
    """A tensor argument: its shape, and what its elements are drawn from."""

    shape: tuple[Any, ...]
    draw: str
    below: int = 0
    fixed: bool = False

    @property
    def is_real(self) -> bool:
        """Whether the tensor can be differentiated by."""
        return self.draw not in ("whole", "truth") and not self.fixed

    @property
    def carrying(self) -> int | None:
        """The dim in which the examples lie."""
        return next((d for d, size in enumerate(self.shape) if isinstance(size, Size)), None)

    def tensor(self, examples: int = 0, generator: torch.Generator | None = None) -> Tensor:
        """Elements drawn, float64 where they are real."""
        return drawn(self, at(self.shape, examples), generator)

    def resized(self, dim: int, size: Any) -> Spec:
        """The same with another extent along one dim."""
        return replace(self, shape=(*self.shape[:dim], size, *self.shape[dim + 1 :]))


def drawn(spec: Spec, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """A tensor of ``shape`` with elements of the kind of ``spec``."""
    if spec.draw == "whole":
        return torch.randint(0, spec.below, shape, generator=generator)
    if spec.draw == "truth":
        return torch.rand(shape, generator=generator) < 0.5
    if spec.draw == "sign":
        return (torch.rand(shape, generator=generator) < 0.5).double() * 2 - 1
    if spec.draw == "complex":
        return torch.randn(shape, generator=generator, dtype=torch.complex128)
    if spec.draw == "real":
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return 0.1 + 0.8 * uniform if spec.draw == "unit" else 0.5 + uniform


def real(*shape: Any) -> Spec:
    """Normal numbers."""
    return Spec(shape, "real")


def number(*shape: Any) -> Spec:
    """Complex numbers."""
    return Spec(shape, "complex")


def positive(*shape: Any) -> Spec:
    """Numbers between ½ and 1½."""
    return Spec(shape, "positive")


def unit(*shape: Any) -> Spec:
    """Numbers between 0 and 1."""
    return Spec(shape, "unit")


def sign(*shape: Any) -> Spec:
    """−1 or 1."""
    return Spec(shape, "sign")


def fixed(spec: Spec) -> Spec:
    """The same, for an argument that the op has no derivative for, such as running statistics."""
    return replace(spec, fixed=True)


def whole(*shape: Any, below: int) -> Spec:
    """Integers from 0 up to ``below``."""
    return Spec(shape, "whole", below)


def truth(*shape: Any) -> Spec:
    """True or false."""
    return Spec(shape, "truth")


@dataclass(frozen=True, slots=True)
class Sample:
    """One call of an op.

    Attributes:
        op: the overload.
        args: its positional arguments, tensors as ``Spec``, sizes that contain the batch size as ``Size``.
        kwargs: its keyword arguments.
        out: the shape of the output, where the sample places the examples itself.
        mixed: the sample places the examples where the op mixes them.
    """

    op: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    out: tuple[Any, ...] | None = None
    mixed: bool = False

    @property
    def placed(self) -> bool:
        """Whether the sample says itself where the examples lie."""
        return self.mixed or self.out is not None

    @property
    def operands(self) -> dict[str, Spec]:
        """The tensor arguments by name."""
        return dict(named(self.op, self.args, self.kwargs))

    def with_operands(self, changed: Mapping[str, Spec]) -> Sample:
        """The same call with other tensors."""
        args, kwargs = self.filled(lambda name, spec: changed.get(name, spec), lambda size: size)
        return replace(self, args=args, kwargs=kwargs)

    def filled(
        self, tensor: Callable[[str, Spec], Any], size: Callable[[Size], Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with every tensor and every size replaced."""

        def fill(value: Any, name: str) -> Any:
            if isinstance(value, Spec):
                return tensor(name, value)
            if isinstance(value, Size):
                return size(value)
            if isinstance(value, (list, tuple)):
                return type(value)(fill(v, f"{name}[{k}]") for k, v in enumerate(value))
            return value

        names = names_of(self.op, len(self.args))
        args = tuple(fill(v, name) for v, name in zip(self.args, names, strict=False))
        return args, {name: fill(v, name) for name, v in self.kwargs.items()}

    def __call__(self, values: Mapping[str, Any], examples: Any = 0) -> Any:
        """The value of the op."""
        args, kwargs = self.filled(lambda name, _: values[name], lambda size: size.at(examples))
        return self.op(*args, **kwargs)

    def __str__(self) -> str:
        args, kwargs = self.filled(lambda _, spec: "x".join(map(str, spec.shape)) or "()", str)
        parts = [*map(str, args), *(f"{k}={v}" for k, v in kwargs.items())]
        return f"{short(self.op)}({','.join(parts)})".replace(" ", "").replace("'", "")


def of(op: Any, *args: Any, out: tuple[Any, ...] | None = None, mixed: bool = False, **kwargs: Any) -> Sample:
    """A sample call of ``op``."""
    return Sample(op, args, kwargs, out, mixed)


def short(op: Any) -> str:
    """``conv2d.padding`` for ``aten.conv2d.padding``, ``relu`` for ``aten.relu.default``."""
    return str(op).removeprefix("aten.").removesuffix(".default")


def names_of(op: Any, count: int) -> list[str]:
    """The names of the positional arguments."""
    return [a.name for a in op._schema.arguments][:count]


def named(op: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Spec]]:
    """The tensor arguments by name; ``tensors[0]`` in a list."""
    for name, value in [*zip(names_of(op, len(args)), args, strict=False), *kwargs.items()]:
        if isinstance(value, Spec):
            yield name, value
        elif isinstance(value, (list, tuple)):
            yield from ((f"{name}[{k}]", v) for k, v in enumerate(value) if isinstance(v, Spec))


def at(shape: tuple[Any, ...], examples: Any) -> tuple[Any, ...]:
    """A shape for a number of examples."""
    return tuple(size.at(examples) if isinstance(size, Size) else size for size in shape)


def into_place(batch: Tensor, spec: Spec) -> Tensor:
    """[N, before, after, …] → the operand: the examples in their place among the axes of their dim."""
    size, dim = spec.shape[spec.carrying], spec.carrying
    if size.before > 1:
        batch = batch.movedim(0, 1)
    if size.before > 1 or size.after > 1:
        batch = batch.flatten(0, (size.before > 1) + (size.after > 1))
    return batch if dim == 0 else batch.movedim(0, dim)


def batch_shape(spec: Spec) -> tuple[int, ...]:
    """One example's part of an operand as the batch holds it: the axes about the examples, then the other dims."""
    size = spec.shape[spec.carrying]
    inner = [k for k in (size.before, size.after) if k > 1]
    return (*inner, *(k for d, k in enumerate(spec.shape) if d != spec.carrying))


def by_example(value: Tensor, shape: tuple[Any, ...], examples: Any) -> Tensor:
    """An output of ``shape``, placed as the examples are → [N, elements of one example]."""
    dim = next(d for d, size in enumerate(shape) if isinstance(size, Size))
    before = shape[dim].before
    value = value.movedim(dim, 0) if dim else value
    if before > 1:
        value = value.reshape(before, examples, -1).movedim(1, 0)
    return value if shape == (n, shape[-1]) else value.reshape(examples, -1)
