"""spectral_norm(lstm, "weight_hh_l0"): a weight with an update of its own, looked at a number of times by the layer.

Before each forward torch's recurrent layers look whether their weights are still the same tensors, and read them again
if not. A parametrised weight is computed anew at each look, and an update that comes with it is made anew: how often,
depends on which tensors were seen before, which a trace cannot know.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from clipcompiler.errors import UntraceableModel
from clipcompiler.origin import Origin
from clipcompiler.trace.wrap import own_name

__all__ = ["refuse_updates_of_recurrent_weights"]


def refuse_updates_of_recurrent_weights(module: nn.Module, updates: Iterable[str]) -> None:
    """Raises where a buffer of a parametrisation of a recurrent layer's weight is updated in the forward.

    Raises:
        UntraceableModel: with the path of the layer.
    """
    for wrapped, layer in module.named_modules():
        path = own_name(wrapped)
        if not isinstance(layer, nn.RNNBase):
            continue
        own = f"{path}.parametrizations." if path else "parametrizations."
        if any(name.startswith(own) for name in updates):
            raise UntraceableModel(
                "a parametrisation of a weight of a recurrent layer updates its buffers each time the layer looks at "
                "the weight, and how often that is in a forward depends on earlier calls",
                origin=Origin(type(layer).__name__, path),
                remedy="put the parametrisation in eval mode (spectral_norm then keeps its vectors), or build the "
                "layer of cells with parametrised nn.Linear layers",
            )
