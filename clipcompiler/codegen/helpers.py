"""Functions that a generated module carries with it where it uses them."""

from __future__ import annotations

__all__ = ["CONVOLUTION_GRADIENTS", "SOURCES", "helpers_used"]

#: The function that instantiates the per-example gradients of a convolution.
CONVOLUTION_GRADIENTS = "convolution_gradients"

#: The helpers by name.
SOURCES = {
    CONVOLUTION_GRADIENTS: '''
def convolution_gradients(x, cotangent, kernel, stride, padding, dilation, groups):
    """g[n,o,c,k] = Σ_u ȳ[n,o,u] x[n, c, stride·u + dilation·k − front], for every example n.

    x is [N, C, *places] and the cotangent [N, O, *u]; padding has a pair (front, back) for each place, negative
    where x is cut. It takes a few examples at a time, so that their patches stay in the cache.
    """
    amounts = [amount for pair in reversed(padding) for amount in pair]
    windows = F.pad(x, amounts) if any(amounts) else x
    for dim, size in enumerate(kernel):
        span = dilation[dim] * (size - 1) + 1
        windows = windows.unfold(2 + dim, span, stride[dim])[..., :: dilation[dim]]
    rank = len(kernel)
    windows = windows.permute(0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))  # [N, C, *k, *u]
    N, C, O, U = x.shape[0], x.shape[1] // groups, cotangent.shape[1] // groups, cotangent[0, 0].numel()
    K = windows[0, :C].numel() // U
    cotangent = cotangent.reshape(N, groups, O, U)
    each = x.new_empty(N, groups, O, K)
    some = max(1, 2**18 // (groups * K * U))
    for first in range(0, N, some):
        part = slice(first, first + some)
        patches = windows[part].reshape(-1, groups, K, U)
        torch.matmul(cotangent[part], patches.mT, out=each[part])
    return each.reshape(N, groups * O, C, *kernel)
''',
}


def helpers_used(body: str) -> str:
    """The source of every helper that a function body calls."""
    return "\n".join(source for name, source in SOURCES.items() if f"{name}(" in body)
