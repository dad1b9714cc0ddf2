"""Hits are those of the collection asked directly; damage that a server meets harms nobody."""

import os
import shutil

import numpy as np
import pytest
import torch
from asking import close, of_collection, search
from PIL import Image
from toy_server import uri

from polyprompt.media.pictures import open_picture
from polyprompt.nn.segments import segment_scores
from polyprompt.search.collection import Collection
from polyprompt.serve import pictures
from polyprompt.serve.search import content


def test_search_by_text_picture_and_both_with_what_is_not_wanted(client, service, photos):
    model, vectors = service.models["toy"].embedder, service.collections["photos"].collection.vectors
    images = vectors.take(np.arange(12))
    text, other = model.texts(["red", "blue"])
    pixels = model.preprocess(open_picture(photos / "green-1.png"))[None]
    like = model.images(pixels)[0]
    normal = torch.nn.functional.normalize
    for asked, query in (
        ({"text": "red"}, text),
        ({"text": "red", "not": ["blue"]}, normal(text - 0.5 * other, dim=0)),
        ({"text": "red", "like": [uri(photos / "green-1.png")]}, normal((text + like) / 2, dim=0)),
        ({"like_rows": [3]}, images[3]),
    ):
        hits = search(client, top=11, **asked)
        scores = images @ query
        close([hit["score"] for hit in hits], scores[[hit["row"] for hit in hits]])
        left_out = set(range(12)) - {hit["row"] for hit in hits}
        if "like" in asked or "like_rows" in asked:  # the query picture itself is not shown
            assert [vectors.find(vectors.key(row)) for row in left_out] == list(left_out)
            assert len(left_out) == 1
        else:
            assert left_out == {int(scores.argmin())}
        assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_weights_change_scores_and_filters_leave_out(client, service):
    model, vectors = service.models["toy"].embedder, service.collections["photos"].collection.vectors
    (text,) = model.texts(["red"])
    parts = segment_scores(text.view(1, 3, -1), vectors.take(np.arange(12)).view(12, 3, -1))[0]
    for hit in search(client, text="red", weights=[2, 0, 1], top=12):
        close(list(hit["aspects"].values()), parts[hit["row"]] * torch.tensor([2.0, 0, 1]))
        assert hit["score"] == pytest.approx(sum(hit["aspects"].values()), abs=1e-5)
    hits = search(client, text="red", where="name like 'blue%'")
    assert sorted(hit["name"] for hit in hits) == ["blue-10.png", "blue-2.png", "blue-6.png"]
    listed = search(client, where="name like 'blue%'", top=2)
    assert [(hit["score"], hit["name"][:4]) for hit in listed] == [(None, "blue")] * 2


def test_pictures_large_and_small_and_where_aspects_look(client, service, photos):
    row = search(client, where="name = 'red-0.png'")[0]["row"]
    for kind in ("thumbnails", "pictures"):
        answer = client.get(f"/collections/photos/{kind}/{row}")
        assert answer.headers["content-type"] == "image/jpeg"
        shown = np.asarray(open_picture(answer.content), np.float64)
        assert abs(shown - np.asarray(open_picture(photos / "red-0.png"), np.float64)).mean() < 25
    looks = client.get(f"/collections/photos/attention/{row}").json()
    assert [look["aspect"] for look in looks["data"]] == list(service.models["toy"].embedder.prompts)
    seen = pictures.opened(pictures.bytes_of(looks["data"][0]["image"], "x"), "x")
    assert seen.size == (64, 64)


def test_a_file_that_changed_since_is_not_shown(client, photos, tmp_path):
    """One that leads elsewhere now, say."""
    row = search(client, where="name = 'red-0.png'")[0]["row"]
    photo, aside = photos / "red-0.png", tmp_path / "red-0.png"
    Image.new("RGB", (32, 32), "black").save(tmp_path / "secret.png")
    photo.rename(aside)
    try:
        photo.symlink_to(tmp_path / "secret.png")
        shown = client.get(f"/collections/photos/pictures/{row}").content
    finally:
        aside.replace(photo)
    assert np.asarray(open_picture(shown)).mean() > 40  # the thumbnail


@pytest.mark.parametrize("instead", ["pipe", "device", "too large"])
def test_a_file_that_cannot_be_read_any_more_is_not_waited_for(instead, client, service, photos, tmp_path, monkeypatch):
    served = service.collections["photos"]
    row = search(client, where="name = 'red-0.png'")[0]["row"]
    photo, aside = photos / "red-0.png", tmp_path / "red-0.png"
    photo.rename(aside)
    try:
        if instead == "pipe":
            os.mkfifo(photo)
        elif instead == "device":
            photo.symlink_to("/dev/zero")
        else:
            shutil.copyfile(aside, photo)
            monkeypatch.setattr("polyprompt.media.pictures.MAX_BYTES", 10)
        shown = content(served, row)
    finally:
        aside.replace(photo)
    assert shown == served.collection.thumbnail(row)
    monkeypatch.undo()
    assert content(served, row) == photo.read_bytes()


def test_damage_that_a_server_meets_is_told_to_its_log_alone(service, tmp_path, capsys):
    collection = Collection(shutil.copytree(service.collections["photos"].collection.folder, tmp_path / "photos"))
    shutil.rmtree(tmp_path / "photos" / "thumbnails")
    client = of_collection(service, collection)
    answer = client.get("/collections/photos/thumbnails/0")
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
    assert str(collection.folder) not in answer.text
    assert f"{collection.folder / 'thumbnails'}: 1 missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cut", "asked"),
    [("index/*.sqlite", {"where": "size > 0"}), ("rows/*.safetensors", {}), ("rows/*.safetensors", {"like_rows": [0]})],
)
def test_a_file_that_is_cut_under_a_server_is_a_503(cut, asked, service, tmp_path, capsys):
    folder = shutil.copytree(service.collections["photos"].collection.folder, tmp_path / "photos")
    client = of_collection(service, Collection(folder))
    asked = {"collection": "photos", "text": "red"} | asked
    assert client.post("/search", json=asked).status_code == 200
    (path,) = folder.glob(cut)
    os.truncate(path, 0)
    answer = client.post("/search", json=asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert str(tmp_path) not in answer.text
    assert path.name not in answer.text
    assert f"{path}: " in capsys.readouterr().err
