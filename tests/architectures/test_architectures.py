"""Every architecture, small: norms and clipped sums equal the loop's, at one compilation for every batch size."""

import pytest
import torch
from comparison import assert_exact, median_norm
from torch import nn
from torch.nn.utils import parametrizations

import clipcompiler as cc
from architectures import others, transformers

TOKENS = {"tokens": (6,)}
SIZES = (1, 2, 5)


def by_class(output, target):
    """Cross-entropy of one class an example."""
    return nn.functional.cross_entropy(output, target, reduction="none")


def by_token(output, target):
    """Cross-entropy of every token, averaged over the tokens of an example."""
    labels = (target[:, None] + torch.arange(output.shape[1])) % output.shape[2]
    return nn.functional.cross_entropy(output.transpose(1, 2), labels, reduction="none").mean(1)


def tokens(size):
    """Token ids; id 0 is the padding."""
    ids = torch.randint(1, transformers.VOCABULARY, (size, 6))
    ids[:, 4:] *= torch.randint(0, 2, (size, 2))
    return ids


def rows(*shape):
    """Inputs of a shape."""
    return lambda size: torch.randn(size, *shape, dtype=torch.float64)


#: name → (model, inputs of a batch size, loss, classes)
CASES = {
    "encoder": (transformers.Encoder, tokens, by_class),
    "encoder, time first": (lambda: transformers.Encoder(batch_first=False), tokens, by_class),
    "encoder, norm first": (lambda: transformers.Encoder(norm_first=True, activation="gelu"), tokens, by_class),
    "encoder, padded": (lambda: transformers.Encoder(padded=True), tokens, by_class),
    "encoder and decoder": (transformers.EncoderDecoder, tokens, by_class),
    "cross attention": (transformers.CrossAttention, rows(5, 8), by_class),
    "cross attention, keys of their own": (
        lambda: transformers.CrossAttention(kdim=6, vdim=6), rows(5, 6), by_class),
    "attention with bias_kv": (lambda: transformers.CrossAttention(add_bias_kv=True), rows(5, 8), by_class),
    "GPT-2, tied module": (transformers.GPT, tokens, by_token),
    "GPT-2, tied function": (lambda: transformers.GPT(head="function"), tokens, by_token),
    "ALBERT": (transformers.ALBERT, tokens, by_token),
    "LLaMA": (transformers.LLaMA, tokens, by_token),
    "ALiBi": (transformers.ALiBi, tokens, by_class),
    "Swin": (transformers.Windows, rows(3, 8, 8), by_class),
    "ViT": (transformers.ViT, rows(3, 8, 8), by_class),
    "ConvNeXt": (others.ConvNeXt, rows(3, 8, 8), by_class),
    "U-Net": (others.UNet, rows(3, 8, 8), by_class),
    "dense experts": (others.DenseExperts, rows(5, 6), by_class),
    "gathered experts": (others.GatheredExperts, rows(5, 6), by_class),
    "hypernetwork": (others.Hypernetwork, rows(5), by_class),
    "Siamese": (others.Siamese, rows(8), by_class),
    "LoRA": (others.LoRA, rows(6), by_class),
    "LoRA, merged": (lambda: others.LoRA(merged=True), rows(6), by_class),
    "checkpointed": (others.Checkpointed, rows(6), by_class),
    "weight norm": (lambda: others.reparametrised(parametrizations.weight_norm), rows(6), by_class),
    "spectral norm in eval mode": (others.spectral_in_eval, rows(6), by_class),
    "orthogonal": (lambda: others.reparametrised(parametrizations.orthogonal), rows(6), by_class),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_architecture_is_exact(name):
    """Norms and clipped sums within 1e-10 of one backward pass an example, in float64."""
    make, inputs, loss_fn = CASES[name]
    torch.manual_seed(0)
    model = make().double()
    step = cc.compile(model, loss_fn)
    for size in SIZES:
        classes = 2 if name == "U-Net" else 4
        batch = (inputs(size), torch.randint(0, classes, (size,)))
        median = median_norm(model, loss_fn, batch)
        step.max_grad_norm = median if size > 1 else median / 2
        assert_exact(step, batch)
    assert step.compilations == 1
