"""``module:factory`` → the model, the loss and the batch that are to be checked."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

__all__ = ["Subject", "Unusable", "found", "subject_of"]

KEYS = ("model", "loss_fn", "example_inputs", "kwargs")


class Unusable(Exception):
    """What was asked for cannot be checked: the message says why and what to do."""


@dataclass(slots=True)
class Subject:
    """What a factory gave.

    Attributes:
        model: the model.
        loss_fn: its loss, ``None`` where there is none.
        has_loss: whether the factory said anything of a loss: ``None`` says that the model returns its losses.
        example_inputs: the inputs, then the target, as for ``cc.compile``; empty where the factory gave none.
        kwargs: keyword arguments of the model.
    """

    model: nn.Module
    loss_fn: Callable[..., Tensor] | None = None
    has_loss: bool = False
    example_inputs: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


def found(path: str) -> Any:
    """The object at ``module:name``, ``package.module:Class.method`` or ``file.py:name``.

    The current directory is importable.

    Raises:
        Unusable: where there is none.
    """
    module_name, colon, attributes = path.rpartition(":")
    if not colon or not module_name or not attributes:
        raise Unusable(f"{path!r} is no module:factory, such as train:build_model or train.py:build_model")
    value: Any = imported(module_name)
    for name in attributes.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            public = ", ".join(n for n in vars(value) if not n.startswith("_")) if hasattr(value, "__dict__") else ""
            raise Unusable(f"{module_name} has no {attributes!r}; it has {public}") from None
    return value


def imported(name: str) -> ModuleType:
    """A module by its name or by its file."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if not name.endswith(".py"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
                raise Unusable(f"there is no module {name!r}, neither installed nor in {folder}") from None
            raise
    file = Path(name).resolve()
    if not file.is_file():
        raise Unusable(f"there is no file {file}")
    sys.path.insert(0, str(file.parent))  # its own imports, as `python file.py` finds them
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise Unusable(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def subject_of(value: Any) -> Subject:
    """Calls a factory, and reads what it returns; a module is taken as it is.

    Raises:
        Unusable: where that is nothing to be checked.
    """
    made = value
    if not isinstance(value, (nn.Module, tuple, Mapping)):
        if not callable(value):
            raise Unusable(f"it is a {type(value).__name__}: give a function that returns a model, or a model")
        made = value()
    if isinstance(made, nn.Module):
        return Subject(made)
    if isinstance(made, Mapping):
        given = dict(made)
        unknown = sorted(set(given) - set(KEYS))
        if unknown or "model" not in given:
            wrong = f"unknown {', '.join(unknown)}" if unknown else "no model"
            raise Unusable(f"the factory returned a mapping with {wrong}: its keys may be {', '.join(KEYS)}")
    elif isinstance(made, tuple) and 1 <= len(made) <= 3:
        given = dict(zip(KEYS, made, strict=False))
    else:
        raise Unusable(
            f"the factory returned {kind_of(made)}: return the model, (model, loss_fn), "
            f"(model, loss_fn, example_inputs), or a dict of {', '.join(KEYS)}"
        )
    if not isinstance(given["model"], nn.Module):
        raise Unusable(f"the model is {kind_of(given['model'])}: it must be a torch.nn.Module")
    inputs = given.get("example_inputs")
    if inputs is not None and not isinstance(inputs, (tuple, list)):
        raise Unusable(f"example_inputs is {kind_of(inputs)}: it must be a tuple, the inputs and then the target")
    return Subject(
        given["model"], given.get("loss_fn"), "loss_fn" in given, tuple(inputs or ()), dict(given.get("kwargs") or {})
    )


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a {type(value).__name__}"
