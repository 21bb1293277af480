"""Train a network on handwritten digits with clipped gradients, and show what clipcompiler made of it.

    python docs/examples/train_digits.py                      # the paper's CNN: under a minute on two idle cores
    python docs/examples/train_digits.py --model resnet18     # some minutes; so does vgg11
    python docs/examples/train_digits.py --noise-multiplier 1.0

It ends with an error if the compiled step disagrees with one backward pass an example; accuracy is only told.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import clipcompiler as cc
from baselines import one_pass_an_example, ordinary
from paper_models import MODELS, build
from timing import interleave, table

try:
    from tqdm import tqdm

    from digits import digits, first
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in ("sklearn", "tqdm"):
        raise
    sys.exit(f"The demo needs {error.name}, which is not installed:  pip install clipcompiler[demo]")

VERIFIED = 16  # examples: not the batch size of the training, and the same compiled step serves both


@dataclass(frozen=True, slots=True)
class Defaults:
    """What depends on the model. Widths and epochs keep each demo below 5 minutes on two slow cores."""

    image_size: int
    epochs: int
    width: float


DEFAULTS = {
    "mlp": Defaults(image_size=28, epochs=40, width=1.0),
    "cnn": Defaults(image_size=28, epochs=30, width=1.0),
    "vgg11": Defaults(image_size=32, epochs=10, width=0.25),
    "resnet18": Defaults(image_size=32, epochs=12, width=0.25),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Train a network on scikit-learn's digits with clipped per-example gradients."
    )
    epochs = ", ".join(f"{model} {defaults.epochs}" for model, defaults in DEFAULTS.items())
    widths = ", ".join(f"{model} {defaults.width:g}" for model, defaults in DEFAULTS.items())
    noise = "σ: Gaussian noise of standard deviation σ·C is added to the clipped sum; 0 only clips. What privacy "
    noise += "this amounts to is not computed: accounting is not part of the demo (%(default)g)"
    add = parser.add_argument
    add("--model", choices=MODELS, default="cnn", help="one of the paper's models (%(default)s)")
    add("--epochs", type=int, help=f"passes over the training set ({epochs})")
    add("--width", type=float, help=f"the width of the layers, as a multiple of the paper's ({widths})")
    add("--batch-size", type=int, default=128, help="examples a step; an epoch's last batch is smaller (%(default)d)")
    add("--max-grad-norm", type=float, default=1.0, help="C: what one example contributes at most (%(default)g)")
    add("--lr", type=float, default=1e-3, help="Adam's learning rate (%(default)g)")
    add("--noise-multiplier", type=float, default=0.0, help=noise)
    add("--seed", type=int, default=0, help="of the weights, the order of the images and the noise (%(default)d)")
    add("--save", type=Path, help="where the generated program goes (build/clipped_MODEL.py)")
    add("--threads", type=int, help="CPU threads (torch's own choice)")
    add("--timing-repeats", type=int, default=20, help="timed calls of each step, 0 for none (%(default)d)")
    return parser


def loss_fn(output: Tensor, target: Tensor) -> Tensor:
    """[N, classes], [N] → [N]: one loss an example."""
    return F.cross_entropy(output, target, reduction="none")


def section(title: str) -> None:
    """Print a heading."""
    print(f"\n━━━ {title} {'━' * max(3, 95 - len(title))}\n")


def first_call(step: cc.CompiledStep, x: Tensor, y: Tensor) -> None:
    """Trace and compile the model, and print the norms of this batch's gradients."""
    start = time.perf_counter()
    result = step(x, y)
    print(f"the first call, which compiles, took {time.perf_counter() - start:.1f} s")
    print(f"norms of its {len(x)} gradients: {result.norms.min():.2f} to {result.norms.max():.2f}")


def show(step: cc.CompiledStep, model: nn.Module, path: Path) -> None:
    """Print the derivations of the first and the last layer and the plan, and save the generated program."""
    layers = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in (layers[0], layers[-1]):
        section(f"Derivation: {layer}.weight")
        print(step.derivation(f"{layer}.weight"))
    section("Plan")
    print(step.plan)
    section("Generated program")
    path.parent.mkdir(parents=True, exist_ok=True)
    step.save(str(path))
    print(f"{path}: {len(step.source.splitlines())} lines of plain torch, to read and to check by hand")


def train(step: cc.CompiledStep, model: nn.Module, data: TensorDataset, args: argparse.Namespace) -> None:
    """Clip, sum, add noise, divide by the batch size, step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    loader = DataLoader(data, batch_size=args.batch_size, shuffle=True)
    with tqdm(total=args.epochs * len(loader), unit="step") as progress:
        for epoch in range(args.epochs):
            for x, y in loader:
                optimizer.zero_grad()
                result = step(x, y)  # adds the sum of the clipped gradients to p.grad
                for p in model.parameters():
                    if args.noise_multiplier > 0:
                        p.grad.add_(torch.randn_like(p), alpha=args.noise_multiplier * args.max_grad_norm)
                    p.grad.div_(args.batch_size)  # in the smaller last batch too: an example weighs the same
                optimizer.step()
                clipped = (result.clip_factors < 1).float().mean()
                progress.set_description(f"epoch {epoch + 1}/{args.epochs}", refresh=False)
                progress.set_postfix(loss=f"{result.losses.mean():.3f}", clipped=f"{clipped:.0%}", refresh=False)
                progress.update()


@torch.no_grad()
def accuracy(model: nn.Module, data: TensorDataset) -> float:
    """The share of `data` that the model classifies correctly."""
    correct = sum((model(x).argmax(1) == y).sum().item() for x, y in DataLoader(data, batch_size=128))
    return correct / len(data)


def compare_times(step: cc.CompiledStep, model: nn.Module, x: Tensor, y: Tensor, args: argparse.Namespace) -> None:
    """Print what one step costs without clipping, compiled, and with one backward pass an example."""

    def from_zero(function: Callable[[], object]) -> None:
        model.zero_grad()
        function()

    loop = partial(one_pass_an_example, max_grad_norm=args.max_grad_norm)
    timings = interleave(
        {
            "ordinary, without clipping": partial(from_zero, partial(ordinary, model, loss_fn, x, y)),
            "clipcompiler": partial(from_zero, partial(step, x, y)),
            "one backward pass an example": partial(from_zero, partial(loop, model, loss_fn, x, y)),
        },
        repeats=args.timing_repeats,
        warmup=3,
        limit_s=30.0,
    )
    plain, ours, slow = (timing.median for timing in timings.values())
    print(table(timings))
    print(f"\nClipping takes {ours / plain:.2f} times the ordinary step, and 1/{slow / ours:.1f} of the loop.")


def main() -> None:
    """Compile, explain, verify, train, time."""
    args = parser().parse_args()
    defaults = DEFAULTS[args.model]
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.epochs = defaults.epochs if args.epochs is None else args.epochs
    width = defaults.width if args.width is None else args.width
    model = build(args.model, width=width, image_size=defaults.image_size)
    train_set, held_out = digits(defaults.image_size)
    x, y = first(train_set, args.batch_size)
    some = first(train_set, VERIFIED)

    parameters = sum(p.numel() for p in model.parameters())
    print(f"{args.model}, width {width:g}: {parameters:,} parameters")
    print(f"digits, images {[*x.shape[1:]]}: {len(train_set)} to train on, {len(held_out)} held out")

    section("Compiling")
    step = cc.compile(model, loss_fn, max_grad_norm=args.max_grad_norm)
    first_call(step, x, y)
    show(step, model, args.save or Path("build") / f"clipped_{args.model}.py")

    section(f"Verifying against one backward pass an example in float64, {VERIFIED} examples")
    print(f"largest relative error before training: {step.verify(*some):.1e}")

    section(f"Training with gradients clipped to {args.max_grad_norm:g}")
    train(step, model, train_set, args)
    print(f"held-out accuracy: {accuracy(model, held_out):.1%}")
    print(f"largest relative error after training: {step.verify(*some):.1e}")

    if args.timing_repeats > 0:
        section(f"Time of one step, {len(x)} examples, {torch.get_num_threads()} threads")
        compare_times(step, model, x, y, args)


if __name__ == "__main__":
    main()
