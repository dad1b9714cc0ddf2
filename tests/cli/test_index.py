"""index, search and check from end to end."""

import json

import numpy as np
import pytest
from safetensors.torch import save_file

import polyprompt as pp
from polyprompt.media.pictures import open_picture


@pytest.fixture
def collection(clip, photos, tmp_path, polyprompt):
    """The pictures, as an encoder of the zoo embeds them."""
    (photos / "bad.png").write_bytes(b"none")
    code, out, err = polyprompt("index", clip, photos, "--out", tmp_path / "collection")
    assert code == 0, err
    assert "24 new; 24 embedded, 1 unreadable" in out
    return tmp_path / "collection"


def test_index_search_and_check(collection, clip, photos, tmp_path, polyprompt):
    words = "search", collection, "a red square", "--top", 3
    code, out, err = polyprompt(*words, "--json", "--where", "name < '2'", "--grid", tmp_path / "grid.png")
    assert code == 0, err
    hits = [json.loads(line) for line in out.splitlines()]
    encoder = pp.load_encoder(str(clip))
    files = sorted(file for file in photos.glob("*.png") if file.name < "2")
    scores = (encoder.encode_image(files) @ encoder.encode_text(["a red square"])[0]).tolist()
    order = np.argsort(scores)[::-1]
    assert [hit["file"] for hit in hits] == [str(files[i]) for i in order[:3]]
    assert [hit["score"] for hit in hits] == pytest.approx([scores[i] for i in order[:3]], abs=1e-3)
    assert open_picture(tmp_path / "grid.png").width > 100
    code, out, err = polyprompt("search", collection, "--like", photos / "1.png", "--not", "blue", "--exact")
    assert code == 0, err
    assert "/1.png\n" not in out
    assert len(out.splitlines()) == 10
    code, out, _ = polyprompt("check", collection)
    assert code == 0
    assert "24 files, 24 rows; 0 gone; 1 unreadable" in out
    assert "bad.png: not a picture" in out


def test_what_cannot_be_asked(collection, clip, photos, tmp_path, polyprompt):
    for words, said in {
        ("search", collection): "there is nothing to look for",
        ("search", clip, "red"): "is no collection. For a run say which pictures: --images FOLDER",
        ("search", collection, "red", "--images", photos): "leave --images out",
        ("search", collection, "red", "--aspect-weights", "1,2"): "this collection's rows have no parts",
        ("search", collection, "red", "--where", "yeer > 1"): "Did you mean 'year'?",
        ("search", collection, "--like", tmp_path / "none.png"): "none.png: ",
        ("check", photos): "no collection here",
        ("index", clip, photos / "none", "--out", tmp_path / "c"): "none: no such folder",
        ("index", clip, photos, "--out", photos): "holds other things than a collection",
    }.items():
        code, _, err = polyprompt(*words)
        assert (code, err.count("Traceback")) == (2, 0), words
        assert said in err.splitlines()[-1], err


def test_a_model_that_has_changed_since(collection, maple, clip, photos, polyprompt):
    good = clip.read_bytes()
    try:
        save_file({name: 1.01 * tensor for name, tensor in maple.state.items()}, clip)
        code, _, err = polyprompt("search", collection, "red")
        assert (code, "is another model, or has changed" in err) == (2, True)
    finally:
        clip.write_bytes(good)


def test_a_runs_pictures_are_kept_and_a_damaged_cache_is_made_again(clip, photos, tmp_path, polyprompt):
    words = "search", clip, "a red square", "--images", photos
    first = polyprompt(*words)
    assert first[0] == 0, first
    (piece,) = (tmp_path / "cache").glob("collections/*/rows/*.safetensors")
    assert polyprompt(*words)[1] == first[1]
    piece.write_bytes(piece.read_bytes()[:-9])
    code, out, err = polyprompt(*words)
    assert (code, out) == (0, first[1])
    assert "set aside as" in err
