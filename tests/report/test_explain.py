import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from polyprompt.errors import ImageError
from polyprompt.report.explain import contributions, explain, overlay, seen_by, shares, warning_about

PARTS = st.lists(st.floats(-1, 1), min_size=1, max_size=8)


def test_contributions_are_the_dot_products_of_segments():
    draw = torch.Generator().manual_seed(0)
    texts, images = torch.randn(3, 8, generator=draw), torch.randn(2, 8, generator=draw)
    for t in range(3):
        for i in range(2):
            found = contributions(texts[t], images[i], 4)
            slow = [sum(float(texts[t, k * 2 + e]) * float(images[i, k * 2 + e]) for e in range(2)) for k in range(4)]
            assert found == pytest.approx(slow)
            assert sum(found) == pytest.approx(float(texts[t] @ images[i]), abs=1e-6)


@given(PARTS)
def test_shares_add_up_to_one_and_keep_their_signs_or_are_not_given(parts):
    found = shares(parts)
    if found[0] is None:
        assert sum(parts) <= 0.2 * sum(map(abs, parts))
        assert set(found) == {None}
        assert warning_about(parts)
    else:
        assert sum(found) == pytest.approx(1)
        assert all(share * part >= 0 for share, part in zip(found, parts, strict=True))
        assert max(map(abs, found)) <= 5  # no share is some huge number
        assert bool(warning_about(parts)) == (min(parts) < 0)


def test_shares_of_a_worked_example():
    assert shares([0.3, 0.1, -0.1, 0.2]) == pytest.approx([0.6, 0.2, -0.2, 0.4])
    assert shares([0.3, -0.29]) == [None, None]
    assert shares([-0.3, 0.1]) == [None, None]


def test_the_picture_seen_is_the_middle_that_the_tower_gets(toy_model):
    # 32 high, crop 0.75, size 24: resized to 32, and the middle 24 x 24 cut out.
    picture = Image.new("RGB", (64, 32), "blue")
    picture.paste("red", (20, 4, 44, 28))
    seen = np.asarray(seen_by(toy_model, picture))
    assert seen.shape == (24, 24, 3)
    assert (np.abs(seen.astype(int) - [255, 0, 0]) <= 1).all()


def test_light_falls_where_attention_is():
    picture = Image.new("RGB", (40, 40), (90, 160, 90))
    lit = np.asarray(overlay(picture, np.array([[0.0, 0.0], [0.0, 1.0]])).convert("L")).astype(int)
    assert lit[35, 35] > 2 * lit[4, 4]
    assert lit[35, 35] == lit.max()


@pytest.mark.parametrize("weight", [1e-4, 0.25])
def test_an_even_map_gets_no_contrast(weight):
    picture = Image.new("RGB", (30, 20), (90, 160, 90))
    lit = np.asarray(overlay(picture, np.full((5, 3), weight)))
    assert (lit == lit[0, 0]).all()


def test_explain_draws_a_tile_for_the_picture_and_each_prompt(toy_model):
    picture = Image.new("RGB", (64, 32), "blue")
    drawn = explain(toy_model, picture, "a blue field, $x^2$\n<b>and</b> 日本")
    width, height = drawn.size
    assert width > 3 * 300
    assert height > 2 * 300  # four tiles, in two rows
    # The photograph itself stands in the first tile.
    pixels = np.asarray(drawn).reshape(-1, 3)
    assert (np.abs(pixels.astype(int) - [0, 0, 255]).max(1) <= 2).sum() >= 290 * 290


def test_explain_differs_by_the_text(toy_model):
    picture = Image.new("RGB", (64, 32), "blue")
    assert explain(toy_model, picture, "one").tobytes() == explain(toy_model, picture, "one").tobytes()
    assert explain(toy_model, picture, "one").tobytes() != explain(toy_model, picture, "two").tobytes()


def test_a_missing_picture_is_named(toy_model, tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        explain(toy_model, tmp_path / "gone.png", "a dog")
