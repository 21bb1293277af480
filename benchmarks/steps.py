"""One step of the paper's models: ordinary, clipped by clipcompiler, clipped by one backward pass an example (nxBP).

python -m benchmarks.steps --threads 1 --out docs/benchmarks/cpu.md
"""

from __future__ import annotations

import argparse
import datetime
import platform
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

import clipcompiler as cc
from baselines import one_pass_an_example, ordinary
from benchmarks.sections import seconds_by_section, seconds_by_stage
from paper_models import build
from timing import Timing, interleave

#: Model: pixels of a side, width, timed calls of the quick steps, timed calls of nxBP.
MODELS = {
    "mlp": (28, 1.0, 100, 10),
    "cnn": (28, 1.0, 40, 8),
    "rnn": (28, 1.0, 40, 8),
    "lstm": (28, 1.0, 40, 8),
    "vgg11": (32, 0.25, 15, 3),
    "resnet18": (32, 0.25, 11, 3),
}
LOSS = nn.CrossEntropyLoss(reduction="none")


def batch_for(name: str, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A random batch of grey images and classes."""
    pixels = MODELS[name][0]
    return torch.randn(size, 1, pixels, pixels), torch.randint(0, 10, (size,))


def model_for(name: str) -> nn.Module:
    """The model at the width that is measured."""
    pixels, width, _, _ = MODELS[name]
    return build(name, width=width, channels=1, image_size=pixels)


def measure(name: str, size: int) -> tuple[dict[str, Timing], dict[str, float], dict[str, float]]:
    """Times of the three steps by turns, of the sections of the program, and of the stages of compiling it."""
    torch.manual_seed(0)
    model, (x, y) = model_for(name), batch_for(name, size)
    stages = seconds_by_stage(model, LOSS, (x, y))
    step = cc.compile(model, LOSS, max_grad_norm=1.0)

    def fresh() -> None:
        for p in model.parameters():
            p.grad = None

    def plain() -> None:
        fresh()
        ordinary(model, LOSS, x, y)

    def ours() -> None:
        fresh()
        step(x, y)

    def loop() -> None:
        fresh()
        one_pass_an_example(model, LOSS, x, y, max_grad_norm=1.0)

    _, _, quick, slow = MODELS[name]
    times = interleave({"ordinary": plain, "clipcompiler": ours}, repeats=quick)
    times |= {"nxBP": interleave({"ordinary": plain, "nxBP": loop}, repeats=slow, warmup=1)["nxBP"]}
    return times, seconds_by_section(step, (x, y), repeats=max(5, quick // 4)), stages


def report(size: int, threads: int, names: list[str]) -> str:
    """The page: what was measured, how, on what, and the tables."""
    results = {name: measure(name, size) for name in tqdm(names, desc="models")}
    lines = [
        "# One step on a CPU",
        "",
        f"Measured {datetime.date.today()} by `python -m benchmarks.steps --threads {threads}`: "
        f"batch {size}, float32, {threads} thread{'s' if threads > 1 else ''}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}. Medians of interleaved calls, with quartiles; "
        "the loop (nxBP) is timed by turns with an ordinary step too.",
        "",
        "| model | ordinary ms | clipcompiler ms | nxBP ms | ours / ordinary | nxBP / ours |",
        "|---|---|---|---|---|---|",
    ]
    for name, (times, _, _) in results.items():
        plain, ours, loop = (times[k].median for k in ("ordinary", "clipcompiler", "nxBP"))
        cells = [shown(times[k]) for k in ("ordinary", "clipcompiler", "nxBP")]
        lines.append(f"| {label(name)} | {' | '.join(cells)} | {ours / plain:.2f} | {loop / ours:.1f} |")
    lines += ["", "## Where the time of a step goes (ms)", "", *table_of({n: r[1] for n, r in results.items()})]
    lines += ["", "## Where the time of compiling goes (ms)", "", *table_of({n: r[2] for n, r in results.items()})]
    return "\n".join(lines) + "\n"


def label(name: str) -> str:
    """A model with its width, where it is not the paper's."""
    width = MODELS[name][1]
    return name if width == 1.0 else f"{name}, width {width:g}"


def shown(t: Timing) -> str:
    """Median and quartiles in milliseconds."""
    return f"{t.median * 1e3:.2f} ({t.lower * 1e3:.2f} to {t.upper * 1e3:.2f})"


def table_of(columns: dict[str, dict[str, float]]) -> list[str]:
    """A row a model, a column a part, in milliseconds."""
    parts = list(dict.fromkeys(part for seconds in columns.values() for part in seconds))
    lines = [f"| model | {' | '.join(parts)} |", "|---" * (len(parts) + 1) + "|"]
    for name, seconds in columns.items():
        lines.append(f"| {label(name)} | {' | '.join(f'{seconds.get(p, 0.0) * 1e3:.2f}' for p in parts)} |")
    return lines


def main() -> None:
    """Reads the arguments, measures, and writes or prints the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help=f"which of {', '.join(MODELS)} (default: all)")
    parser.add_argument("--batch-size", type=int, default=128, help="examples in a batch (default: 128)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--out", type=Path, help="where to write the page (default: print it)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    page = report(options.batch_size, options.threads, options.models.split(","))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page)
        print(f"wrote {options.out}")
    else:
        print(page)


if __name__ == "__main__":
    main()
