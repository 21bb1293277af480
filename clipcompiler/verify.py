"""The oracle: one backward pass an example, in float64; and the comparison of a compiled step with it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from inspect import signature
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from clipcompiler.clipping import Clipping, Flat
from clipcompiler.runtime import CompiledStep
from clipcompiler.runtime.batch import batch_of, cast
from clipcompiler.trace import random_ops

__all__ = ["NormsByFormula", "Oracle", "Unrounded", "VerificationError", "oracle", "verify"]


class VerificationError(AssertionError):
    """A compiled step differs from one backward pass an example."""


@dataclass(frozen=True, slots=True)
class Oracle:
    """What one backward pass an example gives.

    Attributes:
        losses: of each backward pass.
        norms: ‖∇ℓ_n‖, [N] or [units]; with a column for each group where parameters are clipped by group.
        clip_factors: c_n, of the shape of the norms.
        gradients: Σ_n c_n ∇ℓ_n by parameter name.
    """

    losses: Tensor
    norms: Tensor
    clip_factors: Tensor
    gradients: dict[str, Tensor]


@torch.enable_grad()  # whatever the caller has set
def oracle(
    model: nn.Module,
    loss_fn: Callable[..., Tensor] | None,
    args: Sequence[Any],
    kwargs: dict[str, Any] | None = None,
    *,
    max_grad_norm: float = 1.0,
    clipping: Clipping | None = None,
    examples_per_unit: int = 1,
    unit_ids: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> Oracle:
    """Clipped gradients by a loop over examples, or units, on a copy of the model in ``dtype``.

    Each example is run alone, as a batch of one; a scalar loss of one example is its loss. The examples of a
    unit of ``examples_per_unit`` are run together; those of one id of ``unit_ids`` alone, and then added.
    Each run finds the buffers as they are now, whatever the forward writes to them.
    """
    clipping = clipping or Flat()
    model, loss_fn = copied(model, dtype), copied(loss_fn, dtype)
    batch = pytree.tree_map_only(Tensor, lambda t: cast(t, dtype), (tuple(args), dict(kwargs or {})))
    size = next(leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor)).shape[0]
    named = {n: p for n, p in parameters_of(model, loss_fn).items() if p.requires_grad}
    groups = clipping.groups(list(named))
    bounds = torch.tensor([max_grad_norm * group.share for group in groups], dtype=dtype)
    losses, norms, factors = [], [], []
    total = {name: torch.zeros_like(p) for name, p in named.items()}
    for runs in runs_of(size, examples_per_unit, unit_ids):
        found = {name: torch.zeros_like(p) for name, p in named.items()}
        for run in runs:
            one, options = pytree.tree_map_only(Tensor, itemgetter(run), batch)
            with NormsByFormula(), buffers_kept(model):
                loss = model(*one, **options) if loss_fn is None else loss_fn(model(*one[:-1], **options), one[-1])
            for name, g in zip(named, gradients_of(loss.sum(), list(named.values())), strict=True):
                found[name] += g
            losses.append(loss.detach().sum())
        norms.append(torch.stack([norm_of(found, group.parameters, dtype) for group in groups]))
        factors.append(clipping.factors(norms[-1][None], bounds)[0])
        for group, factor in zip(groups, factors[-1], strict=True):
            for name in group.parameters:
                total[name] += factor * found[name]
    empty = torch.zeros(0, len(groups), dtype=dtype)
    first = torch.stack(losses) if losses else empty[:, 0]
    stacked = [torch.stack(v) if v else empty for v in (norms, factors)]
    shaped = [v.squeeze(1) if len(groups) == 1 else v for v in stacked]
    return Oracle(first, shaped[0], shaped[1], total)


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Gives the buffers their values back at the end, as other tensors: the graph of the run keeps its own."""
    own = [(module, name, b) for module in model.modules() for name, b in module._buffers.items() if b is not None]
    copies = {id(b): b.clone() for _, _, b in own}
    for module, name, b in own:
        module._buffers[name] = copies[id(b)]
    try:
        yield
    finally:
        for module, name, b in own:
            module._buffers[name] = b


class NormsByFormula(TorchFunctionMode):
    """Within it batch norm in eval mode and instance norm are (x − μ)/√(σ² + ε) · W + b, written out.

    The backward of torch's own is wrong for some memory layouts of a batch of one: it takes a permuted gradient for
    one that lies channels last. An oracle must not.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replaces these two functions."""
        given = kwargs or {}
        if function in (F.batch_norm, F.instance_norm):
            values = signature(function).bind(*args, **given)
            values.apply_defaults()
            named = values.arguments
            own = named["use_input_stats"] if function is F.instance_norm else False
            if own or (function is F.batch_norm and not named["training"]):
                return by_formula(named, own=own)
        return function(*args, **given)


class Unrounded(TorchFunctionMode):
    """Within it nothing is cast to a narrower dtype than float64, as ``x.float()`` or ``softmax(…, dtype=float32)``.

    A model that casts computes other roundings of a batch than of one example. What is compared are the equations.
    New tensors are float64 where the forward names no dtype.
    """

    def __enter__(self) -> Unrounded:
        """Makes float64 the default dtype."""
        self.default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        entered: Unrounded = super().__enter__()  # type: ignore[no-untyped-call]
        return entered

    def __exit__(self, *exception: Any) -> None:
        """Puts the default dtype back."""
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        torch.set_default_dtype(self.default)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replaces the dtypes among the arguments, and the functions that are named after one."""
        options = {name: wide(value) for name, value in (kwargs or {}).items()}
        return (Tensor.double if function in CASTS else function)(*map(wide, args), **options)


#: The dtypes that would round a float64, and what takes their place; the methods that cast to one.
WIDE = dict.fromkeys((torch.float32, torch.float16, torch.bfloat16), torch.float64)
WIDE |= dict.fromkeys((torch.complex64, torch.complex32), torch.complex128)
CASTS: tuple[Any, ...] = (Tensor.float, Tensor.half, Tensor.bfloat16)


def wide(value: Any) -> Any:
    """An argument, where it is a dtype the one in its place."""
    return WIDE.get(value, value) if isinstance(value, torch.dtype) else value


def by_formula(named: dict[str, Any], *, own: bool) -> Tensor:
    """(x − μ)/√(σ² + ε) · W + b, by the statistics of each example's own channels or by running ones."""
    x: Tensor = named["input"]
    if own:
        var, mean = torch.var_mean(x, tuple(range(2, x.dim())), correction=0, keepdim=True)
    else:
        mean, var = channels(named["running_mean"], x), channels(named["running_var"], x)
    y = (x - mean) / (var + named["eps"]).sqrt()
    y = y if named["weight"] is None else y * channels(named["weight"], y)
    moved: Tensor = y if named["bias"] is None else y + channels(named["bias"], y)
    return moved


def channels(values: Tensor, like: Tensor) -> Tensor:
    """[C] → [C, 1, …], to go with [N, C, …]"""
    return values.reshape(-1, *[1] * (like.dim() - 2))


def runs_of(size: int, examples_per_unit: int, unit_ids: Tensor | None) -> list[list[slice]]:
    """The backward passes of each unit: one for m consecutive examples, or one for each example of an id."""
    if unit_ids is None:
        m = examples_per_unit
        return [[slice(first, first + m)] for first in range(0, size, m)]
    members = ((unit_ids == unit).nonzero().flatten().tolist() for unit in torch.unique(unit_ids))
    return [[slice(n, n + 1) for n in own] for own in members]


def norm_of(gradients: dict[str, Tensor], names: Sequence[str], dtype: torch.dtype) -> Tensor:
    """√Σ g² over some parameters."""
    return sum((gradients[name].abs().square().sum() for name in names), torch.zeros((), dtype=dtype)).sqrt()


def gradients_of(loss: Tensor, parameters: list[nn.Parameter]) -> tuple[Tensor, ...]:
    """∇ℓ for each parameter; zero where the loss does not depend on it.

    The graph is kept, for a model may keep what it computes from its parameters for the next example too.
    """
    if not loss.requires_grad:
        return tuple(torch.zeros_like(p) for p in parameters)
    return torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)


def parameters_of(model: nn.Module, loss_fn: Any) -> dict[str, nn.Parameter]:
    """The parameters of the model, and of a loss that is a module, by the names that the step gives them."""
    own = dict(model.named_parameters())
    if isinstance(loss_fn, nn.Module):
        held = {id(p) for p in own.values()}
        own |= {f"loss_fn.{n}": p for n, p in loss_fn.named_parameters() if id(p) not in held}
    return own


def copied(module: Any, dtype: torch.dtype | None = None) -> Any:
    """A copy of a module in ``dtype``, or with the values of its own parameters; anything else as it is.

    A tensor with a graph that a forward left on a module, as torch's old weight norm and parametrised recurrent layers
    do, is copied without it; each forward makes it anew.
    """
    if not isinstance(module, nn.Module):
        return module
    held = [v for m in module.modules() for v in vars(m).values()]
    held += [v for m in module.modules() if isinstance(m, nn.RNNBase) for v in m._flat_weights]
    left = [v for v in held if isinstance(v, Tensor) and not v.is_leaf]
    known: dict[int, Any] = {id(v): v.detach().clone() for v in left}
    if dtype is None:  # the parameters are only read, and not written twice
        known |= {
            id(p): nn.Parameter(p.detach(), p.requires_grad) for p in module.parameters() if type(p) is nn.Parameter
        }
    own: Any = copy.deepcopy(module, known)
    return own if dtype is None else own._apply(lambda t: cast(t, dtype))  # to(dtype) would drop imaginary parts


def verify(
    step: CompiledStep, args: Sequence[Any], kwargs: dict[str, Any], unit_ids: Tensor | None, tolerance: float
) -> float:
    """The largest relative error of the generated program, run in float64, against the oracle.

    Raises:
        VerificationError: where it exceeds ``tolerance``, or where the model draws at random.
    """
    batch = pytree.tree_map_only(Tensor, lambda t: cast(t, torch.float64), (tuple(args), dict(kwargs)))
    step.prepare(*args, unit_ids=unit_ids, **kwargs)
    if draws(step):
        raise VerificationError(
            "the model draws at random (dropout): a loop over examples draws other numbers than the batch; "
            "verify the model in eval mode, where the same equations are used"
        )
    with ExitStack() as stack:
        if rounds(step):  # the program rounds: its equations are checked in a float64 copy of the model
            stack.enter_context(Unrounded())
            step = CompiledStep(
                copied(step.model, torch.float64),
                copied(step.loss_fn, torch.float64),
                step.max_grad_norm,
                step.tools,
                clipping=step.clipping,
                examples_per_unit=step.examples_per_unit,
            ).prepare(*batch[0], unit_ids=unit_ids, **batch[1])
        result, gradients = step.latest.run(
            batch_of(*batch), step.max_grad_norm, step.clipping, torch.float64, unit_ids=unit_ids
        )
        truth = oracle(
            step.model,
            step.loss_fn,
            args,
            kwargs,
            max_grad_norm=step.max_grad_norm,
            clipping=step.clipping,
            examples_per_unit=step.examples_per_unit,
            unit_ids=unit_ids,
        )
    error = max(relative(result.norms, truth.norms), relative_sums(gradients, truth.gradients))
    if not error <= tolerance:
        raise VerificationError(f"the compiled step differs from the loop by {error:.3g}, more than {tolerance:.3g}")
    return error


def rounds(step: CompiledStep) -> bool:
    """Whether the program of a step casts: its forward to a narrower dtype than float64, or its sums to a wider one."""
    calls = ((node.args, node.kwargs) for node in step.plan.derived.axes.traced.ops())
    return ".to(torch." in step.source or any(
        isinstance(v, torch.dtype) and v in WIDE for v in pytree.tree_leaves([*calls])
    )


def draws(step: CompiledStep) -> bool:
    """Whether the traced model draws random numbers."""
    return any(map(random_ops.draws, step.plan.derived.axes.traced.ops()))


def relative(found: Tensor, truth: Tensor) -> float:
    """max_n |found − truth| / truth"""
    if truth.numel() == 0:
        return 0.0
    difference = (found.to(truth.dtype) - truth).abs() / truth.abs().clamp(min=torch.finfo(truth.dtype).tiny)
    return float(torch.where(found.to(truth.dtype) == truth, 0.0, difference).max())


def relative_sums(found: dict[str, Tensor], truth: dict[str, Tensor]) -> float:
    """‖found − truth‖ / ‖truth‖ over all parameters together; infinite where the names differ."""
    if found.keys() != truth.keys():
        return float("inf")
    difference = sum(float((found[k].to(truth[k].dtype) - truth[k]).abs().square().sum()) for k in truth)
    size = sum(float(truth[k].abs().square().sum()) for k in truth)
    if difference == 0:
        return 0.0
    return float((difference / size) ** 0.5) if size else float("inf")
