"""Threads make things ahead: in order, never far ahead, and an error comes where its item's turn comes."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyprompt.media.ahead import LISTS, made_ahead, made_together


@given(st.lists(st.integers(), max_size=30), st.integers(1, 9))
def test_all_of_it_in_order(items, together):
    parts = list(made_ahead(lambda item: 2 * item, items, together))
    assert [item for part in parts for item in part] == [2 * item for item in items]
    assert all(len(part) == together for part in parts[:-1])


@given(st.lists(st.integers(), max_size=30))
def test_all_of_it_at_once(items):
    assert made_together(lambda item: 2 * item, items) == [2 * item for item in items]


def test_what_is_made_at_once_is_made_side_by_side():
    both = threading.Barrier(2, timeout=10)
    assert sorted(made_together(lambda _: both.wait(), [0, 1])) == [0, 1]


def test_no_more_than_two_lists_are_made_ahead():
    started, lock = [], threading.Lock()

    def make(item):
        with lock:
            started.append(item)
        return item

    parts = made_ahead(make, range(100), 5)
    assert next(parts) == [0, 1, 2, 3, 4]
    time.sleep(0.05)
    assert max(started) < 5 * LISTS
    parts.close()
    assert len(started) < 20


def test_an_error_waits_for_its_turn():
    def make(item):
        if item == 7:
            raise ValueError(item)
        return item

    parts = made_ahead(make, range(20), 4)
    assert next(parts) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="7"):
        next(parts)
