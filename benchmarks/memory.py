"""The peak memory of a clipped step beside an ordinary one's, by memory mode and under budgets of bytes.

python -m benchmarks.memory                        measures what has no result yet at this commit
python -m benchmarks.memory --models long,cnn      some models
python -m benchmarks.memory --report               writes docs/benchmarks/memory.md from the results

Every step has a process of its own: the model, the batch and the compiled step are held before, and are not counted.
With MALLOC_MMAP_THRESHOLD_=131072 in the environment glibc gives back what is freed, and pages are what is allocated.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

import baselines
import clipcompiler as cc
from benchmarks.command_line import common, options_of, records
from benchmarks.in_process import in_a_process
from benchmarks.peers.memory import peak_of
from benchmarks.peers.models import Case, cases
from benchmarks.peers.models.language import FULL, GPT2, SMALL, Shape, by_token, tokens
from benchmarks.peers.origin import commit, origin
from benchmarks.peers.results import Record, appended, missing, read
from clipcompiler.verify import oracle, relative

__all__ = ["SHARES", "kept", "main", "measured", "models", "page"]

PAGE = Path("docs/benchmarks/memory.md")
#: Budgets of bytes, as shares of what an ordinary step holds.
SHARES = (1.0, 0.8, 0.6, 0.45, 0.3)
#: What the words of ``memory=`` promise, where an ordinary step holds more than ``LARGE`` bytes.
PROMISED, LARGE = {"fast": 1.3, "lean": 1.05}, 50 * 2**20

ABOUT = f"""\
The most bytes that one step holds beyond what was held before it, after two steps: resident pages of the process on a
CPU, torch's allocations on a GPU. Gradients are counted; the model and the batch are not. *fast* and *lean* are divided
by the ordinary step; a budget of bytes is given as a share of it, and the cell is what was held of the budget.
*refused* is a budget that the compiler says cannot be kept, with the share that it says can. Promised on models whose
ordinary step holds more than {LARGE / 2**20:.0f} MiB: fast {PROMISED["fast"]}, lean {PROMISED["lean"]}, and every
budget kept; what is more is in bold. *error* is the largest relative error of the norms in float32, lean, against one
backward pass an example."""


def long_sequence(shape: Shape) -> nn.Module:
    """One block over a long sequence, with a head for each token that is no embedding's."""
    model = GPT2(shape)
    model.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
    return model


def models(*, small: bool = False) -> dict[str, Case]:
    """The models of ``benchmarks.peers``, and ``long``: one block of width 256 over 4,096 tokens, 4 examples."""
    plain = SMALL if small else FULL
    own = {"layers": 1, "length": 12 if small else 4096, "vocabulary": 19 if small else 1000, "examples": 4}
    s = Shape(**{name: own.get(name, getattr(plain, name)) for name in Shape.__slots__})
    long = Case(partial(long_sequence, s), tokens(s.vocabulary, s.length), by_token, s.examples)
    return {**cases(small=small), "long": long}


def measured(head: Record) -> Record:
    """The peak of one model in one mode: "ordinary", "fast", "lean", or bytes."""
    torch.manual_seed(0)
    torch.set_num_threads(head["threads"])
    device = torch.device(head["device"])
    case = models(small=head["small"])[head["model"]]
    model, (x, y) = case.build().to(device), (t.to(device) for t in case.batch(head["batch"]))

    def fresh() -> None:
        for p in model.parameters():
            p.grad = None

    if head["mode"] == "ordinary":
        return head | {
            "status": "measured", "peak": peak_of(lambda: baselines.ordinary(model, case.loss_fn, x, y), fresh, device)
        }  # fmt: skip
    memory: Any = head["bytes"] if head["mode"] not in PROMISED else head["mode"]
    try:
        step = cc.compile(model, case.loss_fn, memory=memory, example_inputs=(x, y))
    except cc.MemoryBudgetTooSmall as error:
        return head | {"status": "refused", "least": error.least}
    found: Record = head | {"status": "measured", "peak": peak_of(lambda: step(x, y), fresh, device)}
    found["chunk"] = step.latest.program.chunk
    if head["mode"] == "lean":
        found["error"] = relative(step(x, y).norms, oracle(model, case.loss_fn, (x, y)).norms)
    return found


def kept(record: Record, ordinary: int) -> bool | None:
    """Whether a step holds what it promised; ``None`` where nothing is promised, or nothing was measured."""
    if record["status"] != "measured" or record["peak"] is None or ordinary <= LARGE:
        return None
    most = PROMISED[record["mode"]] * ordinary if record["mode"] in PROMISED else record["bytes"]
    return bool(record["peak"] <= most)


def page(records: Sequence[Record]) -> str:
    """The whole page, in Markdown."""
    first = records[0]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    head = (
        f"Measured on {first['date']} by `python -m benchmarks.memory --threads {first['threads']}`, on "
        f"{first['hardware']}, {versions}, {', '.join(sorted({r['commit'] for r in records}))}; {first['allocator']}."
    )
    titles = ["model", "N", "ordinary MiB", "fast", "lean", *(f"{share:.0%}" for share in SHARES), "error"]
    lines = ["# Peak memory of a clipped step", "", head, "", ABOUT, "", f"| {' | '.join(titles)} |"]
    lines += ["|---" * len(titles) + "|", *rows(records), "", *promises(records)]
    return "\n".join(lines) + "\n"


def rows(records: Iterable[Record]) -> Iterator[str]:
    """A line for each model."""
    by_model: dict[str, dict[str, Record]] = {}
    for record in records:
        by_model.setdefault(record["model"], {})[record["mode"]] = record
    for name, modes in by_model.items():
        plain = modes["ordinary"]
        if plain.get("peak") is None:
            yield f"| {name} | {plain['batch']} | {plain.get('reason', 'not told by this system')} |"
            continue
        cells = [cell(modes.get(mode), plain["peak"]) for mode in ("fast", "lean", *map(str, SHARES))]
        error = modes.get("lean", {}).get("error")
        shown = "" if error is None else f"{error:.1e}"
        yield f"| {name} | {plain['batch']} | {plain['peak'] / 2**20:.0f} | {' | '.join(cells)} | {shown} |"


def cell(record: Record | None, ordinary: int) -> str:
    """What was held, as a share of the ordinary step, or of the budget; bold where it is more than promised."""
    if record is None:
        return ""
    if record["status"] == "refused":
        return f"refused, {record['least'] / ordinary:.2f} can"
    if record["status"] == "failed":
        return "failed"
    whole = ordinary if record["mode"] in PROMISED else record["bytes"]
    text = f"{record['peak'] / whole:.2f}" + (f" ({record['chunk']} at a time)" if record["chunk"] else "")
    return f"**{text}**" if kept(record, ordinary) is False else text


def promises(records: Sequence[Record]) -> Iterator[str]:
    """How many promises are kept, and what failed."""
    plain = {r["model"]: r["peak"] for r in records if r["mode"] == "ordinary" and r.get("peak") is not None}
    told = [kept(r, plain[r["model"]]) for r in records if r["mode"] != "ordinary" and r["model"] in plain]
    yield f"Promised and measured: {sum(k is not None for k in told)}; kept: {sum(k is True for k in told)}."
    for record in records:
        if record["status"] == "failed":
            yield f"\n{record['model']}, {record['mode']}: {record['reason']}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, then measures, or writes the page."""
    every = models()
    options = options_of(arguments, "benchmarks.memory", __doc__, every, PAGE)
    if options.report:
        last = {(r["model"], r["mode"]): r for r in records(options)}  # what was measured again counts once
        options.out.write_text(page([*last.values()]), encoding="utf-8")
        print(f"wrote {options.out}")
        return
    every = models(small=options.small)
    for name in tqdm(options.models or list(every), desc="models", smoothing=0):
        head = {"model": name, "batch": options.batch or every[name].size, "commit": commit(), **common(options)}
        (plain,) = with_results([head | {"mode": "ordinary"}], options)
        if plain.get("peak") is not None:
            given = [head | {"mode": str(share), "bytes": int(share * plain["peak"])} for share in SHARES]
            with_results([*(head | {"mode": mode} for mode in PROMISED), *given], options)


def with_results(heads: Sequence[Record], options: argparse.Namespace) -> list[Record]:
    """The records of these heads, those that are missing measured now."""
    heads = [head | {"method": head["mode"]} for head in heads]
    for head in missing(heads, read(options.results), options.redo):
        record = (
            in_a_process(measured, head) | origin("clipcompiler", options.device, None) | {"allocator": allocator()}
        )
        appended(options.results, record)
        peak = record.get("peak")
        shown = record.get("reason", record["status"]) if peak is None else f"{peak / 2**20:.1f} MiB"
        tqdm.write(f"{head['model']:12} {head['mode']:9} {shown}")
    known = {(r["model"], r["mode"], r["commit"]): r for r in read(options.results)}
    return [known[head["model"], head["mode"], head["commit"]] for head in heads]


def allocator() -> str:
    """What glibc is told about memory that is freed."""
    threshold = os.environ.get("MALLOC_MMAP_THRESHOLD_")
    return f"MALLOC_MMAP_THRESHOLD_={threshold}" if threshold else "glibc may keep back what is freed"


if __name__ == "__main__":
    main()
