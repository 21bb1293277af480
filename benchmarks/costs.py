"""Predicted beside measured: every order of every parameter of the benchmark models, on their real shapes.

python -m benchmarks.costs                        measures the models that have no result yet at this commit
python -m benchmarks.costs --models cnn,vit       some models
python -m benchmarks.costs --report               writes docs/benchmarks/costs.md from the results

A parameter is ranked right where the order that is predicted to be fastest takes at most 15% more time than the one
that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import clipcompiler as cc
from benchmarks.command_line import common, options_of, records
from benchmarks.in_process import in_a_process
from benchmarks.peers.models import NAMES, cases
from benchmarks.peers.origin import commit, origin
from benchmarks.peers.results import Record, appended, missing, read
from clipcompiler.autotune import Meter
from clipcompiler.memory import Subject
from clipcompiler.plan import Choice, Machine, machine_of, plan

__all__ = ["Ranking", "main", "measured", "page", "right"]

PAGE = Path("docs/benchmarks/costs.md")
#: How much slower than the fastest order one may be and pass for it.
WITHIN = 0.15
#: A row of a record: the parameters of one shape, their orders with predicted and measured seconds.
Row = dict[str, Any]

ABOUT = f"""\
Of every parameter each order that the planner compares is run: its squared norm, the clip factors and its clipped sum,
within the generated program, on the batch of the benchmark and with its examples at a time; the median of up to five
runs by turns. Parameters of one kind and shape are measured once. *Right* is a parameter whose order of the least
predicted time takes at most {100 * WITHIN:.0f}% more than the fastest measured; parameters with one order are not
counted. *Lost* is the time that all predicted choices take, above that of the fastest ones. Sharing of Grams and
folding of biases come after this choice, and are not in it."""


@dataclass(slots=True)
class Ranking:
    """Measures the orders of each parameter, those of one kind once.

    Attributes:
        meter: runs the orders.
        machine: what they are predicted for, with the examples at a time.
        size: the examples of the batch.
        rows: what was found, in the order of the plan.
    """

    meter: Meter
    machine: Machine
    size: int
    rows: dict[Any, Row] = field(default_factory=dict)

    def pick(self, ways: list[Choice]) -> Choice:
        """Measures the ways of one parameter; the one predicted to be fastest."""
        best = min(ways, key=lambda way: way.seconds(self.machine))
        key = tuple((way.label, way.norm, way.sum) for way in ways)
        if key not in self.rows:
            if len(ways) > 1:
                self.meter.fastest(ways)
            took = {id(way): seconds for way, seconds in self.meter.found.get(ways[0].name, ())}
            orders = [[way.label, self.predicted(way), took.get(id(way))] for way in ways]
            self.rows[key] = {"parameters": [], "orders": orders, "chosen": ways.index(best)}
        self.rows[key]["parameters"].append(ways[0].name)
        return best

    def predicted(self, way: Choice) -> float:
        """Seconds for the whole batch."""
        return way.seconds(self.machine) * self.size / self.machine.examples


def measured(head: Record) -> Record:
    """The rows of one model, as a record."""
    torch.manual_seed(0)
    torch.set_num_threads(head["threads"])
    case = cases(small=head["small"])[head["model"]]
    model, batch = case.build().to(head["device"]), tuple(t.to(head["device"]) for t in case.batch(head["batch"]))
    machine = machine_of(torch.device(head["device"]))
    step = cc.compile(model, case.loss_fn).prepare(*batch)
    subject = Subject(model, case.loss_fn, batch, {})
    meter = Meter.of(step.plan, step.latest.program, subject)
    meter.tell = lambda text: print(f"    {text}", flush=True)
    ranking = Ranking(meter, replace(machine, examples=meter.options["chunk"] or machine.examples), subject.size)
    with torch.random.fork_rng(devices=[]):
        plan(step.plan.derived, ranking.machine, pick=ranking.pick, share=False)
    return head | {
        "status": "measured", "rows": list(ranking.rows.values()), "chunk": meter.options["chunk"],
        "machine": machine.name,
    }  # fmt: skip


def compared(row: Row) -> bool:
    """Whether there was a choice."""
    return len(row["orders"]) > 1


def right(row: Row) -> bool:
    """Whether the order predicted to be fastest is, within what is allowed."""
    return lost(row) <= WITHIN * min(took for _, _, took in row["orders"])


def lost(row: Row) -> float:
    """The seconds that the choice of one such parameter costs."""
    took = [seconds for _, _, seconds in row["orders"]]
    return float(took[row["chosen"]] - min(took))


def page(records: Sequence[Record]) -> str:
    """The whole page, in Markdown."""
    first = records[0]
    machine = next((r["machine"] for r in records if r["status"] == "measured"), "not measured")
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    head = (
        f"Measured on {first['date']} by `python -m benchmarks.costs --threads {first['threads']}`, on "
        f"{first['hardware']}, {versions}, {', '.join(sorted({r['commit'] for r in records}))}; predicted "
        f"for the machine {machine!r}."
    )
    lines = ["# Predicted and measured orders", "", head, "", ABOUT, "", *summary(records), ""]
    lines += ["## What is ranked wrong", "", *misses(records), "", "## Every order", ""]
    lines += ["Milliseconds, predicted / measured; the choice is in bold.", ""]
    for record in records:
        lines += [f"### {record['model']}", "", *orders(record), ""]
    return "\n".join(lines).rstrip() + "\n"


def summary(records: Iterable[Record]) -> Iterator[str]:
    """A line for each model, and one for all."""
    yield from ("| model | N | at a time | parameters | right | lost of the fastest |", "|---|---|---|---|---|---|")
    everything: list[Row] = []
    for record in records:
        if record["status"] != "measured":
            yield f"| {record['model']} | {record['batch']} | | {record['reason']} | | |"
            continue
        everything += record["rows"]
        yield f"| {record['model']} | {record['batch']} | {record['chunk'] or 'all'} | {counted(record['rows'])} |"
    yield f"| **all** | | | {counted(everything)} |"


def counted(rows: Sequence[Row]) -> str:
    """Cells: the parameters with a choice, the share ranked right, what the wrong ones cost."""
    chosen = [row for row in rows if compared(row)]
    many = sum(len(row["parameters"]) for row in chosen)
    if not many:
        return "0 | | "
    well = sum(len(row["parameters"]) for row in chosen if right(row))
    least = sum(len(row["parameters"]) * min(took for _, _, took in row["orders"]) for row in chosen)
    above = sum(len(row["parameters"]) * lost(row) for row in chosen)
    return f"{many} | {well} ({well / many:.0%}) | {above / least:.1%}"


def misses(records: Iterable[Record]) -> Iterator[str]:
    """The parameters whose choice is slower than it should be."""
    yield "| model | parameters | chosen: predicted / measured ms | fastest: predicted / measured ms | slower by |"
    yield "|---|---|---|---|---|"
    for record in records:
        for row in record.get("rows", []):
            if compared(row) and not right(row):
                best = min(row["orders"], key=lambda order: order[2])
                chosen = row["orders"][row["chosen"]]
                yield (
                    f"| {record['model']} | {shown(row['parameters'])} | {cell(chosen)} | {cell(best)} "
                    f"| {chosen[2] / best[2] - 1:.0%} |"
                )


def orders(record: Record) -> Iterator[str]:
    """Every order of every kind of parameter."""
    if record["status"] != "measured":
        yield record["reason"]
        return
    yield from ("| parameters | orders |", "|---|---|")
    for row in filter(compared, record["rows"]):
        cells = [cell(order) if k != row["chosen"] else f"**{cell(order)}**" for k, order in enumerate(row["orders"])]
        yield f"| {shown(row['parameters'])} | {'; '.join(cells)} |"


def cell(order: Sequence[Any]) -> str:
    """An order with its milliseconds."""
    label, predicted, took = order
    return f"{label} {1e3 * predicted:.3g} / {1e3 * took:.3g}"


def shown(names: Sequence[str]) -> str:
    """The first name, and how many more there are of its kind."""
    return f"`{names[0]}`" + (f" and {len(names) - 1} like it" if len(names) > 1 else "")


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, then measures, or writes the page."""
    options = options_of(arguments, "benchmarks.costs", __doc__, NAMES, PAGE)
    if options.report:
        last = {r["model"]: r for r in records(options)}
        options.out.write_text(page([last[name] for name in NAMES if name in last]), encoding="utf-8")
        print(f"wrote {options.out}")
        return
    models = cases(small=options.small)
    heads = [
        {"model": name, "method": "orders", "batch": options.batch or models[name].size, "commit": commit()}
        | common(options)
        for name in options.models or NAMES
    ]
    for head in tqdm(list(missing(heads, read(options.results), options.redo)), desc="models", smoothing=0):
        record = in_a_process(measured, head) | origin("clipcompiler", options.device, None)
        appended(options.results, record)
        tqdm.write(f"{head['model']:12} {counted(record['rows']) if 'rows' in record else record['reason']}")
        tqdm.write("\n".join(orders(record)))


if __name__ == "__main__":
    main()
