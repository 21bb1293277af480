"""While the model runs: what changes a value or a gradient behind autograd's back is refused, at its line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _functorch as functorch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from clipcompiler.errors import UntraceableModel
from clipcompiler.trace.copies_of_many import CopiesOfMany
from clipcompiler.trace.recurrent import PADDED
from clipcompiler.trace.source import is_users, running_line

__all__ = ["NothingBehindAutograd", "same_parameters"]

#: Attributes of tensors, as a mode sees them read and written.
DATA: Any = Tensor.data
GRAD_FN: Any = Tensor.grad_fn
AUTOGRAD = torch._C.DispatchKey.AutogradFunctionality
#: The functions of torch that hand out the backward of a value.
EDGES = ("get_gradient_edge", "_get_grad_fn_or_grad_acc")
#: The methods that cast, and return the tensor itself where there is nothing to cast: what becomes of them is read off
#: the graph, but for what depends on the layout in memory.
CASTS: tuple[Any, ...] = (
    Tensor.to, Tensor.type, Tensor.type_as, Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16,
)  # fmt: skip
#: Where they drop nothing, they return their input itself; a traced one would be a value of its own.
DROPOUTS = (F.dropout, F.alpha_dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.feature_alpha_dropout)


class NothingBehindAutograd(TorchFunctionMode):
    """Looks at every call of the forward for values that it changes without autograd's knowledge.

    A graph of functional ops has one gradient, that of the values it holds. Autograd's is another one where a value
    that has a gradient is written without grad mode, or through an alias that autograd knows no view of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.owners: dict[int, list[Tensor]] = {}
        self.without_grad: dict[int, Tensor] = {}
        self.copies = CopiesOfMany()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls a function, and compares its arguments before and after."""
        options = kwargs or {}
        name = getattr(function, "__name__", str(function))
        refuse_by_name(function, name, sys._getframe(1))
        if function in DROPOUTS and is_identity(function, args, options):
            return args[0] if args else options["input"]
        if function == DATA.__get__:
            function, args = Tensor.detach, args[:1]
        before = [State(t) for t in tensors_in((args, options))]
        for state in before:
            self.own(state.tensor)
            self.refuse_stale(state, name)
        result = call(function, name, args, options)
        for state in before:
            self.refuse_change(state, name)
            if state.version != state.newest:
                self.copies.written(state.memory)
        self.copies.note(function, args, options, result, memory)
        for tensor in tensors_in(result):
            self.own(tensor)
            if not torch.is_grad_enabled():
                casts = function in CASTS and options.get("memory_format") is None
                refuse_itself(tensor, [] if casts else [state.tensor for state in before], name)
                self.without_grad.setdefault(memory(tensor), tensor)
        return result

    def own(self, tensor: Tensor) -> None:
        """Notes that the memory of a tensor that has a gradient belongs to it, or to the tensor it is a view of."""
        if tensor.requires_grad and tensor.layout is torch.strided:
            owners = self.owners.setdefault(memory(tensor), [])
            if not any(owner is family(tensor) for owner in owners):
                owners.append(family(tensor))

    def refuse_change(self, before: State, name: str) -> None:
        """Raises where an argument is not what it was and autograd does not know, or forgets what it knew."""
        tensor = before.tensor
        if before.requires_grad and not tensor.requires_grad:
            raise refusal("cuts a gradient in place", name, "use y = x.detach()")
        if isinstance(tensor, nn.Parameter) and tensor.requires_grad != before.requires_grad:
            raise refusal("makes a parameter trainable", name, "set requires_grad outside the forward")
        if before.memory != memory(tensor):
            raise refusal("puts another tensor into the place of one", name, "give the new tensor a name of its own")
        if before.version != before.newest and self.is_hidden(before):
            raise refusal(
                "writes, without gradients, to a value that has one, or to a parameter",
                name,
                "make a new value instead of writing in place (x.detach().clone() is one); "
                "update parameters outside the forward",
            )
        known = torch.is_grad_enabled() and tensor.requires_grad
        if before.version != before.newest and known and before.memory in self.without_grad:
            raise refusal("writes a value with a gradient to one made without", name, "make it outside torch.no_grad()")

    def refuse_stale(self, state: State, name: str) -> None:
        """Raises where a value is read that, for one example alone, has been written through what is a copy of many."""
        if state.memory in self.copies.stale:
            raise refusal(
                "reads a value after a write to what is a copy of it for many examples, and itself for one",
                name,
                "write to a copy that is always one: x.clone() before the write",
            )

    def is_hidden(self, before: State) -> bool:
        """Whether a write to a tensor changes one that has a gradient, and the gradient stays."""
        owners = self.owners.get(before.memory, [])
        if functorch.is_functorch_wrapped_tensor(before.tensor):
            return True
        return any(not torch.is_grad_enabled() or owner is not before.family for owner in owners)


@contextmanager
def same_parameters(module: nn.Module) -> Iterator[None]:
    """Raises where a forward gives its module other parameters than it had."""
    before = dict(module.named_parameters(remove_duplicate=False))
    yield
    after = dict(module.named_parameters(remove_duplicate=False))
    changed = [k for k in before.keys() | after.keys() if before.get(k) is not after.get(k)]
    if changed:
        raise refusal("replaces a parameter of the model", min(changed), "compute with a value of another name")


class State:
    """What is looked at of an argument before a call."""

    __slots__ = ("family", "memory", "requires_grad", "tensor", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.version = self.newest
        self.requires_grad = tensor.requires_grad
        self.memory = memory(tensor)
        self.family = family(tensor)

    @property
    def newest(self) -> int:
        """How often the memory has been written by now."""
        return unwrapped(self.tensor)._version


def unwrapped(tensor: Tensor) -> Tensor:
    """The tensor behind those of ``torch.func``."""
    while functorch.is_functorch_wrapped_tensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    return tensor


def call(function: Any, name: str, args: Any, options: Any) -> Any:
    """The result of a call that starts and ends with autograd in place."""
    if torch._C._dispatch_tls_is_dispatch_key_excluded(AUTOGRAD):
        raise refusal("computes a part of itself below autograd", name, "use torch.no_grad() there")
    return function(*args, **options)


def memory(tensor: Tensor) -> int:
    """The identity of the memory that a tensor lies in."""
    tensor = unwrapped(tensor)
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def family(tensor: Tensor) -> Tensor:
    """The tensor that autograd knows a tensor to be a view of, or itself."""
    base = tensor._base
    return tensor if base is None else base


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors among arguments."""
    return (leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor))


def is_identity(function: Any, args: Any, options: Any) -> bool:
    """Whether a dropout drops nothing."""
    bound = signature(function).bind(*args, **options)
    bound.apply_defaults()
    return not bound.arguments["training"] or bound.arguments["p"] == 0


def refuse_by_name(function: Any, name: str, caller: FrameType) -> None:
    """Raises for what is behind autograd's back by itself."""
    if function == DATA.__set__:
        raise refusal("puts another tensor into the place of one", "Tensor.data", "give the new tensor a name")
    asked = is_users(caller.f_code.co_filename) or caller.f_code.co_name in EDGES
    if function == GRAD_FN.__get__ and asked:
        raise refusal(
            "reaches for the backward of a value",
            "Tensor.grad_fn",
            "scale the value instead: x = k * x + (1 - k) * x.detach() has k times the gradient",
        )
    if name == "register_post_accumulate_grad_hook":
        raise refusal("registers a hook on a gradient", f"Tensor.{name}", "change the gradient after the step")
    if name == "_pack_padded_sequence":
        raise refusal("packs sequences, whose lengths are known only when it runs", "pack_padded_sequence", PADDED)


def refuse_itself(result: Tensor, given: list[Tensor], name: str) -> None:
    """Raises where, without gradients, a function returns an argument that has one, as a trace does not show."""
    if result.requires_grad and any(result is tensor for tensor in given):
        raise refusal(
            "hands a value with a gradient through a region without", name, "leave out the call, which does nothing"
        )


def refusal(what: str, name: str, remedy: str) -> UntraceableModel:
    """The refusal at the user's line that is running."""
    return UntraceableModel(f"the forward {what}", origin=running_line(name), remedy=remedy)
