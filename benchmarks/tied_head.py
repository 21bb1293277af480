"""The peak memory of a step of a language model whose head is its embedding: ``python -m benchmarks.tied_head``.

Each step runs in a process of its own; what it holds at its peak is counted beyond what the process held before the
first step, the model included.
"""

import argparse
import json
import resource
import subprocess
import sys

import torch
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc


class TiedModel(nn.Module):
    """Tokens embedded, one layer, and the head that is the embedding."""

    def __init__(self, vocabulary, width):
        super().__init__()
        self.tokens, self.layer = nn.Embedding(vocabulary, width), nn.Linear(width, width)

    def forward(self, tokens):
        """[N, T] → [N, T, V]"""
        h = torch.tanh(self.layer(self.tokens(tokens)))
        return F.linear(h, self.tokens.weight)


def loss_of_tokens(output, target):
    """Cross-entropy, averaged over the tokens of each example: [N]."""
    return F.cross_entropy(output.transpose(1, 2), target, reduction="none").mean(1)


def peak():
    """The peak of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(method, options):
    """The peak of two steps in this process, in MiB beyond what it held before."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = TiedModel(options.vocabulary, options.width)
    tokens = torch.randint(options.vocabulary, (options.batch, options.length))
    target = tokens.roll(-1, 1)
    small = TiedModel(options.vocabulary, 2)  # a first step of another model: the compiler itself is not counted
    cc.compile(small, loss_of_tokens)(tokens[:2, :4], target[:2, :4])
    before = peak()
    step = cc.compile(model, loss_of_tokens)
    for _ in range(2):
        model.zero_grad()
        if method == "ordinary":
            loss_of_tokens(model(tokens), target).sum().backward()
        else:
            step(tokens, target)
    return peak() - before


def main():
    """Prints both peaks and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--length", type=int, default=128, help="tokens an example")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--method", choices=("ordinary", "ours"), help="measure one, in this process")
    options = parser.parse_args()
    if options.method:
        print(json.dumps(measured(options.method, options)))
        return
    found = {}
    for method in ("ordinary", "ours"):
        command = [sys.executable, "-m", "benchmarks.tied_head", "--method", method]
        for name in ("vocabulary", "width", "length", "batch"):
            command += [f"--{name}", str(getattr(options, name))]
        found[method] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{method:>9}: {found[method]:8.0f} MiB beyond the start")
    print(f"    ratio: {found['ours'] / found['ordinary']:8.2f}")


if __name__ == "__main__":
    main()
