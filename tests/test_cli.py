"""``clipcompiler check``: what it reads, what it prints, how it exits."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from clipcompiler.cli import main
from clipcompiler.cli.specification import Specification, specification
from clipcompiler.cli.subject import Unusable, found, subject_of

FACTORIES = """
import torch
from torch import nn
from torch.nn import functional as F


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))


def centred():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(x - x.mean(0))

    return Centred()


def batch_norm():
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def dropout():
    return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 3))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Parameter(torch.randn(7, 4), requires_grad=False), nn.Linear(4, 7)

    def forward(self, ids, mask=None):
        h = F.embedding(ids, self.table)
        return self.head(h if mask is None else h * mask[..., None])


def whole():
    torch.manual_seed(3)
    loss = nn.MSELoss(reduction="none")
    return nn.Linear(4, 2), lambda y, t: loss(y, t).mean(1), (torch.randn(3, 4), torch.randn(3, 2))


def mapping():
    inputs = (torch.zeros(2, 5, dtype=torch.long), torch.zeros(2))
    return {"model": Tokens(), "loss_fn": own_loss, "example_inputs": inputs, "kwargs": {"mask": torch.ones(2, 5)}}


def own_loss(output, target):
    return output.flatten(1).mean(1) - target


def own_losses():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 1)

        def forward(self, x):
            return self.fc(x).square().squeeze(1)

    return Own(), None


def always_random():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(x * torch.rand_like(x))

    return Noisy()


def branching():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            if x.dtype == torch.float64:
                raise ArithmeticError("not in float64")
            return self.fc(x)

    return Branching()


def two_functions():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(x) * (2 if x.dtype == torch.float64 else 1)

    return Two()


def three():
    return 3


model = mlp()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with the factories above, the current one."""
    (tmp_path / "factories.py").write_text(FACTORIES, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("factories", None)


def run(capsys, *arguments):
    """The exit status, what was printed, and what was said on the way."""
    status = main(["check", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_as_a_process(folder):
    """Exit status 0; each parameter with its rule and order, the error below the tolerance."""
    command = [sys.executable, "-m", "clipcompiler", "check", "factories:mlp", "--input", "3x4"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "1.weight   linear  ȳ[n,o] x[n,i]" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("exact: largest relative error ")
    assert "verify" in done.stderr
    helped = subprocess.run([*command[:4], "--help"], capture_output=True, text=True)
    assert helped.returncode == 0 and "exit status: 0 exact; 1 refused; 2" in helped.stdout


def test_a_refusal_is_printed_whole(folder, capsys):
    status, out, _ = run(capsys, "factories:centred", "--input", "4")
    assert status == 1
    assert "refused: ExamplesMixed: mean over dim 0 of [n, 4], which carries the examples (n)" in out
    assert "factories.py:18: return self.fc(x - x.mean(0))" in out
    assert "remedy: " in out


@pytest.mark.parametrize(("mode", "expected"), [("--train", 1), ("--eval", 0)])
def test_modes(folder, capsys, mode, expected):
    status, out, _ = run(capsys, "factories:batch_norm", "--input", "4", mode)
    assert status == expected
    assert f"{'eval' if mode == '--eval' else 'training'} mode" in out


def test_json(folder, capsys):
    status, out, _ = run(capsys, "factories:whole", "--json", "--quiet")
    told = json.loads(out)
    assert status == 0 and told["status"] == "exact" and told["error"] < 1e-9
    assert [p["name"] for p in told["parameters"]] == ["weight", "bias"]
    assert told["parameters"][0]["rules"] == ["linear"]
    assert told["batch"][0] == {"name": "input", "shape": [3, 4], "dtype": "float32"}
    status, out, _ = run(capsys, "factories:centred", "--input", "4", "--json")
    told = json.loads(out)
    assert status == 1 and told["problem"]["kind"] == "ExamplesMixed" and told["problem"]["op"] == "aten.mean.dim"
    assert told["problem"]["line"] == 18 and told["problem"]["remedy"]


def test_progress_is_on_standard_error_alone(folder, capsys):
    _, out, err = run(capsys, "factories:mlp", "--input", "3x4", "--json")
    assert json.loads(out) and "compile" in err
    _, _, err = run(capsys, "factories:mlp", "--input", "3x4", "--quiet")
    assert err == ""


def test_dropout_is_compared_in_eval_mode(folder, capsys):
    status, out, _ = run(capsys, "factories:dropout", "--input", "4")
    assert status == 0
    assert "training mode" in out and "compared in eval mode because the model draws at random" in out


def test_what_draws_in_eval_mode_too_is_not_verified(folder, capsys):
    status, out, _ = run(capsys, "factories:always_random", "--input", "4")
    assert status == 2
    assert out.splitlines()[-1].startswith("unverified: the model draws at random")


def test_a_model_that_fails_shows_its_traceback(folder, capsys):
    """The loop runs in float64."""
    status, out, _ = run(capsys, "factories:branching", "--input", "4")
    assert status == 2
    assert "failed:" in out and "ArithmeticError: not in float64" in out and "factories.py" in out


def test_a_wrong_result_is_told(folder, capsys):
    """Another function in float64, in which the loop runs, than the one that was traced."""
    status, out, _ = run(capsys, "factories:two_functions", "--input", "4")
    assert status == 2
    assert out.splitlines()[-1].startswith("wrong: the compiled step differs from the loop by")


LENGTHS = ("--dynamic", "ids:1=T", "--dynamic", "target:1=T")


def test_one_program_for_every_length(folder, capsys):
    arguments = ("factories:Tokens", "--input", "9:int64<7", "--loss", "token_cross_entropy", *LENGTHS)
    status, out, _ = run(capsys, *arguments)
    assert status == 0 and out.splitlines()[-1].endswith("in float64, at T = 9 and 5")
    assert json.loads(run(capsys, *arguments, "--json")[1])["lengths"] == {"T": [9, 5]}


@pytest.mark.parametrize(
    "arguments",
    [
        ("factories:whole",),
        ("factories:mapping",),
        ("factories:own_losses", "--input", "4"),
        ("factories.py:mlp", "--input", "3x4", "--dtype", "float64", "--batch", "2"),
        ("factories:model", "--input", "12", "--loss", "mse"),
        ("factories:Tokens", "--input", "5:int64<7", "--input", "mask=5:float32", "--loss", "token_cross_entropy"),
        ("factories:Tokens", "--input", "5:int64<7", "--loss", "factories:own_loss", "--target", "float32"),
        ("factories:mlp", "--input", "3x4", "--loss", "bce"),
        ("factories:mlp", "--input", "3x4", "--target", "int64<3", "--seed", "5"),
    ],
    ids=" ".join,
)
def test_what_is_exact(folder, capsys, arguments):
    status, out, _ = run(capsys, *arguments)
    assert status == 0, out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("factories:mlp",), "the factory gives no example inputs"),
        (("factories:nothing", "--input", "4"), "factories has no 'nothing'; it has"),
        (("nowhere:mlp", "--input", "4"), "there is no module 'nowhere'"),
        (("nowhere.py:mlp", "--input", "4"), "there is no file"),
        (("mlp", "--input", "4"), "is no module:factory"),
        (("factories:three", "--input", "4"), "the factory returned a int"),
        (("factories:mlp", "--input", "5"), "the model does not run on inputs of these kinds"),
        (("factories:mlp", "--input", "3x4:int64"), "integers take a bound"),
        (("factories:mlp", "--input", "3x4<5"), "only integers take a bound"),
        (("factories:mlp", "--input", "3x4:float33"), "float33 is no dtype of torch"),
        (("factories:mlp", "--input", "3x4", "--loss", "mes"), "there is no loss 'mes'"),
        (("factories:mlp", "--input", "3x4", "--loss", "factories:own_loss"), "targets that only you know"),
        (("factories:mlp", "--input", "3x4", "--batch", "0"), "give 1 or more examples"),
        (("factories:mlp", "--input", "3x4", "--dynamic", "input=T"), "say NAME:DIM=T, as in tokens:1=T"),
        (("factories:mlp", "--input", "3x4", "--dynamic", "input:0=T"), "the first are the examples"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_checked(folder, capsys, arguments, message):
    status, out, err = run(capsys, *arguments)
    assert status == 2 and out == ""
    assert message in err


def test_an_error_in_the_users_module_is_the_users(folder):
    """An import that fails inside the module is no missing module."""
    (folder / "broken.py").write_text("import no_such_package\n", encoding="utf-8")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        found("broken:model")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3x32x32:float32", Specification("", (3, 32, 32), torch.float32, None)),
        ("16:int64<1000", Specification("", (16,), torch.int64, 1000)),
        ("int64<10", Specification("", (), torch.int64, 10)),
        ("mask=16:bool", Specification("mask", (16,), torch.bool, None)),
        ("5", Specification("", (5,), None, None)),
        ("float32", Specification("", (), torch.float32, None)),
    ],
)
def test_specifications(text, expected):
    assert specification(text) == expected
    drawn = expected.draw(3, torch.float64, torch.device("cpu"))
    assert drawn.shape == (3, *expected.shape)
    assert drawn.dtype == (expected.dtype or torch.float64)


@pytest.mark.parametrize("text", ["", "3x", "x3", "3:4", "3,4", "=3", "<5"])
def test_what_is_no_specification(text):
    with pytest.raises(ValueError):
        specification(text)


@pytest.mark.parametrize(
    "made", [{"net": nn.ReLU()}, {"loss_fn": None}, (1, 2, 3), (), (nn.ReLU(), None, torch.ones(2))]
)
def test_what_a_factory_may_not_return(made):
    with pytest.raises(Unusable):
        subject_of(lambda: made)
