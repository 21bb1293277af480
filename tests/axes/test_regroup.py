"""Views: where the examples lie after dims are merged and split."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipcompiler.axes.layout import EXAMPLES, Axis, plain, show, size_of
from clipcompiler.axes.regroup import regroup
from clipcompiler.trace.traced import N


def layout(*dims):
    """``layout("n", 3)`` → [n, 3]; ``layout((5, "n"))`` → [5·n]"""
    made = []
    for dim in dims:
        parts = dim if isinstance(dim, tuple) else (dim,)
        made.append(tuple(EXAMPLES if p == "n" else Axis(p) for p in parts if p != 1))
    return tuple(made)


@pytest.mark.parametrize(
    ("before", "shape", "after"),
    [
        (layout("n", 12), (N, 3, 4), "[n, 3, 4]"),
        (layout("n", 3, 4), (3 * N, 4), "[n·3, 4]"),
        (layout(5, "n", 4), (5 * N, 4), "[5·n, 4]"),
        (layout((5, "n"), 4), (5, N, 4), "[5, n, 4]"),
        (layout((5, "n"), 4), (5, N, 2, 2), "[5, n, 2, 2]"),
        (layout("n", 6), (2 * N, 3), "[n·2, 3]"),
        (layout(("n", 6)), (N, 2, 3), "[n, 2, 3]"),
        (layout(("n", 6)), (3 * N, 2), "[n·3, 2]"),
        (layout("n", 1, 4), (N, 4), "[n, 4]"),
        (layout(7, 4), (4, 7), "[4, 7]"),
    ],
)
def test_axes_follow_a_view(before, shape, after):
    """The same axes in the same order, under other dims."""
    assert show(regroup(before, shape)) == after


@pytest.mark.parametrize(
    ("before", "shape"),
    [
        (layout("n", 12), (12, N)),
        (layout(5, "n", 4), (N, 5, 4)),
        (layout((5, "n"), 4), (N, 20)),
        (layout("n", 12), (3, 4 * N)),
        (layout(("n", 6)), (6, N)),
    ],
)
def test_a_view_that_cuts_through_the_examples_is_no_layout(before, shape):
    """Elements of several examples would stand in one row."""
    assert regroup(before, shape) is None


@given(st.lists(st.sampled_from([1, 2, 3, 4, 6]), max_size=3), st.lists(st.sampled_from([1, 2, 3, 4, 6]), max_size=3))
def test_merging_everything_and_splitting_it_again_gives_the_layout_back(front, back):
    """[a, n, b] → one dim → [a, n, b], for any extents around the examples."""
    sizes = (*front, N, *back)
    before = tuple(layout("n")[0] if size is N else plain((size,))[0] for size in sizes)
    total = N * math.prod(front) * math.prod(back)
    merged = regroup(before, (total,))
    assert size_of(merged[0]) == total
    assert regroup(merged, sizes) == before
