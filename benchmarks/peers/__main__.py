"""A clipped step against an ordinary one, one process for every model and method.

python -m benchmarks.peers                              measures what has no result yet at this commit
python -m benchmarks.peers --only 'gpt2|vit' --redo     some models once more
python -m benchmarks.peers --fastdp ~/fast-differential-privacy --device cuda
python -m benchmarks.peers --report                     writes docs/benchmarks/peers.md and a plot from the results

Opacus, BackPACK and fastDP are measured where they are installed; none is needed by clipcompiler.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks.peers.methods import installed, methods
from benchmarks.peers.models import NAMES, cases
from benchmarks.peers.origin import commit, origin
from benchmarks.peers.plot import plotted
from benchmarks.peers.processes import MARK, record_of
from benchmarks.peers.report import page
from benchmarks.peers.results import Record, appended, missing, read
from benchmarks.peers.worker import Task, done

PAGES = {"cpu": Path("docs/benchmarks/peers.md"), "cuda": Path("docs/benchmarks/peers-cuda.md")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, then measures, or writes the page."""
    options = parsed(arguments)
    if options.worker:
        print(MARK + json.dumps(done(Task.read(options.worker))), flush=True)
    elif options.report:
        report(options)
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Appends a record for every model and method that is asked for and has none."""
    heads = list(missing(wanted(options), read(options.results), options.redo))
    bar = tqdm(heads, smoothing=0)
    for head in bar:
        record = head | origin(head["method"], options.device, options.fastdp) | measured(head, options)
        appended(options.results, record)
        times = record.get("times")
        shown = f"{times['ratio']['median']:.2f} times an ordinary step" if times else record.get("reason", "")
        bar.write(f"{record['status']:8} {head['model']:12} {head['method']:13} {shown[:100]}")


def measured(head: Record, options: argparse.Namespace) -> Record:
    """Time and error in one process, peak memory in another."""
    common = {k: head[k] for k in ("model", "method", "batch", "small", "device", "threads")}
    limits = {"repeats": options.repeats, "seconds": options.seconds, "gigabytes": options.gigabytes}
    task = Task(**common, **limits, fastdp=str(options.fastdp) if options.fastdp else None)
    record = record_of(task, options.limit)
    if record["status"] in ("exact", "wrong") and not options.without_memory:
        memory = record_of(Task(**{**json.loads(task.text()), "measure": "memory"}), options.limit)
        record["memory"] = memory.get("memory")
        if "reason" in memory:
            record["memory_reason"] = memory["reason"]
    return record


def wanted(options: argparse.Namespace) -> list[Record]:
    """The heads of the records that are asked for."""
    models, available = cases(small=options.small), methods(options.fastdp)
    for name in (*options.models, *options.methods):
        if name not in models and name not in available:
            raise SystemExit(f"no model or method is called {name!r}; there are {', '.join((*models, *available))}")
    chosen = options.methods or [name for name in available if installed(name)]
    common = {"device": options.device, "threads": options.threads, "small": options.small, "commit": commit()}
    return [
        {"model": model, "method": method, "batch": options.batch or models[model].size, **common}
        for model in options.models or NAMES
        for method in chosen
        if re.search(options.only, f"{model}/{method}")
    ]


def report(options: argparse.Namespace) -> None:
    """Writes the page, and the plot where matplotlib is installed."""
    records = [r for r in read(options.results) if r["device"] == options.device and r["small"] == options.small]
    records = [r for r in records if r["threads"] == options.threads]
    if not records:
        raise SystemExit(f"{options.results} has no record of {options.device} with {options.threads} threads")
    out = options.out or PAGES[options.device]
    drawn = plotted(records, out.with_suffix(".svg"))
    out.write_text(page(records, out.with_suffix(".svg").name if drawn else None), encoding="utf-8")
    print(f"wrote {out}" + (f" and {out.with_suffix('.svg')}" if drawn else "; no plot: matplotlib is not installed"))


def names(text: str) -> list[str]:
    """a,b → [a, b]."""
    return [name for name in text.split(",") if name]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--results", type=Path, default=Path("peers.jsonl"), help="a line for each measurement, appended")
    add("--models", type=names, default=[], help=f"which of {', '.join(NAMES)} (default: all)")
    add("--methods", type=names, default=[], help=f"which of {', '.join(methods(Path()))} (default: those installed)")
    add("--only", default="", help="a pattern that model/method must contain")
    add("--redo", nargs="?", const=".*", help="measure again what has a status that fits this pattern")
    add("--device", choices=tuple(PAGES), default="cpu")
    add("--threads", type=int, default=1, help="threads of torch (default: 1)")
    add("--batch", type=int, help="examples of a batch (default: each model's own)")
    add("--small", action="store_true", help="tiny models, to see that all runs")
    add("--repeats", type=int, default=20, help="timed pairs of steps (default: 20)")
    add("--seconds", type=float, default=60, help="about how long the pairs may take (default: 60)")
    add("--limit", type=float, default=900, help="the most seconds for a process (default: 900)")
    add("--gigabytes", type=float, default=16, help="the most memory for a process on a CPU (default: 16)")
    add("--without-memory", action="store_true", help="measure no peak memory")
    add("--fastdp", type=Path, help="a checkout of fast-differential-privacy, to measure it too")
    add("--report", action="store_true", help="write the page from the results, and measure nothing")
    add("--out", type=Path, help=f"the page (default: {PAGES['cpu']} or {PAGES['cuda']})")
    add("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
