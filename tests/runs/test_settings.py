"""Settings of runs check themselves."""

import pytest

from polyprompt.errors import ConfigError
from polyprompt.runs.settings import AdaptSettings


@pytest.mark.parametrize("budget", ["5", "five minutes", "-5m", "0s", "5 m"])
def test_times_that_cannot_be(budget, photos):
    from polyprompt.settings import checked

    plain = {"data": str(photos), "encoder": "toy", "method": "maple"}
    assert checked(AdaptSettings, plain | {"budget": "1.5m"}).budget == 90
    with pytest.raises(ConfigError, match=r"budget is .*; it should be (a time, as in 90s, 5m or 1h|greater than 0)"):
        checked(AdaptSettings, plain | {"budget": budget})
