"""with torch.autocast(…): y = op(x, w)  →  y = op(x.to(bf16), w.to(bf16)): casts of autocast become ops of the graph.

``torch.export`` records ops before autocast casts what they read. What is on where an op is called is noted in its
node, and is on again where the graph is run once more to be taken apart. The program is then run without autocast, so
that nothing casts what computes norms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import fx

__all__ = ["Autocast", "regions_noted", "regions_repeated"]

REGION = torch.ops.higher_order.wrap_with_set_grad_enabled
#: Where a node has what was on when it was called, among what torch keeps of it.
NOTED, CUSTOM = "clipcompiler.autocast", "custom"


@dataclass(frozen=True, slots=True)
class Autocast:
    """Whether autocast is on for each kind of device, and the dtype that it casts to.

    Attributes:
        of: (whether, dtype) by the kind of device.
    """

    of: tuple[tuple[bool, torch.dtype], ...]

    DEVICES: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    @classmethod
    def now(cls) -> Autocast:
        """What is on."""
        return cls(tuple((torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in cls.DEVICES))

    @classmethod
    def off(cls) -> Autocast:
        """What is on, turned off."""
        return cls(tuple((False, dtype) for _, dtype in cls.now().of))

    @property
    def is_on(self) -> bool:
        """Whether any is."""
        return any(on for on, _ in self.of)

    def set(self) -> None:
        """Turns it on, or off, from here on."""
        for device, (on, dtype) in zip(self.DEVICES, self.of, strict=True):
            torch.set_autocast_enabled(device, on)
            torch.set_autocast_dtype(device, dtype)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it this is on, and no cast is kept for another op."""
        before, caches = Autocast.now(), torch.is_autocast_cache_enabled()
        if before == self and not self.is_on:
            yield
            return
        torch.set_autocast_cache_enabled(False)
        self.set()
        try:
            yield
        finally:
            before.set()
            torch.set_autocast_cache_enabled(caches)


class Regions:
    """The ``torch.autocast`` of a forward that is traced: on, but not recorded as regions.

    ``torch.export`` would take a region for a graph of its own, and lose what ``no_grad`` there is in it.
    """

    def __init__(self) -> None:
        self.before: list[Autocast] = []

    def enter(self, region: torch.autocast) -> torch.autocast:
        """``torch.autocast.__enter__``"""
        self.before.append(Autocast.now())
        torch.set_autocast_enabled(region.device, region._enabled)
        torch.set_autocast_dtype(region.device, region.fast_dtype)
        return region

    def leave(self, region: torch.autocast, *exception: Any) -> None:
        """``torch.autocast.__exit__``"""
        self.before.pop().set()

    def noting(self, create_node: Callable[..., fx.Node]) -> Callable[..., fx.Node]:
        """``Graph.create_node``, which notes what is on within a region."""

        def created(graph: fx.Graph, *args: Any, **kwargs: Any) -> fx.Node:
            node = create_node(graph, *args, **kwargs)
            if self.before:
                node.meta[CUSTOM] = {**node.meta.get(CUSTOM, {}), NOTED: Autocast.now()}
            return node

        return created


@contextmanager
def regions_noted() -> Iterator[None]:
    """Within it a traced forward may turn autocast on and off for parts of itself."""
    regions, before, caches = Regions(), Autocast.now(), torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    with ExitStack() as stack:
        for target, name, replacement in (
            (torch.autocast, "__enter__", lambda region: regions.enter(region)),
            (torch.autocast, "__exit__", lambda region, *exception: regions.leave(region, *exception)),
            (fx.Graph, "create_node", regions.noting(fx.Graph.create_node)),
        ):
            stack.enter_context(mock.patch.object(target, name, replacement))
        try:
            yield
        finally:
            before.set()
            torch.set_autocast_cache_enabled(caches)


@contextmanager
def regions_repeated() -> Iterator[None]:
    """Within it a graph that is run has on for each op what was on when it was recorded."""
    run_node = fx.Interpreter.run_node

    def repeated(interpreter: fx.Interpreter, node: fx.Node) -> Any:
        if node.target is REGION:  # its ops have notes of their own
            given: Any = interpreter.map_nodes_to_values(node.args, node)
            enabled, body, *inputs = given
            with torch.set_grad_enabled(enabled):
                return fx.Interpreter(body).run(*inputs)
        noted = node.meta.get(CUSTOM, {}).get(NOTED)
        if noted is None:
            return run_node(interpreter, node)
        with noted.applied():
            return run_node(interpreter, node)

    with mock.patch.object(fx.Interpreter, "run_node", repeated):
        yield
