"""Every architecture, small: norms and clipped sums equal the loop's, at one compilation for every batch size."""

import pytest
import torch
from comparison import assert_exact, median_norm
from torch import nn
from torch.nn.utils import parametrizations

import clipcompiler as cc
from architectures import others, recurrent, transformers

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
    "RNN": (lambda: recurrent.Recurrent(nn.RNN(6, 5, batch_first=True)), rows(4, 6), by_class),
    "RNN, relu, time first": (
        lambda: recurrent.Recurrent(nn.RNN(6, 5, nonlinearity="relu"), time_first=True), rows(4, 6), by_class),
    "LSTM": (lambda: recurrent.Recurrent(nn.LSTM(6, 5, batch_first=True)), rows(4, 6), by_class),
    "LSTM, two layers and directions, projected": (
        lambda: recurrent.Recurrent(nn.LSTM(6, 5, 2, bidirectional=True, proj_size=3, batch_first=True)),
        rows(4, 6), by_class),
    "LSTM over tokens": (
        lambda: recurrent.Recurrent(nn.LSTM(6, 5, batch_first=True), embedded=True), tokens, by_class),
    "GRU": (lambda: recurrent.Recurrent(nn.GRU(6, 5, batch_first=True)), rows(4, 6), by_class),
    "GRU, two layers, trained first states": (
        lambda: recurrent.Recurrent(nn.GRU(6, 5, 2, batch_first=True), first_states=True), rows(4, 6), by_class),
    "LSTM cells": (lambda: recurrent.Cells(nn.LSTMCell(6, 5)), rows(4, 6), by_class),
    "GRU cells": (lambda: recurrent.Cells(nn.GRUCell(6, 5)), rows(4, 6), by_class),
    "a cell by hand": (recurrent.Minimal, rows(4, 6), by_class),
    "bag of words, sum": (lambda: recurrent.Bag(mode="sum"), tokens, by_class),
    "bag of words, mean": (lambda: recurrent.Bag(mode="mean", padding_idx=0), tokens, by_class),
    "bag of words, max": (lambda: recurrent.Bag(mode="max"), tokens, by_class),
    "bag of words, weighted": (lambda: recurrent.Bag(mode="sum", padding_idx=0, weighted=True), tokens, by_class),
    "unrolled reconstruction": (recurrent.Reconstruction, rows(6, 6), by_class),
    "hypernetwork": (others.Hypernetwork, rows(5), by_class),
    "Siamese": (others.Siamese, rows(8), by_class),
    "LoRA": (others.LoRA, rows(6), by_class),
    "LoRA, merged": (lambda: others.LoRA(merged=True), rows(6), by_class),
    "checkpointed": (others.Checkpointed, rows(6), by_class),
    "weight norm": (lambda: others.reparametrised(parametrizations.weight_norm), rows(6), by_class),
    "spectral norm in eval mode": (others.spectral_in_eval, rows(6), by_class),
    "orthogonal": (lambda: others.reparametrised(parametrizations.orthogonal), rows(6), by_class),
}  # fmt: skip


def in_double(model):
    """The same in double precision; ``double()`` would drop imaginary parts."""
    return model._apply(
        lambda t: (
            t.to(torch.complex128 if t.is_complex() else torch.float64)
            if t.is_floating_point() or t.is_complex()
            else t
        )
    )


@pytest.mark.parametrize("name", CASES)
def test_an_architecture_is_exact(name):
    """Norms and clipped sums within 1e-10 of one backward pass an example, in float64."""
    make, inputs, loss_fn = CASES[name]
    torch.manual_seed(0)
    model = in_double(make())
    step = cc.compile(model, loss_fn)
    for size in SIZES:
        classes = 2 if name == "U-Net" else 4
        batch = (inputs(size), torch.randint(0, classes, (size,)))
        median = median_norm(model, loss_fn, batch)
        step.max_grad_norm = median if size > 1 else median / 2
        assert_exact(step, batch)
    assert step.compilations == 1
