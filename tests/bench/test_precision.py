"""The precision of a grid is decided once."""

import json

import pytest

from polyprompt.bench.precision import KEPT, decided
from polyprompt.errors import FileError
from polyprompt.nn.precision import choose_precision


def test_what_is_measured_is_kept_if_it_is_asked_for(tmp_path):
    measured = choose_precision().precision
    assert decided(tmp_path / "grid", keep=False) == measured
    assert not (tmp_path / "grid").exists()
    assert decided(tmp_path / "grid", keep=True) == measured
    assert [path.name for path in (tmp_path / "grid").iterdir()] == [KEPT]
    assert json.loads((tmp_path / "grid" / KEPT).read_text()) == {"precision": measured}


@pytest.mark.parametrize("kept", ["fp32", "bf16"])
@pytest.mark.parametrize("keep", [False, True])
def test_what_is_kept_counts_whatever_this_machine_likes(kept, keep, tmp_path):
    (tmp_path / KEPT).write_text(json.dumps({"precision": kept}))
    assert decided(tmp_path, keep=keep) == kept


@pytest.mark.parametrize("content", ['{"precision": "fp8"}', "[]", '{"precision": "fp32", "more": 1}', "{"])
def test_what_names_no_precision_is_damage(content, tmp_path):
    (tmp_path / KEPT).write_text(content)
    with pytest.raises(FileError, match=rf"{KEPT}: damaged, it names no precision\. Remove it"):
        decided(tmp_path, keep=True)
