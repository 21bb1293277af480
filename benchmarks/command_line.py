"""The command line that benchmarks of models share."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

from benchmarks.peers.results import Record, read

__all__ = ["common", "options_of", "records"]


def options_of(
    arguments: Sequence[str] | None, prog: str, about: str | None, models: Collection[str], page: Path
) -> argparse.Namespace:
    """The command line, read.

    Args:
        arguments: those of the process where they are ``None``.
        prog: the name of the module.
        about: the help text.
        models: the names that may be given.
        page: where ``--report`` writes, unless it is told; its name is that of the results too.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {prog}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    results = Path(page.name).with_suffix(".jsonl")
    which = f"which of {', '.join(models)} (default: all)"
    add("--results", type=Path, default=results, help=f"a line for each measurement, appended (default: {results})")
    add("--models", type=lambda text: text.split(","), default=[], help=which)
    add("--redo", nargs="?", const=".*", help="measure again what has a status that fits this pattern")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--threads", type=int, default=1, help="threads of torch (default: 1)")
    add("--batch", type=int, help="examples of a batch (default: each model's own)")
    add("--small", action="store_true", help="tiny models, to see that all runs")
    add("--report", action="store_true", help="write the page from the results, and measure nothing")
    add("--out", type=Path, default=page, help=f"the page (default: {page})")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.models if name not in models]
    if unknown:
        raise SystemExit(f"no model is called {unknown[0]!r}; there are {', '.join(models)}")
    return options


def common(options: argparse.Namespace) -> Record:
    """What all records of one page have in common."""
    return {"device": options.device, "threads": options.threads, "small": options.small}


def records(options: argparse.Namespace) -> list[Record]:
    """The results that belong on the page."""
    found = [r for r in read(options.results) if all(r[k] == v for k, v in common(options).items())]
    if not found:
        raise SystemExit(f"{options.results} has no record of {options.device} with {options.threads} threads")
    return found
