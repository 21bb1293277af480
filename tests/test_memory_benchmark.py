"""The peaks by memory mode: what is promised, the command, its records and its page."""

import json

import pytest

from benchmarks import memory

MIB = 2**20


def record(mode, peak, **more):
    """A record of a model whose ordinary step holds 100 MiB."""
    return {
        "model": "m",
        "batch": 4,
        "commit": "abc",
        "mode": mode,
        "status": "measured",
        "peak": peak * MIB,
        "chunk": None,
        **more,
    }


def test_a_mode_promises_a_multiple_and_a_budget_itself():
    assert memory.kept(record("fast", 129), 100 * MIB) is True
    assert memory.kept(record("fast", 131), 100 * MIB) is False
    assert memory.kept(record("lean", 106), 100 * MIB) is False
    assert memory.kept(record("0.6", 60, bytes=60 * MIB), 100 * MIB) is True
    assert memory.kept(record("0.6", 61, bytes=60 * MIB), 100 * MIB) is False
    assert memory.kept(record("fast", 90), 40 * MIB) is None  # a small model: nothing is promised
    assert memory.kept({"mode": "0.3", "status": "refused", "least": 1}, 100 * MIB) is None


def test_the_page_marks_what_is_more_than_promised():
    plain = record(
        "ordinary", 100, hardware="a core", versions={"torch": "2"}, allocator="glibc", date="a day", threads=1
    )
    refused = {**record("0.3", 0, bytes=30 * MIB), "status": "refused", "least": 41 * MIB}
    page = memory.page([plain, record("fast", 131), record("lean", 80, error=3e-8), refused])
    assert "| m | 4 | 100 | **1.31** | 0.80 |  |  |  |  | refused, 0.41 can | 3.0e-08 |" in page
    assert "Promised and measured: 2; kept: 1." in page


def test_the_command_measures_once_and_writes_a_page(tmp_path, monkeypatch):
    """Here in one process; tests/test_costs.py starts one."""
    monkeypatch.setattr(memory, "in_a_process", lambda work, head: work(head))
    results, page = tmp_path / "memory.jsonl", tmp_path / "memory.md"
    for _ in range(2):  # the second time nothing is missing
        memory.main(["--small", "--models", "mlp", "--results", str(results)])
    records = [json.loads(line) for line in results.read_text().splitlines()]
    assert [r["mode"] for r in records] == ["ordinary", "fast", "lean", *map(str, memory.SHARES)]
    assert {r["status"] for r in records} <= {"measured", "refused"}
    lean = next(r for r in records if r["mode"] == "lean")
    assert lean["error"] < 1e-5
    memory.main(["--small", "--results", str(results), "--report", "--out", str(page)])
    assert "| mlp | 4 |" in page.read_text()


def test_a_model_that_is_not_there_is_named():
    with pytest.raises(SystemExit, match="no model is called 'mpl'; there are mlp, cnn"):
        memory.main(["--models", "mpl"])
