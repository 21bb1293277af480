"""The comparison with other libraries, without these: models, exactness, processes, results, the page."""

import json
import math
import subprocess
import sys

import pytest
import torch
from comparison import assert_exact
from comparison import median_norm as oracle_median
from torch import nn

import clipcompiler as cc
from benchmarks.peers import plot, worker
from benchmarks.peers.__main__ import main
from benchmarks.peers.exactness import Problem, errors_of, median_norm, relative
from benchmarks.peers.methods import NAMES as METHODS
from benchmarks.peers.methods import Method, NotOffered, methods
from benchmarks.peers.models import NAMES, PAPER, cases
from benchmarks.peers.pairs import paired
from benchmarks.peers.processes import record_of
from benchmarks.peers.report import page
from benchmarks.peers.results import appended, missing, read
from benchmarks.peers.worker import Task, done, reason_of, status_of

SMALL = cases(small=True)
PEERS = ("opacus", "backpack", "fastDP", "matplotlib", "transformers")


def batch_in_double(case):
    """A batch of a small model, in float64."""
    x, y = case.batch(case.size)
    return (x.double() if x.is_floating_point() else x), y


def test_the_models_are_the_papers_seven_and_eight_more():
    assert PAPER == ("mlp", "cnn", "rnn", "lstm", "transformer", "resnet18", "vgg11")
    assert set(NAMES) - set(PAPER) == {"gpt2", "lora", "llama", "moe", "vit", "convnext", "swin", "unet"}
    assert tuple(SMALL) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_small_model_gives_a_finite_loss_for_each_example(name):
    case = SMALL[name]
    x, y = case.batch(case.size)
    losses = case.loss_fn(case.build()(x), y)
    assert losses.shape == (case.size,)
    assert losses.isfinite().all()


QUICK = ("mlp", "cnn", "lora", "convnext")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_ours_is_exact_on_every_model(name):
    case = SMALL[name]
    model, batch = case.build().double(), batch_in_double(case)
    assert_exact(cc.compile(model, case.loss_fn, max_grad_norm=oracle_median(model, case.loss_fn, batch)), batch)


def test_the_methods_that_need_no_library_agree_with_the_loop():
    case = SMALL["lora"]
    x, y = batch_in_double(case)
    problem = Problem(case.build().double(), case.loss_fn, x, y)
    norms = problem.norms()
    for name in ("loop", "vmap", "clipcompiler"):
        method = methods()[name](problem.model, problem.loss_fn, x, y, median_norm(norms))
        assert max(errors_of(method, problem, norms, median_norm(norms)).values()) < 1e-10


def test_an_error_of_sums_norms_or_losses_is_seen():
    model, x, y = nn.Linear(3, 2), torch.randn(4, 3), torch.randint(2, (4,))
    problem = Problem(model, lambda o, t: nn.functional.cross_entropy(o, t, reduction="none"), x, y)
    norms = problem.norms()

    def half():
        model.weight.grad = torch.zeros_like(model.weight)
        return 2 * norms

    errors = errors_of(Method(half, model, nn.Linear(3, 2)), problem, norms, median_norm(norms))
    assert errors["sums"] == pytest.approx(1.0)
    assert errors["norms"] == pytest.approx(1.0)
    assert errors["losses"] > 1e-3
    assert math.isinf(relative([torch.zeros(2)], [torch.zeros(3)]))


class Kinked(nn.Module):
    """In float32 alone, a batch gives another slope than one example."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x) * (2 if len(x) > 1 and x.dtype is torch.float32 else 1)


def test_what_float32_makes_wrong_is_judged_in_float64(monkeypatch):
    model, x, y = Kinked(), torch.randn(4, 3), torch.randint(2, (4,))
    problem = Problem(model, lambda o, t: nn.functional.cross_entropy(o, t, reduction="none"), x, y)
    task, norms = Task("mlp", "vmap"), problem.norms()
    once = Method(lambda: problem.loss_fn(model(x), y).sum().backward(), model)
    found = worker.judged(task, problem, once, norms, 100.0)
    assert found["status"] == "exact" and found["errors"]["sums"] > 1e-3 > found["errors_in_float64"]["sums"]
    monkeypatch.setattr(worker, "prepared", lambda task, problem, bound: once)
    assert worker.judged(task, problem, once, norms, 100.0)["status"] == "wrong"


def test_no_other_library_is_imported():
    """Neither by the command nor by the registry of methods."""
    code = f"import sys, benchmarks.peers.__main__; print([m for m in {PEERS} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_pairs_are_taken_by_turns_and_fewer_of_slow_ones():
    calls = []
    times = paired(lambda: calls.append("a"), lambda: calls.append("b"), repeats=4, limit_s=60)
    assert "".join(calls) == "abab" + "abbaabba"
    assert set(times) == {"ordinary", "method", "ratio"} and times["ratio"]["repeats"] == 4
    assert paired(lambda: None, lambda: None, repeats=9, limit_s=0)["ratio"]["repeats"] == 3


@pytest.mark.parametrize("method", ["ordinary", "loop", "clipcompiler"])
def test_a_worker_measures_error_and_time(method):
    record = done(Task("mlp", method, small=True, repeats=2, seconds=1))
    assert record["status"] == "exact" and record["parameters"] == 27882
    loop = {"against the loop"} if method == "clipcompiler" else set()
    assert set(record["times"]) == {"ordinary", "method", "ratio"} | loop
    if method != "ordinary":
        assert record["errors"]["sums"] < 1e-5


def test_memory_is_measured_in_a_process_of_its_own():
    record = record_of(Task("mlp", "ordinary", measure="memory", batch=64, small=True), limit_s=60)
    assert record["status"] == "exact"
    assert record["memory"] is None or 64 * 1024 < record["memory"] < 64 * 2**20


def test_a_process_that_takes_too_long_is_a_failure():
    record = record_of(Task("mlp", "ordinary"), limit_s=0.05)
    assert record == {"status": "fails", "reason": "took more than 0.05 s"}


def test_refusals_are_told_from_failures():
    assert status_of(NotOffered("no norms")) == status_of(NotImplementedError()) == "refuses"
    assert status_of(cc.CompileError("mixed")) == "refuses"
    assert status_of(RuntimeError("out of memory")) == "fails"
    assert reason_of(RuntimeError("\nout of\tmemory\nat …")) == "RuntimeError: out of memory"


def head(model, method, commit="c0"):
    """What is known of a measurement before it."""
    found = {"model": model, "method": method, "device": "cpu", "threads": 1, "batch": 4, "small": False}
    return found | {"commit": commit, "date": "2026-01-01", "hardware": "x86_64", "versions": {"torch": "2.13.0"}}


def exact(model, method, ratio, memory, **more):
    """A record of a right result."""
    spread = {"lower": ratio, "median": ratio, "upper": ratio, "repeats": 9}
    ordinary = {"lower": 0.001, "median": 0.002, "upper": 0.003, "repeats": 9}
    times = {"ordinary": ordinary, "method": spread, "ratio": spread}
    times |= {"against the loop": spread} if method == "clipcompiler" else {}
    record = {"status": "exact", "times": times, "memory": memory, "parameters": 1234, "errors": {"sums": 2e-7}}
    return head(model, method) | record | more


def test_what_is_there_is_not_measured_again(tmp_path):
    path, wanted = tmp_path / "peers.jsonl", [head("mlp", "loop"), head("cnn", "loop"), head("rnn", "loop")]
    appended(path, wanted[0] | {"status": "fails"})
    appended(path, wanted[0] | {"status": "exact"})
    appended(path, wanted[1] | {"status": "fails"})
    with path.open("a") as file:
        file.write('{"model": "rnn", "meth')  # a crash
    known = read(path)
    assert [r["status"] for r in known] == ["exact", "fails"]
    assert list(missing(wanted, known, None)) == wanted[2:]
    assert list(missing(wanted, known, "fails")) == wanted[1:]
    assert list(missing(wanted, known, ".*")) == wanted
    assert list(missing([head("mlp", "loop", "c1")], known, None))


def test_the_command_measures_once_and_writes_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plot.importlib.util, "find_spec", lambda name: None)
    path, out = tmp_path / "peers.jsonl", tmp_path / "peers.md"
    common = ["--results", str(path), "--small"]
    quick = [*common, "--models", "mlp", "--methods", "ordinary,loop", "--repeats", "1", "--without-memory"]
    main(quick)
    main(quick)
    assert [json.loads(line)["method"] for line in path.read_text().splitlines()] == ["ordinary", "loop"]
    main([*common, "--report", "--out", str(out)])
    assert "no plot: matplotlib is not installed" in capsys.readouterr().out
    assert "| model | ordinary | loop |" in out.read_text()
    with pytest.raises(SystemExit, match="no model or method is called 'mpl'"):
        main([*common, "--models", "mpl"])


def test_the_page_has_ratios_errors_and_reasons():
    records = [
        exact("mlp", "ordinary", 1.0, 100, errors={}),
        exact("mlp", "clipcompiler", 1.2, 150),
        exact("cnn", "ordinary", 1.0, 100, errors={}),
        exact("cnn", "clipcompiler", 2.7, 150),
        exact("gpt2", "clipcompiler", 9.0, 150),
        exact("mlp", "opacus_hooks", 1.7, 300, status="wrong", errors={"sums": 0.5}, note="with DPLSTM"),
        head("cnn", "opacus_hooks") | {"status": "refuses", "reason": "NotOffered: a | b"},
    ]
    text = page(records, "peers.svg")
    assert "# A clipped step against an ordinary one on a CPU" in text
    assert "Measured 2026-01-01 by `python -m benchmarks.peers --threads 1` at commit c0: x86_64, 1 thread" in text
    assert "| model | ordinary | opacus hooks | clipcompiler |" in text
    assert "| mlp | 1.00 | wrong (x1.70) | 1.20 |" in text
    assert "| cnn | 1.00 | refuses | 2.70 |" in text
    assert "| gpt2 |  |  | 9.00 |" in text
    assert "| mlp | 1.200 (1.200 to 1.200) | 9 |" in text
    assert "| geometric mean, the paper's | 1.00 (2 of 7) |  | 1.80 (2 of 7) |" in text
    assert "| mlp | 1.00 | wrong (x3.00) | 1.50 |" in text
    assert "| mlp |  | 5e-01 | 2e-07 |" in text
    assert "| mlp | 4 | 1,234 | 2.00 (1.00 to 3.00) | 9 | 0.0 |" in text
    assert "| mlp | opacus hooks | wrong | error of sums 5.0e-01; with DPLSTM |" in text
    assert "| cnn | opacus hooks | refuses | NotOffered: a \\| b |" in text
    assert "](peers.svg)" in text and "](" not in page(records, None)


def test_every_method_of_a_table_is_known():
    assert set(METHODS) == {*methods(), "fastdp"}
    assert set(plot.COLOURS) == set(METHODS) - {"ordinary"}
