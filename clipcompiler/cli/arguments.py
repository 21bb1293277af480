"""The command line, in words."""

from __future__ import annotations

import argparse

from clipcompiler.cli.losses import LOSSES
from clipcompiler.cli.specification import GRAMMAR
from clipcompiler.cli.verdict import TOLERANCE
from clipcompiler.version import __version__

__all__ = ["parser"]

ABOUT = """\
Compiles a model with its loss, and holds the per-example gradient norms and the clipped sum against one backward pass
an example in float64. Prints how each parameter is computed, or why the model is refused."""

MORE = f"""\
FACTORY is module:name, package.module:name or file.py:name; the current directory is importable. It is a function
without arguments (or a class, or an object) that gives one of

  model                                  a torch.nn.Module
  model, loss_fn                         loss_fn(output, target) as for clipcompiler.compile; None: the model returns
                                         its N losses itself
  model, loss_fn, example_inputs         a tuple of tensors: the inputs, then the target
  {{"model": …, "loss_fn": …, "example_inputs": …, "kwargs": …}}

Where it gives no example inputs, say what to draw them from.
{GRAMMAR}

exit status: 0 exact; 1 refused; 2 wrong, unverified or failed, or the command itself is wrong

examples:
  clipcompiler check train:build_model --input 3x32x32
  clipcompiler check train.py:build_gpt --input '16:int64<1000' --loss token_cross_entropy --eval
  clipcompiler check train.py:build_gpt --input '16:int64<1000' --loss token_cross_entropy --dynamic ids:1=T \\
      --dynamic target:1=T
  clipcompiler check train:everything --json"""


def parser() -> argparse.ArgumentParser:
    """``clipcompiler check FACTORY …``"""
    made = argparse.ArgumentParser(prog="clipcompiler", description="Per-example gradient clipping, compiled.")
    made.add_argument("--version", action="version", version=f"clipcompiler {__version__}")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="is a model exact or refused, and why",
        description=ABOUT,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = check.add_argument
    add("factory", metavar="FACTORY", help="module:name of what makes the model")
    add("--input", action="append", default=[], metavar="SPEC", help="an input; again for each further one")
    add("--target", metavar="SPEC", help="the target; by default what the loss takes beside the model's output")
    add(
        "--loss",
        metavar="NAME",
        help=f"{', '.join(LOSSES)}, or module:function; default: the factory's, else cross_entropy",
    )
    add(
        "--dynamic",
        action="append",
        default=[],
        metavar="NAME:DIM=T",
        help="the size of that dim is a length, and one program serves all; again for each further one",
    )
    add("--batch", type=int, default=4, metavar="N", help="examples that are drawn (default: %(default)s)")
    add("--seed", type=int, default=0, help="set before the factory is called, and before the draws (default: 0)")
    add("--dtype", help="convert the model first, as to float64 or bfloat16")
    add("--device", help="move the model and the batch first, as to cuda")
    mode = check.add_mutually_exclusive_group()
    mode.add_argument("--train", action="store_true", help="in training mode (default: as the factory leaves it)")
    mode.add_argument("--eval", action="store_true", help="in eval mode")
    add("--tolerance", type=float, default=TOLERANCE, help="the largest relative error (default: %(default)g)")
    add("--json", action="store_true", help="print one JSON object instead of text")
    add("--quiet", action="store_true", help="no progress on standard error")
    return made
