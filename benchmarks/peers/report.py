"""Records → a page: ratios of time and memory, errors, and what does not run, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from benchmarks.peers.methods import NAMES as METHODS
from benchmarks.peers.models import NAMES as MODELS
from benchmarks.peers.models import PAPER
from benchmarks.peers.results import Record

__all__ = ["page", "table_of_ratios"]

Table = dict[tuple[str, str], Record]

ABOUT = """\
A cell is the time of a clipped step divided by that of an ordinary one, `loss.mean().backward()`, of the same model on
the same batch: the median over pairs of steps taken by turns. *refuses* is a method that says that it cannot do the
model, *fails* one that breaks or takes too long, *wrong* one with an error of more than 0.1%, in
float64 too, with its time for what it is worth. C is about the median norm, so that half of the
examples are clipped. Every step ends with the sum of the clipped gradients in `p.grad`; no noise is added, and no
optimizer runs. float32 throughout, without TF32. Each model and method has a process of its own; for all of them the
allocator keeps what is freed below 32 MiB, as glibc's does by itself in any process that has freed so much at once, so
that the ordinary steps are alike. An empty cell was not measured."""

LOOP = """\
The time of clipcompiler's step divided by that of one pass an example, by turns in one process: on a CPU a loop can
beat the ordinary step, for the tensors of one example stay in the cache. Median and quartiles."""

MEMORY = """\
The peak of one step beyond what was held before it, divided by that of an ordinary step; gradients are counted, the
model and the batch are not. In a process of its own, after two steps: resident pages on a CPU, torch's allocations on a
GPU."""

ERRORS = """\
The largest relative error against one backward pass an example: of the clipped sums, of the norms where a method tells
them, and of the losses where a library puts modules of its own in place of torch's."""


def page(records: Sequence[Record], plot: str | None) -> str:
    """The whole page, in Markdown; the last record of each model and method counts."""
    table = {(r["model"], r["method"]): r for r in records}
    device = "a GPU" if records[0]["device"] == "cuda" else "a CPU"
    lines = [f"# A clipped step against an ordinary one on {device}", "", measured_with(records), "", ABOUT, ""]
    lines += ["## Time", "", *table_of_ratios(table, time_ratio), ""]
    lines += [f"![times as multiples of an ordinary step]({plot})", ""] if plot else []
    lines += ["## Against one pass an example", "", LOOP, "", *against_the_loop(table), ""]
    lines += ["## Peak memory", "", MEMORY, "", *table_of_ratios(table, memory_ratio), ""]
    lines += ["## Errors", "", ERRORS, "", *by_model(table, error_cell), ""]
    lines += ["## Ordinary steps", "", *ordinary_steps(table), ""]
    lines += ["## What does not run, and notes", "", *reasons(table)]
    return "\n".join(lines) + "\n"


def measured_with(records: Sequence[Record]) -> str:
    """Date, command, device, versions and commits."""
    dates = sorted({r["date"] for r in records})
    versions: dict[str, set[str]] = {}
    for name, version in (item for r in records for item in r["versions"].items()):
        versions.setdefault(name, set()).add(version)
    named = ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in versions.items())
    commits = ", ".join(dict.fromkeys(r["commit"] for r in records))
    hardware = ", ".join(dict.fromkeys(r["hardware"] for r in records))
    threads, device = records[0]["threads"], records[0]["device"]
    command = "`python -m benchmarks.peers" + (" --device cuda" if device == "cuda" else "") + f" --threads {threads}`"
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    on = f"{hardware}, {threads} thread{'s' if threads > 1 else ''}"
    return f"Measured {when} by {command} at commit {commits}: {on}, {named}."


def time_ratio(table: Table, model: str, method: str) -> float | None:
    """Median of the pairs' ratios."""
    times = table[model, method].get("times")
    return times["ratio"]["median"] if times else None


def memory_ratio(table: Table, model: str, method: str) -> float | None:
    """Peak of the method over the peak of the ordinary step."""
    ordinary = table.get((model, "ordinary"), {}).get("memory")
    own = table[model, method].get("memory")
    return own / ordinary if own is not None and ordinary else None


def table_of_ratios(table: Table, ratio: Callable[[Table, str, str], float | None]) -> list[str]:
    """A row a model, a column a method, and the geometric mean over the paper's models."""

    def cell(table: Table, model: str, method: str) -> str:
        value, status = ratio(table, model, method), table[model, method]["status"]
        if status in ("refuses", "fails"):
            return status
        shown = "" if value is None else f"{value:.2f}"
        return f"wrong (x{shown})" if status == "wrong" and shown else "wrong" if status == "wrong" else shown

    lines = by_model(table, cell)
    means = [mean_cell(table, ratio, method) for method in columns(table)]
    return [*lines, f"| geometric mean, the paper's | {' | '.join(means)} |"] if any(means) else lines


def mean_cell(table: Table, ratio: Callable[[Table, str, str], float | None], method: str) -> str:
    """The geometric mean of a method's right results over the paper's models, and of how many where not all."""
    present = [model for model in PAPER if table.get((model, method), {}).get("status") == "exact"]
    values = [value for model in present if (value := ratio(table, model, method))]
    if not values:
        return ""
    mean = math.exp(sum(map(math.log, values)) / len(values))
    return f"{mean:.2f}" if len(values) == len(PAPER) else f"{mean:.2f} ({len(values)} of {len(PAPER)})"


def columns(table: Table) -> list[str]:
    """The methods that were measured, in order."""
    return [method for method in METHODS if any(m == method for _, m in table)]


def by_model(table: Table, cell: Callable[[Table, str, str], str]) -> list[str]:
    """A row a model, a column a method."""
    methods = columns(table)
    lines = [f"| model | {' | '.join(m.replace('_', ' ') for m in methods)} |", "|---" * (len(methods) + 1) + "|"]
    for model in MODELS:
        if any(m == model for m, _ in table):
            cells = [cell(table, model, method) if (model, method) in table else "" for method in methods]
            lines.append(f"| {model} | {' | '.join(cells)} |")
    return lines


def against_the_loop(table: Table) -> list[str]:
    """A row for each model that was timed by turns with the loop."""
    lines = ["| model | time of the loop's | pairs |", "|---|---|---|"]
    for model in MODELS:
        ratio = table.get((model, "clipcompiler"), {}).get("times", {}).get("against the loop")
        if ratio is not None:
            shown = f"{ratio['median']:.3f} ({ratio['lower']:.3f} to {ratio['upper']:.3f})"
            lines.append(f"| {model} | {shown} | {ratio['repeats']} |")
    return lines


def error_cell(table: Table, model: str, method: str) -> str:
    """The largest of the errors."""
    errors = table[model, method].get("errors", {})
    values = [math.inf if math.isnan(v) else v for v in errors.values()]
    return f"{max(values):.0e}" if values else ""


def ordinary_steps(table: Table) -> list[str]:
    """Examples, parameters, milliseconds with quartiles, mebibytes."""
    lines = ["| model | examples | parameters | ms (quartiles) | pairs | peak MiB |", "|---" * 6 + "|"]
    for model in MODELS:
        record = table.get((model, "ordinary"))
        if record is not None and "times" in record:
            t = record["times"]["ordinary"]
            shown = f"{t['median'] * 1e3:.2f} ({t['lower'] * 1e3:.2f} to {t['upper'] * 1e3:.2f})"
            memory = record.get("memory")
            peak = "" if memory is None else f"{memory / 2**20:.1f}"
            cells = [model, str(record["batch"]), f"{record['parameters']:,}", shown, str(t["repeats"]), peak]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def reasons(table: Table) -> list[str]:
    """A row for each refusal, failure, wrong result and note."""
    lines = ["| model | method | status | |", "|---|---|---|---|"]
    for method in columns(table):
        for model in MODELS:
            record = table.get((model, method), {})
            said = "; ".join(remarks(record))
            if said:
                lines.append(f"| {model} | {method.replace('_', ' ')} | {record['status']} | {plain(said)} |")
    return lines


def remarks(record: Record) -> Iterable[str]:
    """What is to be said of a record beside its numbers."""
    if record.get("reason"):
        yield record["reason"]
    if record.get("status") == "wrong":
        yield told(record["errors"])
    elif "errors_in_float64" in record:
        yield f"{told(record['errors'])}; in float64 {told(record['errors_in_float64'])}"
    if record.get("note"):
        yield record["note"]
    if record.get("memory_reason"):
        yield f"its memory was not measured: {record['memory_reason']}"


def told(errors: dict[str, float]) -> str:
    """Errors in words."""
    return ", ".join(f"error of {name} {error:.1e}" for name, error in errors.items())


def plain(text: str) -> str:
    """Text that is safe in a table."""
    return " ".join(text.replace("|", "\\|").replace("<", "‹").replace(">", "›").split())[:200]
