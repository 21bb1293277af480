"""Where the analysis finds the examples: in the dims that a rule aligns; a dim that the op mixes is refused."""

from __future__ import annotations

import re

import pytest
from all_samples import RULES, samples_of
from mixed_dims import mixings
from one_op import expected_layout, layouts_found
from placing import allowed

import clipcompiler as cc

#: Rules of ops that mix no dim in any of their samples, or only dims whose extents the op fixes.
KEEP_APART = {
    "copy", "overwrite", "elementwise", "add", "sub", "mul", "div", "neg", "prelu", "permute", "transpose",
    "t", "movedim", "unsqueeze", "squeeze", "stack", "broadcast_to", "broadcast_tensors", "draw", "addr", "affine_grid",
    "bilinear", "binary_cross_entropy", "channel_shuffle", "col2im", "cross", "glu", "hinge_embedding", "kl_div",
    "masked_fill", "normal", "one_hot", "poisson_nll", "rrelu_with_noise", "special", "tile", "vander", "joined",
    "part", "parts", "from_parts",
}  # fmt: skip

ALLOWED = {name: [p for sample in samples_of(rule) for p in allowed(sample)] for name, rule in RULES.items()}
MIXED = {name: [m for sample in samples_of(rule) for m in mixings(sample)] for name, rule in RULES.items()}


@pytest.mark.parametrize("name", [name for name, placements in ALLOWED.items() if placements])
def test_the_examples_are_found_where_they_lie(name):
    for placed in ALLOWED[name]:
        found = [layout for layout in layouts_found(placed.sample) if layout is not None]
        assert expected_layout(placed.out) in found, f"{placed}: {found}"


def test_rules_without_a_mixed_dim_to_try_are_known():
    assert {name for name, mixed in MIXED.items() if not mixed} == KEEP_APART


@pytest.mark.parametrize("name", [name for name, mixed in MIXED.items() if mixed])
def test_a_mixed_dim_is_refused(name):
    for sample in MIXED[name]:
        with pytest.raises(cc.ExamplesMixed, match=re.escape(str(sample.op))):
            found = layouts_found(sample)
            pytest.fail(f"{sample} is let through as {found}")
