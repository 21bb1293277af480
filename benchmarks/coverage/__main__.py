"""What clipcompiler makes of the models of transformers and timm: exact, refused and why, never wrong.

python -m benchmarks.coverage --jobs 2              examines what has no result yet
python -m benchmarks.coverage --only 'causal/(llama|gpt2)$' --redo
python -m benchmarks.coverage --report              writes docs/benchmarks/coverage.md from the results
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.coverage.case import Case
from benchmarks.coverage.images import image_cases
from benchmarks.coverage.language import language_cases
from benchmarks.coverage.processes import Limits, run_each
from benchmarks.coverage.record import recorded, versions
from benchmarks.coverage.report import page
from benchmarks.coverage.torchvision_without_ops import declare_ops

PAGE = Path("docs/benchmarks/coverage.md")


def main() -> None:
    """Reads the arguments, then examines models, or writes the page."""
    options = arguments()
    results = read(options.results)
    if options.report:
        options.out.write_text(page(list(results.values())), encoding="utf-8")
        print(f"wrote {options.out}")
        return
    library = declare_ops()  # alive as long as the sweep
    cases = wanted(options, results)
    frozen = options.freeze_embeddings
    record = partial(recorded, freeze_embeddings=frozen)
    common = {"frozen_embeddings": frozen, "versions": versions()}
    limits = Limits(options.seconds, int(options.gigabytes * 2**30))
    bar = tqdm(total=len(cases), smoothing=0)
    with options.results.open("a", encoding="utf-8") as file:
        for found in run_each(cases, record, limits, options.jobs):
            file.write(json.dumps(common | found) + "\n")
            file.flush()
            bar.update()
            bar.write(f"{found['status']:10} {found['name']:45} {found.get('reason', '')[:110]}")
    del library


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.coverage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=Path("coverage.jsonl"), help="a line for each model, appended")
    parser.add_argument("--only", default="", help="a pattern that the names must contain")
    parser.add_argument("--every", type=int, default=1, help="only every k-th of them, for a quick look")
    parser.add_argument("--redo", nargs="?", const=".*", help="examine again what has a status that fits this pattern")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time")
    parser.add_argument("--seconds", type=float, default=300, help="the most time for a model")
    parser.add_argument("--gigabytes", type=float, default=12, help="the most memory for a model")
    parser.add_argument("--freeze-embeddings", action="store_true", help="for development: train no nn.Embedding")
    parser.add_argument("--report", action="store_true", help="write the page from the results, and examine nothing")
    parser.add_argument("--out", type=Path, default=PAGE, help=f"the page (default: {PAGE})")
    return parser.parse_args()


def wanted(options: argparse.Namespace, results: dict[str, Any]) -> Sequence[Case]:
    """The cases that are asked for and have no result yet."""
    families = options.results.with_suffix(".families.json")
    known = (*language_cases(), *image_cases(families, options.only))
    named = {c.name: c for c in known if re.search(options.only, c.name)}
    return [
        c
        for c in list(named.values())[:: options.every]
        if c.name not in results or again(results[c.name], options.redo)
    ]


def again(result: dict[str, Any], redo: str | None) -> bool:
    """Whether a model that has a result is examined once more."""
    return redo is not None and re.fullmatch(redo, result["status"]) is not None


def read(path: Path) -> dict[str, Any]:
    """The last result of each model."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {record["name"]: record for record in map(json.loads, lines)}


if __name__ == "__main__":
    main()
