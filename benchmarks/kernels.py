"""The kernels on a GPU: their rate, as a share of the device's own matrix products, and plain torch beside them.

python -m benchmarks.kernels                  times every kernel at its sizes, and appends a line for each
python -m benchmarks.kernels --report         writes docs/benchmarks/kernels.md from the results

A kernel does the products of its order, of a Gram those on one side of the diagonal; the peak is that of a product of
two square matrices of the same dtype, measured in the same run.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.peers.origin import commit, origin
from benchmarks.peers.results import Record, appended, read
from clipcompiler import kernels
from clipcompiler.kernels import references

PAGE = Path("docs/benchmarks/kernels.md")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
#: (N, S, O, I): of a layer's weight, the examples, positions, outputs and inputs.
SIZES = ((8, 1024, 4096, 1024), (8, 512, 2048, 8192), (8, 1024, 768, 3072), (32, 196, 768, 768), (128, 28, 512, 128))
#: (N, C, O, pixels, kernel, stride, groups) of a convolution.
WINDOWS = ((32, 64, 64, 56, 3, 1, 1), (32, 256, 512, 28, 3, 2, 1), (32, 384, 384, 14, 7, 1, 384))
#: (N, S, D, V) of a table of V rows.
TABLES = ((8, 1024, 768, 50257), (32, 512, 1024, 32000))
#: (T, N, H) of an LSTM.
STEPS = ((28, 128, 128), (128, 64, 512))
REPEATS = 20
HEADINGS = (
    "kernel",
    "sizes",
    "dtype",
    "ms",
    "TFLOP/s",
    "of the peak",
    "GB/s",
    "plain torch ms",
    "how much faster",
    "error",
)


@dataclass(frozen=True, slots=True)
class Work:
    """What is timed.

    Attributes:
        name: the kernel.
        sizes: the sizes, as they are printed.
        run: the kernel.
        plain: the ways to compute the same in plain torch, of which the fastest counts.
        flops: of the products that must be done.
        bytes: that must be read.
    """

    name: str
    sizes: str
    run: Callable[[], object]
    plain: tuple[Callable[[], object], ...]
    flops: float
    bytes: float


def milliseconds(run: Callable[[], object]) -> float:
    """The median of ``REPEATS`` calls by the device's own clock, after three that are not counted."""
    for _ in range(3):
        run()
    found = []
    for _ in range(REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end))
    return statistics.median(found)


def gram_of(y: Tensor, x: Tensor) -> Tensor:
    """Σ_ss' K_ȳ K_x by two whole Grams in their own dtype."""
    return ((y @ y.mT).float() * (x @ x.mT).float()).sum((1, 2))


def gradient_of(y: Tensor, x: Tensor) -> Tensor:
    """Σ_oi g² of a whole gradient in its own dtype."""
    return (y.mT @ x).float().square().sum((1, 2))


def gradient_by_example(y: Tensor, x: Tensor) -> Tensor:
    """The same, an example at a time."""
    return torch.stack([(a.T @ b).float().square().sum() for a, b in zip(y, x, strict=True)])


def works(dtype: torch.dtype) -> Iterator[Work]:
    """Every kernel at its sizes."""
    size = torch.empty((), dtype=dtype).element_size()
    new = partial(torch.randn, device="cuda", dtype=dtype)
    for n, s, o, i in SIZES:
        y, x = new(n, s, o), new(n, s, i)
        told, read_once = f"N={n}, S={s}, O={o}, I={i}", size * n * s * (o + i)
        ways = (partial(gram_of, y, x), partial(references.gram_sqnorm, [y], x, [0.0]))
        run = partial(kernels.gram_sqnorm, [y], x, [0.0])
        yield Work("gram_sqnorm", told, run, ways, n * s * (s + 1) * (o + i), read_once)
        ways = (partial(gradient_of, y, x), partial(gradient_by_example, y, x))
        run = partial(kernels.instantiate_sqnorm, y, x, False)
        yield Work("instantiate_sqnorm", told, run, ways, 2 * n * s * o * i, read_once)
    for n, c, o, pixels, k, stride, groups in WINDOWS:
        u = (pixels - 1) // stride + 1
        y, x = new(n, o, u, u), new(n, c, pixels, pixels)
        how = [k, k], [stride, stride], [k // 2, k // 2], [1, 1], groups
        told = f"N={n}, C={c}, O={o}, {pixels}², {k}×{k}, stride {stride}, {groups} groups"
        flops = 2 * n * u * u * o * (c // groups) * k * k
        run = partial(kernels.convolution_sqnorm, y, x, *how, False)
        ways = (partial(references.convolution_sqnorm, y, x, *how, False),)
        yield Work("convolution_sqnorm", told, run, ways, flops, size * (y.numel() + x.numel()))
    for n, s, d, v in TABLES:
        y, rows = new(n, s, d), torch.randint(v, (n, s), device="cuda")
        run, ways = partial(kernels.embedding_sqnorm, y, rows, -1), (partial(references.embedding_sqnorm, y, rows, -1),)
        yield Work("embedding_sqnorm", f"N={n}, S={s}, D={d}, V={v}", run, ways, 0, size * y.numel())
    for t, n, h in STEPS:
        gates, c, tanh_c, dh, weight = new(t, n, 4 * h), new(t + 1, n, h), new(t, n, h), new(t, n, h), new(4 * h, h)
        given = (gates.sigmoid(), c, tanh_c.tanh(), dh, dh[0], weight / h)
        run, ways = (partial(f, *given) for f in (kernels.lstm_scan, references.lstm_scan))
        yield Work("lstm_scan", f"T={t}, N={n}, H={h}", run, (ways,), 8 * t * n * h * h, 11 * size * t * n * h)


def peak_of(dtype: torch.dtype) -> float:
    """Flops a second of a product of two square matrices."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    return 2 * 8192**3 / milliseconds(lambda: a @ b) * 1e3


def error_of(work: Work) -> float:
    """The largest difference from the last plain way's result: of squares relative to each, of cotangents to all."""
    own, plain = (first(run()).double() for run in (work.run, work.plain[-1]))
    size = plain.abs() if plain.dim() == 1 else plain.abs().max()
    return float(((own - plain).abs() / size.clamp(min=1e-30)).max())


def first(found: object) -> Tensor:
    """The squares, where parts come with them."""
    return found[0] if isinstance(found, tuple) else found  # type: ignore[return-value]


def measured(dtype: str) -> Iterator[Record]:
    """A record for every kernel and size."""
    peak = peak_of(DTYPES[dtype])
    for work in works(DTYPES[dtype]):
        own, plain = milliseconds(work.run), min(map(milliseconds, work.plain))
        yield {
            "model": work.name,
            "method": work.sizes,
            "dtype": dtype,
            "status": "measured",
            "ms": own,
            "plain_ms": plain,
            "flops": work.flops,
            "bytes": work.bytes,
            "peak": peak,
            "error": error_of(work),
            "commit": commit(),
        }


def page(records: Sequence[Record]) -> str:
    """The whole page, in Markdown."""
    one = records[0]
    versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    peaks = ", ".join(f"{d} {p / 1e12:.0f}" for d, p in {r["dtype"]: r["peak"] for r in records}.items())
    commits = ", ".join(dict.fromkeys(r["commit"] for r in records))
    lines = [
        "# Kernels",
        "",
        f"Measured {one['date']} by `python -m benchmarks.kernels` at {commits}: {one['hardware']},",
    ]
    lines += [f"{versions}. Matrix products of this device, TFLOP/s: {peaks}. Medians of {REPEATS} calls.", ""]
    lines += [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|", *map(row, records)]
    return "\n".join(lines) + "\n"


def row(r: Record) -> str:
    """A line of the table."""
    rate = r["flops"] / r["ms"] * 1e3
    share = f"{rate / 1e12:.0f} | {rate / r['peak']:.0%}" if r["flops"] else "–"
    shown = share if r["flops"] else "– | –"
    moved = r["bytes"] / r["ms"] / 1e6
    cells = (r["model"], r["method"], r["dtype"], f"{r['ms']:.3f}", shown, f"{moved:.0f}", f"{r['plain_ms']:.3f}")
    return f"| {' | '.join(cells)} | {r['plain_ms'] / r['ms']:.2f} | {r['error']:.1e} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, then measures, or writes the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("kernels.jsonl"), help="a line for each measurement")
    parser.add_argument("--dtypes", type=lambda text: text.split(","), default=["bf16", "fp32"], help=", ".join(DTYPES))
    parser.add_argument("--report", action="store_true", help="write the page from the results, and measure nothing")
    parser.add_argument("--out", type=Path, default=PAGE, help=f"the page (default: {PAGE})")
    options = parser.parse_args(arguments)
    if options.report:
        options.out.write_text(page(read(options.results)), encoding="utf-8")
        print(f"wrote {options.out}")
        return
    if not torch.cuda.is_available() or not kernels.HAS_TRITON:
        raise SystemExit("the kernels are timed on a GPU that torch sees, with Triton")
    for dtype in options.dtypes:
        for record in measured(dtype):
            whole = record | origin("clipcompiler", "cuda", None)
            appended(options.results, whole)
            print(row(whole), flush=True)


if __name__ == "__main__":
    main()
