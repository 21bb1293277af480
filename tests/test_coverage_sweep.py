"""The sweep over other libraries' models, without these: processes, limits, causes, the page."""

import os
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks.coverage.case import EXAMPLES, Built, Case, NotBuilt, nothing_dropped, run_once
from benchmarks.coverage.feeding import fed
from benchmarks.coverage.processes import Limits, run_each
from benchmarks.coverage.record import recorded
from benchmarks.coverage.report import cause, page
from benchmarks.coverage.shrink import HEADS, VOCABULARY, WIDTH, shrunken


def losses(output, target):
    return nn.functional.cross_entropy(output, target, reduction="none")


def built(model):
    return Built(model, losses, (torch.randn(EXAMPLES, 4), torch.randint(3, (EXAMPLES,))), {"width": 4})


def not_built():
    raise NotBuilt("it is too wide")


CASES = {
    "exact": lambda: built(nn.Linear(4, 3)),
    "refused": lambda: built(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))),
    "not built": not_built,
}


@pytest.mark.parametrize("status", CASES)
def test_a_record_of_each_status(status):
    record = recorded(Case(f"library/task/{status}", CASES[status]), freeze_embeddings=False)
    assert record["status"] == status
    assert record["status"] == "exact" or record["reason"]
    if status == "exact":
        assert record["error"] < 1e-12 and record["parameters"] == 15
    if status == "refused":
        assert record["kind"] == "ExamplesMixed" and "batch_norm" in record["op"]
    assert torch.get_default_dtype() is torch.float32


def test_embeddings_may_be_frozen():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))
    case = Case("a/b/c", lambda: Built(model, losses, (torch.zeros(3, 2, dtype=torch.long), torch.zeros(3).long())))
    assert recorded(case, freeze_embeddings=True)["status"] == "exact"
    assert not model[0].weight.requires_grad and model[2].weight.requires_grad


def work(case):
    """By its name: done, too slow, dead, too large."""
    if case.name == "slow":
        time.sleep(60)
    if case.name == "dead":
        os._exit(3)
    if case.name == "large":
        try:
            torch.ones(2**40)
        except RuntimeError:
            return {"name": case.name, "status": "failed", "reason": "out of memory"}
    return {"name": case.name, "status": "exact"}


def test_each_case_runs_in_a_process_of_its_own_within_limits():
    cases = [Case(name, not_built) for name in ("done", "slow", "dead", "large", "done too")]
    start = time.monotonic()
    records = {r["name"]: r for r in run_each(cases, work, Limits(seconds=4, bytes=64 << 30), jobs=2)}
    assert time.monotonic() - start < 30
    assert {name: r["status"] for name, r in records.items()} == {
        "done": "exact",
        "slow": "unfinished",
        "dead": "unfinished",
        "large": "failed",
        "done too": "exact",
    }
    assert "more than 4 s" in records["slow"]["reason"]
    assert "exit code 3" in records["dead"]["reason"]


def test_a_model_that_does_not_run_to_n_losses_is_not_built():
    with pytest.raises(NotBuilt, match="its losses are"):
        run_once(Built(nn.Linear(4, 3), lambda o, t: o.sum(), (torch.randn(3, 4), torch.zeros(3))))


def test_nothing_is_dropped():
    model = nn.Sequential(nn.Dropout(0.5), nn.MultiheadAttention(4, 2, dropout=0.5))
    nothing_dropped(model)
    assert model[0].p == 0 and model[1].dropout == 0


class Configuration:
    """As those of transformers: numbers by name, a part of its own."""

    model_type = "made_up"

    def __init__(
        self, hidden_size=768, num_attention_heads=12, num_key_value_heads=3, vocab_size=30000, part=None, **kw
    ):
        self.hidden_size, self.vocab_size, self.part = hidden_size, vocab_size, part
        self.num_attention_heads, self.num_key_value_heads = num_attention_heads, num_key_value_heads
        self.hidden_dropout_prob, self.eos_token_id, self.use_cache = kw.get("hidden_dropout_prob", 0.1), 29999, True

    def to_dict(self):
        return vars(self)


def test_a_configuration_is_shrunken_by_names():
    small = shrunken(Configuration(part=Configuration()))
    assert (small.hidden_size, small.num_attention_heads, small.vocab_size) == (WIDTH, HEADS, VOCABULARY)
    assert small.num_key_value_heads == HEADS // 2
    assert small.hidden_dropout_prob == 0 and small.eos_token_id < VOCABULARY and small.use_cache is False
    assert small.part.hidden_size == WIDTH


class Codebooks(nn.Module):
    """As a model of sound: rows [(n,c), t] → logits [(n,c), t, v], the number of the row among them."""

    config = SimpleNamespace(model_type="musicgen_decoder", num_codebooks=4)

    def forward(self, input_ids, return_dict):
        rows = torch.arange(len(input_ids), dtype=torch.float)
        return SimpleNamespace(logits=rows[:, None, None].expand(*input_ids.shape, 5))


def test_the_codebooks_of_an_example_stay_together():
    model, (ids, target) = fed(Codebooks(), "causal")
    logits = model(ids)
    assert ids.shape[:2] == (EXAMPLES, 4) and logits.shape[:2] == target.shape
    assert [set(example.flatten().tolist()) for example in logits] == [
        {4.0 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3} for n in range(EXAMPLES)
    ]


def test_the_page_counts_models_and_causes():
    refused = {"status": "refused", "kind": "ExamplesMixed", "source": "models/a.py:3", "code": "x | y"}
    records = [
        {"name": "timm/eval/a", "status": "exact", "error": 1e-16, "parameters": 12345, "seconds": {"compile": 1.0}},
        {"name": "timm/eval/b", "reason": "mean over dim 0 of [n, 4], which carries", **refused},
        {"name": "timm/eval/c", "reason": "mean over dim 1 of [7, n], which carries", **refused},
        {"name": "timm/training/d", "status": "not built", "reason": "too large"},
    ]
    text = page(records)
    assert "| timm eval | 1 | 2 | 0 | 3 |" in text
    assert "| timm training | 0 | 0 | 1 | 1 |" in text
    assert "| 2 | ExamplesMixed: mean over dim … of […], which carries |  | b, c | a.py:3 `x \\| y` |" in text
    assert cause(records[1]) == cause(records[2])


def test_refusals_are_explained_and_types_that_trace_are_counted():
    untraced = {
        "status": "refused",
        "kind": "UntraceableModel",
        "reason": "torch.export cannot trace the model: data-dependent",
    }
    records = [
        {"name": "transformers/causal/a", "status": "exact", "error": 0.0, "versions": {"torch": "2.13"}},
        {"name": "transformers/causal/b", "status": "not built", "reason": "too large", "versions": {"torch": "2.11"}},
        {"name": "transformers/causal/c", **untraced},
        {"name": "timm/training/d", "status": "refused", "kind": "ExamplesMixed", "op": "aten.batch_norm.default"},
    ]
    text = page(records)
    assert "that torch can trace, 1 of 1 (100%) are exact" in text
    assert "exact in eval mode, or with group norm" in text
    assert "torch 2.13 (1 models) and 2.11 (1 models)" in text
