"""The benchmarks of kernels and of compiled steps: their pages from records, and one tiny step measured."""

import pytest
import torch

from benchmarks import compiled, kernels, on_gpu

ORIGIN = {"date": "2026-11-28", "hardware": "a card", "versions": {"torch": "2.11"}, "commit": "abc1234"}


def test_a_page_of_kernels_tells_shares_and_what_plain_torch_takes():
    record = {
        "model": "gram_sqnorm", "method": "N=8, S=1024", "dtype": "bf16", "ms": 2.0, "plain_ms": 5.0, "flops": 4e11,
        "bytes": 1e9, "peak": 4e14, "error": 1e-3, **ORIGIN,
    }  # fmt: skip
    table = {"model": "embedding_sqnorm", "flops": 0}
    text = kernels.page([record, record | table])
    assert "| gram_sqnorm | N=8, S=1024 | bf16 | 2.000 | 200 | 50% | 500 | 5.000 | 2.50 | 1.0e-03 |" in text
    assert "| embedding_sqnorm | N=8, S=1024 | bf16 | 2.000 | – | – | 500 |" in text
    columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(columns) == 1


def test_kernels_are_timed_on_a_gpu_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="timed on a GPU"):
        kernels.main([])


def test_a_page_of_compiled_steps():
    times = {name: {"median": t} for name, t in (("ordinary", 0.1), ("method", 0.11), ("ratio", 1.1))}
    record = {
        "model": "gpt2", "batch": 8, "memory": "fast", "status": "measured", "times": times, "lowered": True,
        "peaks": {"ordinary": 100, "clipped": 104}, "device": "cuda", "threads": 1, **ORIGIN,
    }  # fmt: skip
    text = compiled.page([record, record | {"status": "failed", "reason": "no memory"}])
    assert "| gpt2 | 8 | fast | 100.0 | 110.0 | 1.10 | 1.04 |" in text
    assert "no memory" in text


@pytest.mark.slow
def test_a_tiny_step_is_measured_against_a_compiled_one():
    head = {"model": "mlp", "batch": 4, "device": "cpu", "threads": 1, "small": True, "memory": "fast", "seconds": 0.1}
    found = compiled.measured(head)
    assert found["lowered"] and found["times"]["ratio"]["median"] > 0


def test_the_sizes_that_people_train():
    """Parameters, counted: GPT-2 of 124 million, LLaMA of about a billion, ResNet50 of 25.6 million."""
    with torch.device("meta"):
        counts = {
            name: sum(p.numel() for p in compiled.models()[name].build().parameters())
            for name in ("gpt2-124m", "llama-1b", "resnet50")
        }
    assert 123e6 < counts["gpt2-124m"] < 125e6
    assert 0.8e9 < counts["llama-1b"] < 1.2e9
    assert 25.5e6 < counts["resnet50"] < 25.7e6


def test_a_part_is_run_within_its_time_and_what_it_printed_is_kept(tmp_path, monkeypatch, capsys):
    """One that would take a minute."""
    script = "print('begun', flush=True); import time; time.sleep(60)"
    monkeypatch.setitem(on_gpu.PARTS, "tests", ["-c", script])
    assert on_gpu.main(["tests", "--out", str(tmp_path), "--limit", "2"]) != 0
    assert "begun" in capsys.readouterr().out
    assert (tmp_path / "tests.txt").read_text() == "begun\n"
