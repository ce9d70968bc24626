"""Durations in buckets: a histogram and quantiles from the same integers."""

import math
from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.hub.latency import EDGES_NS, Latency

_MILLISECOND_NS = 1_000_000


def test_edges_grow_by_about_twelve_percent_and_hold_one_two_and_five() -> None:
    assert all(1.1 < b / a < 1.15 for a, b in pairwise(EDGES_NS))
    for decade in range(3, 10):
        assert {10**decade, 2 * 10**decade, 5 * 10**decade} <= set(EDGES_NS)


@given(
    st.lists(st.tuples(st.integers(1000, 10**11), st.integers(1, 1000)), min_size=1),
    st.floats(0.001, 1.0),
)
def test_a_quantile_is_in_the_bucket_of_the_true_one(
    batches: list[tuple[int, int]], fraction: float
) -> None:
    latency = Latency()
    for elapsed_ns, messages in batches:
        latency.observe(elapsed_ns, messages)
    every = sorted(ns for ns, messages in batches for _ in range(messages))
    true_ns = every[math.ceil(fraction * len(every)) - 1]
    bucket = bisect_left(EDGES_NS, true_ns)
    upper = EDGES_NS[min(bucket, len(EDGES_NS) - 1)]
    (found,) = latency.quantiles_seconds([fraction])
    lower = EDGES_NS[bucket - 1] if bucket else 0
    assert lower * 0.999999 <= found * 1e9 <= upper * 1.000001


def test_an_edge_belongs_to_the_bucket_below() -> None:
    latency = Latency()
    latency.observe(_MILLISECOND_NS, 3)
    latency.observe(_MILLISECOND_NS + 1, 4)
    assert latency.up_to_ns([500_000, _MILLISECOND_NS, 2 * _MILLISECOND_NS]) == [0, 3, 7]
    assert (latency.count, latency.sum_ns) == (7, 7 * _MILLISECOND_NS + 4)


def test_quantiles_forget_after_two_windows_and_the_histogram_does_not() -> None:
    latency = Latency()
    latency.observe(_MILLISECOND_NS, 10)
    latency.rotate()
    assert latency.quantiles_seconds([1.0]) == [pytest.approx(0.001)]
    latency.rotate()
    assert math.isnan(latency.quantiles_seconds([0.5])[0])
    assert latency.up_to_ns([_MILLISECOND_NS]) == [10]
    assert latency.count == 10


def test_a_clock_that_is_behind_does_not_take_from_the_sum() -> None:
    latency = Latency()
    latency.observe(-5, 2)
    assert (latency.sum_ns, latency.up_to_ns([1000])) == (0, [2])


def test_what_takes_longer_than_all_edges_is_counted() -> None:
    latency = Latency()
    latency.observe(10**12)
    assert latency.count == 1
    assert latency.up_to_ns([EDGES_NS[-1]]) == [0]
    assert latency.quantiles_seconds([0.99]) == [EDGES_NS[-1] / 1e9]


def test_several_together_are_as_one() -> None:
    one, other, whole = Latency(), Latency(), Latency()
    for part, elapsed_ns in ((one, 1500), (other, 2_000_000), (one, 7_000_000)):
        part.observe(elapsed_ns, 3)
        whole.observe(elapsed_ns, 3)
        part.rotate()
        whole.rotate()
    together = Latency.together([one, other])
    assert together.up_to_ns(EDGES_NS) == whole.up_to_ns(EDGES_NS)
    assert (together.count, together.sum_ns) == (whole.count, whole.sum_ns)
    assert (one.count, other.count) == (6, 3)
