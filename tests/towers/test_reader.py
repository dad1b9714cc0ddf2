"""Texts between their start and end tokens."""

import pytest
from toy_encoders import toy_encoder

from polyprompt.errors import DataError


def test_texts_stand_between_start_and_end_and_are_filled_up():
    text = toy_encoder("clip").text  # 60 tokens long; start 1, end 2, padding 0
    assert (text.max_tokens, tuple(text.front)) == (58, (1,))
    rows = text.framed([text.words("ab"), [5]])
    assert rows == [[1, 102, 103, 2], [1, 5, 2]]
    assert text.padded(rows[1], 6) == [1, 5, 2, 0, 0, 0]
    assert toy_encoder("siglip").text.max_tokens == 59


def test_what_is_too_long_or_nothing_is_refused():
    text = toy_encoder("clip").text
    assert len(text.framed([[5] * 58])[0]) == 60
    for row in ([], [5] * 59):
        with pytest.raises(DataError, match=rf"text 1 has {len(row)} tokens; this text tower reads 1 to 58"):
            text.framed([[5], row])
    slots = [-1, -2, *[5] * 57]
    with pytest.raises(DataError, match="has 59 tokens"):
        text.framed([slots])
    assert len(text.framed([slots], placed=False)[0]) == 61  # slots that enter later have no places
