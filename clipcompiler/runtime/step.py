"""The compiled step: an nn.Module whose call adds the clipped sum to ``.grad``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipcompiler.clipping import Clipping, Flat
from clipcompiler.errors import InvalidBatch
from clipcompiler.runtime.batch import Batch, batch_of, caller, ids_of
from clipcompiler.runtime.bounded import Bounded
from clipcompiler.runtime.compilation import Compilation, Fitted, Loss, modules_of
from clipcompiler.runtime.findings import Audit
from clipcompiler.runtime.fingerprint import (
    fingerprint_of_batch,
    fingerprint_of_function,
    fingerprint_of_modules,
)
from clipcompiler.runtime.inspected import Inspected
from clipcompiler.runtime.lengths import Dynamic, lengths_in
from clipcompiler.runtime.lowered import Backend
from clipcompiler.runtime.nonfinite import dropped, refused
from clipcompiler.runtime.result import ClippedGradients
from clipcompiler.trace.autocast import Autocast
from clipcompiler.trace.lengths import Declared
from clipcompiler.trace.placeholders import names_of_inputs

__all__ = ["CompiledStep"]

#: Programs kept for other states of the model and kinds of batches; the one used longest ago goes first.
KEPT = 32

#: (model, loss function, arguments, keyword arguments, units at call time?, lengths) → the plan and the programs.
Compiler = Callable[[nn.Module, Loss | None, tuple[Any, ...], dict[str, Any], bool, Declared], Fitted]
#: (step, arguments, keyword arguments, unit ids, tolerance) → the largest relative error.
Verifier = Callable[["CompiledStep", tuple[Any, ...], dict[str, Any], Tensor | None, float], float]
#: (step, arguments, keyword arguments, unit ids, …) → what the searches found.
Auditor = Callable[..., Audit]
#: (step, program, arguments, keyword arguments, unit ids): raises where a program computes other losses than the model.
Prover = Callable[["CompiledStep", Compilation, tuple[Any, ...], dict[str, Any], Tensor | None], None]


@dataclass(frozen=True, slots=True)
class Tools:
    """What a step calls that stands around it: the pipeline, and the checks against loops and searches."""

    compile: Compiler
    verify: Verifier
    audit: Auditor
    prove: Prover


class CompiledStep(Bounded, Inspected, nn.Module):
    """Σ_n c_n ∇ℓ_n of a model and a loss, compiled at the first call.

    Calling it with a batch (inputs, then the target; keyword arguments go to the model) adds the clipped sum
    to the ``.grad`` of every trainable parameter, as ``backward()`` would, and returns the losses, norms and
    clip factors. One compilation serves every number of examples. The model is traced again when the mode of
    a module, a parameter or the kind of a buffer or input changes; what no tensor shows (a Python number
    changed on a module) is not noticed: call ``retrace()`` after it.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Loss | None,
        max_grad_norm: float,
        tools: Tools,
        *,
        clipping: Clipping | None = None,
        examples_per_unit: int = 1,
        nonfinite: str = "raise",
        dynamic: Declared | None = None,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"the model is a {type(model).__name__}: give a torch.nn.Module")
        if nonfinite not in ("raise", "drop"):
            raise ValueError(f"nonfinite is {nonfinite!r}: give 'raise' or 'drop'")
        self.model = model
        if isinstance(examples_per_unit, bool) or not isinstance(examples_per_unit, int) or examples_per_unit < 1:
            raise ValueError(f"examples_per_unit is {examples_per_unit}: give a whole number of examples, 1 or more")
        self.loss_fn = loss_fn
        self.examples_per_unit = examples_per_unit
        self._clipping = clipping or Flat()
        self.max_grad_norm = max_grad_norm
        self.compilations = 0
        self.tools = tools
        self.nonfinite = nonfinite
        self.dynamic: Declared = dynamic or {}
        self.backend = backend or Backend()
        self._programs: dict[Hashable, Compilation] = {}
        self._latest: Compilation | None = None

    def forward(self, *args: Any, unit_ids: Tensor | None = None, **kwargs: Any) -> ClippedGradients:
        """Adds Σ_n c_n ∇ℓ_n to the ``.grad`` of every trainable parameter.

        Args:
            args: the inputs, then the target.
            unit_ids: integers [N]: the examples of one id form a unit, whose gradients are added before they are
                clipped. Norms and clip factors are those of the units, in the order of their ids.
            kwargs: keyword arguments of the model.

        Raises:
            CompileError: where no exact clipped gradient can be promised.
            NonFiniteExamples: where an example's loss or gradient is not finite; ``.grad`` is left as it was.
                A step compiled with ``nonfinite="drop"`` leaves such examples out instead.
        """
        compilation, result, gradients = self._run(args, kwargs, unit_ids)
        held, added = [], []
        for name, gradient in gradients.items():
            parameter = compilation.parameters[name]
            if parameter.grad is None:
                own = gradient.to(parameter.dtype)
                parameter.grad = own.clone() if own._is_view() else own  # as backward() leaves it
            else:
                held.append(parameter.grad)
                added.append(gradient)
        if held:
            torch._foreach_add_(held, added)
        compilation.write(result.updates)
        self._max_grad_norm = self.clipping.updated(self._max_grad_norm, result.norms)
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledStep:
        """A step of a copy of the model, not traced yet."""
        model, loss_fn = copy.deepcopy(self.model, memo), copy.deepcopy(self.loss_fn, memo)
        return CompiledStep(
            model,
            loss_fn,
            self.max_grad_norm,
            self.tools,
            clipping=self.clipping,
            examples_per_unit=self.examples_per_unit,
            nonfinite=self.nonfinite,
            dynamic=self.dynamic,
            backend=self.backend,
        )

    def prepare(self, *args: Any, unit_ids: Tensor | None = None, **kwargs: Any) -> CompiledStep:
        """Compiles for a batch of this kind without running it; returns the step."""
        batch = batch_of(args, kwargs, self.examples_per_unit)
        self._compilation(batch, args, kwargs, self._checked(unit_ids, batch))
        return self

    def gradients(
        self, *args: Any, unit_ids: Tensor | None = None, **kwargs: Any
    ) -> tuple[ClippedGradients, dict[str, Tensor]]:
        """The same without touching ``.grad``: the result, and the clipped sums by parameter name.

        The sums are in the dtype of the norms: float32 where the model's own is narrower. Buffers that the forward
        updates are left as they are too; their new values are in ``result.updates``.
        """
        _, result, gradients = self._run(args, kwargs, unit_ids)
        return result, gradients

    def _run(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], unit_ids: Tensor | None
    ) -> tuple[Compilation, ClippedGradients, dict[str, Tensor]]:
        """The program of this kind of batch, and what it gives."""
        with torch.inference_mode(False):
            batch = batch_of(args, kwargs, self.examples_per_unit)
            ids = self._checked(unit_ids, batch)
            compilation = self._compilation(batch, args, kwargs, ids)

            def run(part: Batch, own: Tensor | None) -> tuple[ClippedGradients, dict[str, Tensor]]:
                return compilation.run(part, self._max_grad_norm, self.clipping, unit_ids=own)

            finite = dropped if self.nonfinite == "drop" else refused
            result, gradients = finite(run, batch, ids, self.examples_per_unit)
        return compilation, result, gradients

    def _checked(self, unit_ids: Tensor | None, batch: Batch) -> Tensor | None:
        """The ids of the units, one for each example.

        Raises:
            InvalidBatch: where they are not, or where ``examples_per_unit`` was given too.
        """
        if unit_ids is None:
            return None
        if self.examples_per_unit != 1:
            raise InvalidBatch(
                f"unit_ids were given to a step with examples_per_unit={self.examples_per_unit}",
                origin=caller(),
                remedy="give one of them: examples_per_unit for equal units whose examples are mixed, unit_ids else",
            )
        return ids_of(unit_ids, batch)

    def _compilation(
        self, batch: Batch, args: tuple[Any, ...], kwargs: dict[str, Any], unit_ids: Tensor | None
    ) -> Compilation:
        """The program for this state of the model and this kind of batch, compiled where there is none yet."""
        if self.loss_fn is not None and len(args) < 2:
            raise InvalidBatch(
                "the step was called without a target", origin=caller(), remedy="call step(inputs, target)"
            )
        dynamic = lengths_in(batch, names_of_inputs(self.model, self.loss_fn, args, kwargs), self.dynamic)
        found = self._found(batch, args, kwargs, unit_ids, dynamic)
        if not all(x.takes(batch.tensors) for x in found.plan.derived.axes.traced.lengths):
            found = self._found(batch, args, kwargs, unit_ids, Dynamic({}))  # the model itself may say why
        with Autocast.off().applied():  # programs have their casts
            self._latest = found.for_size(batch, args, kwargs)
        return self._latest

    def _found(
        self, batch: Batch, args: tuple[Any, ...], kwargs: dict[str, Any], unit_ids: Tensor | None, dynamic: Dynamic
    ) -> Compilation:
        """The programs for this state of the model and this kind of batch, with letters for what is dynamic in it."""
        kind = fingerprint_of_batch(batch.leaves, batch.structure, dynamic.letters)
        key = (
            fingerprint_of_function(self.loss_fn),
            fingerprint_of_modules(modules_of(self.model, self.loss_fn)),
            kind,
            unit_ids is not None,
            Autocast.now(),
        )
        found = self._programs.pop(key, None)
        if found is None:
            by_units = unit_ids is not None
            fitted = self.tools.compile(self.model, self.loss_fn, args, kwargs, by_units, dynamic.declared)
            self.compilations += 1
            found = Compilation.of(fitted, batch, self.model, self.loss_fn, self.backend)
            self.tools.prove(self, found.eagerly(), args, kwargs, unit_ids)
        self._programs[key] = found
        if len(self._programs) > KEPT:
            del self._programs[next(iter(self._programs))]
        return found

    def retrace(self) -> None:
        """Forgets every program, so that the next call traces the model again."""
        self._programs.clear()
        self._latest = None

    def verify(self, *args: Any, unit_ids: Tensor | None = None, tolerance: float = 1e-9, **kwargs: Any) -> float:
        """Runs the generated program in float64 and compares it with one backward pass an example in float64.

        Returns the largest relative error of norms and clipped sums. It is the program that is checked, not the
        rounding of the model's own dtype. ``.grad`` is left as it is.

        Raises:
            VerificationError: where the error exceeds ``tolerance``, or where the model draws at random.
        """
        return self.tools.verify(self, args, kwargs, unit_ids, tolerance)

    def audit(
        self,
        *args: Any,
        unit_ids: Tensor | None = None,
        examples: int = 4,
        seed: int = 0,
        progress: bool = False,
        **kwargs: Any,
    ) -> Audit:
        """Searches for an example (or unit) that contributes more than ``step.sensitivity`` says.

        ``float()`` of what it returns is the largest contribution found, as a share of that. With one floating input
        it takes about 2N + 75 runs of the step, and 140 more for each of ``examples`` examples of the batch that are
        made extreme. ``progress`` prints each search as it ends. ``.grad`` is left as it is.

        Raises:
            ValueError: where nothing is clipped, so that there is nothing to hold.
        """
        options = {"examples": examples, "seed": seed, "progress": progress}
        return self.tools.audit(self, args, kwargs, unit_ids, **options)
