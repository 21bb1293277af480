"""docs/soundness.md holds what the registry and the real messages give, and every pattern that it promises."""

import pytest
from apart import APART
from refusing import MIXING
from table import PAGE, between, code_text, exact_table

#: Words of which each must be in the name of a pattern.
REFUSED = """
batch norm; softmax over the batch; cumsum over; sort over; topk over; roll of; flip of; Fourier; max over; norm over;
standard deviation over; x − x.mean(0); x + x[0]; permuted batch; gathered batch; scattered batch; shifted batch;
x @ xᵀ; merged into features; nn.RNN; nn.LSTM; nn.MultiheadAttention; layer norm over (N, D); running mean; InfoNCE;
valid tokens; class weights
"""
EXACT = """
flattened tokens; time-major; window partition; expanded class token; last token by arange; relative position;
tied heads; reused module; in-place ops; batch norm in eval mode; unused statistics; frozen
"""


def words(text):
    """What stands between semicolons."""
    return [" ".join(part.split()) for part in text.split(";")]


@pytest.mark.parametrize(("names", "promised"), [(MIXING, REFUSED), (APART, EXACT)], ids=["refused", "exact"])
def test_every_promised_pattern_is_there_by_name(names, promised):
    missing = [word for word in words(promised) if not any(word in name for name in names)]
    assert not missing
    assert not set(MIXING) & set(APART)


def test_there_are_enough_patterns():
    assert len(MIXING) >= 35
    assert len(APART) >= 40


def test_the_code_of_a_pattern_is_its_own_text():
    def doubled(h):
        """Not shown."""
        y = h + h
        return y

    assert code_text(doubled) == "y = h + h; return y"
    assert code_text(lambda h: h + 1) == "h + 1"


def rows_of(mark):
    """The lines of a table of the page."""
    return between(PAGE.read_text(encoding="utf-8"), mark).strip().splitlines()


def test_the_page_is_what_the_registry_gives():
    """Run tests/soundness/write_soundness.py after a change that is meant.

    What is said of a refused pattern is compared where it is refused, in test_mixing.py.
    """
    assert rows_of("exact") == exact_table().splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in rows_of("refused")[2:]] == list(MIXING)
