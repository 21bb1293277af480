"""Functions that a generated module carries with it where it uses them."""

from __future__ import annotations

import re

from clipcompiler.codegen.recurrent import RECURRENT_SOURCES, SCANS

__all__ = [
    "ADD",
    "ADD_PRODUCT",
    "BY_EXAMPLE",
    "CONVOLUTION_GRADIENTS",
    "COUNT_ALL",
    "EACH_BY_LOOP",
    "EACH_BY_VMAP",
    "GRAM_FROM_PIXELS",
    "GRAM_IN_TILES",
    "GUARDED",
    "RENUMBERED",
    "SCATTERED",
    "SOURCES",
    "helpers_used",
]

#: The functions that add to the clipped sums.
ADD, ADD_PRODUCT = "add", "add_product"

#: The function that instantiates the per-example gradients of a convolution.
CONVOLUTION_GRADIENTS = "convolution_gradients"

#: The function that makes the Gram of a convolution's patches without patches.
GRAM_FROM_PIXELS = "gram_from_pixels"

#: The function that multiplies two Grams a tile at a time, and computes one of two that mirror each other.
GRAM_IN_TILES = "gram_in_tiles"

#: The function that keeps the rounding of a Gram from under-reporting a norm.
GUARDED = "guarded"
#: The function that cuts a user's clip factors to the bound.
WITHIN = "within"

#: The function that raises where a mean over tokens is none over all tokens.
COUNT_ALL = "count_all"

#: The functions that put the examples of a unit side by side.
UNITS_OF, WHOLE_UNITS, GATHERED = "units_of", "whole_units", "gathered"

#: The function that calls a norm of torch on contiguous tensors, in its backward too.
CONTIGUOUSLY = "contiguously"

#: The functions that add up the rows of equal numbers, and renumber the rows that an example looks up.
SCATTERED, RENUMBERED = "scattered", "renumbered"

#: The functions that take the vjp of one op for one example at a time.
BY_EXAMPLE, EACH_BY_VMAP, EACH_BY_LOOP = "by_example", "each_by_vmap", "each_by_loop"

#: The helpers by name.
SOURCES = {
    ADD: '''
def add(sums, name, value):
    """sums[name] += value"""
    sums[name] = sums[name].add_(value) if name in sums else value
''',
    ADD_PRODUCT: '''
def add_product(sums, name, a, b):
    """sums[name] += a b"""
    if name not in sums:
        sums[name] = a @ b
    elif a.dim() == 1:
        sums[name].addmv_(b.T, a)
    else:
        sums[name].addmm_(a, b)
''',
    CONVOLUTION_GRADIENTS: '''
def convolution_gradients(x, cotangent, kernel, stride, padding, dilation, groups):
    """g[n,o,c,k] = Σ_u ȳ[n,o,u] x[n, c, stride·u + dilation·k − front], for every example n.

    x is [N, C, *places] and the cotangent [N, O, *u]; padding has a pair (front, back) for each place, negative
    where x is cut. On a CPU one convolution with N times the groups is faster for many sizes: its output, the
    cotangents as its kernels, where it goes channel by channel; its weight gradient elsewhere. Or else patches are
    multiplied, those of a few examples at a time, so that they stay in the cache.
    """
    amounts = [amount for pair in reversed(padding) for amount in pair]
    x, cotangent = F.pad(x, amounts) if any(amounts) else x, cotangent.contiguous()
    x, rank = x.contiguous(), len(kernel)
    N, C, O, U = x.shape[0], x.shape[1] // groups, cotangent.shape[1] // groups, cotangent[0, 0].numel()
    symbolic = isinstance(N, torch.SymInt)  # while it is recorded for any number of examples
    if x.is_cpu and rank <= 3 and not x.is_complex() and not symbolic:
        zeros, image = (0,) * rank, x.flatten(0, 1)[None]
        if C == O == 1:
            kernels = cotangent.flatten(0, 1)[:, None]
            each = torch.convolution(image, kernels, None, dilation, zeros, stride, False, zeros, N * groups)
            return each.reshape(N, groups, 1, *kernel)
        if N == 1 or (C >= 8 and C * O <= 64 * U):
            weight, outputs = x.new_empty(1).expand(N * groups * O, C, *kernel), cotangent.flatten(0, 1)[None]
            how = stride, zeros, dilation, False, zeros, N * groups, (False, True, False)
            each = aten.convolution_backward(outputs, image, weight, None, *how)[1]
            return each.reshape(N, groups * O, C, *kernel)
    windows = x
    for dim, size in enumerate(kernel):
        span = dilation[dim] * (size - 1) + 1
        windows = windows.unfold(2 + dim, span, stride[dim])[..., :: dilation[dim]]
    windows = windows.permute(0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))  # [N, C, *k, *u]
    K = windows[0, :C].numel() // U
    cotangent = cotangent.reshape(N, groups, O, U)
    if not x.is_cpu or symbolic:
        return (cotangent @ windows.reshape(N, groups, K, U).mT).reshape(N, groups * O, C, *kernel)
    each = x.new_empty(N, groups, O, K)
    some = max(1, 2**18 // (groups * K * U))
    for first in range(0, N, some):
        part = slice(first, first + some)
        patches = windows[part].reshape(-1, groups, K, U)
        torch.matmul(cotangent[part], patches.mT, out=each[part])
    return each.reshape(N, groups * O, C, *kernel)
''',
    GRAM_FROM_PIXELS: '''
def gram_from_pixels(x, kernel, places, stride, dilation, padding):
    """K[n,u,u'] = Σ_k P[n, stride·u + dilation·k, stride·u' + dilation·k] with P[n,t,t'] = Σ_c x[n,c,t] x[n,c,t'].

    x is [N, C, *t]; padding has a pair (front, back) for each dim of t, negative where x is cut. Returns [N, *u, *u'].
    """
    amounts = [amount for pair in reversed(padding) for amount in pair]
    x = F.pad(x, amounts) if any(amounts) else x
    flat = x.flatten(2)
    pixels = (flat.mT @ flat).reshape(x.shape[0], *x.shape[2:], *x.shape[2:])
    gram = None
    for offsets in product(*map(range, kernel)):
        spans = zip(offsets, places, stride, dilation)
        window = [slice(d * k, d * k + s * (size - 1) + 1, s) for k, size, s, d in spans]
        part = pixels[(slice(None), *window, *window)]
        gram = part.clone() if gram is None else gram.add_(part)
    return gram
''',
    GRAM_IN_TILES: '''
def gram_in_tiles(y, x, biases=0, *, tile):
    """Σ_ss' (ȳ_s·ȳ_s') (x_s·x_s' + biases) for every example: tiles of positions, those above the diagonal twice.

    y is [N, S, O] and x [N, S, I]; no more than a tile of a Gram is in memory. Returns [N].
    """
    total = y.new_zeros(y.shape[0])
    for i in range(0, y.shape[1], tile):
        for j in range(i, y.shape[1], tile):
            a, b = (t[:, i : i + tile] @ t[:, j : j + tile].mT for t in (y, x))
            total += a.mul_(b.add_(biases)).sum((1, 2)).mul_(1 if i == j else 2)
    return total
''',
    GUARDED: '''
def guarded(square, parts):
    """‖g[n]‖² = Σ_ss' (ȳ_s·ȳ_s')(x_s·x_s') as it was rounded → no less than the true one.

    The terms cancel where the gradients of the positions do. ``parts`` is Σ_s ‖ȳ_s‖²‖x_s‖², in proportion to
    which they are rounded: 8 ε of it bounds what was lost.
    """
    return square.clamp(min=0) + 8 * torch.finfo(square.dtype).eps * parts
''',
    CONTIGUOUSLY: '''
def contiguously(norm, *args):
    """norm(*args) with every tensor contiguous, the gradient of its value too.

    torch's batch and instance norm take the permuted gradient of a batch of one for one that lies channels last, and
    read a strided weight as if it were contiguous: silently wrong. A flat view and back makes its gradient contiguous.
    """
    y = norm(*(x.contiguous().flatten().view(x.shape) if isinstance(x, torch.Tensor) else x for x in args))
    return y.flatten().view(y.shape)
''',
    SCATTERED: '''
def scattered(places, rows, size):
    """g[n,v,d] = Σ_s [places[n,s] = v] rows[n,s,d] for v < size."""
    N, S, D = rows.shape
    first = size * torch.arange(N, device=places.device)[:, None]
    sums = rows.new_zeros(N * size, D).index_add_(0, (first + places).flatten(), rows.reshape(N * S, D))
    return sums.reshape(N, size, D)
''',
    RENUMBERED: '''
def renumbered(places):
    """[N, S] → each number as its rank among those of its example: below S, and equal where they were equal."""
    ordered, origin = places.sort(1)
    steps = F.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0))
    return torch.empty_like(places).scatter_(1, origin, steps.cumsum(1).to(places.dtype))
''',
    UNITS_OF: '''
def units_of(unit_ids):
    """ids [N] → the units' ids, the unit of every example, and for each unit its examples, padded to the largest.

    Returns ids [units], unit_of [N], examples [units·members] (a unit's first example where it has no more) and
    present [units·members] (0 there, else 1).
    """
    ids, unit_of = torch.unique(unit_ids, return_inverse=True)
    sizes = torch.bincount(unit_of, minlength=len(ids))
    order, first = torch.argsort(unit_of, stable=True), sizes.cumsum(0) - sizes
    place = torch.arange(len(unit_ids), device=unit_ids.device) - first[unit_of[order]]
    examples = order[first][:, None].repeat(1, int(sizes.max()))
    present = torch.zeros(examples.shape, device=unit_ids.device)
    examples[unit_of[order], place], present[unit_of[order], place] = order, 1.0
    return ids, unit_of, examples, present
''',
    WHOLE_UNITS: '''
def whole_units(unit_ids, chunk):
    """ids [N] → the examples of one unit after the other, at most ``chunk`` at a time; all at once where they fit.

    A unit of more examples than that is by itself.
    """
    if len(unit_ids) <= chunk:
        return [slice(None)]
    counts = [0]
    for size in torch.unique(unit_ids, return_counts=True)[1].tolist():
        if counts[-1] and counts[-1] + size > chunk:
            counts.append(0)
        counts[-1] += size
    return torch.argsort(unit_ids, stable=True).split(counts)
''',
    GATHERED: '''
def gathered(x, examples, present=None, dim=0, around=(1, 1)):
    """x[…, a·n·b, …] → x[…, a·unit·member·b, …], zero where a unit has no more members."""
    x = x.unflatten(dim, (around[0], -1, around[1])).index_select(dim + 1, examples.flatten())
    if present is not None:
        x = x * present.to(x.dtype).reshape(-1, *[1] * (x.dim() - dim - 2))
    return x.flatten(dim, dim + 2)
''',
    BY_EXAMPLE: '''
def by_example(x, dim, around=(1, 1)):
    """x[…, a·n·b, …] → x[n, …, a·b, …]: each example as a batch of one."""
    before, behind = around
    return x.unflatten(dim, (before, -1, behind)).movedim(dim + 1, 0).flatten(dim + 1, dim + 2)
''',
    EACH_BY_VMAP: '''
def each_by_vmap(op, w, cotangents, *operands):
    """g[n] = Σ_k (∂y_k[n]/∂w)ᵀ ȳ_k[n] with y[n] = op(w, *x[n]), for all examples at once."""

    def gradient(cotangents, *x):
        return torch.func.vjp(lambda w: op(w, *x), w)[1](cotangents)[0]

    return torch.func.vmap(gradient)(cotangents, *operands)
''',
    EACH_BY_LOOP: '''
def each_by_loop(op, w, cotangents, *operands):
    """g[n] = Σ_k (∂y_k[n]/∂w)ᵀ ȳ_k[n] with y[n] = op(w, *x[n]), one example after the other."""
    w, each = w.detach().requires_grad_(), w.new_empty(len(cotangents[0]), *w.shape)
    for n in range(len(each)):
        with torch.enable_grad():
            outputs = op(w, *(x[n] for x in operands))
        each[n] = torch.autograd.grad(outputs, w, tuple(y[n] for y in cotangents))[0]
    return each
''',
    COUNT_ALL: '''
class UncountedTargets(ValueError):
    """A mean over targets leaves some of them out, and so divides by a number that belongs to the whole batch."""


def count_all(target, ignored):
    """Raises where a target has the value that the mean does not count."""
    if bool((target == ignored).any()):
        raise UncountedTargets(f"a target is {ignored}, which the mean over the batch's targets does not count")
''',
    WITHIN: '''
def within(factors, most):
    """−C/‖∇ℓ_n‖ ≤ c_n ≤ C/‖∇ℓ_n‖: whatever the function returned, no example contributes more than C."""
    if factors.shape != most.shape:
        raise ValueError(f"the clipping function made {list(factors.shape)} of norms {list(most.shape)}")
    return torch.minimum(torch.maximum(factors.to(most), -most), most)
''',
    **RECURRENT_SOURCES,
}


def helpers_used(body: str, *, scans: bool = False) -> str:
    """The source of every helper that a function body calls, and of those that these call.

    With ``scans`` the backward of a recurrent layer is one kernel.
    """
    found: dict[str, str] = {}
    texts = [body]
    while texts:
        text = texts.pop()
        called = [name for name in SOURCES if name not in found and re.search(rf"\b{name}\(", text)]
        found.update((name, SOURCES[name]) for name in called)
        texts += [SOURCES[name] for name in called]
    whole = "\n".join(source for name, source in SOURCES.items() if name in found)
    for steps, scan in SCANS.items() if scans else ():
        whole = whole.replace(steps, scan)
    return whole
