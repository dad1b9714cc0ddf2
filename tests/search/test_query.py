"""What is found, against a plain list: texts, pictures, weights, what is not wanted, what is alike."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from toy_search import paths, picture, plain

from polyprompt.errors import ConfigError
from polyprompt.media.pictures import open_picture
from polyprompt.search.collection import Collection
from polyprompt.search.query import Query, as_object, ask, row_of_picture


def test_hits_are_those_of_a_plain_list(model, photos, filled):
    found = Collection(filled)
    hits = ask(found, Query(wanted=model.texts(["a dog"])), 5)
    expected = plain(model, photos, ["a dog"], 5)
    assert paths(hits) == [path for path, _ in expected]
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], abs=2e-3)  # fp16
    assert [sum(hit.parts) for hit in hits] == pytest.approx([hit.score for hit in hits], abs=1e-5)
    facts = as_object(found, hits[0])
    assert (facts["width"], facts["height"], facts["kind"], facts["ending"]) == (8, 8, "picture", ".png")
    assert list(facts["aspects"]) == ["colour", "form"]
    json.dumps(facts)
    assert open_picture(found.thumbnail(hits[0].row)).size == (8, 8)
    assert found.place(hits[0].files[0]).is_file()


def test_weights_scale_the_segments(model, filled):
    found = Collection(filled)
    text = model.texts(["a dog"])
    hits = ask(found, Query(wanted=text, weights=[0.0, 2.0]), 99)
    rows = found.vectors.take(np.arange(len(found)))
    slow = sorted((float(2 * (rows[i, 4:] @ text[0, 4:])), i) for i in range(len(found)))[::-1]
    assert [hit.row for hit in hits] == [row for _, row in slow]
    for weights in ([1.0], [1.0, 2.0, 3.0], [1.0, float("inf")]):
        with pytest.raises(ConfigError, match="aspect weights"):
            ask(found, Query(wanted=text, weights=weights), 3)


def test_pictures_texts_and_what_is_not_wanted(model, photos, filled):
    found = Collection(filled)
    own, place = row_of_picture(model, found, (photos / "a" / "0.png").read_bytes())
    assert paths(ask(found, Query(wanted=own[None]), 1)) == ["a/0.png"]
    assert "a/0.png" not in paths(ask(found, Query(wanted=own[None], without=frozenset({place})), 99))
    other, nowhere = row_of_picture(model, found, picture(photos.parent / "x.png", 0, compress_level=0).read_bytes())
    assert nowhere is None
    assert float(other @ own) > 0.999
    text, away = model.texts(["a dog"]), model.texts(["a cat"])
    query = Query(wanted=torch.cat([text, own[None]]), unwanted=away)
    vector = F.normalize((text[0] + own) / 2 - 0.5 * away[0], dim=-1)
    rows = found.vectors.take(np.arange(len(found)))
    assert [hit.row for hit in ask(found, query, 99)] == (rows @ vector).argsort(descending=True).tolist()


def test_equal_content_is_one_hit_and_near_ones_fold(model, photos, fill, filled):
    shutil.copy(photos / "a" / "0.png", photos / "c" / "copy.png")
    near = Image.open(photos / "a" / "0.png").convert("RGB")
    near.putpixel((0, 0), (0, 0, 0))
    near.save(photos / "c" / "near.png")
    assert "1 copied" in str(done := fill())
    assert done.counts["embedded"] == 1
    found = Collection(filled)
    own, _ = row_of_picture(model, found, (photos / "a" / "0.png").read_bytes())
    first, second = ask(found, Query(wanted=own[None]), 2)
    assert (paths([first]), paths([second])) == (["a/0.png", "c/copy.png"], ["c/near.png"])
    hits = ask(found, Query(wanted=own[None], fold=second.score - 0.001), 12)
    assert hits[0].near == (second.row,)
    assert paths(hits)[:2] == ["a/0.png", "c/copy.png"]
