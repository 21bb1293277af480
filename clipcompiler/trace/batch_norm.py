"""Batch norm with ``momentum=None`` reads its count of steps as a Python number: refused as the batch norm it is."""

from __future__ import annotations

import traceback
from pathlib import Path

from torch.nn.modules import batchnorm

from clipcompiler.errors import ExamplesMixed
from clipcompiler.origin import Origin
from clipcompiler.trace.source import line_of_traceback

__all__ = ["BATCH_NORM", "refuse_batch_norm"]

BATCH_NORM = (
    "batch norm in training mode averages over the batch: use nn.GroupNorm or nn.LayerNorm, "
    "or put the module in eval mode (module.eval()) to use its running statistics"
)


def refuse_batch_norm(error: Exception) -> None:
    """Raises where a trace ended within torch's batch norm.

    Raises:
        ExamplesMixed: with the user's line that calls it.
    """
    if not any(
        Path(frame.filename) == Path(str(batchnorm.__file__)) for frame in traceback.extract_tb(error.__traceback__)
    ):
        return
    raise ExamplesMixed(
        "batch norm in training mode (momentum=None: a mean over all steps) reads the whole batch",
        origin=Origin("batch_norm", "", *line_of_traceback(error.__traceback__)),
        remedy=BATCH_NORM,
    ) from error
