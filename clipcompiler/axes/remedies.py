"""What to do about an op that mixes examples."""

from __future__ import annotations

from clipcompiler.trace.batch_norm import BATCH_NORM

__all__ = ["OWN_PLACE", "PAIRS", "TOKENS", "remedy_for"]

PAIRS = (
    "a loss of pairs (in-batch negatives, a batch kernel) is not clippable example by example: make the group the "
    "unit, one row of the batch a whole group of examples that is clipped together, or take pairs within an example"
)
TOKENS = (
    "average each sequence over its own valid tokens: loss = F.cross_entropy(…, reduction='none'), then "
    "(loss * mask).sum(1) / mask.sum(1)"
)
OWN_PLACE = (
    "by its place an example may only look itself up: x[torch.arange(x.shape[0]), i] with i of [n]; "
    "take what an example needs from its own row"
)
REMEDIES = (
    (("batch_norm",), BATCH_NORM),
    (
        ("instance_norm",),
        "its running statistics are updated from the whole batch: set track_running_stats=False, or eval mode",
    ),
    (
        ("layer_norm", "rms_norm", "group_norm"),
        "normalise over the dims within an example: nn.LayerNorm(D), not (N, D)",
    ),
    (("softmax", "logsumexp"), "take it over a dim within the example, as in softmax(x, dim=-1)"),
    (
        (
            "mean",
            "sum",
            "std",
            "var",
            "max",
            "min",
            "norm",
            "amax",
            "amin",
            "median",
            "prod",
            "any",
            "all",
            "argmax",
            "argmin",
        ),
        "reduce over the dims within an example and keep the examples apart, as in x.mean(dim=1)",
    ),
    (
        (
            "cumsum",
            "cumprod",
            "cummax",
            "logcumsumexp",
            "sort",
            "argsort",
            "topk",
            "flip",
            "roll",
            "cat",
            "pad",
            "fft",
            "rfft",
        ),
        "name a dim within the example, as in x.flip(1)",
    ),
    (("mm", "bmm", "matmul", "linear", "einsum", "dot", "cdist"), PAIRS),
    (
        ("lstm", "gru", "rnn"),
        "a recurrent layer reads along time: give it [N, T, features] with batch_first=True, or [T, N, features]",
    ),
    (
        ("conv1d", "conv2d", "conv3d", "pool1d", "pool2d", "pool3d"),
        "put the examples in the first dim: [n, channels, …]",
    ),
    (("index", "gather", "select", "slice", "embedding", "scatter", "put"), OWN_PLACE),
)


def remedy_for(op: str) -> str:
    """The remedy for an op by its name."""
    name = op.split(".")[1] if "." in op else op
    tokens = set(name.strip("_").split("_"))
    for words, remedy in REMEDIES:
        if any(set(word.split("_")) <= tokens for word in words):
            return remedy
    return "compute it within each example, or leave it out"
