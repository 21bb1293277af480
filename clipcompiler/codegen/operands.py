"""factor → a tensor with one dim for each letter."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy
import torch
from sympy.printing.pycode import PythonCodePrinter
from torch import fx

from clipcompiler.algebra import Factor, Letter, Windows
from clipcompiler.axes.analyse import Axes
from clipcompiler.codegen.body import Body
from clipcompiler.codegen.calls import function_name, literal
from clipcompiler.codegen.each_of_op import write_each
from clipcompiler.codegen.helpers import GATHERED
from clipcompiler.codegen.laid import Laid, atom, permuted, spread
from clipcompiler.codegen.statistics import Statistics, normalised
from clipcompiler.codegen.windows import by_pixels, gram_from_pixels, patches
from clipcompiler.derive.by_unit import UNIT
from clipcompiler.derive.derived import Derived
from clipcompiler.derive.references import (
    AuxiliaryValue,
    Cotangent,
    EachOfOp,
    Elementwise,
    InsideTap,
    OutputTap,
    OutputValue,
    Stack,
    Tap,
    Value,
)
from clipcompiler.errors import CompileError

__all__ = ["Operands", "dtype_of_norms"]


@dataclass(slots=True)
class Operands:
    """Finds the tensors of a program by what they stand for.

    Attributes:
        axes: the analysed graph.
        body: where statements go.
        values: the variables of the graph's values.
        cotangents: the variables of the cotangents.
        dtype: the dtype of norms and sums.
        statistics: the variables of μ and r of layer norms.
        narrow: whether tensors are left in their own dtype, for a kernel that sums in that of the norms.
    """

    axes: Axes
    body: Body
    values: Mapping[fx.Node, str]
    cotangents: Mapping[Tap, str]
    dtype: torch.dtype
    statistics: Mapping[fx.Node, Statistics]
    narrow: bool = False

    def laid(self, factor: Factor) -> Laid:
        """The tensor of a factor, its dims split into letters; affine dims as patches."""
        if isinstance(factor.tensor.reference, Elementwise):
            return self.elementwise(factor, factor.tensor.reference)
        return self.laid_as(self.variable(factor), factor)

    def laid_as(self, name: str, factor: Factor) -> Laid:
        """A tensor of the dims of ``factor``, by letters."""
        if factor.is_affine:
            return self.patches(name, factor)
        if all(isinstance(e, tuple) and len(e) == 1 for e in factor.index):
            return Laid(name, factor.letters)
        sizes = ", ".join(literal(x.extent) for x in factor.letters)
        if UNIT in factor.letters:
            return Laid(self.body.bind(f"{name}_split", f"{name}.reshape({sizes})"), factor.letters)
        return Laid(f"{name}.reshape({sizes})" if sizes else f"{name}.reshape(())", factor.letters)

    def variable(self, factor: Factor) -> str:
        """The variable of a factor that is one tensor, in the dtype of the norms; by units where it is read so."""
        name = self.by_example(factor)
        if UNIT not in factor.letters:
            return name
        dim = next(d for d, e in enumerate(factor.index) if isinstance(e, tuple) and UNIT in e)
        entry = factor.index[dim]
        assert isinstance(entry, tuple)
        around = tuple(math.prod(int(x.extent) for x in part) for part in parts_around(entry))
        given = ["present"] if is_of_loss(factor) else []
        given += [f"dim={dim}"] if dim else []
        given += [f"around={around}"] if around != (1, 1) else []
        return self.body.bind(f"{name}_by_unit", f"{GATHERED}({', '.join([name, 'examples', *given])})")

    def by_example(self, factor: Factor) -> str:
        """The variable of a factor as the forward or the cotangents hold it."""
        reference = factor.tensor.reference
        if isinstance(reference, Cotangent):
            return self.widened(self.cotangents[reference.tap], dtype_of_tap(self.axes, reference.tap))
        if isinstance(reference, Value):
            return self.widened(self.values[reference.node], reference.node.meta["val"].dtype)
        if isinstance(reference, Stack):
            return self.stacked(reference)
        if isinstance(reference, OutputValue):
            several = self.values[reference.node]
            symbol = factor.tensor.symbol.replace("'", "_before")
            made = self.body.bind(f"{several}_{symbol}", f"{several}[{reference.place}]")
            return self.widened(made, reference.node.meta["val"][reference.place].dtype)
        if isinstance(reference, AuxiliaryValue):
            args = [self.argument(a) for a in reference.args]
            known = self.statistics.get(reference.node)
            text = normalised(args[0], known) if known else f"{function_name(reference.op)}({', '.join(args)})"
            made = self.body.bind(f"{self.values[reference.node]}_normalised", text)
            return self.widened(made, dtype_of_tap(self.axes, OutputTap(reference.node)))
        if isinstance(reference, EachOfOp):
            made = write_each(self.body, self.axes, reference, self.values, self.cotangents)
            return self.widened(made, reference.source.meta["val"].dtype)
        raise CompileError(f"no program for {reference!r}", remedy="this is a fault of clipcompiler: report it")

    def stacked(self, stack: Stack) -> str:
        """The tensors of several uses in one [n, s, letters of the parameter]."""
        parts = []
        for part, letters, count in zip(stack.parts, stack.letters, stack.positions, strict=True):
            laid = permuted(self.laid(part), letters)
            sizes = (letters[0].extent, count, *(x.extent for x in letters[len(letters) - stack.shared :]))
            is_row = len(letters) == len(sizes)
            parts.append(laid.text if is_row else f"{atom(laid.text)}.reshape({', '.join(map(literal, sizes))})")
        return self.body.bind(f"{self.stem(stack.parts[0])}_of_all_uses", f"torch.cat(({', '.join(parts)}), 1)")

    def stem(self, factor: Factor) -> str:
        """What a tensor made from a factor is named after."""
        reference = factor.tensor.reference
        return self.owner(reference) if isinstance(reference, Elementwise) else self.by_example(factor)

    def widened(self, name: str, dtype: torch.dtype) -> str:
        """A tensor in the dtype of the norms: float32, or wider where the model is; a complex one by its parts.

        Row numbers stay as they are.
        """
        if dtype.is_complex:
            name = self.body.bind(f"{name}_parts", f"torch.view_as_real({name}.resolve_conj())")
        whole = not (dtype.is_floating_point or dtype.is_complex)
        return name if whole or self.narrow or dtype.to_real() == self.dtype else f"{name}.to({self.dtype})"

    def for_kernel(self, factors: tuple[Factor, ...]) -> Operands:
        """The same, of tensors in their own dtype where these factors are values or cotangents of one dtype."""
        references = [f.tensor.reference for f in factors if not f.tensor.indicates]
        if not all(isinstance(r, (Cotangent, Value)) for r in references):
            return self
        dtypes = {
            dtype_of_tap(self.axes, r.tap) if isinstance(r, Cotangent) else r.node.meta["val"].dtype for r in references
        }
        real = len(dtypes) == 1 and all(dtype.is_floating_point for dtype in dtypes)
        return replace(self, narrow=True) if real else self

    def argument(self, value: Any) -> str:
        """An argument of an auxiliary."""
        return self.values[value] if isinstance(value, fx.Node) else literal(value)

    def shape(self, factor: Factor) -> tuple[Any, ...]:
        """The extents of a factor that is a value or a cotangent."""
        reference = factor.tensor.reference
        node = reference.tap.node if isinstance(reference, Cotangent) else reference.node
        return self.axes.traced.shape(node)

    def elementwise(self, factor: Factor, reference: Elementwise) -> Laid:
        """An expression over the letters of a factor, element by element."""
        letters = factor.letters
        reads = {s: sympy.Symbol(spread(self.laid(f), letters)) for s, f in reference.reads}
        text = TorchPrinter().doprint(reference.expression.xreplace(reads))
        owner = self.body.bind(f"{self.owner(reference)}_factor", text)
        return Laid(owner, letters)

    def owner(self, reference: Elementwise) -> str:
        """What an expression is named after: the first value it reads."""
        return next(
            (self.values[f.tensor.reference.node] for _, f in reference.reads if isinstance(f.tensor.reference, Value)),
            "elementwise",
        )

    def gram_from_pixels(self, factor: Factor, windows: Windows) -> Laid:
        """K[u,u'] = Σ_k Σ_c x[c, stride·u + dilation·k − padding] x[c, stride·u' + dilation·k − padding]"""
        index = by_pixels(factor.index, self.shape(factor))
        split = self.laid_as(self.variable(factor), replace(factor, index=index))
        return gram_from_pixels(split, factor.index, windows)

    def patches(self, name: str, factor: Factor) -> Laid:
        """x[…, stride·u + dilation·k − padding] for all u and k, in a variable."""
        laid = patches(name, factor.index, self.shape(factor))
        return Laid(self.body.bind(f"{name}_patches", laid.text), laid.letters)


def is_of_loss(factor: Factor) -> bool:
    """Whether a factor is a gradient of the losses: a cotangent, those of several uses, or the vjp of an op."""
    reference = factor.tensor.reference
    if isinstance(reference, Stack):
        return is_of_loss(reference.parts[0])
    return isinstance(reference, (Cotangent, EachOfOp))


def parts_around(entry: tuple[Letter, ...]) -> tuple[tuple[Letter, ...], tuple[Letter, ...]]:
    """The letters of a dim before unit·member, and those behind."""
    place = entry.index(UNIT)
    return entry[:place], entry[place + 2 :]


def dtype_of_tap(axes: Axes, tap: Tap) -> torch.dtype:
    """The dtype of a cotangent: that of the value it belongs to."""
    if isinstance(tap, InsideTap):
        inside: torch.dtype = tap.node.meta["val"][0].dtype
        return inside
    node = tap.node if isinstance(tap, OutputTap) else axes.calls[tap.node].operands[tap.operand]
    dtype: torch.dtype = node.meta["val"].dtype
    return dtype


def dtype_of_norms(derived: Derived) -> torch.dtype:
    """The widest dtype of taps and trainable parameters, or of their real parts, float32 at least."""
    taps = (dtype_of_tap(derived.axes, tap) for tap in derived.taps)
    sources = (source.meta["val"].dtype for source in derived.terms)
    real = (dtype.to_real() for dtype in (*taps, *sources))
    return functools.reduce(torch.promote_types, real, torch.float32)


class TorchPrinter(PythonCodePrinter):  # type: ignore[misc]
    """sympy → torch, for expressions of tensors."""

    def _print_Pow(self, expr: Any, rational: bool = False) -> str:
        base, exponent = (
            self._print(expr.base),
            self._print(sympy.Float(expr.exp) if expr.exp.is_Rational else expr.exp),
        )
        return f"{atom(base)} ** {exponent if not expr.exp.is_Integer else int(expr.exp)}"

    def _print_Max(self, expr: Any) -> str:
        return self._clamped(expr, "min")

    def _print_Min(self, expr: Any) -> str:
        return self._clamped(expr, "max")

    def _clamped(self, expr: Any, side: str) -> str:
        numbers = [a for a in expr.args if a.is_number]
        tensors = [a for a in expr.args if not a.is_number]
        if len(numbers) != 1 or len(tensors) != 1:
            raise CompileError(f"no program for {expr}", remedy="state the rule with Max or Min of one tensor and 0")
        return f"{atom(self._print(tensors[0]))}.clamp({side}={self._print(numbers[0])})"

    def _print_Function(self, expr: Any) -> str:
        return f"torch.{expr.func.__name__.lower()}({', '.join(map(self._print, expr.args))})"

    _print_exp = _print_log = _print_sin = _print_cos = _print_tanh = _print_Function

    def _print_Rational(self, expr: Any) -> str:
        return repr(float(expr))
