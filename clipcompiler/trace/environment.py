"""How the model is run while it is traced: what a graph of ops would not show is refused, lines are kept."""

from __future__ import annotations

import inspect
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import sympy
import torch
from torch import nn
from torch._decomp import decompositions
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.proxy import TracerBase
from torch.nn.modules import module as module_hooks
from torch.utils import checkpoint

from clipcompiler.errors import UntraceableModel
from clipcompiler.trace.assumptions import Assumptions, differs
from clipcompiler.trace.control_flow import taken_apart
from clipcompiler.trace.recurrent import by_one_step
from clipcompiler.trace.source import is_users, running_line
from clipcompiler.trace.wrap import WithoutValueChecks, own_name

__all__ = ["tracing"]

SAVED_HOOKS: Any = torch.autograd.graph.saved_tensors_hooks


@contextmanager
def tracing(model: nn.Module) -> Iterator[Assumptions]:
    """Within it, ``torch.export`` keeps the user's lines and meets no gradient that the ops do not show.

    Gives what torch assumes of the batch size meanwhile.

    Raises:
        UntraceableModel: for a backward of the user's own (``autograd.Function``, hooks), and for a Python
            branch on the batch size that goes one way for some sizes and another way for others. One that does so
            for a batch of one alone is noted in the assumptions.
    """
    refuse_hooks(model)
    assumptions = Assumptions()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
        stack.enter_context(torch.enable_grad())
        stack.enter_context(WithoutValueChecks())
        if torch.backends.opt_einsum.enabled:
            stack.enter_context(torch.backends.opt_einsum.flags(enabled=False))
        for target, name, replacement in (
            (torch.autograd.Function, "apply", classmethod(apply_of_ops_only(torch.autograd.Function.apply))),
            (torch.Tensor, "register_hook", no_hook),
            (torch.autograd, "grad", without_graph(torch.autograd.grad)),
            (torch.autograd, "backward", no_backward),
            (SAVED_HOOKS, "__enter__", torchs_own_hooks(SAVED_HOOKS.__enter__)),
            (torch.Tensor, "detach_", no_detach_in_place(torch.Tensor.detach_)),
            (torch, "detach_", no_detach_in_place(torch.detach_)),
            (nn.Module, "__setattr__", no_new_buffer(nn.Module.__setattr__)),
            (torch.inference_mode, "__enter__", no_inference_mode(torch.inference_mode.__enter__)),
            (torch.SymBool, "__bool__", same_branch(torch.SymBool.__bool__, assumptions)),
            (ShapeEnv, "evaluate_expr", assumptions.recording(ShapeEnv.evaluate_expr)),
            *taken_apart(),
        ):
            stack.enter_context(mock.patch.object(target, name, replacement))
        if hasattr(decompositions, "_rnn_helper"):
            stack.enter_context(
                mock.patch.object(decompositions, "_rnn_helper", by_one_step(decompositions._rnn_helper))
            )
        if hasattr(TracerBase, "_filter_traceback_frames"):
            stack.enter_context(mock.patch.object(TracerBase, "_filter_traceback_frames", users_frames))
        yield assumptions
        refuse_hooks(model)


def users_frames(tracer: Any, frames: traceback.StackSummary) -> traceback.StackSummary:
    """The frames of the user's own files, from the call of the traced module on."""
    calls = [k for k, f in enumerate(frames) if f.filename == TRACED_CALL and f.name == "forward"]
    start = max(calls, default=-1)
    return traceback.StackSummary.from_list([f for f in frames[start + 1 :] if is_users(f.filename)])


#: The file whose frame calls the user's model.
TRACED_CALL = str(sys.modules["clipcompiler.trace.wrap"].__file__)


def apply_of_ops_only(apply: Any) -> Any:
    """``Function.apply``, for ops of ``torch.library``, which the graph shows, and which have a rule.

    The backward of any other need not be the derivative of its forward, in torch's own functions too.
    """

    def checked(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if cls.__module__ == "torch._library.autograd":
            return apply.__func__(cls, *args, **kwargs)
        raise UntraceableModel(
            f"{cls.__name__} is an autograd.Function with a backward of its own, which the graph of its forward "
            "does not show",
            origin=running_line(f"{cls.__name__}.apply"),
            remedy="define it as an op with torch.library.custom_op, its backward with register_autograd, and give "
            "it a rule; for torch.utils.checkpoint pass use_reentrant=False",
        )

    return checked


def no_hook(tensor: Any, hook: Any) -> Any:
    """A hook changes a gradient on its way, which no op of the graph shows."""
    raise UntraceableModel(
        "the forward registers a hook on a tensor, which may change the gradient on its way",
        origin=running_line("Tensor.register_hook"),
        remedy="scale the value instead: x = k * x + (1 - k) * x.detach() has k times the gradient",
    )


def without_graph(grad: Any) -> Any:
    """``torch.autograd.grad``, whose results have a gradient of their own with ``create_graph`` only."""

    def checked(*args: Any, **kwargs: Any) -> Any:
        options = inspect.signature(grad).bind(*args, **kwargs).arguments
        results = grad(*args, **kwargs)
        if options.get("create_graph"):
            return results
        return tuple(None if g is None else g.detach() for g in results)

    return checked


def no_backward(*tensors: Any, **options: Any) -> Any:
    """A backward pass in the forward adds to gradients, which no op of the graph shows."""
    raise UntraceableModel(
        "the forward runs a backward pass, which may add to the gradients of parameters",
        origin=running_line("torch.autograd.backward"),
        remedy="use torch.autograd.grad, which returns the gradients",
    )


def torchs_own_hooks(enter: Any) -> Any:
    """Hooks on what autograd saves may change gradients, but for those of checkpointing and of ``save_on_cpu``."""

    def checked(hooks: Any) -> Any:
        if type(hooks) is torch.autograd.graph.save_on_cpu or type(hooks).__module__ == checkpoint.__name__:
            return enter(hooks)
        raise UntraceableModel(
            "the forward changes what autograd saves for its backward pass, which no op of the graph shows",
            origin=running_line(type(hooks).__name__),
            remedy="leave the hooks out of the forward; torch.utils.checkpoint saves memory exactly",
        )

    return checked


def no_detach_in_place(detach: Any) -> Any:
    """``x.detach_()`` cuts the gradient of a value that is there already, which no op of the graph shows."""

    def checked(tensor: Any) -> Any:
        if not tensor.requires_grad:
            return detach(tensor)
        raise UntraceableModel(
            "the forward calls detach_(), which cuts a gradient in place",
            origin=running_line("Tensor.detach_"),
            remedy="use y = x.detach()",
        )

    return checked


def no_new_buffer(assign: Any) -> Any:
    """``self.mean = 0.9 * self.mean + …`` puts another tensor in the place of a buffer, which no op shows."""

    def checked(module: nn.Module, name: str, value: Any) -> None:
        held = module.__dict__.get("_buffers", {}).get(name)
        line = running_line(f"{type(module).__name__}.{name} = …")
        if held is None or held is value or line is None:
            assign(module, name, value)
            return
        raise UntraceableModel(
            f"the forward assigns the buffer {name}, which a compiled step would leave as it was",
            origin=line,
            remedy="update the buffer outside the forward; what is only kept within one forward needs no buffer",
        )

    return checked


def no_inference_mode(enter: Any) -> Any:
    """``with torch.inference_mode()`` leaves no trace in the graph, unlike ``no_grad``."""

    def checked(mode: Any) -> Any:
        if mode.mode:
            raise UntraceableModel(
                "the forward computes a part of itself in torch.inference_mode(), which the graph would not show",
                origin=running_line("torch.inference_mode"),
                remedy="use torch.no_grad() there, whose values are kept out of the gradient",
            )
        return enter(mode)

    return checked


def refuse_hooks(model: nn.Module) -> None:
    """Backward hooks of modules and parameters are refused too."""
    if module_hooks._global_backward_hooks or module_hooks._global_backward_pre_hooks:
        raise UntraceableModel(
            "a backward hook is registered for all modules, which may change gradients",
            remedy="remove the hook (handle.remove()) before compiling",
        )
    for path, module in model.named_modules():
        if module._backward_hooks or module._backward_pre_hooks:
            raise UntraceableModel(
                f"the module {own_name(path) or 'itself'} has a backward hook, which may change gradients",
                remedy="remove the hook (handle.remove()) before compiling",
            )
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise UntraceableModel(
                f"the parameter {own_name(name)} has a gradient hook, which the compiled step would not call",
                remedy="remove the hook (handle.remove()) before compiling",
            )


def same_branch(decide: Any, assumptions: Assumptions) -> Any:
    """``bool`` of a condition on sizes; one that depends on the batch size must hold for every N ≥ 2, or for none.

    One that decides otherwise for N = 1 alone is noted: whether a batch of one runs the same code is to be proven.
    """

    def checked(condition: torch.SymBool) -> bool:
        decision: bool = decide(condition)
        expression = getattr(condition.node, "expr", None)
        caller = sys._getframe(1).f_code.co_filename
        if is_users(caller) and isinstance(expression, sympy.Basic) and differs(expression, decision):
            refusal = UntraceableModel(
                "the model branches on the batch size (or a dynamic length), and would run other code for another one",
                origin=running_line("branch on the batch size"),
                remedy="write one code path for every batch size; x.squeeze(dim) and x.expand need no branch",
            )
            if differs(expression, decision, least=2):
                raise refusal
            assumptions.for_more_than_one = assumptions.for_more_than_one or refusal
        return decision

    return checked
