"""Numbers as they are printed."""

import pytest

from polyprompt.report.words import printed


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (1.25, ".1f", "1.2"),
        (-1.5, ".1f", "\N{MINUS SIGN}1.5"),
        (-0.001, ".1f", "0.0"),
        (-0.001, "+.1f", "+0.0"),
        (0.5, "+.2f", "+0.50"),
        (1234567, ",", "1,234,567"),
        (None, ".1f", "\N{EN DASH}"),
    ],
)
def test_signs_dashes_and_no_minus_zero(value, form, text):
    assert printed(value, form) == text
