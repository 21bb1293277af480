"""What to do about an op that mixes examples."""

from __future__ import annotations

__all__ = ["remedy_for"]

REMEDIES = (
    (
        ("batch_norm",),
        "batch norm in training mode averages over the batch: use nn.GroupNorm or nn.LayerNorm, "
        "or put the module in eval mode (module.eval()) to use its running statistics",
    ),
    (
        ("instance_norm",),
        "its running statistics are updated from the whole batch: set track_running_stats=False, or eval mode",
    ),
    (("softmax",), "take the softmax over a dim within the example"),
    (
        ("mean", "sum", "std", "var", "max", "min", "norm", "amax", "amin", "median", "prod"),
        "reduce over the dims within an example and keep the examples apart, as in x.mean(dim=1)",
    ),
    (("cumsum", "sort", "topk", "flip", "roll", "cat"), "name a dim within the example"),
    (
        ("mm", "matmul", "linear", "einsum", "dot"),
        "a product of examples with examples (in-batch negatives, a batch kernel) has no gradient of one example",
    ),
    (("index", "gather", "select", "slice"), "no example may be picked from the batch by its place"),
)


def remedy_for(op: str) -> str:
    """The remedy for an op by its name."""
    name = op.split(".")[1] if "." in op else op
    tokens = set(name.strip("_").split("_"))
    for words, remedy in REMEDIES:
        if any(set(word.split("_")) <= tokens for word in words):
            return remedy
    return "compute it within each example, or leave it out"
