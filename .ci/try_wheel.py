"""Uses an installed wheel as a stranger would: `python -I try_wheel.py [CHECKOUT]`

Compiles a small MLP and compares norms and clipped sums with one backward pass an example. Checks that
what was imported came from the environment, and, given the checkout, that the wheel holds its every module.
"""

import importlib
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

import clipcompiler as cc


def per_example_loss(output: Tensor, target: Tensor) -> Tensor:
    """ℓ[n] = cross-entropy(output[n], target[n])"""
    return nn.functional.cross_entropy(output, target, reduction="none")


def loop(model: nn.Module, x: Tensor, y: Tensor, bound: float) -> tuple[Tensor, list[Tensor]]:
    """The norms and Σ_n c_n ∇ℓ_n by one backward pass an example"""
    parameters = list(model.parameters())
    norms, sums = [], [torch.zeros_like(p) for p in parameters]
    for n in range(len(x)):
        loss = per_example_loss(model(x[n : n + 1]), y[n : n + 1]).sum()
        gradients = torch.autograd.grad(loss, parameters)
        norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
        norms.append(norm)
        for total, gradient in zip(sums, gradients, strict=True):
            total += torch.clamp(bound / norm, max=1.0) * gradient
    return torch.stack(norms), sums


def check_numbers() -> None:
    """A compiled step equals the loop, at two batch sizes"""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5))
    step = cc.compile(model, per_example_loss, max_grad_norm=1.0)
    for batch in (8, 3):
        x, y = torch.linspace(0, 2, batch)[:, None] * torch.randn(batch, 12), torch.randint(5, (batch,))
        norms, sums = loop(model, x, y, 1.0)
        assert norms.min() < 1 < norms.max(), "some examples should be clipped, and some not"
        model.zero_grad()
        result = step(x, y)
        torch.testing.assert_close(result.norms, norms, rtol=1e-5, atol=1e-6)
        for parameter, expected in zip(model.parameters(), sums, strict=True):
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-5)
        print(f"batch of {batch}, norms {norms.min():.3f} to {norms.max():.3f}: norms and sums agree")


def modules(folder: Path) -> set[str]:
    """The Python files under a folder, by their paths in it"""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*.py")}


def check_files(checkout: Path | None) -> None:
    """What was imported is the wheel's, whole, and typed"""
    package = Path(cc.__file__).parent
    rules = Path(importlib.import_module("clipcompiler.rules").__file__ or "").parent
    assert package.is_relative_to(sys.prefix), f"clipcompiler was loaded from {package}"
    assert rules == package / "rules", f"clipcompiler.rules was loaded from {rules}"
    assert (package / "py.typed").is_file(), "the wheel has no py.typed"
    if checkout is not None:
        installed = modules(package)
        wanted = modules(checkout / "clipcompiler") | {f"rules/{m}" for m in modules(checkout / "rules")}
        assert installed == wanted, f"wheel and checkout differ: {sorted(installed ^ wanted)}"
    print(f"clipcompiler {version('clipcompiler')}: {len(modules(package))} modules, {package}")


if __name__ == "__main__":
    check_files(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    check_numbers()
