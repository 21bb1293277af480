"""The losses of a generated program are those of the model: compared once for each, on the batch it is made for.

A forward can ask whether it is being traced, as by ``torch.compiler.is_exporting()``, and compute something else then.
The trace holds what it computed when asked, which no look at the graph can tell from what it computes otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from clipcompiler.errors import UnsupportedLoss, UntraceableModel
from clipcompiler.runtime import CompiledStep
from clipcompiler.runtime.batch import Batch, batch_of, cast
from clipcompiler.runtime.compilation import Compilation
from clipcompiler.trace.random_ops import call_draws, draws
from clipcompiler.verify import NormsByFormula, buffers_kept, copied

__all__ = ["Undrawn", "prove_same_losses"]

#: How far losses may be apart, relative to 1 + the largest of them: rounding is far below it in float64.
APART = 1e-3
#: The same under autocast, in ε of the dtype that it casts to: torch has other layers for narrow dtypes.
APART_IN_EPS = 4

REMEDY = (
    "let the forward compute the same whether it is traced or not (look for torch.compiler.is_exporting(), "
    "is_compiling() and torch.jit.is_tracing() in it and in its library), or give it the arguments that decide"
)


class Undrawn(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it random numbers are constants: a Bernoulli draw is 1, a uniform one 0.5, any other one its lowest.

    Attributes:
        unknown: whether an op was run that draws in a way not known here, or that runs functions of the user's.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.unknown = False

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an op; what it drew is overwritten."""
        made = op(*args, **(kwargs or {}))
        if isinstance(op, HigherOrderOperator):
            self.unknown = True
            return made
        if not call_draws(op, args, kwargs or {}):
            return made
        name = op._schema.name.removeprefix("aten::").rstrip("_")
        if name == "native_dropout":
            x, p, train = args
            return (x / (1 - p) if p < 1 else torch.zeros_like(x), torch.ones_like(made[1])) if train else made
        value = next((v for start, v in DRAWN.items() if name.startswith(start)), None)
        if value is None or not isinstance(made, Tensor):
            self.unknown = True
            return made
        if name.startswith("randint") and "low" in op._overloadname:
            value = args[1] if name == "randint_like" else args[0]
        return made.fill_(value)


#: What an op is named like, and the number it gives within ``Undrawn``.
DRAWN = {
    "bernoulli": 1,
    "randint": 0,
    "rand": 0.5,
    "normal": 0.5,
    "uniform": 0.5,
    "exponential": 0.5,
    "log_normal": 0.5,
}


def prove_same_losses(
    step: CompiledStep, program: Compilation, args: tuple[Any, ...], kwargs: dict[str, Any], ids: Tensor | None
) -> None:
    """Compares the losses of a program with those of the model; in float64 where they differ.

    Raises:
        UntraceableModel: where they are not the same.
    """
    batch = batch_of(args, kwargs, step.examples_per_unit)
    if batch.size == 0:
        return
    if not any(agree(step, program, args, kwargs, ids, dtype) for dtype in (None, torch.float64)):
        raise UntraceableModel(
            "the forward computes other losses when it is traced than when it is called", remedy=REMEDY
        )


def agree(
    step: CompiledStep,
    program: Compilation,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    ids: Tensor | None,
    dtype: torch.dtype | None,
) -> bool:
    """Whether both give the same losses, in the model's own dtype or another one; also where that cannot be said."""
    model, loss_fn = (own_copy(module, dtype) for module in (step.model, step.loss_fn))
    if dtype is not None:
        if model is step.model or (loss_fn is step.loss_fn and isinstance(loss_fn, nn.Module)):
            return False  # they cannot be had in another dtype: what was seen in their own counts
        args, kwargs = pytree.tree_map_only(Tensor, lambda t: cast(t, dtype), (args, kwargs))
    batch = batch_of(args, kwargs, step.examples_per_unit)
    drawn = any(map(draws, program.plan.derived.axes.traced.ops()))
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices_of(batch)))
        constant = stack.enter_context(Undrawn()) if drawn else None
        try:
            found = program.run(batch, 1.0, step.clipping, dtype, unit_ids=ids)[0].losses
        except UnsupportedLoss:  # this batch is refused when it is run
            return True
        stack.enter_context(buffers_kept(model))
        expected = losses_of(model, loss_fn, args, kwargs)
    autocast = program.plan.derived.axes.traced.autocast
    apart = max([APART, *(APART_IN_EPS * torch.finfo(narrow).eps for on, narrow in autocast.of if on and not dtype)])
    return expected is None or (constant is not None and constant.unknown) or same(found, expected, apart)


def own_copy(module: Any, dtype: torch.dtype | None = None) -> Any:
    """A copy that is run in place of the user's module; the module itself where it cannot be copied."""
    try:
        return copied(module, dtype)
    except Exception:  # whatever a part of the user's module raises: locks and generators are not copied
        return module


def losses_of(
    model: Callable[..., Any], loss_fn: Callable[..., Tensor] | None, args: Any, kwargs: Any
) -> Tensor | None:
    """The losses of the whole batch, by the model itself; ``None`` where it does not run on this batch."""
    with torch.enable_grad(), NormsByFormula():
        try:
            losses = model(*args, **kwargs) if loss_fn is None else loss_fn(model(*args[:-1], **kwargs), args[-1])
        except Exception:  # whatever the user's model raises: then it gives no losses to compare with
            return None
    own: Tensor = losses.detach()
    return own


def same(found: Tensor, expected: Tensor, apart: float) -> bool:
    """Whether losses are those of the model, or, of a scalar loss, their mean or sum."""
    found = found.double()
    ways = (found.mean(), found.sum()) if expected.dim() == 0 else (found,)
    bound = apart * (1 + float(expected.double().abs().nan_to_num(0, 0, 0).max()))
    return any(
        bool(torch.isclose(way, expected.double(), rtol=0, atol=bound, equal_nan=True).all())
        for way in ways
        if way.shape == expected.shape
    )


def devices_of(batch: Batch) -> list[int]:
    """The GPUs of a batch."""
    return sorted({t.device.index or 0 for t in batch.tensors if t.is_cuda})
