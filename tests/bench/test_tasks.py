"""Figures of captions and of sentences against a slow count and scipy."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from toy_encoders import toy_encoder

from polyprompt.bench.tasks import TASKS, picture_vectors
from polyprompt.data.read import read_pairs
from polyprompt.errors import BadPicturesError
from polyprompt.runs.cells import Cell

COLOURS = ("red", "green", "blue", "white", "orange")
SENTENCES = (("a cat", "a dog", 4.0), ("a cat", "two cats", 2.5), ("snow", "a red bus", 1.0), ("ice", "snow", 3.0))


@pytest.fixture
def captioned(tmp_path):
    """Five pictures with one or two captions."""
    lines = ["file,caption,split"]
    for number, name in enumerate(COLOURS):
        Image.new("RGB", (16, 16), name).save(tmp_path / f"{name}.png")
        lines += [f"{name}.png,{text} {name},test" for text in ("a", "very")[: 1 + number % 2]]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    return str(tmp_path)


def cell(task, data):
    return Cell(protocol="toy", task=task, method="as it is", encoder="toy", data=data, settings={"split": "test"})


def test_recall_is_a_slow_counts(captioned, tmp_path):
    encoder = toy_encoder("clip")
    found = TASKS["retrieve"](cell("retrieve", captioned), encoder, tmp_path)
    pairs = read_pairs(captioned, "test")
    images = torch.cat([encoder.encode_image([picture.open()]) for picture in pairs.images])
    scores = encoder.encode_text(pairs.captions) @ images.T
    ranks = [int((row > row[own]).sum()) for row, own in zip(scores, pairs.image_of, strict=True)]
    assert (found["images"], found["captions"]) == (5, 7)
    for k in (1, 5):
        share = sum(rank < k for rank in ranks) / len(ranks)
        assert found["retrieval"]["text_to_image"][f"recall@{k}"] == pytest.approx(share)
    best = [  # of a picture's captions the one that comes first
        min(int((column > column[i]).sum()) for i, own in enumerate(pairs.image_of) if own == image)
        for image, column in enumerate(scores.T)
    ]
    share = sum(rank == 0 for rank in best) / len(best)
    assert found["retrieval"]["image_to_text"]["recall@1"] == pytest.approx(share)


def test_pictures_that_are_missing_may_be_left_out(captioned, tmp_path):
    with open(f"{captioned}/captions.csv", "a") as file:
        file.write("\ngone.png,a thing,test")
    one = cell("retrieve", captioned)
    with pytest.raises(BadPicturesError, match=r"line 9: no picture 'gone.png'"):
        TASKS["retrieve"](one, toy_encoder("clip"), tmp_path)
    one = replace(one, settings={"split": "test", "max_bad": 1})
    assert TASKS["retrieve"](one, toy_encoder("clip"), tmp_path)["images"] == 5


def test_sentences_are_compared_as_scipy_does(tmp_path):
    table = tmp_path / "pairs.tsv"
    lines = ["sentence1\tsentence2\tscore\tsplit", *(f"{a}\t{b}\t{score}\ttest" for a, b, score in SENTENCES)]
    table.write_text("\n".join(lines) + "\n")
    encoder = toy_encoder("clip")
    found = TASKS["compare"](cell("compare", str(table)), encoder, tmp_path)
    cosines = [float(encoder.encode_text(a)[0] @ encoder.encode_text(b)[0]) for a, b, _ in SENTENCES]
    expected = spearmanr(cosines, [score for *_, score in SENTENCES]).statistic
    assert (found["pairs"], found["spearman"]) == (4, pytest.approx(expected))


def test_kept_pictures_have_the_rows_that_the_encoder_gives(captioned):
    encoder = toy_encoder("clip")
    pictures = read_pairs(captioned).images
    expected = torch.cat([encoder.encode_image([picture.open()]) for picture in pictures])
    for _ in range(2):  # computed, and then kept
        torch.testing.assert_close(picture_vectors(encoder, pictures), expected, rtol=1e-4, atol=1e-5)
