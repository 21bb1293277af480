"""A function of tensors → the most bytes that are alive at once while it runs, found without computing anything.

It runs on tensors that have shapes and no data. A storage that an op makes is alive until the last tensor that reads it
is gone, in the forward, the backward and everything after; what kernels allocate inside themselves is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
)
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["WITHOUT_DATA", "Liveness", "peak_of", "peak_of_running", "without_data"]

#: What is raised where a function reads values that there are none of.
WITHOUT_DATA = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedFakeTensorException)


class Liveness(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that are made within it.

    Attributes:
        alive: the bytes alive now.
        peak: the most there were.
    """

    def __init__(self, given: Sequence[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = 0
        self._known: dict[int, Any] = {id(storage): storage for storage in (t.untyped_storage() for t in given)}

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one op, and sees what it made."""
        made = op(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._see(leaf.untyped_storage())
        return made

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return

        def gone(_: Any) -> None:
            del self._known[key]
            self.alive -= size

        self._known[key] = weakref.ref(storage, gone)
        self.alive += size
        self.peak = max(self.peak, self.alive)


@contextmanager
def without_data() -> Iterator[Callable[..., Any]]:
    """Within it new tensors have no data. Gives a function: tensors → such of their shapes, or of N examples."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def emptied(tensors: Any, size: int | None = None) -> Any:
        def one(t: Tensor) -> Tensor:
            if size is None:
                return mode.from_tensor(t.detach(), static_shapes=True)
            return torch.empty((size, *t.shape[1:]), dtype=t.dtype, device=t.device)

        return pytree.tree_map_only(Tensor, one, tensors)

    with mode:
        yield emptied


def peak_of_running(function: Callable[..., Any], given: Mapping[str, Any], batch: Sequence[Tensor]) -> int:
    """The same by running the function on copies of its arguments; random numbers go on as if it had not run."""
    devices = sorted({t.device.index or 0 for t in batch if t.is_cuda})
    copies = pytree.tree_map_only(Tensor, lambda t: t.detach().clone(), dict(given))
    leaves = [t for t in pytree.tree_leaves((copies, batch)) if isinstance(t, Tensor)]
    with torch.random.fork_rng(devices), Liveness(leaves) as live:
        function(*copies.values(), *batch)
    peak: int = live.peak
    return peak


def peak_of(
    function: Callable[..., Any], given: Mapping[str, Any], batch: Any, size: int, options: Mapping[str, Any]
) -> int:
    """The most bytes that ``function(*given, *batch)`` holds beside its arguments, for a batch of ``size`` examples.

    ``given`` are the arguments that carry no examples, each a mapping of tensors.
    """
    with without_data() as emptied:
        fixed = {name: emptied(value) for name, value in given.items()}
        examples = emptied(batch, size)
        leaves = [t for t in pytree.tree_leaves((fixed, examples)) if isinstance(t, Tensor)]
        with Liveness(leaves) as live:
            function(*fixed.values(), *examples, **options)
        peak: int = live.peak
    return peak
