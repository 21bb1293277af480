"""``clipcompiler check FACTORY``: arguments → exit status."""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from clipcompiler.cli.arguments import parser
from clipcompiler.cli.losses import LOSSES, cross_entropy, loss_called, target_for
from clipcompiler.cli.presentation import as_json, as_text, tensors_of
from clipcompiler.cli.specification import Specification, dtype_of, length, specification
from clipcompiler.cli.subject import Subject, Unusable, found, subject_of
from clipcompiler.cli.verdict import Status, examine
from clipcompiler.trace.lengths import declared

__all__ = ["main"]

EXIT = {Status.EXACT: 0, Status.REFUSED: 1, Status.UNVERIFIED: 2, Status.WRONG: 2, Status.FAILED: 2}
USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status: 0 exact, 1 refused, 2 anything else."""
    options = parser().parse_args(arguments)
    try:
        return check(options)
    except (Unusable, ValueError) as error:
        print(f"clipcompiler check: {error}", file=sys.stderr)
        return USAGE


def check(options: argparse.Namespace) -> int:
    """Examines what a factory makes, and prints the verdict."""
    progress = silent if options.quiet else shown
    if options.batch < 1:
        raise Unusable(f"--batch is {options.batch}: give 1 or more examples")
    torch.manual_seed(options.seed)
    with progress("build"):
        subject = prepared(subject_of(found(options.factory)), options)
        torch.manual_seed(options.seed)
        batch, kwargs = drawn(subject, options)
    model, dynamic = subject.model, dict[str, dict[int, str]]()
    for name, dim, letter in map(length, options.dynamic):
        dynamic.setdefault(name, {})[dim] = letter
    limits = {"tolerance": options.tolerance, "progress": progress}
    verdict = examine(model, subject.loss_fn, batch, kwargs, dynamic=declared(dynamic), **limits)
    tensors = tensors_of(batch, kwargs, has_target=subject.loss_fn is not None)
    if options.json:
        print(json.dumps(as_json(verdict, model, tensors), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print(as_text(verdict, model, tensors))
    return EXIT[verdict.status]


def prepared(subject: Subject, options: argparse.Namespace) -> Subject:
    """The model in the mode and dtype and on the device that were asked for, with its loss."""
    model = subject.model
    if options.train or options.eval:
        model.train(options.train)
    if options.dtype:
        model.to(dtype_of(options.dtype))
    if options.device:
        model.to(torch.device(options.device))
    if options.loss is not None:
        subject.loss_fn = loss_called(options.loss, found)
    elif not subject.has_loss:
        subject.loss_fn = cross_entropy
    if isinstance(subject.loss_fn, nn.Module):
        subject.loss_fn.to(kind_of_model(model)[1])
    return subject


def drawn(subject: Subject, options: argparse.Namespace) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The batch: the factory's, or random inputs and a random target.

    Raises:
        Unusable: where neither the factory nor the command line says what the inputs are.
    """
    dtype, device = kind_of_model(subject.model)
    if not options.input:
        if not subject.example_inputs:
            raise Unusable(
                "the factory gives no example inputs: return (model, loss_fn, example_inputs), or say what to draw, "
                "as in --input 3x32x32 or --input '16:int64<1000'"
            )
        return as_asked(subject.example_inputs, options, device), as_asked(subject.kwargs, options, device)
    wanted = [specification(text) for text in options.input]
    inputs = tuple(s.draw(options.batch, dtype, device) for s in wanted if not s.name)
    kwargs = subject.kwargs | {s.name: s.draw(options.batch, dtype, device) for s in wanted if s.name}
    if subject.loss_fn is None:
        return inputs, kwargs
    target = specification(options.target) if options.target else default_target(subject, inputs, kwargs)
    return (*inputs, target.draw(options.batch, dtype, device)), kwargs


def as_asked(batch: Any, options: argparse.Namespace, device: torch.device) -> Any:
    """A factory's batch on the device of the model, in the dtype that was asked for."""

    def moved(value: Tensor) -> Tensor:
        floating = options.dtype and value.is_floating_point()
        return value.to(device, dtype_of(options.dtype)) if floating else value.to(device)

    return pytree.tree_map_only(Tensor, moved, batch)


def default_target(subject: Subject, inputs: tuple[Tensor, ...], kwargs: dict[str, Any]) -> Specification:
    """The target that a loss of ours takes beside the output of the model, which is run once, on a copy.

    Raises:
        Unusable: for a loss that is not one of ours, and where the model does not run on these inputs.
    """
    if subject.loss_fn not in LOSSES.values():
        raise Unusable("this loss takes targets that only you know: say --target SPEC, as in --target 'int64<10'")
    try:
        with torch.no_grad():
            output = copy.deepcopy(subject.model)(*inputs, **kwargs)
    except Exception as error:
        raise Unusable(f"the model does not run on inputs of these kinds: {type(error).__name__}: {error}") from error
    return target_for(subject.loss_fn, output)


def kind_of_model(model: nn.Module) -> tuple[torch.dtype, torch.device]:
    """The floating dtype and the device of a model: those of its first parameter or buffer."""
    tensors = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    return (tensors[0].dtype, tensors[0].device) if tensors else (torch.get_default_dtype(), torch.device("cpu"))


@contextmanager
def shown(part: str) -> Iterator[None]:
    """Names a part of the work on standard error when it begins, and its time when it ends."""
    start = time.perf_counter()
    print(f"{part} …", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print(f" {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def silent(part: str) -> Iterator[None]:
    """Says nothing."""
    yield
