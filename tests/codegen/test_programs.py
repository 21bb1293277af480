"""Generated programs: golden, deterministic, readable, and running where clipcompiler cannot be imported."""

import pathlib
import subprocess
import sys

import pytest
import torch
from comparison import mostly_slow
from torch import nn

import clipcompiler as cc
from paper_models import build

GOLDEN = pathlib.Path(__file__).parent / "golden"
NAMES = ("mlp", "cnn", "lstm")

ALONE = """
import sys, torch
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "clipcompiler":
            raise ImportError("clipcompiler cannot be imported here")
sys.meta_path.insert(0, Refuse())
try:
    import clipcompiler
except ImportError:
    pass
else:
    raise SystemExit("clipcompiler was imported")
torch.set_num_threads(1)
scope = {"__name__": "clipped"}
exec(open(sys.argv[1]).read(), scope)
given = torch.load(sys.argv[2])
with_model = scope["clipped_gradients"](given["parameters"], {}, *given["batch"], max_grad_norm=given["C"])
torch.save(with_model, sys.argv[3])
"""


def compiled(name, dtype=torch.float32):
    torch.manual_seed(0)
    model = build(name, channels=1, image_size=28).to(dtype)
    batch = torch.randn(7, 1, 28, 28, dtype=dtype), torch.randint(0, 10, (7,))
    step = cc.compile(model, nn.CrossEntropyLoss(reduction="none"), max_grad_norm=2.0)
    return step.prepare(*batch), batch


@pytest.mark.parametrize("name", NAMES)
def test_the_program_is_the_golden_one(name):
    """The text, to the byte. After a change that is meant: python tests/codegen/write_golden.py"""
    step, _ = compiled(name)
    assert step.source == (GOLDEN / f"{name}.py").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_program_is_exact(name):
    """The golden file itself, executed: its norms are those of the loop in float64."""
    step, batch = compiled(name, torch.float64)
    scope = {"__name__": "golden"}
    exec((GOLDEN / f"{name}.py").read_text(), scope)
    losses, norms, factors = scope["ClippedStep"](step.model, max_grad_norm=2.0)(*batch)
    truth = cc.verify.oracle(step.model, step.loss_fn, batch, max_grad_norm=2.0)
    torch.testing.assert_close(norms, truth.norms, rtol=1e-10, atol=0)
    torch.testing.assert_close(losses, truth.losses, rtol=1e-10, atol=0)
    for parameter, expected in zip(step.model.parameters(), truth.gradients.values(), strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-9, atol=1e-12)
    assert (factors <= 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_saved_program_runs_without_clipcompiler_to_the_bit(name, tmp_path):
    """In a process in which ``import clipcompiler`` fails, with bit-equal results."""
    step, batch = compiled(name)
    path = step.save(tmp_path / "clipped.py")
    given = {"parameters": dict(step.model.named_parameters()), "batch": batch, "C": step.max_grad_norm}
    torch.save(given, tmp_path / "given.pt")
    command = [sys.executable, "-c", ALONE, str(path), str(tmp_path / "given.pt"), str(tmp_path / "out.pt")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    losses, norms, factors, gradients = torch.load(tmp_path / "out.pt")
    result, own = step.gradients(*batch)
    assert torch.equal(losses, result.losses)
    assert torch.equal(norms, result.norms)
    assert torch.equal(factors, result.clip_factors)
    assert gradients.keys() == own.keys()
    assert all(torch.equal(gradients[k], own[k]) for k in own)


@pytest.mark.parametrize("name", mostly_slow(NAMES, every=6))
def test_two_processes_write_the_same_program(name):
    """Compiled twice, in two processes with different hash seeds."""
    program = f"import sys; sys.path[:0] = {sys.path!r}; import test_programs; "
    program += f"sys.stdout.write(test_programs.compiled({name!r})[0].source)"
    texts = set()
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            cwd=pathlib.Path(__file__).parent,
            env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONIOENCODING": "utf-8"},
        )
        assert ran.returncode == 0, ran.stderr
        texts.add(ran.stdout)
    assert texts == {compiled(name)[0].source}


def test_a_program_reads_in_the_order_of_the_derivation():
    """Forward, cotangents, squared norms, clip factors, clipped sums; the equation above the line it explains."""
    source = compiled("mlp")[0].source
    order = ["── forward", "── cotangents", "── squared norms", "── clip factors", "── clipped sums"]
    places = [source.index(title) for title in order]
    assert places == sorted(places)
    assert "# fc1.weight: g[n,o,i] = ȳ[n,o] x[n,i]" in source
    assert "rank one, fc1.bias folded in" in source
    assert "clipcompiler" not in source.split('"""', 2)[2].replace("# ", "")
