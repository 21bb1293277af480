"""A clipped step lowered through Inductor against an ordinary step that torch.compile compiled: time and peak memory.

python -m benchmarks.compiled                          the language models and the transformer, on a CPU
python -m benchmarks.compiled --device cuda --models gpt2-124m,llama-1b,resnet50
python -m benchmarks.compiled --report                 writes docs/benchmarks/compiled.md from the results
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

import clipcompiler as cc
from benchmarks.command_line import common, options_of, records
from benchmarks.in_process import in_a_process
from benchmarks.peers.memory import peak_of
from benchmarks.peers.models import Case, cases
from benchmarks.peers.models.case import by_class, by_token, images, tokens
from benchmarks.peers.models.language import FULL, GPT2, LLaMA, SwiGLU
from benchmarks.peers.origin import commit, origin
from benchmarks.peers.pairs import paired
from benchmarks.peers.results import Record, appended, missing, read

PAGE = Path("docs/benchmarks/compiled.md")
#: The models of ``benchmarks.peers`` that are measured where none are named: Inductor takes minutes for each.
PLAIN = ("transformer", "gpt2", "llama", "vit")
#: As wide and as deep as the models that they are named after.
GPT2_124M = replace(FULL, vocabulary=50257, width=768, heads=12, layers=12, length=1024, examples=8)
LLAMA_1B = replace(FULL, vocabulary=32000, width=2048, heads=32, layers=16, length=512, hidden=5632, examples=4)
ABOUT = """\
The median ratio of pairs of steps taken by turns, and the peak of each beyond what was held before it. *Ordinary* is
`torch.compile(model)`, its loss and `backward()`; *clipped* is `cc.compile(..., backend="inductor")`, whose graph holds
forward, backward, norms, clipping and sums. Each model has a process of its own; compilation is not timed."""


class Bottleneck(nn.Module):
    """x + the output of three convolutions, 1×1, 3×3 and 1×1, with group norms."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out, norm = 4 * width, partial(nn.GroupNorm, 32)
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), norm(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), norm(width), nn.ReLU(),
            nn.Conv2d(width, out, 1, bias=False), norm(out),
        )  # fmt: skip
        changes = channels != out or stride != 1
        self.short = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), norm(out)) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Add the shortcut."""
        return torch.relu(self.body(x) + (x if self.short is None else self.short(x)))


def resnet50() -> nn.Module:
    """[N, 3, 224, 224] → [N, 1000]: ResNet50 with group norms in place of batch norms."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.GroupNorm(32, 64), nn.ReLU()]
    layers += [nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for k in range(blocks):
            layers.append(Bottleneck(channels, width, stride if k == 0 else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def llama_1b() -> nn.Module:
    """Its parameters in bfloat16."""
    s = LLAMA_1B
    return LLaMA(s, lambda: SwiGLU(s.width, s.hidden)).bfloat16()


def models(*, small: bool = False) -> dict[str, Case]:
    """Those of ``benchmarks.peers``, and three of the sizes that people train."""
    s, t = GPT2_124M, LLAMA_1B
    return {
        **cases(small=small),
        "gpt2-124m": Case(partial(GPT2, s), tokens(s.vocabulary, s.length), by_token, s.examples),
        "llama-1b": Case(llama_1b, tokens(t.vocabulary, t.length), by_token, t.examples),
        "resnet50": Case(resnet50, images(3, 224, 1000), by_class, 32),
    }


def measured(head: Record) -> Record:
    """Time and peaks of one model."""
    torch.manual_seed(0)
    torch.set_num_threads(head["threads"])
    device = torch.device(head["device"])
    case = models(small=head["small"])[head["model"]]
    model, (x, y) = case.build().to(device), (t.to(device) for t in case.batch(head["batch"]))
    mode = "reduce-overhead" if head["device"] == "cuda" else None
    compiled = torch.compile(model, mode=mode)

    def ordinary() -> None:
        case.loss_fn(compiled(x), y).mean().backward()

    step = cc.compile(model, case.loss_fn, memory=head["memory"], backend="inductor", mode=mode, example_inputs=(x, y))

    def fresh() -> None:
        for p in model.parameters():
            p.grad = None

    wait = torch.cuda.synchronize if head["device"] == "cuda" else lambda: None
    times = paired(ordinary, lambda: step(x, y), repeats=20, limit_s=head["seconds"], fresh=fresh, synchronize=wait)
    peaks = {
        name: peak_of(run, fresh, device) for name, run in (("ordinary", ordinary), ("clipped", lambda: step(x, y)))
    }
    return head | {"status": "measured", "times": times, "peaks": peaks, "lowered": not step.latest.function.failed}


def page(found: Sequence[Record]) -> str:
    """The whole page, in Markdown."""
    one = found[0]
    versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    commits = ", ".join(dict.fromkeys(r["commit"] for r in found))
    head = f"Measured {one['date']} by `python -m benchmarks.compiled --device {one['device']}` at {commits}, on "
    lines = [
        "# A compiled clipped step",
        "",
        f"{head}{one['hardware']}, {one['threads']} threads, {versions}.",
        "",
        ABOUT,
        "",
    ]
    lines += [
        "| model | N | memory | ordinary ms | clipped ms | ratio | ratio of peaks |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(row, found)]) + "\n"


def row(r: Record) -> str:
    """A line of the table."""
    head = f"| {r['model']} | {r['batch']} | {r['memory']} |"
    if r["status"] != "measured":
        return f"{head} {r['reason']} | | | |"
    times, peaks = r["times"], r["peaks"]
    ordinary, clipped = (f"{1e3 * times[name]['median']:.1f}" for name in ("ordinary", "method"))
    held = f"{peaks['clipped'] / peaks['ordinary']:.2f}" if peaks["ordinary"] else ""
    run = "" if r["lowered"] else " (run eagerly)"
    return f"{head} {ordinary} | {clipped}{run} | {times['ratio']['median']:.2f} | {held} |"


def heads(options: argparse.Namespace, every: dict[str, Case]) -> list[Record]:
    """What is to be measured."""
    return [
        {"model": name, "method": "inductor", "batch": options.batch or every[name].size, "memory": "fast",
         "seconds": 20.0, "commit": commit(), **common(options)}
        for name in options.models or PLAIN
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, then measures, or writes the page."""
    options = options_of(arguments, "benchmarks.compiled", __doc__, models(), PAGE)
    if options.report:
        options.out.write_text(page(records(options)), encoding="utf-8")
        print(f"wrote {options.out}")
        return
    wanted = heads(options, models(small=options.small))
    for head in tqdm([*missing(wanted, read(options.results), options.redo)], desc="models", smoothing=0):
        record = in_a_process(measured, head) | origin("clipcompiler", options.device, None)
        appended(options.results, record)
        tqdm.write(row(record))


if __name__ == "__main__":
    main()
