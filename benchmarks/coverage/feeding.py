"""What a language model is fed, as examples along dim 0: words, codes of a sound, or states of another model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.coverage.case import EXAMPLES
from benchmarks.coverage.shrink import POSITIONS, VOCABULARY

__all__ = ["fed"]

#: Below it lie the ids of padding, begin and end.
FIRST_WORD = 3

#: A module of inputs → logits, and a batch for it: inputs, then the target.
Fed = tuple[nn.Module, tuple[Tensor, ...]]


def fed(model: Any, task: str) -> Fed:
    """A model of transformers as a module of tensors, and what it is fed."""
    return BY_TYPE.get(model.config.model_type, words)(model, task)


def random_words(*shape: int) -> Tensor:
    """Random ids, none of which is special."""
    return torch.randint(FIRST_WORD, VOCABULARY - 1, shape)


class Logits(nn.Module):
    """input_ids[n,t] → logits [N, classes] or [N, T, vocabulary]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        """The logits of the model."""
        logits: Tensor = self.model(input_ids=input_ids, return_dict=True).logits
        return logits


def words(model: Any, task: str) -> Fed:
    """Ids [N, T], the last of which ends the sentence, and a class for each, or for each word."""
    ids = random_words(EXAMPLES, POSITIONS)
    if isinstance(end := getattr(model.config, "eos_token_id", None), int):
        ids[:, -1] = end
    if task == "causal":
        return Logits(model), (ids, random_words(EXAMPLES, POSITIONS))
    return Logits(model), (ids, torch.randint(model.config.num_labels, (EXAMPLES,)))


class LogitsOfCodes(Logits):
    """input_ids[n,c,t] → logits[n,(c,t),v]: the model takes and gives the codebooks c of an example as rows."""

    def forward(self, input_ids: Tensor) -> Tensor:
        """The logits of the model, those of an example in one row."""
        logits = super().forward(input_ids.flatten(0, 1))
        return logits.reshape(input_ids.shape[0], -1, logits.shape[-1])


def codes(model: Any, task: str) -> Fed:
    """Ids [N, codebooks, T], and a target for each."""
    books = model.config.num_codebooks
    return LogitsOfCodes(model), (random_words(EXAMPLES, books, POSITIONS), random_words(EXAMPLES, books * POSITIONS))


class LogitsOfDraft(Logits):
    """A state of the model that it drafts for, and keys and values of a layer of each type → logits[n,t,v]."""

    def forward(self, state: Tensor, *seen: Tensor) -> Tensor:
        """The logits of the draft."""
        pairs = {"full_attention": seen[:2], "sliding_attention": seen[2:]}
        logits: Tensor = self.model(inputs_embeds=state, shared_kv_states=pairs).logits
        return logits


def draft(model: Any, task: str) -> Fed:
    """One state [N, 1, two of the other model's hidden], keys and values [N, heads, T, head], and a word to predict.

    Of several states the attention is causal when the model runs and full when torch.export traces it.
    """
    text = model.config.get_text_config()
    layers = dict(zip(text.layer_types, text.per_layer_config, strict=True))
    kinds = [layers[k] for k in ("full_attention", "full_attention", "sliding_attention", "sliding_attention")]
    seen = (torch.randn(EXAMPLES, k.num_key_value_heads, POSITIONS, k.head_dim) for k in kinds)
    state = torch.randn(EXAMPLES, 1, 2 * model.config.backbone_hidden_size)
    return LogitsOfDraft(model), (state, *seen, random_words(EXAMPLES, 1))


BY_TYPE: dict[str, Callable[[Any, str], Fed]] = {
    "gemma4_assistant": draft,
    "gemma4_unified_assistant": draft,
    "musicgen_decoder": codes,
    "musicgen_melody_decoder": codes,
}
