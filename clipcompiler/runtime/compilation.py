"""One program, loaded, with the tensors of the model it was compiled for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from clipcompiler.clipping import Clipping
from clipcompiler.codegen import Program
from clipcompiler.errors import UnsupportedLoss
from clipcompiler.plan import Plan
from clipcompiler.runtime.batch import Batch, caller, cast
from clipcompiler.runtime.fingerprint import closed_over, identified
from clipcompiler.runtime.load import load
from clipcompiler.runtime.lowered import Backend, Lowered
from clipcompiler.runtime.result import ClippedGradients
from clipcompiler.trace.autocast import Autocast

__all__ = ["Compilation", "Fitted", "Loss", "modules_of", "named", "tensors_of"]

Loss = Callable[..., Tensor]


class Fitted(Protocol):
    """What the pipeline made of a model: a plan, and programs that differ in the examples at a time."""

    @property
    def plan(self) -> Plan:
        """What is computed."""

    @property
    def program(self) -> Program:
        """The program for the batch that it was made for."""

    def rounded(self, batch: Sequence[Tensor]) -> tuple[int, ...]:
        """The sizes that stand for those of a batch: one program serves all that have them."""

    def program_for(self, sizes: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
        """The program for such sizes, and a batch of that kind."""


@dataclass(frozen=True, slots=True)
class Compilation:
    """One program and what it was compiled for.

    Attributes:
        plan: the plan.
        program: the generated source.
        function: the program's ``clipped_gradients``.
        parameters: the model's parameters by name.
        buffers: where to find the buffers and constants the program reads.
        alive: what the fingerprint knows by identity, kept alive so that no other object gets that identity.
        fitted: what gives the programs for batches of other sizes.
        backend: what runs the programs.
        sizes: the same with those programs, by size.
    """

    plan: Plan
    program: Program
    function: Callable[..., Any]
    parameters: Mapping[str, nn.Parameter]
    buffers: Callable[[], dict[str, Tensor]]
    alive: tuple[object, ...]
    fitted: Fitted
    backend: Backend
    sizes: dict[tuple[int, ...], Compilation] = field(default_factory=dict)

    @classmethod
    def of(cls, fitted: Fitted, batch: Batch, model: nn.Module, loss_fn: object, backend: Backend) -> Compilation:
        """Loads the program for a batch and finds the model's tensors, those of the loss under ``loss_fn.``."""
        plan, program = fitted.plan, fitted.program
        roots = modules_of(model, loss_fn)
        parameters = named(roots, lambda root: root.named_parameters(remove_duplicate=False))

        def buffers() -> dict[str, Tensor]:
            return buffers_of(plan, program, roots)

        function = backend.of(load(program, type(model).__name__), plan.derived.axes.traced.examples_per_unit)
        alive = loss_fn, *closed_over(loss_fn), *identified(roots)
        made = cls(plan, program, function, parameters, buffers, alive, fitted, backend)
        made.sizes[fitted.rounded(batch.tensors)] = made
        return made

    def for_size(self, batch: Batch, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Compilation:
        """The same with as many examples at a time as suit a batch of another size."""
        sizes = self.fitted.rounded(batch.tensors)
        if sizes not in self.sizes:
            program = self.fitted.program_for(sizes, args, kwargs)
            alike = next((own for own in self.sizes.values() if own.program == program), None)
            self.sizes[sizes] = alike or replace(self, program=program, function=self.loaded(program))
        return self.sizes[sizes]

    def loaded(self, program: Program) -> Callable[..., Any]:
        """The function of a program for other examples at a time."""
        traced = self.plan.derived.axes.traced
        return self.backend.of(load(program, traced.model), traced.examples_per_unit)

    def eagerly(self) -> Compilation:
        """The same, run as it is written."""
        return replace(self, function=self.function.eager) if isinstance(self.function, Lowered) else self

    def run(
        self,
        batch: Batch,
        max_grad_norm: float,
        clipping: Clipping,
        dtype: torch.dtype | None = None,
        *,
        unit_ids: Tensor | None = None,
    ) -> tuple[ClippedGradients, dict[str, Tensor]]:
        """The program on a batch: the result, and the clipped sums by name; in ``dtype``, where one is given.

        Raises:
            UnsupportedLoss: where the loss is a mean that does not count every target of this batch.
        """
        parameters: Mapping[str, Tensor] = self.parameters
        buffers = self.buffers()
        if dtype is not None:
            parameters, buffers = ({n: cast(t, dtype) for n, t in m.items()} for m in (parameters, buffers))
        options: dict[str, Any] = {} if clipping.called is None else {"clipping": clipping.called}
        if unit_ids is not None:
            options["unit_ids"] = unit_ids
        try:
            with Autocast.off().applied():  # the program has the casts; its norms are to have none
                losses, norms, clip_factors, gradients, *updated = self.function(
                    parameters, buffers, *batch.tensors, max_grad_norm=max_grad_norm, **options
                )
        except self.function.__globals__.get("UncountedTargets", ()) as error:
            raise UnsupportedLoss(
                f"the loss is no plain mean over examples: {error}",
                origin=caller(),
                remedy="return one loss for each sequence: the mean over its own valid tokens",
            ) from error
        for name in self.program.unreached:
            wide = torch.promote_types(parameters[name].dtype, norms.dtype)
            gradients[name] = torch.zeros_like(parameters[name], dtype=wide)
        groups = tuple(group.name for group in self.plan.groups)
        units = None if unit_ids is None else torch.unique(unit_ids)
        return ClippedGradients(losses, norms, clip_factors, groups, units, *updated), gradients

    def write(self, updates: Mapping[str, Tensor]) -> None:
        """Gives the model's buffers the values that a forward would."""
        buffers = self.buffers()
        with torch.no_grad():
            for name, value in updates.items():
                buffers[name].copy_(value)


def buffers_of(plan: Plan, program: Program, roots: tuple[nn.Module, ...]) -> dict[str, Tensor]:
    """The buffers and constants that a program reads, by name."""
    if not program.buffers:
        return {}
    constants = plan.derived.axes.traced.constants
    own = named(roots, lambda root: root.named_buffers(remove_duplicate=False))
    return {name: own[name] if name in own else constants[name] for name in program.buffers}


def tensors_of(plan: Plan, program: Program, model: nn.Module, loss_fn: object) -> dict[str, dict[str, Tensor]]:
    """The arguments of a program beside the batch."""
    roots = modules_of(model, loss_fn)
    parameters = named(roots, lambda root: root.named_parameters(remove_duplicate=False))
    return {"parameters": parameters, "buffers": buffers_of(plan, program, roots)}


def modules_of(model: nn.Module, loss_fn: object) -> tuple[nn.Module, ...]:
    """The model, and the loss where it is a module."""
    return (model, loss_fn) if isinstance(loss_fn, nn.Module) else (model,)


def named(roots: tuple[nn.Module, ...], tensors: Callable[[nn.Module], Iterable[tuple[str, Any]]]) -> dict[str, Any]:
    """The tensors of the model by their own names, those of the loss with ``loss_fn.`` in front."""
    found: dict[str, Any] = {}
    for prefix, root in zip(("", "loss_fn."), roots, strict=False):
        found |= {prefix + name: tensor for name, tensor in tensors(root)}
    return found
