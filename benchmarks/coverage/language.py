"""Every sequence classifier and causal language model of transformers, small and with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.coverage.case import Built, Case, NotBuilt, nothing_dropped, run_once
from benchmarks.coverage.feeding import fed
from benchmarks.coverage.shrink import MADE_WITH, shrunken

__all__ = ["language_cases"]


def language_cases() -> Iterator[Case]:
    """A case for each type of model and task."""
    import transformers
    from transformers.models.auto import modeling_auto as auto

    transformers.logging.set_verbosity_error()
    tasks = {
        "classifier": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        "causal": auto.MODEL_FOR_CAUSAL_LM_MAPPING,
    }
    for task, mapping in tasks.items():
        for config in sorted(mapping.keys(), key=lambda kind: kind.model_type):
            found = mapping[config]
            kind = found[0] if isinstance(found, (tuple, list)) else found
            yield Case(f"transformers/{task}/{config.model_type}", partial(language_model, config, kind, task))


def language_model(config: Any, kind: Any, task: str) -> Built:
    """A model in training mode with nothing dropped, on random words."""
    notes: dict[str, Any] = {}
    torch.manual_seed(0)
    try:
        model = kind(small_configuration(config, kind, causal=task == "causal"))
        if has_experts(model):
            model.set_experts_implementation("batched_mm")
            notes["experts"] = "batched_mm"
        model.train()
        nothing_dropped(model)
        module, batch = fed(model, task)
        built = Built(module.train(), loss_of[task], batch, notes)
        run_once(built)
    except NotBuilt:
        raise
    except Exception as error:
        raise NotBuilt(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}") from error
    return built


def small_configuration(config: Any, kind: Any, *, causal: bool) -> Any:
    """The configuration that a class takes, shrunken: of several parts that of the text."""
    own = config(**MADE_WITH.get(config.model_type, {}))
    if not isinstance(own, kind.config_class) and hasattr(own, "get_text_config"):
        own = own.get_text_config(decoder=True)
    decoder = {"is_decoder": True} if causal and "is_decoder" in vars(own) else {}
    return shrunken(own, **decoder)


def has_experts(model: Any) -> bool:
    """Whether a model routes tokens to experts and lets one choose how."""
    routed = any(type(m).__name__.endswith("Experts") for m in model.modules())
    return routed and hasattr(model, "set_experts_implementation")


def class_losses(logits: Tensor, target: Tensor) -> Tensor:
    """ℓ[n] = cross-entropy(logits[n], target[n])"""
    return F.cross_entropy(logits, target, reduction="none")


def word_losses(logits: Tensor, target: Tensor) -> Tensor:
    """ℓ[n] = mean over t of cross-entropy(logits[n,t], target[n,t])"""
    return F.cross_entropy(logits.transpose(1, 2), target, reduction="none").mean(1)


loss_of = {"classifier": class_losses, "causal": word_losses}
