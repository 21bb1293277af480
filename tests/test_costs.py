"""Predictions beside measurements: what is ranked right, what a wrong choice costs, the command and its page."""

import json

import pytest

from benchmarks import costs
from benchmarks.in_process import in_a_process
from clipcompiler.plan import Machine


def row(*orders, chosen=0, parameters=("w",)):
    """(predicted, measured) of some orders."""
    return {"parameters": [*parameters], "orders": [[f"order {k}", *o] for k, o in enumerate(orders)], "chosen": chosen}


def test_a_choice_is_right_within_fifteen_percent_of_the_fastest():
    assert costs.right(row((1.0, 1.15), (2.0, 1.0)))
    assert not costs.right(row((1.0, 1.16), (2.0, 1.0)))
    assert costs.lost(row((1.0, 1.5), (2.0, 1.0))) == pytest.approx(0.5)
    assert costs.lost(row((1.0, 1.0), (2.0, 1.5))) == 0


def test_a_summary_counts_every_parameter_and_leaves_out_those_without_a_choice():
    rows = [row((1, 2.0), (2, 1.0), parameters=("a", "b")), row((1, 1.0), (2, 3.0), parameters="cdef"), row((1, 1.0))]
    assert costs.counted(rows) == "6 | 4 (67%) | 33.3%"


def test_each_kind_of_parameter_is_measured_once_and_every_one_is_counted(tmp_path, capfd):
    """fc1 to fc3 of the MLP, their biases; the page shows all orders, predicted and measured."""
    results, page = tmp_path / "costs.jsonl", tmp_path / "costs.md"
    common = ["--small", "--models", "mlp", "--results", str(results)]
    costs.main(common)
    assert "fc1.weight: measured: " in capfd.readouterr().out
    (record,) = map(json.loads, results.read_text().splitlines())
    assert record["status"] == "measured"
    names = [name for found in record["rows"] for name in found["parameters"]]
    assert sorted(names) == sorted(f"fc{k}.{part}" for k in (1, 2, 3) for part in ("weight", "bias"))
    assert all(took > 0 for found in record["rows"] for _, _, took in found["orders"])
    assert all(found["orders"][found["chosen"]][1] > 0 for found in record["rows"])
    costs.main(common)  # nothing is missing
    assert len(results.read_text().splitlines()) == 1
    costs.main(["--small", "--results", str(results), "--report", "--out", str(page)])
    assert "| mlp | 4 | all | 6 |" in page.read_text()
    assert f"predicted for the machine {Machine().name!r}." in page.read_text()


def test_a_model_that_is_not_there_is_named():
    with pytest.raises(SystemExit, match="no model is called 'mpl'; there are mlp, cnn"):
        costs.main(["--models", "mpl"])


def test_a_process_that_fails_leaves_a_record_that_says_why():
    found = in_a_process(divided, {"model": "mlp"})
    assert found == {"model": "mlp", "status": "failed", "reason": "RuntimeError: no such device"}


def divided(head):
    raise RuntimeError("no such device")
