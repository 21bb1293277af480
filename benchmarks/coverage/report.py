"""Results → a page: how many models are exact, and why the others are not."""

from __future__ import annotations

import datetime
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.coverage.explained import explained

__all__ = ["cause", "page"]

STATUSES = ("exact", "refused", "unverified", "wrong", "failed", "unfinished", "not built")
Record = dict[str, Any]


def page(records: Sequence[Record]) -> str:
    """The whole page, in Markdown."""
    known: dict[str, Counter[str]] = defaultdict(Counter)
    for name, version in (item for r in records for item in r.get("versions", {}).items()):
        known[name][version] += 1
    versions = ", ".join(f"{name} {told(found)}" for name, found in known.items())
    errors = [r["error"] for r in records if r.get("error") is not None]
    lines = [
        "# Coverage",
        "",
        f"Measured {datetime.date.today()} by `python -m benchmarks.coverage`: {len(records)} models, {versions}.",
        "",
        ABOUT,
        "",
        f"The largest relative error of an exact model is {max(errors, default=0.0):.1e}.",
        "",
        *by_status(records),
        "",
        f"Of the types of transformers that torch can trace, {share(records)} are exact.",
        "",
        "## Why models are refused",
        "",
        *by_cause([r for r in records if r["status"] == "refused"]),
        "",
        "## Every model",
        "",
        *every(records),
    ]
    return "\n".join(lines) + "\n"


def share(records: Sequence[Record]) -> str:
    """Exact of those that torch.export traces, as a fraction and a percentage."""
    traced = [
        r
        for r in records
        if r["name"].startswith("transformers/")
        and r["status"] not in ("not built", "unfinished")
        and "torch.export cannot trace" not in r.get("reason", "")
    ]
    exact = sum(r["status"] == "exact" for r in traced)
    return f"{exact} of {len(traced)} ({exact / max(1, len(traced)):.0%})"


def told(found: Counter[str]) -> str:
    """A version, or several with the number of models of each."""
    return next(iter(found)) if len(found) == 1 else " and ".join(f"{v} ({k} models)" for v, k in found.most_common())


ABOUT = """\
Every sequence classifier and causal language model of transformers, from a configuration made small (two layers, width
32), and the smallest model of every family of timm, on small images; random weights. Each is compiled, and its program
is run in float64 and compared with one backward pass an example: *exact* is a relative error of norms and clipped sums
below 1e-8. Models are in training mode, with every dropout set to 0, for a loop over examples draws other numbers than
a batch. Models with batch norm are refused in that mode, and examined in eval mode too, with random running statistics.
Mixtures of experts run with `set_experts_implementation("batched_mm")`, which keeps examples apart. *Not built* are
configurations that could not be made small, or do not run by themselves; *unfinished* took more than the time limit."""


def group(record: Record) -> str:
    """Library, and task or mode."""
    return " ".join(record["name"].split("/")[:2])


def by_status(records: Sequence[Record]) -> list[str]:
    """A row for each group, a column for each status."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for r in records:
        counts[group(r)][r["status"]] += 1
    shown = [s for s in STATUSES if any(c[s] for c in counts.values())]
    lines = [f"| models | {' | '.join(shown)} | of |", "|---" * (len(shown) + 2) + "|"]
    for name, count in sorted(counts.items(), reverse=True):
        lines.append(f"| {name} | {' | '.join(str(count[s]) for s in shown)} | {count.total()} |")
    return lines


def cause(record: Record) -> str:
    """A refusal in words that models share: names and sizes of one model are left out."""
    reason = record.get("reason", "")
    if record.get("kind") == "UntraceableModel":
        reason = re.sub(r"\(unhinted.*|\(Size-like.*|[usz]+\d+", "…", reason)
    reason = re.sub(r"\[[^\]]*\]", "[…]", reason)
    reason = re.sub(r"(dim|dims|output|argument|buffer) '?[\w.]+'?( and '?[\w.]+'?)?", r"\1 …", reason)
    reason = re.sub(r"'[\w.]*'", "'…'", reason)
    return f"{record.get('kind', '')}: {reason}"


def by_cause(records: Iterable[Record]) -> list[str]:
    """A row for each cause, the most frequent first."""
    causes: dict[str, list[Record]] = defaultdict(list)
    for r in records:
        causes[cause(r)].append(r)
    lines = ["| models | refused | explanation | for example | line |", "|---|---|---|---|---|"]
    for why, found in sorted(causes.items(), key=lambda item: (-len(item[1]), item[0])):
        first = found[0]
        names = ", ".join(dict.fromkeys(r["name"].split("/")[-1] for r in found[:4]))
        lines.append(f"| {len(found)} | {cell(why)} | {explained(first)} | {names} | {line_of(first)} |")
    return lines


def line_of(record: Record) -> str:
    """The source line of a refusal."""
    if not record.get("source") or record["source"].startswith(":"):
        return ""
    return f"{record['source'].split('/')[-1]} `{cell(record.get('code') or '')}`"


def every(records: Sequence[Record]) -> list[str]:
    """A row for each model."""
    lines = ["| model | status | error | parameters | compile s | verify s | |", "|---" * 7 + "|"]
    for r in sorted(records, key=lambda r: r["name"]):
        seconds = r.get("seconds", {})
        times = [f"{seconds[k]:.1f}" if k in seconds else "" for k in ("compile", "verify")]
        error = f"{r['error']:.0e}" if r.get("error") is not None else ""
        parameters = f"{r['parameters']:,}" if "parameters" in r else ""
        cells = [r["name"], r["status"], error, parameters, *times, cell(remark(r))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def remark(record: Record) -> str:
    """What is to be said of a model beside its numbers."""
    parts = [f"{k}: {v}" for k, v in record.get("notes", {}).items()]
    if record["status"] != "exact":
        parts.append(f"{record.get('kind', '')} {record.get('reason', '')}".strip()[:160])
    if "in_eval_mode" in record:
        parts.append(f"in eval mode: {record['in_eval_mode']}")
    return "; ".join(parts)


def cell(text: str) -> str:
    """Text that is safe in a table."""
    return " ".join(text.replace("|", "\\|").split())
