"""What is exact is exact by every strategy, in every memory mode, in chunks of any size."""

from functools import partial

import pytest
from apart import APART
from architectures import test_architectures
from comparison import mostly_slow
from test_exact import test_what_only_looks_like_mixing_is_exact as check_pattern

import clipcompiler as cc

#: Options of ``compile``, by what they are called.
WAYS = {
    "book-keeping": {"strategy": "bookkeeping"},
    "reweight": {"strategy": "reweight"},
    "lean": {"memory": "lean"},
    "one at a time": {"chunk_size": 1},
    "three at a time": {"chunk_size": 3},
    "two at a time, reweight": {"chunk_size": 2, "strategy": "reweight"},
    "two at a time, book-keeping": {"chunk_size": 2, "strategy": "bookkeeping"},
}
CASES = [(way, f"pattern: {name}") for name in APART for way in WAYS]
CASES += [(way, f"architecture: {name}") for name in test_architectures.CASES for way in WAYS]


@pytest.mark.parametrize(("way", "case"), mostly_slow(CASES, every=53, several=True))
def test_a_model_is_exact_in_every_way(way, case, monkeypatch):
    """Or refused, by the one strategy that runs a backward pass twice, where a backward pass cannot be run twice."""
    kind, _, name = case.partition(": ")
    monkeypatch.setattr(cc, "compile", partial(cc.compile, **WAYS[way]))
    check = check_pattern if kind == "pattern" else test_architectures.test_an_architecture_is_exact
    try:
        check(name)
    except ValueError as error:
        assert "reweight" in way
        assert str(error).startswith("strategy='reweight'")
