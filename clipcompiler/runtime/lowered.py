"""clipped_gradients → one graph of forward, backward, norms, clipping and sums → the same, compiled by Inductor.

The program is recorded once for each kind of batch, with a symbol for the number of examples, and never where it holds
for some numbers only: every condition that torch met on the way is asked again of each batch.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import sympy
import torch
from torch import Tensor, fx
from torch._dispatch.python import enable_python_dispatcher
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.utils import _pytree as pytree

from clipcompiler.codegen.helpers import COUNT_ALL

__all__ = ["Backend", "Lowered"]

MODES = (None, "reduce-overhead", "max-autotune")


@dataclass(frozen=True, slots=True)
class Backend:
    """What runs a program.

    Attributes:
        name: "eager", or "inductor".
        mode: Inductor's: ``None``, "reduce-overhead" (CUDA graphs) or "max-autotune".
    """

    name: str = "eager"
    mode: str | None = None

    def __post_init__(self) -> None:
        if self.name not in ("eager", "inductor"):
            raise ValueError(f"backend is {self.name!r}: give 'eager' or 'inductor'")
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}: give None, 'reduce-overhead' or 'max-autotune'")
        if self.mode is not None and self.name == "eager":
            raise ValueError(f"mode={self.mode!r} is Inductor's: give backend='inductor' with it")

    def of(self, function: Callable[..., Any], units: int) -> Callable[..., Any]:
        """A program's function as this backend runs it; ``units`` is the number of examples in each unit."""
        return function if self.name == "eager" else Lowered(function, units, self.mode)


@dataclass(frozen=True, slots=True)
class Graph:
    """One program, compiled for one kind of batch.

    Attributes:
        run: from the number of examples, parameters, buffers, the batch and C, in one list, to the leaves of what the
            program returns.
        structure: how these leaves stand in it.
        holds_for: whether it is right for a number of examples.
        uncounted: what each of the last leaves, which are truths, says is in the batch: a target that is not counted.
    """

    run: Callable[..., Sequence[Tensor]]
    structure: pytree.TreeSpec
    holds_for: Callable[[int], bool]
    uncounted: tuple[int, ...]


@dataclass(slots=True)
class Lowered:
    """``clipped_gradients`` of a program, compiled when it is called; with its arguments and its results.

    Attributes:
        eager: the program's own function.
        units: the number of examples in each unit.
        mode: Inductor's.
        graphs: what is compiled, by kind of batch.
        failed: why a kind of batch is run eagerly.
    """

    eager: Callable[..., Any]
    units: int
    mode: str | None
    graphs: dict[Hashable, list[Graph]] = field(default_factory=dict)
    failed: bool = False

    @property
    def __globals__(self) -> dict[str, Any]:
        """What the program defines."""
        found: dict[str, Any] = self.eager.__globals__
        return found

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        *batch: Tensor,
        max_grad_norm: float,
        **options: Any,
    ) -> tuple[Any, ...]:
        """Losses, norms, clip factors, the clipped sums by name, and the new values of buffers where there are any."""
        size = batch[0].shape[0]
        if size == 0 or self.failed or options:  # the number of units, or a user's function, may differ at every call
            whole: tuple[Any, ...] = self.eager(parameters, buffers, *batch, max_grad_norm=max_grad_norm, **options)
            return whole
        chunk = (self.__globals__["CHUNK"] or size) * self.units
        parts = [
            self.some(parameters, buffers, tuple(t[k : k + chunk] for t in batch), max_grad_norm)
            for k in range(0, size, chunk)
        ]
        if len(parts) == 1:
            return parts[0]
        rows = [torch.cat([part[k] for part in parts]) for k in range(3)]
        sums = {name: sum((part[3][name] for part in parts[1:]), parts[0][3][name]) for name in parts[0][3]}
        return (*rows, sums, *parts[0][4:])

    def some(
        self,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        batch: tuple[Tensor, ...],
        max_grad_norm: float,
    ) -> tuple[Any, ...]:
        """The program on some examples, all at once."""
        size = batch[0].shape[0]
        bound = torch.full((), max_grad_norm, dtype=torch.float64, device=batch[0].device)
        given = [*parameters.values(), *buffers.values(), *batch, bound]
        kinds = ((t.dtype, t.device, t.shape[1:], t.stride()) for t in batch)
        key = (size == 1, *kinds, *((t.dtype, t.device, t.shape, t.stride()) for t in given[: -len(batch) - 1]))
        graphs = self.graphs.setdefault(key, [])
        graph = next((g for g in graphs if g.holds_for(size)), None)
        if graph is None:
            try:
                graph = self.lowered(list(parameters), list(buffers), given, len(batch))
            except Exception as error:  # whatever torch raises of what it cannot lower
                self.failed = True
                first = str(error).strip().splitlines() or [""]
                warnings.warn(
                    f"backend='inductor' fails for this program, which is run eagerly instead: the same results, more "
                    f"slowly. {type(error).__name__}: {first[0]}",
                    stacklevel=2,
                )
                found: tuple[Any, ...] = self.eager(
                    parameters, buffers, *batch, max_grad_norm=max_grad_norm, chunk=None
                )
                return found
            graphs.append(graph)
        with torch.no_grad():
            leaves = list(graph.run(size, *(t.detach() for t in given)))
            if self.mode == "reduce-overhead":  # a CUDA graph writes the next results where these are
                leaves = [leaf.clone() for leaf in leaves]
        for ignored in reversed(graph.uncounted):
            self.__globals__[COUNT_ALL](torch.where(leaves.pop(), ignored, ignored - 1), ignored)
        made: tuple[Any, ...] = pytree.tree_unflatten(leaves, graph.structure)
        return made

    def lowered(self, names: list[str], buffers: list[str], given: list[Tensor], tensors: int) -> Graph:
        """Records the program, and compiles the graph."""
        structure: list[pytree.TreeSpec] = []
        looked_at: list[tuple[int, Tensor]] = []
        first = len(names) + len(buffers)

        def program(size: Any, *leaves: Tensor) -> list[Tensor]:
            own = dict(zip(names, leaves, strict=False)), dict(zip(buffers, leaves[len(names) :], strict=False))
            result = self.eager(*own, *leaves[first:-1], max_grad_norm=leaves[-1], chunk=None)
            found, spec = pytree.tree_flatten(result)
            structure.append(spec)
            return [*found, *(flag for _, flag in looked_at)]

        def count_all(target: Tensor, ignored: int) -> None:
            looked_at.append((ignored, (target == ignored).any()))

        start = time.perf_counter()
        tell(f"records {len(names)} parameters and the batch as one graph")
        environment = ShapeEnv()
        fakes = self.without_data(given, first, tensors, environment)
        size = fakes[first].shape[0]
        scope = {COUNT_ALL: count_all} if COUNT_ALL in self.__globals__ else {}  # a graph looks at no data
        with mock.patch.dict(self.__globals__, scope), fakes[first].fake_mode, enable_python_dispatcher():
            graph = make_fx(program)(size, *fakes)  # with the dispatcher in Python, every op takes symbols
        tell(f"compiles {len(graph.graph.nodes)} ops with Inductor, after {time.perf_counter() - start:.0f} s")
        with tracing(TracingContext(fakes[first].fake_mode)), torch.no_grad():  # for a cached graph's conditions
            run = torch._inductor.compile(graph, [size, *fakes], options=patches(self.mode, graph.graph))
        tell(f"done in {time.perf_counter() - start:.0f} s")
        uncounted = tuple(ignored for ignored, _ in looked_at)
        return Graph(run, structure[0], conditions_of(environment, size), uncounted)

    def without_data(self, given: list[Tensor], first: int, tensors: int, environment: ShapeEnv) -> list[Any]:
        """The arguments without data, the number of examples a symbol where it may vary."""
        mode = FakeTensorMode(shape_env=environment, static_shapes=False)
        found = []
        for place, tensor in enumerate(given):
            of_batch = first <= place < first + tensors
            varies = of_batch and self.units == 1 and tensor.shape[0] > 1 and self.mode != "reduce-overhead"
            sizes = [DimDynamic.DYNAMIC if varies and dim == 0 else DimDynamic.STATIC for dim in range(tensor.dim())]
            found.append(
                mode.from_tensor(tensor.detach(), symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes))
            )
        return found


def conditions_of(environment: ShapeEnv, size: Any) -> Callable[[int], bool]:
    """What torch took for true of the number of examples, as a test of other numbers."""
    if not isinstance(size, torch.SymInt):
        return lambda other: other == size
    own = environment.replace(size.node.expr)
    if not own.free_symbols:
        return lambda other: other == int(own)
    found = [environment.replace(guard.expr) for guard in environment.guards]

    def hold(other: int) -> bool:
        return all(c.xreplace(dict.fromkeys(c.free_symbols, sympy.Integer(other))) is sympy.true for c in found)

    return hold


def patches(mode: str | None, graph: fx.Graph) -> dict[str, Any]:
    """Inductor's settings of a mode.

    Where it fuses ops it leaves out roundings to half precision in between, unless it is told to keep them: a cotangent
    that is rounded where it is summed and not where it is squared would let an example contribute more than C.
    """
    options: dict[str, Any] = dict(torch._inductor.list_mode_options(mode)) if mode else {}
    tensors = (node.meta.get("val") for node in graph.nodes)
    if any(isinstance(t, Tensor) and t.dtype in (torch.bfloat16, torch.float16) for t in tensors):
        options["emulate_precision_casts"] = True
    return options


def tell(text: str) -> None:
    """What a compilation is at, which may take a minute."""
    print(f"inductor: {text}", file=sys.stderr, flush=True)
