"""Records in a file, a line each; which of them are missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["Record", "appended", "key", "missing", "read"]

Record = dict[str, Any]
#: What tells one measurement from another.
FIELDS = ("model", "method", "device", "threads", "batch", "small", "commit")


def key(record: Record) -> tuple[Any, ...]:
    """What a record measured."""
    return tuple(record.get(field) for field in FIELDS)


def read(path: Path) -> list[Record]:
    """The last record of each key, in the order of the file; a line cut off by a crash is skipped."""
    found: dict[tuple[Any, ...], Record] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found.pop(key(record), None)
        found[key(record)] = record
    return list(found.values())


def appended(path: Path, record: Record) -> None:
    """Adds a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def missing(wanted: Iterable[Record], known: Iterable[Record], redo: str | None) -> Iterator[Record]:
    """The heads of records that are not there, or whose status fits ``redo``."""
    by_key = {key(record): record for record in known}
    for head in wanted:
        record = by_key.get(key(head))
        if record is None or (redo is not None and re.fullmatch(redo, record["status"])):
            yield head
