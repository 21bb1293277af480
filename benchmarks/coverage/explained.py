"""A refusal → why it is right, or what is missing, in one line."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["explained"]

#: What a refusal says, or the line it names → the explanation; the first that fits counts.
EXPLANATIONS = {
    r"attn = \(q @ k\.transpose.*\(B, N, N\)": "its q and k have lost their feature dim: images attend to each other",
    r"batch_norm": "the batch's statistics are in every example's output; exact in eval mode, or with group norm",
    r"PhimoeMultiplier": "its router's backward is Python code that no op shows; exact in eval mode",
    r"autograd\.Function": "its backward is Python code that no op shows; a torch.library op with a rule would be",
    r"data-dependent": "the forward branches on values of the batch; torch.export cannot trace it",
    r"clamp_.*\.data|writes, without gradients": "the forward changes a parameter in training; exact in eval mode",
    r"lang_mask": "rows of one language are gathered from the batch: whose a row is depends on the other examples",
    r"torch\.arange\(start=0, end=batch_size": "table cells are numbered through the batch, and summed by number",
    r"jetmoe|index_sorted_experts": "tokens of the batch are sorted by expert; no other implementation is offered",
    r"prophetnet": "grams and examples are flattened in two orders: rows are gathered by the places of other examples",
    r"masking_utils": "its mask of packed sequences runs other code for one example, not proven to be the same",
    r"zeros makes a dim of extent": "zeros of examples times heads as one dim: which is the faster is not known yet",
}


def explained(record: dict[str, Any]) -> str:
    """The explanation of a refusal, or nothing where none is written yet."""
    said = " ".join(str(record.get(k, "")) for k in ("reason", "op", "source", "code"))
    return next((text for pattern, text in EXPLANATIONS.items() if re.search(pattern, said)), "")
