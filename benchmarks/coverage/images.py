"""The smallest model of each family of timm: with batch norm in both modes, without it in training mode."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.coverage.case import EXAMPLES, Built, Case, NotBuilt, nothing_dropped, run_once

__all__ = ["image_cases"]

CLASSES = 10
#: Sides of the images, tried in this order; ``None`` is the model's own.
SIDES = (64, 84, 96, 128, 160, None)
#: Models that are not the smallest of their family, by name.
LARGE = re.compile("large|huge|giant|xxl|xlarge|so\\d+m|_xl|_l_|_h_")
#: Fewer blocks, where a model has more parameters than ``MANY``.
MANY = 12_000_000
FEWER: tuple[dict[str, Any], ...] = (
    {"depth": 2},
    {"depths": (1, 1, 1, 1)},
    {"layers": (1, 1, 1, 1)},
    {"num_blocks": 2},
)


def image_cases(families: Path, only: str = "") -> Iterator[Case]:
    """A case for each family and mode; the smallest models are looked for once and kept in ``families``."""
    import timm

    if not any(re.search(only, f"timm/{mode}/{m}") for m in timm.list_modules() for mode in ("training", "eval")):
        return
    if not families.exists():
        families.parent.mkdir(parents=True, exist_ok=True)
        families.write_text(json.dumps(smallest_models(), indent=1))
    for family, (name, normalised) in sorted(json.loads(families.read_text()).items()):
        modes = ("training", "eval") if normalised else ("training",)
        for mode in modes:
            yield Case(f"timm/{mode}/{family}", partial(image_model, name, mode))


def smallest_models() -> dict[str, tuple[str, bool]]:
    """Family → its model of the fewest parameters, and whether that has batch norm."""
    import timm
    from tqdm import tqdm

    found: dict[str, tuple[str, bool]] = {}
    for family in tqdm(timm.list_modules(), desc="families of timm"):
        sizes: dict[str, tuple[int, bool]] = {}
        names = timm.list_models(module=family)
        for name in [n for n in names if not LARGE.search(n)] or names:
            try:
                with torch.device("meta"):
                    model = timm.create_model(name, pretrained=False, num_classes=CLASSES)
            except Exception:  # some models compute with numbers of a tensor as they are built: another will do
                continue
            batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
            sizes[name] = (sum(p.numel() for p in model.parameters()), batch_norm)
        if sizes:
            name = min(sizes, key=lambda n: sizes[n][0])
            found[family] = (name, sizes[name][1])
    return found


def image_model(name: str, mode: str) -> Built:
    """A model with nothing dropped, on the smallest random images that it takes."""
    problems = []
    for options in ({}, *FEWER):
        for side in SIDES:
            try:
                return tried(name, mode, side, options)
            except NotBuilt:
                raise
            except TooLarge as error:
                problems.append(str(error))
                break
            except Exception as error:
                problems.append(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
    for options, side in product((*FEWER, {}), SIDES):
        try:
            return tried(name, mode, side, options, large=True)
        except Exception as error:
            problems.append(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
    raise NotBuilt(problems[-1])


class TooLarge(Exception):
    """A model with more parameters than wanted."""


def tried(name: str, mode: str, side: int | None, options: dict[str, Any], *, large: bool = False) -> Built:
    """The model for images of one side, by its own argument where it has one."""
    import timm

    torch.manual_seed(0)
    settings = {"pretrained": False, "num_classes": CLASSES, **options}
    try:
        model = timm.create_model(name, **settings, **({} if side is None else {"img_size": side}))
    except TypeError:
        model = timm.create_model(name, **settings)
    count = sum(p.numel() for p in model.parameters())
    if count > MANY and not large:
        raise TooLarge(f"{count / 1e6:.0f} M parameters")
    channels, height, width = model.default_cfg["input_size"]
    shape = (height, width) if side is None else (side, side)
    notes = {"model": name, "image": f"{shape[0]}x{shape[1]}", **{k: str(v) for k, v in options.items()}}
    batch = (torch.randn(EXAMPLES, channels, *shape), torch.randint(CLASSES, (EXAMPLES,)))
    nothing_dropped(model)
    own_statistics(model)
    built = Built(model.eval(), losses, batch, notes)
    run_once(built)
    model.train(mode == "training")
    return built


def own_statistics(model: nn.Module) -> None:
    """Running statistics that are not those of an identity."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def losses(output: Any, target: Tensor) -> Tensor:
    """ℓ[n] = cross-entropy(output[n], target[n]); of several heads, and of the tokens of an encoder, their mean"""
    logits = torch.stack(output).mean(0) if isinstance(output, (tuple, list)) else output
    logits = logits.mean(1) if logits.dim() == 3 else logits
    return F.cross_entropy(logits, target, reduction="none")
